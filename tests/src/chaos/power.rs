//! Power cuts. The relay dies at an arbitrary change of its disk, and its next start finds the data that a disk may
//! have kept: everything synced, and any part of the rest.

use super::disk_image::{CUTS, Cut, DiskImage, Files, files_of, put_files};
use super::evidence::Evidence;
use super::scene::{LONG, Scene, answers_well, ends_or_is_killed};
use super::{Size, Tally};
use crate::{ChildRelay, Pouring};
use std::sync::Arc;
use std::time::Duration;

const VISITORS: usize = 4;
const PAUSE: Duration = Duration::from_millis(2);
/// Longest duration of a sync: events pile up meanwhile, as with a real disk.
const SYNC_MAX: Duration = Duration::from_millis(4);
/// Limit of disk changes until a cut.
const CHANGES_MAX: usize = 400;
/// The same for a relay that is starting.
const CHANGES_OF_A_START: usize = 60;

pub(super) async fn round(mut scene: Scene, size: Size) -> Tally {
    let cuts = size.of(4, 10);
    scene.shim.sync_takes(SYNC_MAX);
    let mut image = scene.begin();
    let mut first = Some(scene.start().await);
    // On the same disk: the switch state and the files themselves must survive the cut as well.
    scene.switch_on().await;
    let pouring = scene.traffic.pour(VISITORS, PAUSE);
    for _ in 0..cuts {
        let relay = first.take().unwrap_or_else(|| {
            image = scene.begin();
            scene.launch()
        });
        cut_the_power(&mut scene, relay, &mut image).await;
    }
    close(scene, pouring, cuts).await
}

/// Makes the relay die at some change of its disk, and leaves the files that the disk may have kept.
async fn cut_the_power(scene: &mut Scene, mut relay: ChildRelay, image: &mut DiskImage) {
    // While Plausible is unavailable, acknowledged events exist only on disk.
    let is_away = scene.dice.below(2) == 0;
    if is_away {
        scene.plausible.go_away().await;
    }
    let moment = *scene
        .dice
        .pick(&["starting", "serving", "serving", "serving", "at any time"]);
    match moment {
        "starting" => scene.shim.die_in(1 + scene.dice.below(CHANGES_OF_A_START)),
        _ => {
            relay.ready().await;
            let more = scene.dice.below(40);
            scene.some_are_acknowledged(more).await;
        }
    }
    match moment {
        "serving" => scene.shim.die_in(1 + scene.dice.below(CHANGES_MAX)),
        "at any time" => {
            tokio::time::sleep(scene.dice.up_to(Duration::from_millis(100))).await;
            scene.shim.die_in(1);
        }
        _ => {}
    }
    ends_or_is_killed(relay).await;
    scene.shim.die_in(0);
    let cut = *scene.dice.pick(&CUTS);
    scene.note(format!(
        "power cut while {moment}; the disk {cut:?}, Plausible away: {is_away}"
    ));
    lose(scene, image, cut);
    if is_away {
        scene.plausible.come_back().await;
    }
}

/// Writes the files that the disk kept into the data folder.
fn lose(scene: &mut Scene, image: &mut DiskImage, cut: Cut) {
    scene.shim.replay(image);
    assert_eq!(image.unseen(), [""; 0], "the shim could not follow these");
    put_files(&scene.setup.data_dir(), &image.after(cut, &mut scene.dice));
}

/// Delivers the waiting events. Then the files must equal the journal's: the shim missed no change.
async fn close(scene: Scene, pouring: Pouring, cuts: usize) -> Tally {
    let mut image = scene.begin();
    let relay = scene.start().await;
    let tally = scene.close_unread(relay, pouring, cuts).await;
    scene.shim.replay(&mut image);
    let (journal, real) = (image.as_written(), files_of(&scene.setup.data_dir()));
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&journal), names(&real), "files that escaped the shim");
    for (name, bytes) in &real {
        assert!(journal[name] == *bytes, "changes of {name} that escaped the shim");
    }
    scene.is_sound();
    tally
}

/// Acknowledges events on a disk that ignores syncs, cuts the power in each way that loses data, and counts the lost
/// events: the minimum over all ways.
pub(super) async fn sanity(exe: &str, seed: u64, evidence: Arc<Evidence>) -> usize {
    let mut least = usize::MAX;
    for cut in CUTS.into_iter().filter(|cut| *cut != Cut::KeepsAll) {
        let mut scene = Scene::open(exe, seed, Arc::clone(&evidence)).await;
        scene.note(format!("syncs lie; the disk {cut:?}"));
        let relay = scene.start().await;
        scene.switch_on().await;
        relay.stop().await;
        let mut image = scene.begin();
        scene.shim.syncs_lie(true);
        scene.plausible.go_away().await;
        let relay = scene.start().await;
        let pouring = scene.traffic.pour(VISITORS, PAUSE);
        scene.some_are_acknowledged(60).await;
        pouring.finish().await;
        scene.shim.die_in(1);
        ends_or_is_killed(relay).await;
        scene.shim.die_in(0);
        scene.shim.syncs_lie(false);
        lose(&mut scene, &mut image, cut);
        least = least.min(lost(&mut scene).await);
    }
    least
}

/// The number of acknowledged events that are not delivered.
async fn lost(scene: &mut Scene) -> usize {
    let relay = scene.start().await;
    scene.plausible.come_back().await;
    answers_well(&scene.plausible, scene.dice.another());
    relay.drained_within(LONG).await;
    relay.kill();
    scene.traffic.missing(&scene.plausible).len()
}
