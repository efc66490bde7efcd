//! A disk that is full or failing for a while. Requests are answered 503, no acknowledged event is lost, and the relay
//! resumes by itself once the disk works again.

use super::scene::{LONG, Scene};
use super::shim::REFUSALS;
use super::{Size, Tally};
use crate::{ChildRelay, within};
use std::time::Duration;

const VISITORS: usize = 4;
const PAUSE: Duration = Duration::from_millis(2);
/// How long the disk keeps failing after the first refused call.
const LASTS: Duration = Duration::from_millis(400);

pub(super) async fn round(mut scene: Scene, size: Size) -> Tally {
    let failures = size.of(REFUSALS.len(), 2 * REFUSALS.len());
    let mut relay = scene.start().await;
    scene.switch_on().await;
    let pouring = scene.traffic.pour(VISITORS, PAUSE);
    for n in 0..failures {
        relay = fail_for_a_while(&mut scene, relay, n).await;
    }
    scene.close(relay, pouring, failures).await
}

/// Makes the disk fail until a call was refused and a moment longer. Returns the relay that then runs.
async fn fail_for_a_while(scene: &mut Scene, relay: ChildRelay, n: usize) -> ChildRelay {
    let refusal = REFUSALS[n % REFUSALS.len()];
    let more = scene.dice.below(30);
    scene.some_are_acknowledged(more).await;
    let (before, refused) = (scene.shim.refused(), scene.traffic.refused());
    scene.shim.refuse(Some(refusal));
    within(
        LONG,
        &format!("a disk that is felt: {}", refusal.what),
        async || {
            let is_felt = scene.shim.refused() > before && scene.traffic.refused() > refused;
            is_felt.then_some(())
        },
    )
    .await;
    let alive = relay.get("/actuator/health/liveness").await;
    assert_eq!(alive.status, 200, "{}: a restart would not help", refusal.what);
    tokio::time::sleep(scene.dice.up_to(LASTS)).await;
    let is_killed = scene.dice.below(3) == 0;
    scene.note(format!(
        "the disk: {}; killed meanwhile: {is_killed}",
        refusal.what
    ));
    let relay = if is_killed {
        relay.kill();
        scene.shim.refuse(None);
        scene.start().await
    } else {
        scene.shim.refuse(None);
        relay
    };
    goes_on(scene, &relay).await;
    relay
}

/// The relay accepts events again and reports it, without an operator.
async fn goes_on(scene: &Scene, relay: &ChildRelay) {
    scene.some_are_acknowledged(1).await;
    within(LONG, "readiness recovers", async || {
        (relay.get("/actuator/health/readiness").await.status == 200).then_some(())
    })
    .await;
}
