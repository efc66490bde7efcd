//! The spool against a model of it: whatever happens in whatever order, nothing acknowledged is lost
//! unless it is counted, nothing comes that was not stored, and all comes in order.

mod harm;
mod world;

use super::tests::AGE_MAX;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};
use world::{HOUR, World};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Act {
    /// A batch: the bucket and the sender's id of each event.
    Append(Vec<(u8, Option<u8>)>),
    /// A look into a lane from its beginning; what comes is settled, or parked for some milliseconds.
    Deliver {
        lane: usize,
        count: usize,
        park: Option<i64>,
    },
    Sweep,
    Replay,
    Clock(i64),
    /// The process dies. The batch was being written: so much of it, in 256ths, is in the log, whose end may
    /// be garbage.
    Crash {
        batch: Vec<(u8, Option<u8>)>,
        kept: u64,
        garbage: bool,
    },
    /// The process ends and begins again with room for so many bytes.
    Reopen(usize),
    /// A bit of a record changes, or of anything in the file.
    FlipRecord(usize, usize),
    FlipFile(u64, u8),
    /// The disk is full from now on, or has room again.
    Full(bool),
    /// Another process holds the database from now on, or lets it go.
    Busy(bool),
}

fn batch() -> impl Strategy<Value = Vec<(u8, Option<u8>)>> {
    vec((0..8_u8, proptest::option::of(0..12_u8)), 1..5)
}

fn act() -> impl Strategy<Value = Act> {
    let park = proptest::option::weighted(0.3, 0..100_000_i64);
    prop_oneof![
        8 => batch().prop_map(Act::Append),
        6 => (0..3_usize, 1..6_usize, park).prop_map(|(lane, count, park)| Act::Deliver { lane, count, park }),
        1 => Just(Act::Sweep),
        1 => Just(Act::Replay),
        2 => prop_oneof![-90_000..90_000_i64, -10_000_000..10_000_000_i64].prop_map(Act::Clock),
        2 => (batch(), 0..=256_u64, any::<bool>())
            .prop_map(|(batch, kept, garbage)| Act::Crash { batch, kept, garbage }),
        1 => (0..3_usize).prop_map(|n| Act::Reopen([65_536, 1_200, 400][n])),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(n, bit)| Act::FlipRecord(n, bit)),
        1 => (any::<u64>(), 0..8_u8).prop_map(|(at, bit)| Act::FlipFile(at, bit)),
        1 => any::<bool>().prop_map(Act::Full),
        1 => any::<bool>().prop_map(Act::Busy),
    ]
}

fn run(threaded: bool, acts: &[Act]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::begin(threaded).await;
        for act in acts {
            world.act(act).await;
            world.check();
        }
        world.drain().await;
    });
}

#[test]
fn whatever_happens_nothing_acknowledged_is_lost_and_all_comes_in_order() {
    let acts = (proptest::bool::weighted(0.1), vec(act(), 1..30));
    // 256 cases, or as many as PROPTEST_CASES says.
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&acts, |(threaded, acts)| {
        run(threaded, &acts);
        Ok::<(), TestCaseError>(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_was_found_once_does_not_come_back() {
    let parked = |park| Act::Deliver {
        lane: 1,
        count: 2,
        park: Some(park),
    };
    let two = || Act::Append(vec![(4, None), (4, None)]);
    // An index without an entry for a row: only the check of the indices finds it before it is met.
    run(
        false,
        &[two(), parked(0), Act::FlipFile(14_025_006_007_775_043_560, 3)],
    );
    // A batch cut off in the log, and one whose end is garbage.
    for (kept, garbage) in [(128, false), (256, true), (256, false)] {
        let batch = vec![(1, Some(1)), (2, None)];
        run(
            false,
            &[two(), Act::Crash { batch, kept, garbage }, parked(5_000)],
        );
    }
    // Less room than there is already: it starts, takes nothing more and drains.
    run(
        true,
        &[two(), Act::Reopen(400), two(), Act::Reopen(65_536), two()],
    );
    // The clock is set back while an event is parked, and by as much as nothing is parked ahead.
    for back in [1, HOUR] {
        let look = |park| Act::Deliver {
            lane: 0,
            count: 1,
            park,
        };
        run(
            false,
            &[
                Act::Append(vec![(0, None)]),
                look(Some(1)),
                look(None),
                Act::Clock(-back),
                look(None),
            ],
        );
    }
    // What a lane would be handed from memory expires, and the clock is set back.
    let look = || Act::Deliver {
        lane: 1,
        count: 1,
        park: None,
    };
    let later = AGE_MAX + 1;
    let swept = [look(), two(), Act::Clock(later), Act::Sweep];
    run(false, &[&swept[..], &[look()]].concat());
    run(false, &[&swept[..], &[Act::Clock(-later), look()]].concat());
    // The clock runs ahead by more than an hour and back, with an event parked.
    run(
        true,
        &[
            two(),
            Act::Clock(8_000_000),
            two(),
            parked(90_000),
            Act::Clock(-8_000_000),
            two(),
            parked(1),
        ],
    );
}
