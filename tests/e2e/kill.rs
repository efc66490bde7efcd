//! A relay that is killed at chosen moments; `chaos_rounds.rs` has random ones.

use crate::{EXE, LONG};
use feedback_tests::{ChildRelay, Post, Setup, assert_in_order, load, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_acknowledged_events_survive_a_kill() {
    let (mut plausible, setup, relay) = Setup::while_plausible_is_away(EXE).await;
    for batch in 0..20 {
        let events: Vec<_> = (batch * 50..batch * 50 + 50).map(load).collect();
        let post = Post::batch(&events).from(&format!("198.51.100.{batch}"));
        assert_eq!(relay.try_send(&post).await.unwrap().status, 202);
    }
    relay.kill();
    let relay = setup.spawn(EXE).await;
    assert_eq!(relay.metrics().await.count("events_recovered_total"), 1000);
    plausible.come_back().await;
    relay.drained_within(LONG).await;
    let mut numbers = plausible.numbers();
    numbers.sort_unstable();
    let all: Vec<usize> = (0..1000).collect();
    assert_eq!(
        numbers, all,
        "each once, because nothing was in flight when it was killed"
    );
    assert_eq!(relay.stop().await.endings(), ["delivered/ 1000"]);
}

/// Waits until the relay holds an event whose delivery failed.
pub(crate) async fn has_tried(relay: &ChildRelay) {
    within(LONG, "it tries in vain", async || {
        (relay.metrics().await.upstream_failures() > 0).then_some(())
    })
    .await;
}

/// Between Plausible's answer and the deletion, the answer exists only in the relay's memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_answer_and_its_booking_delivers_again_and_goes_on() {
    let (mut plausible, setup, relay) = Setup::while_plausible_is_away(EXE).await;
    for n in [1, 2, 3] {
        assert_eq!(
            relay.try_send(&Post::batch(&[load(n)])).await.unwrap().status,
            202
        );
    }
    has_tried(&relay).await;
    // While another connection holds the write lock, the answer cannot be recorded.
    let db = rusqlite::Connection::open(setup.data_dir().join("relay.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    plausible.come_back().await;
    within(LONG, "the first was answered", async || {
        (!plausible.numbers().is_empty()).then_some(())
    })
    .await;
    relay.kill();
    db.execute_batch("ROLLBACK").unwrap();
    let answered = plausible.numbers().len();

    for _ in 0..2 {
        let relay = setup.spawn(EXE).await;
        relay.drained_within(LONG).await;
        relay.stop().await;
    }
    let numbers = plausible.numbers();
    assert_eq!(
        numbers[answered..],
        [1, 2, 3],
        "once more, in order, and never again"
    );
    assert_in_order(&plausible.arrivals(), 0);
}
