//! A relay starts with data that is in use, from another time, or unusable.

use crate::{EXE, LONG};
use feedback_relay::clock::Clock;
use feedback_relay::policy::sandbox::compiler::Compiler;
use feedback_relay::run;
use feedback_tests::{MiniPlausible, Post, Setup, load, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_relay_on_the_same_data_does_not_start() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url());
    let relay = setup.spawn(EXE).await;
    let second = setup.command(EXE, &["serve"], "").await;
    assert_eq!(second.code, Some(1), "{second:?}");
    let want = format!(
        "another relay is using the data folder {}",
        setup.data_dir().display()
    );
    assert!(second.err.contains(&want), "{second:?}");
    relay.stop().await;
    // The lock ends with its process, however the process ended.
    let relay = setup.spawn(EXE).await;
    relay.kill();
    setup.spawn(EXE).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_cannot_be_used_is_named() {
    let setup = Setup::new("http://127.0.0.1:9");
    setup.start().await.stop().await;
    let database = setup.data_dir().join("relay.db");
    let check = async |want: &str| {
        let built = run::Relay::build(setup.config(), Clock::system(), Compiler::in_process()).await;
        let error = built.err().unwrap().to_string();
        assert!(error.contains(want) && error.contains("relay.db"), "{error}");
        let done = setup.command(EXE, &["serve"], "").await;
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.err.contains(want), "{done:?}");
    };
    let db = rusqlite::Connection::open(&database).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    db.pragma_update(None, "application_id", 0x4652_0000 + 99)
        .unwrap();
    drop(db);
    check("was written by another version of the relay: its tables have version 99").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_waits_after_a_restart_until_plausible_says_that_it_is_well() {
    let (mut plausible, setup, relay) = Setup::while_plausible_is_away(EXE).await;
    let events: Vec<_> = (0..20).map(load).collect();
    assert_eq!(relay.try_send(&Post::batch(&events)).await.unwrap().status, 202);
    relay.stop().await;

    plausible.health(500);
    plausible.come_back().await;
    let relay = setup.spawn(EXE).await;
    // The self-test checks the health once, the breaker repeatedly.
    within(LONG, "it is asked after its health", async || {
        (plausible.probes() >= 3).then_some(())
    })
    .await;
    assert_eq!(plausible.count(), 0, "it would take events, but is not well");
    plausible.health(200);
    relay.drained_within(LONG).await;
    assert_eq!(plausible.numbers(), (0..20).collect::<Vec<_>>());
    relay.stop().await;
}
