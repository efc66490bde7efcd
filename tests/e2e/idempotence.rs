//! A batch can be sent again: at once, later, in part, after a restart. Each event is stored once.

use feedback_tests::{MiniPlausible, ORIGIN, Post, Setup, load};
use serde_json::json;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn the_same_batch_at_once_and_in_part_is_stored_once() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let batch: Vec<_> = (0..5).map(load).collect();
    let mut sending = JoinSet::new();
    for _ in 0..10 {
        let (client, base, post) = (relay.client.clone(), relay.public.clone(), Post::batch(&batch));
        sending.spawn(async move { post.try_send(&client, &base).await.unwrap() });
    }
    for sent in sending.join_all().await {
        assert_eq!(
            (sent.status, &sent.json()["accepted"]),
            (202, &json!(5)),
            "{sent:?}"
        );
    }
    // Two duplicates among new events.
    let mixed = [load(5), batch[1].clone(), load(6), batch[3].clone()];
    relay.accept(&mixed).await;
    relay.drained().await;
    let mut numbers = plausible.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..7).collect::<Vec<_>>());
    assert_eq!(relay.stop().await.endings(), ["delivered/ 7", "duplicate/ 47"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_batch_after_a_restart_is_stored_once() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url());
    let batch = [load(1), load(2)];
    let relay = setup.start_on().await;
    relay.accept(&batch).await;
    relay.drained().await;
    relay.stop().await;
    let relay = setup.start().await;
    relay.accept(&batch).await;
    relay.drained().await;
    assert_eq!(relay.stop().await.endings(), ["duplicate/ 2"]);
    assert_eq!(plausible.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_batch_after_a_refusal_is_taken() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url());
    let relay = setup.start_on().await;
    let batch = [load(1), load(2)];
    // For longer than the relay waits for the write lock.
    let db = rusqlite::Connection::open(setup.data_dir().join("relay.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let sent = relay.send(&Post::batch(&batch)).await;
    assert_eq!(
        (sent.status, sent.problem().as_str()),
        (503, "unavailable"),
        "{sent:?}"
    );
    db.execute_batch("ROLLBACK").unwrap();
    relay.accept(&batch).await;
    relay.accept(&batch).await;
    relay.drained().await;
    assert_eq!(plausible.count(), 2);
    let want = ["delivered/ 2", "duplicate/ 2", "spool_full/unavailable 2"];
    assert_eq!(relay.stop().await.endings(), want);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_at_two_sites_is_two_events() {
    let plausible = MiniPlausible::start().await;
    let other = "other.example.com";
    let relay = Setup::new(&plausible.url())
        .with_site(&format!("domain = \"{other}\"\norigins = [\"{ORIGIN}\"]"))
        .start_on()
        .await;
    relay.app().switches.set(other, true, "test").await.unwrap();
    let event = load(1);
    let elsewhere = json!({ "site": other, "consent": { "plan": 3 }, "events": [event] });
    for _ in 0..2 {
        relay.accept(std::slice::from_ref(&event)).await;
        let sent = relay.send(&Post::batch(&[]).body(elsewhere.to_string())).await;
        assert_eq!(
            (sent.status, &sent.json()["accepted"]),
            (202, &json!(1)),
            "{sent:?}"
        );
    }
    relay.drained().await;
    assert_eq!(relay.stop().await.endings(), ["delivered/ 2", "duplicate/ 2"]);
}
