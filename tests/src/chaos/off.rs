//! The switch is turned off at random moments: under load, around kills, stops and restarts. Once "off" was
//! acknowledged, no event of the site arrives, whatever happens to the relay, until the site is switched on again.

use super::scene::{LONG, Scene};
use super::{Size, Tally};
use crate::{ChildRelay, within};
use std::time::{Duration, Instant};

const VISITORS: usize = 6;
/// How long the site stays off under observation.
const WATCHED: Duration = Duration::from_millis(150);
/// Longest time between the command and the kill.
const KILL_WITHIN: Duration = Duration::from_millis(80);

pub(super) async fn round(mut scene: Scene, size: Size) -> Tally {
    let offs = size.of(4, 10);
    let mut relay = scene.start().await;
    scene.switch_on().await;
    let pouring = scene.traffic.pour(VISITORS, Duration::ZERO);
    let mut after_off = 0;
    for _ in 0..offs {
        let arrived;
        (relay, arrived) = off_and_on(&mut scene, relay).await;
        after_off += arrived;
    }
    // Events from before the last "off" were purged; a killed relay cannot report their number.
    let first = scene.traffic.given_out();
    scene.some_are_acknowledged(30).await;
    pouring.finish().await;
    relay.drained_within(LONG).await;
    relay.stop().await;
    scene.is_sound();
    let missing = scene.traffic.missing(&scene.plausible);
    Tally {
        after_off,
        lost: missing.into_iter().filter(|n| *n >= first).count(),
        ..scene.tally(offs)
    }
}

/// Turns the site off, checks that nothing arrives, restarts the relay, checks again, and turns the site on. Returns
/// the relay that then runs, and the number of events that arrived after "off".
async fn off_and_on(scene: &mut Scene, relay: ChildRelay) -> (ChildRelay, usize) {
    let more = scene.dice.below(60);
    scene.some_are_acknowledged(more).await;
    tokio::time::sleep(scene.dice.up_to(Duration::from_millis(20))).await;
    let moment = *scene
        .dice
        .pick(&["served", "served", "killed", "stopped", "away"]);
    scene.note(format!("off while the relay is {moment}"));
    let (running, answered) = match moment {
        "served" => (Some(relay), turn_off(scene).await),
        "away" => {
            relay.kill();
            (None, turn_off(scene).await)
        }
        how => off_around_an_end(scene, relay, how).await,
    };
    let (relay, answered) = match (running, answered) {
        (running, Some(at)) => (running, at),
        // The command failed because the relay went away: the site may be off or on, so the command is repeated.
        (_, None) => {
            let relay = scene.start().await;
            let at = turn_off(scene).await.expect("a relay that serves turns off");
            (Some(relay), at)
        }
    };
    tokio::time::sleep(scene.dice.up_to(WATCHED)).await;
    let relay = match (relay, scene.dice.below(3)) {
        (Some(relay), 0) => relay,
        (relay, how) => {
            if let Some(relay) = relay {
                end(relay, how == 1).await;
            }
            scene.start().await
        }
    };
    is_off(scene).await;
    tokio::time::sleep(scene.dice.up_to(WATCHED)).await;
    let arrived = arrived_since(scene, answered);
    scene.switch_on().await;
    (relay, arrived)
}

/// Turns the site off. Returns when that was acknowledged, if it was.
async fn turn_off(scene: &Scene) -> Option<Instant> {
    let done = scene.turn("off").await;
    (done.code == Some(0)).then(Instant::now)
}

/// Kills or stops the relay around the command.
async fn off_around_an_end(
    scene: &mut Scene,
    relay: ChildRelay,
    how: &str,
) -> (Option<ChildRelay>, Option<Instant>) {
    let (first, later) = (scene.dice.below(4) == 0, scene.dice.up_to(KILL_WITHIN));
    let ending = async {
        if !first {
            tokio::time::sleep(later).await;
        }
        end(relay, how == "killed").await;
    };
    let (answered, ()) = tokio::join!(turn_off(scene), ending);
    (None, answered)
}

async fn end(mut relay: ChildRelay, is_killed: bool) {
    if is_killed {
        relay.kill();
    } else {
        relay.terminate();
        relay.ended(LONG).await;
    }
}

/// Checks that the relay reports "off" and refuses events.
async fn is_off(scene: &Scene) {
    let status = scene.setup.command(&scene.exe, &["switch", "status"], "").await;
    assert!(
        status.out.contains(": off"),
        "it was answered that it is off: {status:?}"
    );
    let denied = scene.traffic.denied();
    within(LONG, "events are refused", async || {
        (scene.traffic.denied() > denied).then_some(())
    })
    .await;
}

fn arrived_since(scene: &Scene, answered: Instant) -> usize {
    let arrivals = scene.plausible.arrivals();
    arrivals.iter().filter(|arrival| arrival.at > answered).count()
}
