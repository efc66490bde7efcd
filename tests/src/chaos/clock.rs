//! Jumps of the wall clock by hours and days, forwards and backwards, while events arrive and wait. No acknowledged
//! event is lost: each is delivered, or counted as expired by a relay that started at another time.

use super::scene::{LONG, Scene};
use super::{Size, Tally};
use crate::{ChildRelay, Scrape, within};
use std::time::Duration;

const VISITORS: usize = 4;
const PAUSE: Duration = Duration::from_millis(2);
const HOUR: i64 = 3600;
/// Offsets of the clock from the true time, in seconds.
const JUMPS_S: [i64; 10] = [
    -400 * 24 * HOUR,
    -3 * 24 * HOUR,
    -24 * HOUR,
    -HOUR,
    -5,
    0,
    5,
    HOUR,
    3 * 24 * HOUR,
    400 * 24 * HOUR,
];

pub(super) async fn round(mut scene: Scene, size: Size) -> Tally {
    let jumps = size.of(6, 20);
    let mut relay = scene.start().await;
    scene.switch_on().await;
    let pouring = scene.traffic.pour(VISITORS, PAUSE);
    let mut expired = 0;
    for _ in 0..jumps {
        let restarts;
        (relay, restarts) = jump(&mut scene, relay).await;
        expired += restarts;
    }
    pouring.finish().await;
    relay.drained_within(LONG).await;
    expired += count_expired(&relay.stop().await);
    let mut tally = scene.tally(jumps);
    tally.lost = tally.lost.saturating_sub(expired);
    tally
}

/// Sets the clock while events arrive, with or without Plausible, and sometimes restarts the relay. Returns the relay
/// that then runs, and the number of events that the previous one counted as expired.
async fn jump(scene: &mut Scene, relay: ChildRelay) -> (ChildRelay, usize) {
    let (ahead_s, is_away) = (*scene.dice.pick(&JUMPS_S), scene.dice.below(2) == 0);
    if is_away {
        scene.plausible.go_away().await;
    }
    let more = scene.dice.below(30);
    scene.some_are_acknowledged(more).await;
    scene.shim.set_clock(ahead_s);
    let restarts = scene.dice.below(3) == 0;
    scene.note(format!(
        "the clock {ahead_s} s ahead; restarted: {restarts}; Plausible away: {is_away}"
    ));
    let (relay, expired) = if restarts {
        let expired = count_expired(&relay.stop().await);
        (scene.start().await, expired)
    } else {
        (relay, 0)
    };
    let more = 1 + scene.dice.below(30);
    scene.some_are_acknowledged(more).await;
    if is_away {
        scene.plausible.come_back().await;
        delivers_again(scene).await;
    }
    (relay, expired)
}

/// Plausible is retried although, by the clock, the last attempt lies in the future.
async fn delivers_again(scene: &Scene) {
    let before = scene.plausible.count();
    within(LONG, "events are delivered after the jump", async || {
        (scene.plausible.count() > before).then_some(())
    })
    .await;
}

fn count_expired(scrape: &Scrape) -> usize {
    usize::try_from(scrape.ended("expired", "")).unwrap()
}
