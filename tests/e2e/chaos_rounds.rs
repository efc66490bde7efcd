//! Short rounds of the chaos test that `cargo xtask chaos` runs for hours (`tests/src/chaos`), from fixed seeds.

use crate::EXE;
use feedback_tests::chaos::{Kind, Size, Stage, Tally, round, sanity};
use std::path::Path;

fn stage() -> Stage {
    Stage {
        exe: EXE.to_owned(),
        size: Size::Short,
        evidence: Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos"),
    }
}

/// Plays a round from each seed. Each round must inject faults and acknowledge events: otherwise it proves nothing.
async fn check(kind: Kind, seeds: &[u64]) {
    for seed in seeds {
        let tally = round(&stage(), kind, *seed).await;
        let Tally {
            faults, acknowledged, ..
        } = tally.unwrap_or_else(|failure| panic!("{} from seed {seed}: {failure:?}", kind.name()));
        assert!(
            faults > 0 && acknowledged > 0,
            "{faults} faults, {acknowledged} acknowledged"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn being_killed_at_any_moment_loses_nothing_acknowledged() {
    check(Kind::Kill, &[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_at_any_change_of_the_disk_loses_nothing_acknowledged() {
    check(Kind::Power, &[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_whose_syncs_lie_loses_events_so_the_power_cuts_are_real() {
    let lost = sanity(&stage(), 1).await;
    assert!(lost.is_ok(), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_refuses_loses_nothing_acknowledged_and_is_used_again_by_itself() {
    check(Kind::Disk, &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jumps_of_the_clock_lose_nothing_acknowledged() {
    check(Kind::Clock, &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_arrives_after_off_was_answered_whatever_happens_to_the_relay() {
    check(Kind::Off, &[1, 2]).await;
}
