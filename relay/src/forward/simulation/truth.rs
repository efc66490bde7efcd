//! Misleading answers: a 202 for an event that Plausible drops, and a 200 from a server that is not Plausible.

use super::script::{Mood, Setup};
use super::world::World;
use super::{Op, simulate};
use crate::forward::acceptance::DROPS_MAX;

const UNKNOWN: Setup = Setup {
    knows: [false, true],
    ..Setup::USUAL
};

fn events(visitor: u8, events: u8) -> Op {
    Op::Append { visitor, events }
}

#[test]
fn a_site_unknown_to_plausible_loses_nothing_and_holds_up_no_other_site() {
    for lane_is_shared in [true, false] {
        simulate(11, async {
            let mut world = World::start(UNKNOWN).await;
            // Visitors from 8 on belong to the second site; 9 shares the lane of 1.
            for visitor in 1..=4 {
                world.apply(events(visitor, 5)).await;
            }
            let other = if lane_is_shared { 9 } else { 8 };
            world.apply(events(other, 20)).await;
            world.apply(Op::Wait(10)).await;
            assert_eq!(world.script.deliveries(), 20, "the other site goes on");
            assert_eq!(world.waiting(), 20, "what is held stays");
            world.apply(Op::Wait(9_000)).await;
            assert_eq!(world.waiting(), 20);
            assert!(
                world.script.requests() < 900,
                "one probe at a time, up to a minute apart"
            );
            world.apply(Op::Know(0, true)).await;
            world.apply(Op::Wait(62)).await;
            assert_eq!((world.waiting(), world.broken()), (0, None));
            assert_eq!(world.script.deliveries(), 40, "each once");
            assert_eq!(world.dropped(), 0);
        });
    }
}

#[test]
fn a_site_that_is_removed_loses_a_few_events_however_often_the_relay_starts() {
    simulate(12, async {
        let mut world = World::start(Setup::USUAL).await;
        world.apply(events(1, 1)).await;
        world.apply(Op::Wait(1)).await;
        world.apply(Op::Know(0, false)).await;
        for visitor in 2..=6 {
            world.apply(events(visitor, 1)).await;
            world.apply(Op::Wait(1)).await;
            let in_order = visitor % 2 == 0;
            world.apply(Op::Restart { in_order }).await;
            world.apply(Op::Wait(1)).await;
        }
        for visitor in 1..=6 {
            world.apply(events(visitor, 5)).await;
        }
        world.apply(Op::Wait(300)).await;
        let lost = u64::from(DROPS_MAX) - 1;
        assert_eq!(world.dropped(), lost);
        assert_eq!(world.waiting(), 35 - lost);
        world.apply(Op::Know(0, true)).await;
        world.apply(Op::Wait(62)).await;
        assert_eq!((world.waiting(), world.broken()), (0, None));
        assert_eq!(world.dropped(), lost);
    });
}

#[test]
fn off_purges_what_is_held_and_on_probes_at_once() {
    simulate(13, async {
        let mut world = World::start(UNKNOWN).await;
        world.apply(events(1, 20)).await;
        world.apply(Op::Wait(3_000)).await;
        world.apply(Op::Turn(0, false)).await;
        assert_eq!(world.waiting(), 0);
        let before = world.script.requests();
        world.apply(Op::Wait(600)).await;
        assert_eq!(world.script.requests(), before, "nothing is sent");
        world.apply(Op::Know(0, true)).await;
        world.apply(Op::Turn(0, true)).await;
        world.apply(events(1, 20)).await;
        world.apply(Op::Wait(2)).await;
        assert_eq!((world.waiting(), world.broken()), (0, None));
        assert_eq!(world.script.deliveries(), 20);
    });
}

#[test]
fn what_is_held_too_long_expires_and_the_rest_goes_once_it_may() {
    simulate(14, async {
        let mut world = World::start(UNKNOWN).await;
        world.apply(events(1, 9)).await;
        world.apply(Op::Wait(80_000)).await;
        world.apply(events(1, 9)).await;
        world.apply(Op::Wait(9_000)).await;
        assert_eq!(world.waiting(), 9, "those of the first hour are too old");
        world.apply(Op::Know(0, true)).await;
        world.apply(Op::Wait(62)).await;
        assert_eq!((world.waiting(), world.script.deliveries()), (0, 9));
        assert_eq!(world.broken(), None);
    });
}

/// For example a shield for one page: Plausible drops all events of one visitor.
#[test]
fn one_visitor_whose_events_are_all_dropped_does_not_hold_the_others() {
    simulate(15, async {
        let mut world = World::start(Setup::USUAL).await;
        world.script.shield(1);
        for _ in 0..5 {
            world.apply(events(1, 30)).await;
            world.apply(Op::Wait(300)).await;
            world.apply(events(2, 3)).await;
            world.apply(Op::Wait(62)).await;
        }
        assert_eq!(world.script.deliveries(), 15, "all of the others");
        assert_eq!(world.broken(), None);
    });
}

#[test]
fn what_answers_200_gets_one_event_and_then_the_self_test_alone() {
    simulate(16, async {
        let mut world = World::start(Setup::USUAL).await;
        world.apply(Op::Plausible(Mood::Gateway)).await;
        for visitor in [1, 2, 3, 9] {
            world.apply(events(visitor, 5)).await;
        }
        world.apply(Op::Wait(9_000)).await;
        let lost = 20 - world.waiting();
        assert_eq!(lost, 1, "the first, before the answer was known");
        world.apply(Op::Restart { in_order: true }).await;
        world.apply(Op::Wait(600)).await;
        assert_eq!(world.waiting(), 19, "a start asks before it sends");
        world.apply(Op::Plausible(Mood::Well)).await;
        world.apply(Op::Wait(124)).await;
        assert_eq!((world.waiting(), world.broken()), (0, None));
        assert_eq!(world.script.deliveries(), 19, "each once");
    });
}
