//! Both limits, the order of drops when one is reached, and the effects of a flight on its events.

use super::Worth::{Engagement, Event, Pageview, Rating};
use super::{
    AGE_MS_MAX, BATCH_BYTES_MAX, BATCH_EVENTS_MAX, BYTES_MAX, EVENT_BYTES_MAX, EVENTS_MAX, Queue, Worth,
};

const ROOM: usize = usize::MAX;

fn filled(count: usize, event_bytes: usize) -> Queue {
    let mut queue = Queue::default();
    for n in 0..count {
        queue.push(format!("{n:0event_bytes$}"), Event, 0);
    }
    queue
}

fn left(queue: &Queue) -> Vec<&str> {
    queue.entries.iter().map(|e| e.json.as_str()).collect()
}

fn first(queue: &Queue) -> usize {
    left(queue)
        .first()
        .and_then(|e| e.parse().ok())
        .unwrap_or(usize::MAX)
}

#[test]
fn a_full_queue_drops_the_oldest_of_equals_and_counts_it() {
    // count, bytes each → kept, dropped, number of the oldest kept
    let check = |count, bytes, kept: usize, dropped, oldest| {
        let queue = filled(count, bytes);
        assert_eq!(
            (queue.entries.len(), queue.dropped, first(&queue)),
            (kept, dropped, oldest)
        );
        assert_eq!(queue.bytes, kept * bytes);
    };
    check(EVENTS_MAX, 10, 200, 0, 0);
    check(EVENTS_MAX + 3, 10, 200, 3, 3);
    check(BYTES_MAX / 1024, 1024, 52, 0, 0);
    check(BYTES_MAX / 1024 + 1, 1024, 52, 1, 1);
    check(5, EVENT_BYTES_MAX, 4, 1, 1);
    check(2, EVENT_BYTES_MAX + 1, 0, 2, usize::MAX);
}

#[test]
fn a_full_queue_drops_the_least_worth_first() {
    // content of a queue of four places, new event → remaining content
    let check = |held: &[(&str, Worth)], (text, worth): (&str, Worth), expected: &[&str]| {
        let mut queue = Queue::default();
        let long = |text: &str| format!("{text:<EVENT_BYTES_MAX$}");
        for (text, worth) in held {
            queue.push(long(text), *worth, 0);
        }
        queue.push(long(text), worth, 0);
        let left: Vec<&str> = left(&queue).iter().map(|e| e.trim()).collect();
        assert_eq!(left, expected);
        assert_eq!(queue.dropped(), 1);
    };
    let (page, read, used, rated) = (Pageview, Engagement, Event, Rating);
    check(
        &[("p", page), ("e", read), ("u", used), ("r", rated)],
        ("p2", page),
        &["p", "u", "r", "p2"],
    );
    check(
        &[("p", page), ("r", rated), ("p2", page), ("u", used)],
        ("u2", used),
        &["r", "p2", "u", "u2"],
    );
    check(
        &[("u", used), ("r", rated), ("r2", rated), ("u2", used)],
        ("r3", rated),
        &["r", "r2", "u2", "r3"],
    );
    check(
        &[("r", rated), ("r2", rated), ("r3", rated), ("r4", rated)],
        ("p", page),
        &["r", "r2", "r3", "r4"],
    );
    check(
        &[("r", rated), ("r2", rated), ("r3", rated), ("r4", rated)],
        ("r5", rated),
        &["r2", "r3", "r4", "r5"],
    );
}

#[test]
fn a_full_queue_spares_the_events_in_flight() {
    let mut queue = filled(EVENTS_MAX, 10);
    queue.depart("[", 20, ROOM, 1);
    queue.push("the newest".into(), Event, 0);
    assert_eq!(first(&queue), 0);
    queue.arrive(1);
    assert_eq!((queue.entries.len(), queue.dropped, first(&queue)), (180, 1, 21));
}

#[test]
fn a_batch_keeps_its_limits() {
    let check = |count, bytes, room, expected: usize| {
        let mut queue = filled(count, bytes);
        let body = queue.depart("[", BATCH_EVENTS_MAX, room, 1);
        assert_eq!(queue.count(1), expected, "{count} of {bytes}");
        assert_eq!(queue.count(0), count - expected);
        assert_eq!(body.is_some(), expected > 0);
        assert!(body.is_none_or(|body| body.len() <= BATCH_BYTES_MAX.min(room)));
    };
    check(0, 10, ROOM, 0);
    check(1, 10, ROOM, 1);
    check(21, 10, ROOM, 20);
    check(4, EVENT_BYTES_MAX, ROOM, 3);
    check(4, 1000, 2500, 2);
    check(4, 1000, 1003, 0);
    check(4, 1000, 1004, 1);
}

#[test]
fn events_in_flight_are_in_no_other_batch() {
    let mut queue = filled(3, 1);
    assert_eq!(queue.depart("[", 2, ROOM, 7), Some("[0,1]}".into()));
    assert_eq!(queue.depart("[", 20, ROOM, 8), Some("[2]}".into()));
    assert_eq!(queue.depart("[", 20, ROOM, 9), None);
    queue.arrive(8);
    queue.turn_back(7);
    assert_eq!(queue.depart("[", 20, ROOM, 9), Some("[0,1]}".into()));
}

#[test]
fn given_up_events_are_counted() {
    let mut queue = filled(3, 1);
    queue.depart("[", 2, ROOM, 1);
    queue.give_up(1);
    assert_eq!((queue.dropped(), queue.count(0), first(&queue)), (2, 1, 2));
}

#[test]
fn what_waits_too_long_is_given_up_and_what_is_in_flight_is_not() {
    // pushed at, checked at → dropped
    let check = |at: u32, now: u32, gone: bool| {
        let mut queue = Queue::default();
        queue.push("x".into(), Rating, at);
        queue.expire(now);
        assert_eq!(queue.dropped() == 1, gone, "{at} {now}");
    };
    check(0, 0, false);
    check(0, AGE_MS_MAX, false);
    check(0, AGE_MS_MAX + 1, true);
    check(u32::MAX - 5, AGE_MS_MAX - 10, false);
    check(u32::MAX - 5, AGE_MS_MAX, true);
    let mut queue = filled(2, 1);
    queue.depart("[", 1, ROOM, 1);
    queue.expire(AGE_MS_MAX + 1);
    assert_eq!((queue.dropped(), left(&queue)), (1, vec!["0"]));
}

#[test]
fn a_page_is_renamed_as_long_as_none_of_its_events_has_left() {
    // The operations on a queue of two older events and two of the page → renamed or not
    let check = |name: &str, happens: fn(&mut Queue), expected: bool| {
        let mut queue = Queue::default();
        for event in ["a1", "a2"] {
            queue.push(event.into(), Event, 0);
        }
        queue.turn_page();
        for event in ["a3", "c3", "a4"] {
            queue.push(event.into(), Event, 0);
        }
        happens(&mut queue);
        assert_eq!(queue.holds_page(), expected, "{name}");
        queue.rename("a", "bb");
        let renamed: Vec<_> = left(&queue).into_iter().filter(|e| e.starts_with("bb")).collect();
        let both: &[&str] = if expected { &["bb3", "bb4"] } else { &[] };
        assert_eq!(renamed, both, "{name}");
        let bytes: usize = left(&queue).iter().map(|e| e.len()).sum();
        assert_eq!(queue.bytes, bytes, "{name}");
    };
    check("nothing", |_| {}, true);
    check(
        "the older ones are in flight",
        |queue| drop(queue.depart("[", 2, ROOM, 1)),
        true,
    );
    check(
        "the older ones arrive",
        |queue| {
            queue.depart("[", 2, ROOM, 1);
            queue.arrive(1);
        },
        true,
    );
    check(
        "its first is in flight",
        |queue| drop(queue.depart("[", 3, ROOM, 1)),
        false,
    );
    check(
        "its first was in flight in vain",
        |queue| {
            queue.depart("[", 3, ROOM, 1);
            queue.turn_back(1);
        },
        false,
    );
    let mut queue = Queue::default();
    queue.turn_page();
    queue.push("a1".into(), Event, 0);
    assert!(queue.depart("[", 1, ROOM, 1).is_some() && !queue.holds_page());
    queue.turn_page();
    assert!(queue.holds_page(), "the next page");
}
