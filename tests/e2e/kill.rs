//! A relay that is killed at any moment: what it acknowledged arrives, and hardly anything twice.

use crate::{EXE, LONG};
use feedback_tests::{
    Answer, ChildRelay, Dice, MiniPlausible, Post, Setup, Traffic, assert_in_order, counted_twice, load,
    within,
};
use std::time::Duration;

/// How often the relay is killed.
const ROUNDS: usize = 60;
/// Most events that Plausible has answered and a killed relay does not remember: not one for each of 64 lanes,
/// because what was answered is noted one write to the disk later.
const UNBOOKED: usize = 64;

/// When a relay is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Before it says that it is ready, while it takes in what waits.
    Starting,
    Serving,
    /// After a SIGTERM.
    Stopping,
}

#[tokio::test(flavor = "multi_thread")]
async fn being_killed_sixty_times_at_any_moment_loses_nothing_acknowledged() {
    let mut dice = Dice::new();
    let plausible = MiniPlausible::start().await;
    unreliable(&plausible, dice.another());
    let (setup, base) = Setup::new(&plausible.url()).at_an_address();
    let setup = setup.with_a_small_policy().switched_on(EXE).await;
    let traffic = Traffic::to(&base);
    let pouring = traffic.pour(6, Duration::ZERO);
    for round in 0..ROUNDS {
        // Broken before Plausible has read it all, which only a queue can do.
        plausible.queue([Answer::ResetHalfRead, Answer::ResetBeforeReading]);
        let moment = *dice.pick(&[
            Moment::Starting,
            Moment::Serving,
            Moment::Serving,
            Moment::Stopping,
        ]);
        let mut relay = setup.launch(EXE);
        match moment {
            Moment::Starting => tokio::time::sleep(dice.up_to(Duration::from_millis(200))).await,
            Moment::Serving => serve_a_while(&mut relay, &traffic, &mut dice, round).await,
            Moment::Stopping => {
                serve_a_while(&mut relay, &traffic, &mut dice, round).await;
                relay.terminate();
                tokio::time::sleep(dice.up_to(Duration::from_millis(50))).await;
            }
        }
        relay.kill();
    }

    let relay = setup.spawn(EXE).await;
    pouring.finish().await;
    plausible.rule(|_| Answer::Accept);
    relay.drained_within(LONG).await;
    relay.stop().await;
    assert_eq!(
        traffic.missing(&plausible),
        [0; 0],
        "acknowledged and never delivered"
    );
    assert_eq!(
        traffic.acknowledged(),
        traffic.given_out(),
        "what was not acknowledged was sent again"
    );
    let arrivals = plausible.arrivals();
    assert_in_order(&arrivals, 0);
    let (twice, unsure) = (counted_twice(&arrivals), plausible.unsure());
    let allowed = ROUNDS * UNBOOKED + unsure;
    assert!(
        twice <= allowed,
        "{twice} counted twice, {allowed} may be ({unsure} left unsure)"
    );
    let db = rusqlite::Connection::open(setup.data_dir().join("relay.db")).unwrap();
    eprintln!(
        "{} events, {} batches refused, {} sent in vain, {twice} counted twice of {allowed} allowed",
        traffic.acknowledged(),
        traffic.refused(),
        traffic.failed()
    );
    let whole: String = db
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .unwrap();
    assert_eq!(whole, "ok");
}

/// Lets it serve until some more are acknowledged, or for a moment, whichever comes first.
async fn serve_a_while(relay: &mut ChildRelay, traffic: &Traffic, dice: &mut Dice, round: usize) {
    relay.ready().await;
    let goal = traffic.acknowledged() + dice.below(60);
    within(
        LONG,
        &format!("some are acknowledged in round {round}"),
        async || (traffic.acknowledged() >= goal).then_some(()),
    )
    .await;
    tokio::time::sleep(dice.up_to(Duration::from_millis(50))).await;
}

/// Answers one event in five badly, and the same event only once, so that none looks as if it were at fault.
fn unreliable(plausible: &MiniPlausible, dice: Dice) {
    plausible.rule_for_first_tries(dice, |dice| match dice.below(30) {
        0 => Answer::Status(500, &[], ""),
        1 => Answer::ResetAfterReading,
        2 => Answer::Garbage,
        3 => Answer::Close,
        4 => Answer::CloseSilently,
        5 => Answer::Interim,
        _ => Answer::Slow(dice.up_to(Duration::from_millis(4))),
    });
}

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
        "each once, because nothing was under way when it was killed"
    );
    assert_eq!(relay.stop().await.endings(), ["delivered/ 1000"]);
}

/// Waits until it holds an event in its hands that it could not deliver.
pub(crate) async fn has_tried(relay: &ChildRelay) {
    within(LONG, "it tries in vain", async || {
        (relay.metrics().await.upstream_failures() > 0).then_some(())
    })
    .await;
}

/// Between Plausible's answer and the deletion lies a moment in which nobody remembers the answer.
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
    // While somebody else has the database, the answer cannot be booked.
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
