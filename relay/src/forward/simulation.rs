//! Days of failures in milliseconds: the complete delivery over a scripted Plausible, an inline store and tokio's
//! paused clock. Lists of operations are drawn at random; the invariants are checked at each request and at the end. A
//! failing list is shrunk; lists that failed once are kept as rows.

mod script;
mod truth;
mod watch;
mod world;

use proptest::prelude::*;
use proptest::sample::select;
use script::{Health, Mood, RetryAfter, Setup};
use watch::SITES;
use world::World;

/// One operation.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// A visitor sends this many events.
    Append { visitor: u8, events: u8 },
    /// A visitor sends an engagement.
    Engage { visitor: u8 },
    /// A visitor sends an event that Plausible answers with 500 during the whole simulation.
    Poison { visitor: u8 },
    /// Plausible answers like this from now on.
    Plausible(Mood),
    /// A site is added in Plausible, or removed there.
    Know(usize, bool),
    /// Time passes, in seconds.
    Wait(u32),
    /// A site's switch is turned.
    Turn(usize, bool),
    /// The disk accepts changes again, or refuses them all.
    Disk { takes: bool },
    /// An operator purges waiting events: of a site, older than this many seconds.
    Purge { site: Option<usize>, older: Option<u32> },
    /// An operator replays all parked events.
    Replay,
    /// The sweep drops expired events.
    Sweep,
    /// The relay stops, orderly or by a crash, and starts again.
    Restart { in_order: bool },
    /// The wall clock is set, by this many seconds.
    Jump(i32),
}

/// Runs a simulation in a runtime of its own, whose clock is paused.
fn simulate<T>(seed: u32, simulation: impl Future<Output = T>) -> T {
    script::seed(seed);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(simulation)
}

/// Runs a list and checks the invariants.
fn run(seed: u32, setup: Setup, ops: &[Op]) -> Result<(), TestCaseError> {
    simulate(seed, async {
        let mut world = World::start(setup).await;
        for op in ops {
            world.apply(*op).await;
            prop_assert_eq!(world.broken(), None, "after {:?}", op);
        }
        world.end().await
    })
}

fn setup() -> impl Strategy<Value = Setup> {
    let health = prop_oneof![
        3 => Just(Health::Answers),
        1 => Just(Health::IsMissing),
        1 => Just(Health::IsNotAsked),
    ];
    let knows = [(); SITES.len()].map(|()| proptest::bool::weighted(0.8));
    let setup = (health, proptest::bool::weighted(0.3), knows);
    setup.prop_map(|(health, drops_unknown, knows)| Setup {
        health,
        drops_unknown,
        knows,
    })
}

fn op() -> impl Strategy<Value = Op> {
    let visitor = || 0_u8..12;
    // Close to the ages at which something changes: late, an engagement's end, the longest time an event is parked, an
    // event's expiry.
    let bound = (select(vec![300, 1500, 3600, 86_400]), -2_i32..=2).prop_map(|(bound, by)| bound + by);
    let jump = prop_oneof![
        1 => -7200_i32..7200,
        1 => (bound.clone(), any::<bool>()).prop_map(|(to, back)| if back { -to } else { to }),
    ];
    let bound = bound.prop_map(i32::unsigned_abs);
    let wait = prop_oneof![6 => 0_u32..120, 1 => bound.clone(), 1 => 0_u32..40_000];
    let purge = (proptest::option::of(0..SITES.len()), proptest::option::of(bound));
    prop_oneof![
        12 => (visitor(), 1_u8..40).prop_map(|(visitor, events)| Op::Append { visitor, events }),
        3 => visitor().prop_map(|visitor| Op::Engage { visitor }),
        2 => visitor().prop_map(|visitor| Op::Poison { visitor }),
        10 => mood().prop_map(Op::Plausible),
        3 => (0..SITES.len(), any::<bool>()).prop_map(|(site, knows)| Op::Know(site, knows)),
        9 => wait.prop_map(Op::Wait),
        3 => (0..SITES.len(), any::<bool>()).prop_map(|(site, on)| Op::Turn(site, on)),
        2 => any::<bool>().prop_map(|takes| Op::Disk { takes }),
        1 => purge.prop_map(|(site, older)| Op::Purge { site, older }),
        1 => Just(Op::Replay),
        1 => Just(Op::Sweep),
        2 => any::<bool>().prop_map(|in_order| Op::Restart { in_order }),
        3 => jump.prop_map(Op::Jump),
    ]
}

fn mood() -> impl Strategy<Value = Mood> {
    let retry_after = prop_oneof![
        2 => (0_u32..300).prop_map(RetryAfter::Seconds),
        1 => select(vec![0, 3599, 3600, 3601, 99_999_999]).prop_map(RetryAfter::Seconds),
        1 => (-100_i32..5000).prop_map(RetryAfter::Date),
    ];
    let busy = (retry_after, prop_oneof![2 => Just(0_u16), 1 => 0_u16..8000]);
    prop_oneof![
        4 => Just(Mood::Well),
        1 => (1_u16..8000).prop_map(Mood::Slow),
        1 => Just(Mood::Dropped),
        1 => Just(Mood::Invalid),
        1 => Just(Mood::Refuses),
        1 => Just(Mood::Fails),
        1 => busy.prop_map(|(retry_after, millis)| Mood::Busy(retry_after, millis)),
        1 => Just(Mood::Breaks),
        1 => Just(Mood::Hangs),
        1 => Just(Mood::Stumbles),
        1 => Just(Mood::AnotherServer),
        1 => Just(Mood::Gateway),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_what_was_taken_is_delivered_or_counted(
        seed: u32,
        setup in setup(),
        ops in prop::collection::vec(op(), 1..40),
    ) {
        run(seed, setup, &ops)?;
    }
}

#[test]
fn what_once_went_wrong_or_easily_could_stays_right() {
    use Op::{Append, Disk, Jump, Plausible, Poison, Purge, Restart, Turn, Wait};
    let check_with = |setup: Setup, ops: &[Op]| {
        run(7, setup, ops).unwrap_or_else(|error| panic!("{error}\n{setup:?} {ops:?}"));
    };
    let check = |ops: &[Op]| check_with(Setup::USUAL, ops);
    let many = Append {
        visitor: 1,
        events: 39,
    };
    let few = Append {
        visitor: 2,
        events: 3,
    };
    let busy = |retry_after| Mood::Busy(retry_after, 0);
    let setups = [Health::Answers, Health::IsMissing, Health::IsNotAsked].map(|health| {
        [false, true].map(|drops_unknown| Setup {
            health,
            drops_unknown,
            ..Setup::USUAL
        })
    });
    // An outage of a day, of each kind, and of some hours in each setup.
    let day = [(Setup::USUAL, 80_000)];
    let hours = setups.as_flattened().iter().map(|setup| (*setup, 9_000));
    for (setup, outage) in day.into_iter().chain(hours) {
        for mood in [
            Mood::Refuses,
            Mood::Fails,
            Mood::Breaks,
            Mood::Hangs,
            Mood::AnotherServer,
            Mood::Gateway,
            busy(RetryAfter::Seconds(30)),
            busy(RetryAfter::Date(500)),
        ] {
            check_with(
                setup,
                &[
                    many,
                    Plausible(mood),
                    few,
                    Op::Engage { visitor: 1 },
                    Wait(outage),
                    few,
                    Plausible(Mood::Well),
                    Wait(10),
                ],
            );
        }
    }
    // Servers that ask for a retry at once, repeatedly, or in three years.
    for asked in [
        RetryAfter::Seconds(0),
        RetryAfter::Date(-9),
        RetryAfter::Seconds(99_999_999),
    ] {
        check(&[few, Plausible(busy(asked)), Wait(73)]);
    }
    check(&[Poison { visitor: 1 }, many, few, Wait(40_000)]);
    // A replay while a parked event is retried.
    for seed in 1..=8 {
        let ops = [Poison { visitor: 0 }, Wait(81), Op::Replay];
        run(seed, Setup::USUAL, &ops).unwrap_or_else(|error| panic!("{error}\n{seed}"));
    }
    check(&[
        Poison { visitor: 1 },
        Poison { visitor: 2 },
        Restart { in_order: false },
        Wait(90_000),
    ]);
    check(&[
        Plausible(Mood::Hangs),
        many,
        Wait(3),
        Turn(0, false),
        Wait(60),
        Turn(0, true),
        few,
    ]);
    check(&[
        Plausible(Mood::Slow(400)),
        many,
        few,
        Wait(1),
        Restart { in_order: false },
        Wait(1),
        Restart { in_order: true },
    ]);
    check(&[
        Plausible(Mood::Fails),
        many,
        Wait(100),
        Jump(-7000),
        Plausible(Mood::Well),
        Jump(7000),
    ]);
    check(&[Plausible(Mood::Refuses), many, Wait(90_000), few]);
    // The disk refuses to record deliveries, and then the switch, a stop or a crash follows.
    let refused = [Plausible(Mood::Slow(300)), many, Disk { takes: false }, Wait(5)];
    for then in [
        Turn(0, false),
        Restart { in_order: true },
        Restart { in_order: false },
        Wait(599),
    ] {
        check(&[&refused[..], &[then, Wait(5), Turn(0, true), few]].concat());
    }
    // A switch that could not be recorded as off is turned on again: events that were passed over meanwhile go first.
    let off_and_on = [
        Turn(0, false),
        Wait(1),
        Disk { takes: true },
        Turn(0, true),
        many,
        Wait(9),
    ];
    check(&[&refused[..], &off_and_on[..]].concat());
    // The disk accepts the last deliveries again just before an orderly stop.
    let again = [Disk { takes: true }, Restart { in_order: true }];
    check(&[&[few, Disk { takes: false }, few], &again[..]].concat());
    // The switch cannot be recorded, and has to be turned again.
    check(&[few, Disk { takes: false }, Turn(0, false)]);
    check(&[
        Disk { takes: false },
        many,
        Poison { visitor: 1 },
        Wait(9),
        Disk { takes: true },
        few,
    ]);
    check(&[
        Poison { visitor: 1 },
        few,
        Disk { takes: false },
        Wait(9000),
        Disk { takes: true },
        many,
    ]);
    // A purge removes events that a lane has read ahead: all of them, or a site's.
    for site in [None, Some(0)] {
        let purge = Purge { site, older: None };
        let shares_the_lane = Append {
            visitor: 9,
            events: 9,
        };
        check(&[
            Plausible(Mood::Refuses),
            many,
            shares_the_lane,
            Wait(60),
            purge,
            few,
        ]);
    }
    // One site is off while the other one, in the same lanes, continues.
    for visitor in 8..12 {
        let other = Append { visitor, events: 9 };
        check(&[
            Plausible(Mood::Slow(90)),
            many,
            other,
            Turn(0, false),
            few,
            other,
            Turn(0, true),
            many,
        ]);
    }
}

#[test]
fn an_outage_of_three_days_is_not_hammered_and_ends_soon_after_it() {
    let few = |visitor| Op::Append { visitor, events: 2 };
    simulate(3, async {
        let mut world = World::start(Setup::USUAL).await;
        for visitor in 0..6 {
            world.apply(few(visitor)).await;
        }
        world.apply(Op::Plausible(Mood::Refuses)).await;
        for _ in 0..3 * 24 {
            world.apply(few(1)).await;
            world.apply(Op::Wait(3600)).await;
        }
        let tried = world.script.requests();
        // A minute apart at most, half a minute on average.
        assert!((1000..20_000).contains(&tried), "{tried} requests in three days");
        world.apply(Op::Plausible(Mood::Well)).await;
        world.apply(Op::Wait(180)).await;
        assert_eq!(world.waiting(), 0, "{:?}", world.broken());
        let took = world.script.requests() - tried;
        assert!(took < 100, "{took} requests for what had not expired");
    });
}

/// An event that was delivered and not booked is delivered again after a crash, so only a few may accumulate.
#[test]
fn while_the_disk_refuses_to_note_what_was_delivered_nothing_more_is() {
    simulate(5, async {
        let mut world = World::start(Setup::USUAL).await;
        world.apply(Op::Plausible(Mood::Refuses)).await;
        for visitor in 0..12 {
            world.apply(Op::Append { visitor, events: 30 }).await;
        }
        world.apply(Op::Disk { takes: false }).await;
        world.apply(Op::Plausible(Mood::Well)).await;
        world.apply(Op::Wait(180)).await;
        let delivered = world.script.deliveries();
        assert!(
            (1..=script::CONCURRENCY as u64).contains(&delivered),
            "{delivered} delivered and not noted"
        );
        world.apply(Op::Wait(599)).await;
        assert_eq!(world.script.deliveries(), delivered, "no more since");
        assert_eq!(world.waiting(), 12 * 30);
        world.apply(Op::Disk { takes: true }).await;
        world.apply(Op::Wait(180)).await;
        assert_eq!((world.waiting(), world.broken()), (0, None));
        assert_eq!(world.script.deliveries(), 12 * 30, "each once");
    });
}
