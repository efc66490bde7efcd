//! Days of trouble in milliseconds: the whole of delivery over a scripted Plausible, an inline store and
//! tokio's paused clock. Lists of operations are drawn at random; what must hold always is checked at each
//! request and at the end. A list that fails shrinks; lists that once failed stay as rows.

mod script;
mod world;

use proptest::prelude::*;
use script::Mood;
use world::World;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// A visitor sends so many events.
    Append { visitor: u8, events: u8 },
    /// A visitor sends an event that Plausible answers 500 to for as long as the simulation lasts.
    Poison { visitor: u8 },
    /// Plausible answers so from now on.
    Plausible(Mood),
    /// Time goes by, in seconds.
    Wait(u32),
    /// The switch is turned.
    Turn(bool),
    /// The disk takes changes again, or refuses them all.
    Disk { takes: bool },
    /// An operator purges what waits.
    Purge,
    /// The relay stops, in order or not, and starts again.
    Restart { in_order: bool },
    /// The wall clock is set, by so many seconds.
    Jump(i32),
}

/// Runs a simulation in a runtime of its own, whose clock is paused.
fn simulate<T>(seed: u32, simulation: impl Future<Output = T>) -> T {
    script::seed(seed);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(simulation)
}

/// Runs a list and checks what must hold.
fn run(seed: u32, ops: &[Op]) -> Result<(), TestCaseError> {
    simulate(seed, async {
        let mut world = World::start().await;
        for op in ops {
            world.apply(*op).await;
            prop_assert_eq!(world.broken(), None, "after {:?}", op);
        }
        world.end().await
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0_u8..12, 1_u8..40).prop_map(|(visitor, events)| Op::Append { visitor, events }),
        1 => (0_u8..12).prop_map(|visitor| Op::Poison { visitor }),
        5 => mood().prop_map(Op::Plausible),
        4 => prop_oneof![3 => 0_u32..120, 1 => 0_u32..40_000].prop_map(Op::Wait),
        1 => any::<bool>().prop_map(Op::Turn),
        1 => any::<bool>().prop_map(|takes| Op::Disk { takes }),
        1 => Just(Op::Purge),
        1 => any::<bool>().prop_map(|in_order| Op::Restart { in_order }),
        1 => (-7200_i32..7200).prop_map(Op::Jump),
    ]
}

fn mood() -> impl Strategy<Value = Mood> {
    prop_oneof![
        4 => Just(Mood::Well),
        1 => (1_u16..8000).prop_map(Mood::Slow),
        1 => Just(Mood::Dropped),
        1 => Just(Mood::Invalid),
        1 => Just(Mood::Refuses),
        1 => Just(Mood::Fails),
        1 => (0_u16..300).prop_map(Mood::Busy),
        1 => Just(Mood::Breaks),
        1 => Just(Mood::Hangs),
        1 => Just(Mood::Stumbles),
        1 => Just(Mood::AnotherServer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_what_was_taken_is_delivered_or_counted(
        seed: u32,
        ops in prop::collection::vec(op(), 1..40),
    ) {
        run(seed, &ops)?;
    }
}

#[test]
fn what_once_went_wrong_or_easily_could_stays_right() {
    use Op::{Append, Disk, Jump, Plausible, Poison, Purge, Restart, Turn, Wait};
    let check = |ops: &[Op]| run(7, ops).unwrap_or_else(|error| panic!("{error}\n{ops:?}"));
    let many = Append {
        visitor: 1,
        events: 39,
    };
    let few = Append {
        visitor: 2,
        events: 3,
    };
    // An outage of a day, of each kind.
    for mood in [
        Mood::Refuses,
        Mood::Fails,
        Mood::Breaks,
        Mood::Hangs,
        Mood::AnotherServer,
        Mood::Busy(30),
    ] {
        check(&[
            many,
            Plausible(mood),
            few,
            Wait(80_000),
            few,
            Plausible(Mood::Well),
            Wait(10),
        ]);
    }
    // One that asks to be tried again at once, over and over.
    check(&[few, Plausible(Mood::Busy(0)), Wait(73)]);
    check(&[Poison { visitor: 1 }, many, few, Wait(40_000)]);
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
        Turn(false),
        Wait(60),
        Turn(true),
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
    // The disk refuses what was delivered, and then the switch, a stop or a crash comes.
    let refused = [Plausible(Mood::Slow(300)), many, Disk { takes: false }, Wait(5)];
    for then in [
        Turn(false),
        Restart { in_order: true },
        Restart { in_order: false },
        Wait(599),
    ] {
        check(&[&refused[..], &[then, Wait(5), Turn(true), few]].concat());
    }
    // The switch cannot be recorded, and has to be turned again.
    check(&[few, Disk { takes: false }, Turn(false)]);
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
    // What a lane has read ahead is purged as well.
    check(&[Plausible(Mood::Refuses), many, Wait(60), Purge, few]);
}

#[test]
fn an_outage_of_three_days_is_not_hammered_and_ends_soon_after_it() {
    let few = |visitor| Op::Append { visitor, events: 2 };
    simulate(3, async {
        let mut world = World::start().await;
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

/// What is delivered and not noted is delivered again after a crash, so little of it may come together.
#[test]
fn while_the_disk_refuses_to_note_what_was_delivered_nothing_more_is() {
    simulate(5, async {
        let mut world = World::start().await;
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
