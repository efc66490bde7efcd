//! The state after a site's answers, as rows.

use super::*;

const NOW: Duration = Duration::from_secs(100);
const AT: Timestamp = Timestamp(1_800_000_000_000);

/// One answer of Plausible.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Accepted,
    Dropped,
    DroppedEngagement,
}
use Answer::{Accepted, Dropped as Drop, DroppedEngagement};

/// Gives the answers one after the other, and counts the events that were destroyed.
fn answered(acceptance: &mut Acceptance, answers: &[Answer]) -> usize {
    let mut destroyed = 0;
    for answer in answers {
        let is_engagement = match answer {
            Accepted => {
                acceptance.accepted(AT, NOW * 100);
                continue;
            }
            Drop => false,
            DroppedEngagement => true,
        };
        if acceptance.dropped(is_engagement, 0, NOW, u32::MAX) == Dropped::Settle {
            destroyed += 1;
        }
    }
    destroyed
}

#[test]
fn drops_are_settled_while_a_site_is_accepted_and_held_otherwise() {
    let max = DROPS_MAX as usize;
    let check = |what: &str, answers: &[&[Answer]], want: AcceptanceState, want_destroyed: usize| {
        let mut acceptance = Acceptance::new(Record::default());
        let destroyed = answered(&mut acceptance, &answers.concat());
        assert_eq!((acceptance.state(), destroyed), (want, want_destroyed), "{what}");
    };
    let drops = |count: usize| vec![Drop; count];
    let engagements = |count: usize| vec![DroppedEngagement; count];
    check("nothing was sent", &[], AcceptanceState::Untested, 0);
    check("one is dropped", &[&drops(1)], AcceptanceState::NeverAccepted, 0);
    check(
        "all are dropped, and none is destroyed",
        &[&drops(50)],
        AcceptanceState::NeverAccepted,
        0,
    );
    check(
        "an engagement alone says nothing, and is not destroyed either",
        &[&engagements(9)],
        AcceptanceState::Untested,
        0,
    );
    check("one is accepted", &[&[Accepted]], AcceptanceState::Accepting, 0);
    check(
        "it is added at last",
        &[&drops(9), &[Accepted]],
        AcceptanceState::Accepting,
        0,
    );
    check(
        "single drops are normal",
        &[&[Accepted], &drops(max - 1)],
        AcceptanceState::Accepting,
        max - 1,
    );
    check(
        "an acceptance ends a run",
        &[&[Accepted], &drops(max - 1), &[Accepted], &drops(max - 1)],
        AcceptanceState::Accepting,
        2 * (max - 1),
    );
    check(
        "a run destroys fewer than its length, however long it goes on",
        &[&[Accepted], &drops(50)],
        AcceptanceState::Dropping,
        max - 1,
    );
    check(
        "dropped engagements make no run",
        &[&[Accepted], &engagements(50)],
        AcceptanceState::Accepting,
        50,
    );
    check(
        "nor do they break one",
        &[&[Accepted], &drops(max - 1), &engagements(2), &drops(1)],
        AcceptanceState::Dropping,
        max + 1,
    );
    check(
        "a run is over with the next acceptance",
        &[&[Accepted], &drops(50), &[Accepted]],
        AcceptanceState::Accepting,
        max - 1,
    );
}

#[test]
fn a_restart_goes_on_where_the_run_stood() {
    let mut before = Acceptance::new(Record::default());
    let run = [&[Accepted][..], &[Drop; DROPS_MAX as usize - 1]].concat();
    answered(&mut before, &run);
    let mut after = Acceptance::new(before.record());
    assert_eq!(answered(&mut after, &[Drop]), 0, "the run goes on");
    assert_eq!(after.state(), AcceptanceState::Dropping);
    let again = Acceptance::new(after.record());
    assert_eq!(again.state(), AcceptanceState::Dropping);
    assert_eq!(
        again.look(0, Duration::ZERO),
        Eligibility::Probe,
        "a start probes at once"
    );
}

#[test]
fn one_probe_goes_at_a_time_with_growing_waits_and_the_least_tried_first() {
    let mut site = Acceptance::new(Record::default());
    assert_eq!(site.ask(0, NOW), Eligibility::Probe);
    assert_eq!(site.ask(0, NOW), Eligibility::Wait, "one at a time");
    let mut now = NOW;
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        site.dropped(false, 0, now, u32::MAX);
        site.give_back();
        let due = now + Duration::from_secs(seconds);
        assert_eq!(site.look(0, now), Eligibility::NotBefore(due));
        assert_eq!(
            site.look(1, due),
            Eligibility::NotBefore(due + TRIED_PENALTY),
            "tried before"
        );
        assert_eq!(site.look(0, due), Eligibility::Probe, "never tried");
        now = due + TRIED_PENALTY * PENALTIES_MAX;
        assert_eq!(
            site.ask(u32::MAX, now),
            Eligibility::Probe,
            "whatever it was tried"
        );
    }
    site.give_back();
    assert_eq!(
        site.look(u32::MAX, now),
        Eligibility::Probe,
        "given back without a verdict"
    );
    site.dropped(false, 0, now, u32::MAX);
    site.probe_now();
    assert_eq!(
        site.look(0, now),
        Eligibility::Probe,
        "the operator has looked after it"
    );
    assert!(site.accepted(AT, now), "the hold is over");
    assert!(!site.accepted(AT, now));
    assert_eq!(site.ask(u32::MAX, now), Eligibility::Eligible);
}

#[test]
fn an_answer_to_what_was_in_flight_when_the_hold_began_does_not_lengthen_the_wait() {
    let mut site = Acceptance::new(Record::default());
    answered(
        &mut site,
        &[&[Accepted][..], &[Drop; DROPS_MAX as usize]].concat(),
    );
    let Eligibility::NotBefore(due) = site.look(0, NOW) else {
        panic!("it waits")
    };
    assert_eq!(site.dropped(false, 0, NOW * 2, u32::MAX), Dropped::Hold);
    assert_eq!(site.look(0, NOW), Eligibility::NotBefore(due));
}

#[test]
fn the_first_and_the_last_acceptance_are_known() {
    let mut site = Acceptance::new(Record::default());
    for at in [1, 5, 3] {
        site.accepted(Timestamp(at), NOW);
    }
    site.dropped(false, 0, NOW, 0);
    let want = Record {
        first_accepted: Some(Timestamp(1)),
        last_accepted: Some(Timestamp(3)),
        drops: 1,
    };
    assert_eq!(site.record(), want);
}

#[test]
fn events_that_are_made_to_be_dropped_do_not_lengthen_the_wait_of_an_accepted_sites_others() {
    let mut site = Acceptance::new(Record::default());
    site.accepted(AT, NOW);
    answered_at(&mut site, NOW);
    let mut now = NOW * 2;
    let mut wait_after = |probes: u32| {
        assert_eq!(site.ask(0, now), Eligibility::Probe);
        site.dropped(false, probes, now, u32::MAX);
        site.give_back();
        let Eligibility::NotBefore(due) = site.look(0, now) else {
            panic!("the next probe has to wait")
        };
        let wait = due - now;
        now = due;
        wait.as_secs()
    };
    let untried: Vec<u64> = (0..20).map(|_| wait_after(0)).collect();
    assert_eq!(untried, [1; 20], "each of another visitor");
    let tried: Vec<u64> = (1..8).map(&mut wait_after).collect();
    assert_eq!(
        tried,
        [2, 4, 8, 16, 32, 60, 60],
        "only events that were tried are left"
    );
}

/// For example a rate limit in Plausible that lets one event in a hundred through.
#[test]
fn a_site_whose_events_are_mostly_dropped_is_held_less_and_less_often() {
    let mut site = Acceptance::new(Record::default());
    site.accepted(AT, NOW);
    let mut run = |mended_after: Duration| {
        let destroyed = answered_at(&mut site, NOW);
        site.accepted(AT, NOW + mended_after);
        destroyed
    };
    let soon = Duration::from_secs(299);
    let destroyed: Vec<usize> = (0..11).map(|_| run(soon)).collect();
    assert_eq!(destroyed, [7, 7, 7, 15, 31, 63, 127, 255, 255, 255, 255]);
    assert_eq!(
        run(Duration::from_secs(300)),
        255,
        "it was mended by hand this time"
    );
    assert_eq!(run(soon), 7, "and is watched as closely as at first");
}

/// Drops events until the site is held; returns how many were destroyed.
fn answered_at(site: &mut Acceptance, now: Duration) -> usize {
    (0..1000)
        .take_while(|_| site.dropped(false, 0, now, 0) == Dropped::Settle)
        .count()
}
