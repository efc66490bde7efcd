//! The spool against a model of it: after any sequence of acts, no acknowledged event is lost uncounted, no event appears
//! that was not stored, and all come in order.

mod harm;
mod reader;
mod reference;
mod world;

use super::Purge;
use super::tests::AGE_MAX;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError};
use reference::{HOUR, LANES, New, QUARANTINE_AGE_MAX, SITES};
use relay_event::Outcome;
use world::World;

/// Buckets in use, a few for each lane.
const BUCKETS: u8 = 5;
/// More events than a lane keeps in memory.
const MANY: usize = 36;

/// One act.
#[derive(Clone, Debug)]
enum Act {
    Append(Vec<New>),
    /// The same, while a lane takes events.
    AppendMeanwhile {
        batch: Vec<New>,
        lane: usize,
        count: usize,
    },
    /// Reads a lane: after the last event it returned, or from its beginning.
    Take {
        lane: usize,
        again: bool,
        count: usize,
    },
    /// Settles the events in a lane's hand whose bits are set; if kept in hand, they are settled again later.
    Settle {
        lane: usize,
        which: u64,
        outcome: Outcome,
        keep: bool,
    },
    /// Parks one event in a lane's hand for this many milliseconds.
    Park {
        lane: usize,
        n: usize,
        wait: i64,
    },
    /// A lane asks when a parked event comes due, whether its bell was rung, and which events in its hand were purged.
    Ask {
        lane: usize,
    },
    Sweep,
    Replay,
    /// A purge of events older than this many milliseconds.
    Purge(Purge, Option<i64>),
    Turn(usize, bool),
    /// Plausible drops a site's events from now on, or accepts them.
    Hold(usize, bool),
    Clock(Jump),
    /// The process dies during an act. `kept` is the fraction of the act's writes that is in the log, in 256ths; its end may
    /// be garbage.
    Crash {
        during: Box<Act>,
        kept: u64,
        garbage: bool,
    },
    /// The process restarts with space for this many bytes.
    Reopen(usize),
    /// Flips a bit of a record, or of any part of the file.
    FlipRecord(usize, usize),
    FlipFile(u64, u8),
    /// Quarantined records can be read again.
    Mend,
    /// The disk is full from now on, or has space again.
    Full(bool),
    /// Another process locks the database from now on, or releases it.
    Busy(bool),
}

/// The new time of the clock.
#[derive(Clone, Copy, Debug)]
enum Jump {
    /// Moved by this many milliseconds.
    By(i64),
    /// Next to the time until which an event is parked.
    ToParked { n: usize, by: i64 },
    /// Next to the time at which an event becomes too old.
    ToAgeMax { n: usize, by: i64 },
}

fn batch() -> impl Strategy<Value = Vec<New>> {
    let site = || proptest::bool::weighted(0.3).prop_map(usize::from);
    let id = || proptest::option::of(0..6_u8);
    let few = vec((site(), 0..BUCKETS, id()), 1..5);
    let many = (site(), 0..BUCKETS, id()).prop_map(|new| vec![new; MANY]);
    let without_id = many.prop_map(|mut many| {
        many.iter_mut().skip(1).for_each(|(_, _, id)| *id = None);
        many
    });
    let new = |(site, bucket, id)| New { site, bucket, id };
    let batch = prop_oneof![9 => few, 1 => without_id];
    batch.prop_map(move |batch| batch.into_iter().map(new).collect())
}

fn jump() -> impl Strategy<Value = Jump> {
    let edge = || -1..=1_i64;
    let far = select(vec![AGE_MAX, HOUR, QUARANTINE_AGE_MAX]);
    prop_oneof![
        3 => (-90_000..90_000_i64).prop_map(Jump::By),
        1 => (far, any::<bool>(), edge())
            .prop_map(|(far, back, by)| Jump::By(if back { -far } else { far } + by)),
        3 => (any::<usize>(), edge()).prop_map(|(n, by)| Jump::ToParked { n, by }),
        // More than an hour away an event cannot be parked.
        1 => (any::<usize>(), edge()).prop_map(|(n, by)| Jump::ToParked { n, by: by - HOUR }),
        2 => (any::<usize>(), edge()).prop_map(|(n, by)| Jump::ToAgeMax { n, by }),
    ]
}

/// A change of the disk in one transaction.
fn change() -> impl Strategy<Value = Act> {
    use Outcome::{
        Delivered, DroppedByPlausible, EngagementExpired, Expired, InvalidForPlausible, Unanswered, Unclear,
    };
    let lane = || 0..LANES;
    let which = prop_oneof![2 => Just(u64::MAX), 1 => Just(1), 2 => any::<u64>()];
    let other = vec![
        DroppedByPlausible,
        InvalidForPlausible,
        Unanswered,
        Unclear,
        Expired,
        EngagementExpired,
    ];
    let outcome = prop_oneof![3 => Just(Delivered), 1 => select(other)];
    let wait = prop_oneof![
        3 => 1..100_000_i64,
        1 => select(vec![-5, 0, 1, HOUR - 1, HOUR, HOUR + 1, i64::MAX])
    ];
    prop_oneof![
        9 => batch().prop_map(Act::Append),
        6 => (lane(), which, outcome, proptest::bool::weighted(0.2))
            .prop_map(|(lane, which, outcome, keep)| Act::Settle { lane, which, outcome, keep }),
        5 => (lane(), any::<usize>(), wait).prop_map(|(lane, n, wait)| Act::Park { lane, n, wait }),
        1 => Just(Act::Replay),
    ]
}

fn purge() -> impl Strategy<Value = Act> {
    let older = proptest::option::of(prop_oneof![0..AGE_MAX, -1..=1_i64]);
    let purge = (
        proptest::option::of(select(SITES.to_vec())),
        older,
        proptest::bool::weighted(0.3),
    );
    purge.prop_map(|(site, older, quarantine)| {
        let purge = Purge {
            site: site.map(str::to_owned),
            before: None,
            quarantine,
        };
        Act::Purge(purge, older)
    })
}

fn act() -> impl Strategy<Value = Act> {
    let count = prop_oneof![3 => 1..6_usize, 1 => Just(32_usize)];
    prop_oneof![
        21 => change(),
        12 => (0..LANES, proptest::bool::weighted(0.25), count)
            .prop_map(|(lane, again, count)| Act::Take { lane, again, count }),
        4 => (batch(), 0..LANES, 1..6_usize)
            .prop_map(|(batch, lane, count)| Act::AppendMeanwhile { batch, lane, count }),
        4 => (0..LANES).prop_map(|lane| Act::Ask { lane }),
        2 => Just(Act::Sweep),
        2 => purge(),
        2 => (0..SITES.len(), proptest::bool::weighted(0.7)).prop_map(|(site, on)| Act::Turn(site, on)),
        1 => (0..SITES.len(), any::<bool>()).prop_map(|(site, held)| Act::Hold(site, held)),
        8 => jump().prop_map(Act::Clock),
        2 => (change(), 0..=256_u64, any::<bool>()).prop_map(|(during, kept, garbage)| {
            let during = Box::new(during);
            Act::Crash { during, kept, garbage }
        }),
        1 => select(vec![65_536, 2_000, 400]).prop_map(Act::Reopen),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(n, bit)| Act::FlipRecord(n, bit)),
        1 => (any::<u64>(), 0..8_u8).prop_map(|(at, bit)| Act::FlipFile(at, bit)),
        1 => Just(Act::Mend),
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
    let acts = (proptest::bool::weighted(0.2), vec(act(), 1..40));
    // 256 cases, or PROPTEST_CASES.
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
    let new = |bucket| New {
        site: 0,
        bucket,
        id: None,
    };
    let two = || Act::Append(vec![new(4), new(4)]);
    let take = |count| Act::Take {
        lane: 0,
        again: false,
        count,
    };
    let again = |count| Act::Take {
        lane: 0,
        again: true,
        count,
    };
    let settle = || Act::Settle {
        lane: 0,
        which: u64::MAX,
        outcome: Outcome::Delivered,
        keep: false,
    };
    let park = |wait| Act::Park { lane: 0, n: 0, wait };
    let clock = |by| Act::Clock(Jump::By(by));
    let check = |threaded, acts: &[Act]| run(threaded, acts);
    // An index without an entry for a row: only the check of the indices detects it in time.
    let flipped = Act::FlipFile(14_025_006_007_775_043_560, 3);
    check(false, &[two(), again(2), park(0), park(0), flipped]);
    // The oldest event's timestamp is damaged, while others are too old.
    let many = |bucket, count| Act::Append(vec![new(bucket); count]);
    let old = Act::Clock(Jump::ToAgeMax { n: 0, by: 1 });
    let flipped = Act::FlipFile(14_230_021_111_611_600_905, 0);
    check(true, &[many(0, MANY), many(1, MANY), many(0, 1), old, flipped]);
    // The same in a file that was damaged after an orderly stop.
    let flipped = Act::FlipFile(4_863_386_050_520_448_600, 2);
    let batches = [many(2, MANY), many(0, MANY), many(0, MANY), many(2, 1)];
    check(true, &[&batches[..], &[flipped]].concat());
    // A clock set back by a month makes parked events due; they come again when they are due by the right clock.
    check(
        false,
        &[
            Act::Append(vec![new(0)]),
            take(1),
            park(1),
            Act::Clock(Jump::By(-2_592_000_000)),
            Act::Reopen(65_536),
            take(1),
            Act::Clock(Jump::ToParked { n: 0, by: 0 }),
            take(1),
        ],
    );
    // A batch truncated in the log, and one whose end is garbage.
    for (kept, garbage) in [(128, false), (256, true), (256, false)] {
        let during = Box::new(Act::Append(vec![
            New {
                id: Some(1),
                ..new(1)
            },
            new(2),
        ]));
        let crash = Act::Crash {
            during,
            kept,
            garbage,
        };
        check(false, &[two(), crash, again(2), park(5_000), park(5_000)]);
    }
    // Less space than is already used: it starts, stores nothing more and drains.
    check(
        true,
        &[two(), Act::Reopen(400), two(), Act::Reopen(65_536), two()],
    );
    // The clock is set back while an event is parked: by a millisecond, and by the longest time of parking.
    for back in [1, HOUR] {
        let one = Act::Append(vec![new(0)]);
        check(
            false,
            &[
                one,
                again(1),
                park(1),
                again(1),
                settle(),
                clock(-back),
                again(1),
                settle(),
            ],
        );
    }
    // Events in a lane's memory expire, and the clock is set back.
    let later = AGE_MAX + 1;
    let swept = [again(1), two(), clock(later), Act::Sweep];
    check(false, &[&swept[..], &[again(1)]].concat());
    check(false, &[&swept[..], &[clock(-later), again(1)]].concat());
    // An event is parked after the clock was set back, until a time that the cursor has passed; and an event that was read
    // comes again, by that clock.
    let set_back = [clock(50_000), again(2), clock(-40_000), park(1)];
    check(
        false,
        &[&[two()], &set_back[..], &[clock(30_000), take(2)]].concat(),
    );
    let twice = [
        clock(10_000),
        take(2),
        park(20_000),
        clock(30_000),
        take(2),
        clock(-25_000),
    ];
    for between in [take(2), park(1)] {
        let then = [between, clock(30_000), take(2)];
        check(
            false,
            &[&[two(), two()], &set_back[..], &twice[..], &then[..]].concat(),
        );
    }
    // The clock runs ahead by more than an hour and back, with an event parked.
    let ahead = 8_000_000;
    let back = [clock(-ahead), two(), take(2), park(1)];
    check(
        true,
        &[&[two(), clock(ahead), two(), again(2), park(90_000)], &back[..]].concat(),
    );
}
