//! Waiting events depend on nothing but the spool: no password, address or setting is needed to find them again.

use super::{LONG, events};
use crate::EXE;
use feedback_tests::{MiniPlausible, Post, SITE, Setup};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn other_passwords_and_another_plausible_find_everything_that_waits() {
    let old = MiniPlausible::away();
    let setup = Setup::new(&old.url()).with_a_small_policy();
    let password = |verb: &'static str, password: &'static str| {
        let setup = setup.clone();
        async move {
            let arguments = ["user", verb, "alice", "--password-stdin"];
            let done = setup.command(EXE, &arguments, &format!("{password}\n")).await;
            assert_eq!(done.code, Some(0), "{done:?}");
        }
    };
    password("add", "the password of the first day").await;
    let relay = setup.start_on().await;
    for batch in 0..4 {
        relay.accept(&events(batch * 50..(batch + 1) * 50)).await;
    }
    password("passwd", "another password altogether").await;
    relay.stop().await;

    let new = MiniPlausible::start().await;
    let changed = setup
        .without("metrics", "password")
        .with("metrics", "password = \"another one for the metrics as well\"")
        .without("upstream", "url")
        .with("upstream", &format!("url = \"{}\"", new.url()))
        .with("upstream", "address_header = \"x-forwarded-for\"")
        .with("upstream", "concurrency = 3");
    let relay = changed.start().await;
    feedback_tests::within(LONG, "all are delivered", async || {
        (new.numbers().len() == 200).then_some(())
    })
    .await;
    relay.stop_unseen().await;
    assert_eq!(new.numbers(), (0..200).collect::<Vec<_>>());
    assert_eq!(old.numbers(), [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_site_that_left_the_configuration_are_counted_and_leave_no_orphan() {
    const OTHER: &str = "other.example.com";
    let setup = Setup::new("http://127.0.0.1:9").with_a_small_policy();
    let both = setup.clone().with_site(&format!("domain = \"{OTHER}\""));
    let relay = both.start_on().await;
    relay.app().switches.set(OTHER, true, "test").await.unwrap();
    relay.accept(&events(0..3)).await;
    for n in 3..8 {
        let event =
            json!({ "n": "Load", "u": format!("https://{OTHER}/#/home"), "d": OTHER, "p": { "n": n } });
        let post = Post::plausible(&event).with("origin", &format!("https://{OTHER}"));
        assert_eq!(relay.send(&post).await.status, 202);
    }
    assert_eq!(relay.stop().await.count("spool_events"), 8);

    let relay = setup.start().await;
    let scrape = relay.metrics().await;
    assert_eq!(scrape.count("events_recovered_total"), 8);
    assert_eq!(
        (scrape.ended("purged", ""), scrape.count("spool_events")),
        (5, 3),
        "{SITE} keeps its own"
    );
    assert_eq!(super::on_disk(&setup), 3);
    relay.stop().await;
}
