//! Tables of answers and waits, and random days of a page whose relay comes and goes.

use super::{Action, Answer, DEBOUNCE_MS, Delivery, FLYING_BYTES_MAX, RENEWED, START_MS, patience_ms};
use crate::queue::{AGE_MS_MAX, BATCH_EVENTS_MAX, BYTES_MAX, EVENTS_MAX, Worth};
use proptest::prelude::*;
use std::collections::HashMap;

const WORTHS: [Worth; 4] = [Worth::Engagement, Worth::Pageview, Worth::Event, Worth::Rating];

/// A queue whose longer first wait is over.
fn filled(count: usize) -> Delivery {
    let mut delivery = Delivery::new("[".into());
    delivery.debounce_ms = DEBOUNCE_MS;
    for n in 0..count {
        delivery.push(n.to_string(), Worth::Event);
    }
    delivery
}

fn answer(delivery: &Delivery, status: u16) -> Answer {
    Answer::new(delivery.flight(), status, -1, 0)
}

#[test]
fn nothing_to_send_means_no_timer() {
    assert_eq!(filled(0).settle(), Action::Rest);
    assert_eq!(filled(0).wake(), Action::Rest);
}

#[test]
fn the_first_batch_waits_for_the_router() {
    let mut delivery = Delivery::new("[".into());
    delivery.push("0".into(), Worth::Pageview);
    assert_eq!(delivery.settle(), Action::Wake(START_MS));
    assert_eq!(delivery.wake(), Action::Send("[0]}".into()));
    delivery.push("1".into(), Worth::Event);
    assert_eq!(delivery.answer(answer(&delivery, 202)), Action::Wake(DEBOUNCE_MS));
}

#[test]
fn one_timer_and_one_flight_at_a_time() {
    let mut delivery = filled(1);
    assert_eq!(delivery.settle(), Action::Wake(1000));
    delivery.push("1".into(), Worth::Event);
    assert_eq!(delivery.settle(), Action::Rest);
    assert_eq!(delivery.wake(), Action::Send("[0,1]}".into()));
    delivery.push("2".into(), Worth::Event);
    assert_eq!(delivery.settle(), Action::Rest);
    assert_eq!(delivery.wake(), Action::Rest);
    let first = answer(&delivery, 202);
    assert_eq!(delivery.answer(first), Action::Wake(1000));
    assert_eq!(delivery.wake(), Action::Send("[2]}".into()));
    assert_eq!(
        delivery.answer(first),
        Action::Rest,
        "a second answer to the first"
    );
    assert_eq!(delivery.answer(answer(&delivery, 202)), Action::Rest);
    assert_eq!(delivery.answer(answer(&delivery, 202)), Action::Rest);
}

#[test]
fn an_answer_decides_about_the_batch() {
    // status → the next step, and the body after the next wake-up
    let check = |code: u16, next: &Action, then: &Action, dropped: u32| {
        let mut delivery = filled(21);
        delivery.settle();
        delivery.wake();
        let answer = answer(&delivery, code);
        assert_eq!(delivery.answer(answer), *next, "{code}");
        if *next != Action::Stop {
            assert_eq!(delivery.wake(), *then, "{code}");
        }
        assert_eq!(delivery.dropped(), dropped, "{code}");
    };
    let again = Action::Send("[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19]}".into());
    let half = Action::Send("[0,1,2,3,4,5,6,7,8,9]}".into());
    let rest = Action::Send("[20]}".into());
    check(202, &Action::Wake(1000), &rest, 0);
    for code in [0, 200, 204, 301, 404, 408, 429, 431, 500, 502, 503, 504] {
        check(code, &Action::Wake(1000), &again, 0);
    }
    for code in [400, 415] {
        check(code, &Action::Wake(1000), &rest, 20);
    }
    check(413, &Action::Wake(1000), &half, 0);
    check(403, &Action::Stop, &Action::Rest, 0);
}

#[test]
fn a_renewed_page_token_sends_the_batch_again_at_once_and_only_once_in_a_row() {
    let mut delivery = filled(2);
    delivery.settle();
    let again = Action::Send("[0,1]}".into());
    assert_eq!(delivery.wake(), again);
    assert_eq!(delivery.answer(answer(&delivery, RENEWED)), again, "at once");
    assert_eq!(
        delivery.answer(answer(&delivery, RENEWED)),
        Action::Wake(1000),
        "a relay that takes no token is asked less and less often"
    );
    assert_eq!(delivery.wake(), again);
    assert_eq!(delivery.answer(answer(&delivery, RENEWED)), Action::Wake(2000));
    assert_eq!(delivery.wake(), again);
    assert_eq!(delivery.answer(answer(&delivery, 202)), Action::Rest);
    delivery.push("2".into(), Worth::Event);
    assert_eq!(delivery.settle(), Action::Wake(DEBOUNCE_MS));
    let next = Action::Send("[2]}".into());
    assert_eq!(delivery.wake(), next);
    assert_eq!(
        delivery.answer(answer(&delivery, RENEWED)),
        next,
        "the next hour's token"
    );
    assert_eq!(delivery.dropped(), 0);
}

#[test]
fn parting_batches_whose_token_was_renewed_are_not_lost() {
    let mut delivery = filled(BATCH_EVENTS_MAX + 1);
    assert!(delivery.part().is_some() && delivery.part().is_some() && delivery.part().is_none());
    assert_eq!(
        delivery.answer(Answer::new(1, RENEWED, -1, 0)),
        Action::Rest,
        "one is in flight"
    );
    assert_eq!(
        delivery.answer(Answer::new(2, RENEWED, -1, 0)),
        Action::Wake(1000)
    );
    assert!(matches!(delivery.wake(), Action::Send(_)));
    assert_eq!(delivery.dropped(), 0);
}

#[test]
fn an_event_that_is_too_large_even_alone_is_given_up_and_the_others_go_on() {
    let mut delivery = filled(3);
    delivery.settle();
    for (body, next) in [("[0,1,2]}", 1000), ("[0]}", 1000), ("[1]}", 1000)] {
        assert_eq!(delivery.wake(), Action::Send(body.into()));
        let answer = answer(&delivery, if body == "[1]}" { 202 } else { 413 });
        assert_eq!(delivery.answer(answer), Action::Wake(next));
    }
    assert_eq!(delivery.dropped(), 1);
    assert_eq!(delivery.wake(), Action::Send("[2]}".into()));
}

#[test]
fn a_batch_is_given_up_by_its_age_and_never_by_the_number_of_its_tries() {
    let mut delivery = filled(1);
    delivery.settle();
    let mut now = 0;
    let mut tries = 0;
    while let Action::Send(body) = delivery.wake() {
        assert_eq!(body, "[0]}");
        tries += 1;
        let busy = Answer::new(delivery.flight(), 503, 1, 999);
        let Action::Wake(wait) = delivery.answer(busy) else {
            panic!("gave up after {now} ms");
        };
        now += wait;
        delivery.at(now);
    }
    assert!(tries > 1000 && now > AGE_MS_MAX, "{tries} tries in {now} ms");
    assert_eq!(delivery.dropped(), 1);
}

#[test]
fn patience_grows_between_one_and_sixty_seconds() {
    // failures, Retry-After → shortest and longest wait
    let check = |failures, retry_after_s, shortest, longest| {
        let wait = |random| patience_ms(failures, Answer::new(1, 503, retry_after_s, random));
        let waits: Vec<u32> = (0..100_000).map(wait).collect();
        assert_eq!(waits.iter().min(), Some(&shortest), "{failures}");
        assert_eq!(waits.iter().max(), Some(&longest), "{failures}");
    };
    check(1, -1, 1000, 2000);
    check(2, -1, 2000, 4000);
    check(5, -1, 16_000, 32_000);
    check(6, -1, 30_000, 60_000);
    check(u32::MAX, -1, 30_000, 60_000);
    check(1, 7, 7000, 7999);
    check(1, 0, 1000, 1999);
    check(1, i32::MAX, 600_000, 600_999);
}

#[test]
fn a_browser_that_is_online_again_waits_no_longer_unless_the_relay_asked_for_it() {
    // how the last flight ended → the wait after "online"
    let check = |status: u16, retry_after_s: i32, expected: Action| {
        let mut delivery = filled(1);
        delivery.settle();
        delivery.wake();
        delivery.answer(Answer::new(delivery.flight(), status, retry_after_s, 0));
        assert_eq!(delivery.online(), expected, "{status}");
        assert_eq!(delivery.online(), Action::Rest, "{status}, a second time");
    };
    check(0, -1, Action::Wake(1000));
    check(502, -1, Action::Wake(1000));
    check(429, 300, Action::Rest);
    check(503, 300, Action::Rest);
    assert_eq!(filled(0).online(), Action::Rest);
    assert_eq!(filled(1).online(), Action::Rest);
}

#[test]
fn a_page_that_goes_away_sends_all_that_is_not_in_the_air() {
    let mut delivery = filled(1);
    delivery.settle();
    delivery.wake();
    for n in 1..25 {
        delivery.push(n.to_string(), Worth::Event);
    }
    let mut flights = vec![(delivery.flight(), 1)];
    while let Some(body) = delivery.part() {
        flights.push((delivery.flight(), body.split(',').count()));
    }
    assert_eq!(flights, [(1, 1), (2, 20), (3, 4)]);
    // The page continues: events that did not arrive are sent once more.
    assert_eq!(delivery.answer(Answer::new(3, 202, -1, 0)), Action::Rest);
    assert_eq!(delivery.answer(Answer::new(2, 0, -1, 0)), Action::Wake(1000));
    assert_eq!(delivery.wake(), Action::Rest, "the first is still in the air");
    assert_eq!(delivery.answer(Answer::new(1, 202, -1, 0)), Action::Wake(1000));
    assert!(matches!(delivery.wake(), Action::Send(body) if body.starts_with("[1,2,")));
}

#[test]
fn a_page_that_goes_away_sends_no_more_than_browsers_let_it() {
    let mut delivery = Delivery::new("[".into());
    for _ in 0..4 {
        delivery.push("x".repeat(13_000), Worth::Event);
    }
    let mut sizes = Vec::new();
    while let Some(body) = delivery.part() {
        sizes.push(body.len());
    }
    assert_eq!(sizes, [39_005, 13_003]);
    assert!(sizes.iter().sum::<usize>() <= FLYING_BYTES_MAX);
}

#[test]
fn a_full_queue_goes_whole_when_the_page_does() {
    let long = |text: &str, length: usize| text.repeat(length);
    let head = format!(
        r#"{{"site":"{}","consent":{{"plan":4294967295,"categories":["feedback","usage"]}},"events":["#,
        long("s", 253)
    );
    // The number of events, their size, and how many of them are in flight already.
    for (count, bytes, aloft) in [
        (200, 266, false),
        (200, 266, true),
        (52, 1024, true),
        (4, 13 * 1024, false),
    ] {
        let mut delivery = Delivery::new(head.clone());
        delivery.visitor(&format!("{0} {0}", long("f", 32)));
        for _ in 0..count {
            delivery.push(long("x", bytes), Worth::Rating);
        }
        assert_eq!(delivery.dropped(), 0);
        if aloft {
            delivery.settle();
            delivery.wake();
        }
        while delivery.part().is_some() {}
        assert_eq!(delivery.queue.count(0), 0, "{count} of {bytes}");
    }
}

#[test]
fn a_body_names_the_browsers_values_of_the_moment() {
    let check = |values: &str, expected: &str| {
        let mut delivery = Delivery::new("{\"site\":\"s\",\"events\":[".into());
        delivery.push("1".into(), Worth::Event);
        delivery.visitor("older value");
        delivery.visitor(values);
        assert_eq!(delivery.part().as_deref(), Some(expected));
    };
    check("", r#"{"site":"s","events":[1]}"#);
    check("a", r#"{"visitor":"a","site":"s","events":[1]}"#);
    check(
        "a b",
        r#"{"visitor":"a","visitor_before":"b","site":"s","events":[1]}"#,
    );
}

#[test]
fn a_batch_that_waits_for_its_retry_goes_when_the_page_does() {
    let mut delivery = filled(1);
    delivery.settle();
    delivery.wake();
    delivery.answer(answer(&delivery, 503));
    assert_eq!(delivery.part(), Some("[0]}".into()));
    assert_eq!(delivery.part(), None);
    assert_eq!(delivery.wake(), Action::Rest);
}

/// A random input.
#[derive(Clone, Debug)]
enum Do {
    Push(usize, usize),
    Pass(u32),
    Wake,
    Part,
    Online,
    Answer(usize, u16),
}

fn doing() -> impl Strategy<Value = Do> {
    let status = prop_oneof![
        4 => Just(202u16), 2 => Just(0), 2 => Just(503), 1 => Just(429), 1 => Just(404), 1 => Just(413)
    ];
    prop_oneof![
        6 => (0..4usize, prop_oneof![9 => 8..40usize, 1 => 40..13_000usize]).prop_map(|(w, b)| Do::Push(w, b)),
        3 => prop_oneof![4 => 0..5_000u32, 1 => 0..2 * AGE_MS_MAX].prop_map(Do::Pass),
        3 => Just(Do::Wake),
        1 => Just(Do::Part),
        1 => Just(Do::Online),
        4 => (0..4usize, status).prop_map(|(f, s)| Do::Answer(f, s)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn a_rating_is_lost_to_its_age_or_to_other_ratings_only(steps in prop::collection::vec(doing(), 1..400)) {
        let mut delivery = Delivery::new("[".into());
        let mut now = u32::MAX - AGE_MS_MAX;
        delivery.at(now);
        // For each event that neither arrived nor was found lost: worth, size and age. For each flight: its events.
        let mut open: HashMap<u32, (Worth, usize, u32)> = HashMap::new();
        let mut flights: Vec<(u32, Vec<u32>, usize)> = Vec::new();
        let mut refused = 0;
        for (n, step) in (0..).zip(steps) {
            let mut bodies = Vec::new();
            match step {
                Do::Push(worth, bytes) => {
                    delivery.push(format!("{n:0bytes$}"), WORTHS[worth]);
                    open.insert(n, (WORTHS[worth], bytes, now));
                    delivery.settle();
                }
                Do::Pass(ms) => {
                    now = now.wrapping_add(ms);
                    delivery.at(now);
                }
                Do::Wake => {
                    if let Action::Send(body) = delivery.wake() {
                        prop_assert!(flights.is_empty(), "one flight at a time");
                        bodies.push((delivery.flight(), body));
                    }
                }
                Do::Part => while let Some(body) = delivery.part() {
                    bodies.push((delivery.flight(), body));
                },
                Do::Online => { delivery.online(); }
                Do::Answer(which, status) if which < flights.len() => {
                    let (flight, events, _) = flights.remove(which);
                    let gone = status == 202 || status == 413 && events.len() == 1;
                    if gone {
                        open.retain(|n, _| !events.contains(n));
                        refused += u32::from(status == 413);
                    }
                    delivery.answer(Answer::new(flight, status, -1, 7));
                }
                Do::Answer(..) => {}
            }
            for (flight, body) in bodies {
                let events: Vec<u32> = body[1..body.len() - 2].split(',').filter_map(|e| e.parse().ok()).collect();
                prop_assert!(events.len() <= BATCH_EVENTS_MAX && events.is_sorted());
                for event in &events {
                    prop_assert!(open.contains_key(event), "sent though it had arrived");
                    prop_assert!(!flights.iter().any(|(_, others, _)| others.contains(event)), "in two flights");
                }
                flights.push((flight, events, body.len()));
                prop_assert!(flights.iter().map(|(_, _, bytes)| bytes).sum::<usize>() <= FLYING_BYTES_MAX);
            }
            // The events that the queue has dropped by now: too old, or the least valuable of a full queue.
            let (entries, dropped) = delivery.queue.look();
            let lost: Vec<u32> = open.keys().copied().filter(|n| !entries.contains(n)).collect();
            for event in lost {
                let (worth, _, since) = open[&event];
                let old = now.wrapping_sub(since) > AGE_MS_MAX;
                let waiting = |n: &u32| !flights.iter().any(|(_, events, _)| events.contains(n));
                let spared = entries.iter().filter(|n| waiting(n)).any(|n| open[n].0 < worth);
                prop_assert!(old || !spared, "{worth:?} was dropped before one of less worth");
                open.remove(&event);
                refused += 1;
            }
            prop_assert_eq!(dropped, refused, "every loss is counted");
            prop_assert!(open.len() <= EVENTS_MAX && open.values().map(|(_, bytes, _)| bytes).sum::<usize>() <= BYTES_MAX);
        }
    }
}
