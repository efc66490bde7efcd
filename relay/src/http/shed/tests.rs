//! The limit on requests at once: rows for each rule, and what holds for any load.

use super::*;
use prometheus_client::registry::Registry;
use proptest::prelude::*;

const TARGET: Duration = Duration::from_millis(500);

fn admission(ceiling: usize) -> Arc<Admission> {
    let metrics = DoorMetrics::new(&mut Registry::default());
    Arc::new(Admission::new(TARGET, ceiling, &metrics))
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn the_limit_grows_a_step_and_falls_by_a_third_once_in_a_window() {
    // At a time (ms), an answer that took so long (ms) while so many were under way; then the limit.
    let check = |start: usize, answers: &[(u64, u64, usize, usize)]| {
        let zero = Instant::now();
        let mut limit = Limit::new(TARGET, 320);
        limit.now = start;
        for (i, (at, took, under_way, want)) in answers.iter().enumerate() {
            limit.stored(zero + ms(*at), ms(*took), *under_way);
            assert_eq!(limit.now, *want, "answer {i} of {answers:?}");
        }
    };
    // In time, exactly in time, a moment late.
    check(100, &[(0, 5, 50, 110)]);
    check(100, &[(0, 500, 50, 110)]);
    check(100, &[(0, 501, 99, 66)]);
    // One step a window, up to the ceiling.
    check(
        100,
        &[
            (0, 5, 9, 110),
            (499, 5, 9, 110),
            (500, 5, 9, 120),
            (999, 5, 9, 120),
        ],
    );
    check(315, &[(0, 5, 9, 320), (500, 5, 9, 320)]);
    // What is late together has one cause.
    check(
        90,
        &[
            (0, 600, 90, 60),
            (1, 700, 90, 60),
            (499, 900, 90, 60),
            (500, 900, 60, 40),
        ],
    );
    // A first late answer is not waited with; a rise after it is.
    check(
        100,
        &[(0, 5, 9, 110), (1, 600, 110, 74), (2, 5, 9, 74), (501, 5, 9, 84)],
    );
    // It falls from what is under way, down to the floor.
    check(320, &[(0, 600, 90, 60), (500, 600, 60, 40), (1000, 600, 1, 40)]);
}

#[test]
fn the_floor_is_a_share_of_all_places_and_leaves_something_to_learn_from() {
    let check = |ceiling, want| {
        let mut limit = Limit::new(TARGET, ceiling);
        limit.late(Instant::now(), 1);
        assert_eq!(limit.now, want, "{ceiling}");
    };
    check(1, 1);
    check(16, 16);
    check(64, 16);
    check(320, 40);
    check(1024, 128);
}

#[test]
fn an_answer_that_has_not_come_counts_as_late() {
    let zero = Instant::now();
    let admission = admission(320);
    let places: Vec<_> = (0..90).map(|_| admission.begin(zero).unwrap()).collect();
    assert!(!admission.is_full(zero + ms(500)));
    assert!(admission.is_full(zero + ms(501)), "90 under way, 60 allowed");
    assert!(admission.begin(zero + ms(502)).is_none());
    // They are stored at last, late; their places are free then.
    for place in places {
        place.stored(zero + ms(600));
    }
    assert!(!admission.is_full(zero + ms(601)));
    let taken: Vec<_> = (0..200).filter_map(|_| admission.begin(zero + ms(601))).collect();
    assert_eq!(taken.len(), 60);
}

#[test]
fn what_a_request_waits_before_it_is_looked_at_counts_as_well() {
    // A turn was due at 100 ms and came so late (ms), or has not come; a request began at 1000 ms and is
    // stored so late (ms): whether that is in time.
    let check = |came: Option<u64>, took: u64, in_time: bool| {
        let zero = Instant::now();
        let admission = admission(320);
        let place = admission.begin(zero + ms(1000)).unwrap();
        {
            let turn = &mut admission.lock().turn;
            turn.came(zero, zero + ms(100));
            if let Some(late) = came {
                turn.came(zero + ms(100 + late), zero + ms(2000));
            }
        }
        place.stored(zero + ms(1000 + took));
        let changed = admission.lock().limit.changed.map(|(_, change)| change);
        assert_eq!(changed == Some(Change::Grew), in_time, "{came:?} {took}");
    };
    check(Some(0), 500, true);
    check(Some(0), 501, false);
    check(Some(300), 200, true);
    check(Some(300), 201, false);
    check(Some(501), 0, false);
    check(None, 0, false);
}

#[test]
fn while_turns_take_too_long_fewer_are_let_in_though_nothing_is_late_on_disk() {
    let zero = Instant::now();
    let admission = admission(320);
    let _places: Vec<_> = (0..90).map(|_| admission.begin(zero).unwrap()).collect();
    admission.lock().turn.came(zero, zero);
    assert!(!admission.is_full(zero + ms(250)), "250 ms twice");
    assert!(admission.is_full(zero + ms(251)), "90 under way, 60 allowed");
}

#[test]
fn a_request_that_stored_nothing_frees_its_place_and_changes_no_limit() {
    let zero = Instant::now();
    let admission = admission(20);
    let places: Vec<_> = (0..20).map(|_| admission.begin(zero).unwrap()).collect();
    assert!(admission.is_full(zero));
    drop(places);
    assert_eq!(admission.lock().limit.changed, None);
    assert!(!admission.is_full(zero + ms(9999)));
}

proptest! {
    /// Whatever comes: the limit stays between its bounds and no more are let in than it says.
    #[test]
    fn no_more_are_under_way_than_the_ceiling_and_the_limit_keeps_its_bounds(
        ceiling in 1_usize..200,
        steps in prop::collection::vec((0_u64..400, 0_u8..3), 1..300),
    ) {
        let mut now = Instant::now();
        let admission = admission(ceiling);
        let mut places = std::collections::VecDeque::new();
        for (pause, what) in steps {
            now += ms(pause);
            match what {
                0 => {
                    let full = admission.is_full(now);
                    let place = admission.begin(now);
                    prop_assert_eq!(place.is_none(), full);
                    places.extend(place);
                }
                1 => {
                    if let Some(place) = places.pop_front() {
                        place.stored(now);
                    }
                }
                _ => drop(places.pop_back()),
            }
            let state = admission.lock();
            prop_assert_eq!(state.under_way.len(), places.len());
            prop_assert!(places.len() <= ceiling);
            prop_assert!((state.limit.floor..=ceiling).contains(&state.limit.now));
        }
    }

    /// However deep it fell: once answers come in time, every place is back within a bounded time.
    #[test]
    fn the_limit_recovers_when_answers_come_in_time(ceiling in 1_usize..2000, falls in 1_u32..20) {
        let mut now = Instant::now();
        let mut limit = Limit::new(TARGET, ceiling);
        for _ in 0..falls {
            now += TARGET;
            limit.late(now, limit.now);
        }
        // One step more for what a division left over.
        for _ in 0..=ceiling.div_ceil((ceiling / STEPS).max(1)) {
            now += TARGET;
            limit.stored(now, ms(1), 1);
        }
        prop_assert_eq!(limit.now, ceiling);
    }
}
