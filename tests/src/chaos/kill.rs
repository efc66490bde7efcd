//! `kill -9` at any moment: while the relay starts, serves or stops. No acknowledged event is lost, and very few arrive
//! twice.

use super::scene::{LONG, Scene};
use super::{Size, Tally};
use crate::{Answer, ChildRelay, Dice, MiniPlausible, Traffic, assert_in_order, within};
use std::time::Duration;

/// Visitors that send continuously.
const VISITORS: usize = 6;
/// The pause of a visitor between two batches of three.
const PAUSE: Duration = Duration::from_millis(20);
/// Limit of waiting events when delivery has caught up: a few for each visitor.
const WAITING_MAX: i64 = 30;
/// Limit of events per kill, on average over a round, that may arrive again although Plausible had answered.
const AGAIN_PER_KILL_MAX: usize = 32;

pub(super) async fn round(mut scene: Scene, size: Size) -> Tally {
    let kills = size.of(8, 10);
    scene.switch_on().await;
    // Odd seeds use a Plausible that fails now and then, and kill amid the resulting backlog; even seeds use a steady
    // load that is delivered immediately, so that the number of repeated deliveries is comparable.
    let stumbles = scene.seed % 2 == 1;
    if stumbles {
        unreliable(&scene.plausible, scene.dice.another());
    }
    let pouring = scene.traffic.pour(VISITORS, PAUSE);
    for _ in 0..kills {
        if stumbles {
            // The connection is broken before Plausible has read the whole request, which only a queued answer can do.
            scene
                .plausible
                .queue([Answer::ResetHalfRead, Answer::ResetBeforeReading]);
        }
        kill_at_a_moment(&mut scene, stumbles).await;
    }
    let relay = scene.start().await;
    let tally = scene.close(relay, pouring, kills).await;
    assert_in_order(&scene.plausible.arrivals(), 0);
    assert!(
        tally.duplicated <= kills * AGAIN_PER_KILL_MAX,
        "{} events arrived again after {kills} kills",
        tally.duplicated
    );
    tally
}

async fn kill_at_a_moment(scene: &mut Scene, stumbles: bool) {
    if !stumbles {
        let mut relay = scene.launch();
        serve_a_while(scene, &mut relay).await;
        catches_up(&relay, &scene.traffic).await;
        scene.some_are_acknowledged(VISITORS).await;
        tokio::time::sleep(scene.dice.up_to(Duration::from_millis(50))).await;
        return relay.kill();
    }
    let moment = *scene.dice.pick(&["starting", "serving", "serving", "stopping"]);
    scene.note(format!("kill while {moment}"));
    let mut relay = scene.launch();
    match moment {
        "starting" => tokio::time::sleep(scene.dice.up_to(Duration::from_millis(200))).await,
        "serving" => serve_a_while(scene, &mut relay).await,
        _ => {
            serve_a_while(scene, &mut relay).await;
            relay.terminate();
            tokio::time::sleep(scene.dice.up_to(Duration::from_millis(50))).await;
        }
    }
    relay.kill();
}

/// Lets the relay serve until more events are acknowledged, and a moment longer.
async fn serve_a_while(scene: &mut Scene, relay: &mut ChildRelay) {
    relay.ready().await;
    let more = scene.dice.below(60);
    scene.some_are_acknowledged(more).await;
    tokio::time::sleep(scene.dice.up_to(Duration::from_millis(50))).await;
}

/// Waits until delivery has caught up. Holds the traffic meanwhile, because a busy machine may never catch up with it.
async fn catches_up(relay: &ChildRelay, traffic: &Traffic) {
    traffic.hold(true);
    within(LONG, "delivery catches up", async || {
        (relay.metrics().await.count("spool_events") <= WAITING_MAX).then_some(())
    })
    .await;
    traffic.hold(false);
}

/// Fails one event in five, and each event only once, so that no event appears to be at fault itself.
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
