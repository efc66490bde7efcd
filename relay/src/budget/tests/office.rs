//! An office behind one address, simulated second by second: it passes.

use super::{Door, OFFICE};
use std::time::Duration;

/// A linear congruential generator: random enough for arrivals.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// One person behind the office's address.
#[derive(Clone, Copy, Default)]
struct Person {
    /// Time of the next event, in seconds.
    next: u64,
    /// Events that wait in the browser, and the time of its next attempt.
    waiting: usize,
    again: u64,
    backoff: u64,
}

/// Simulates `seconds` of work. Each person sends an event about every `every` seconds from its arrival on. A refused
/// browser retries like the module: after a wait that doubles up to a minute. Returns the number of batches refused
/// at first, the longest wait of an event in seconds, and the number of events that wait at the end.
fn work(
    door: &Door,
    people: &mut [Person],
    seconds: u64,
    every: u64,
    dice: &mut Dice,
) -> (usize, u64, usize) {
    let (mut refused, mut longest) = (0, 0);
    let mut since = vec![0; people.len()];
    for now in 0..seconds {
        for (n, person) in people.iter_mut().enumerate() {
            if person.next == now {
                if person.waiting == 0 {
                    since[n] = now;
                }
                person.waiting = (person.waiting + 1).min(200);
                person.next = now + 1 + every / 2 + dice.below(every);
            }
            if person.waiting == 0 || person.again > now {
                continue;
            }
            let batch = person.waiting.min(20);
            match door.refuses(OFFICE, n as u64, batch) {
                None => {
                    longest = longest.max(now - since[n]);
                    person.waiting -= batch;
                    person.backoff = 0;
                }
                Some(_) => {
                    refused += 1;
                    person.backoff = (person.backoff * 2).clamp(1, 60);
                    person.again = now + person.backoff / 2 + 1 + dice.below(person.backoff / 2 + 1);
                }
            }
        }
        door.pass(Duration::from_secs(1));
    }
    (refused, longest, people.iter().map(|person| person.waiting).sum())
}

#[test]
fn an_office_of_two_thousand_passes_a_morning_without_a_refusal() {
    let (door, mut dice) = (Door::with(""), Dice(1));
    // People arrive within a quarter of an hour and send an event every five seconds.
    let mut people = vec![Person::default(); 2_000];
    for person in &mut people {
        person.next = dice.below(900);
    }
    let (refused, longest, _) = work(&door, &mut people, 2_400, 5, &mut dice);
    assert_eq!((refused, longest), (0, 0));
}

#[test]
fn what_an_office_cannot_bring_at_once_arrives_within_the_time_that_browsers_retry() {
    let check = |what: &str, arrive_within: u64, waiting: usize| {
        let (door, mut dice) = (Door::with(""), Dice(2));
        let mut people = vec![Person::default(); 2_000];
        for person in &mut people {
            person.next = dice.below(arrive_within);
            person.waiting = waiting;
        }
        let (_, longest, left) = work(&door, &mut people, 3_000, 10, &mut dice);
        // The module drops events after 50 minutes.
        assert!(longest < 1_500, "{what}: {longest} s");
        assert!(left < 20, "{what}: {left} events wait");
    };
    check("all arrive within a minute", 60, 0);
    // A restarted relay does not know its visitors; browsers send the events that they collected in the meantime.
    check("the relay was restarted", 10, 5);
    check("an outage of half an hour", 10, 150);
}

#[test]
fn an_office_that_was_refused_for_fifty_minutes_is_served_as_if_it_had_been_away() {
    let (mut door, mut dice) = (Door::with(""), Dice(4));
    let mut people = vec![Person::default(); 2_000];
    for person in &mut people {
        person.next = dice.below(10);
        person.waiting = 20;
    }
    door.is_out = true;
    let (refused, _, _) = work(&door, &mut people, 3_000, 10, &mut dice);
    assert!(
        refused * 20 > 2_000_000,
        "{refused} batches would cost more than a day's"
    );
    door.is_out = false;
    for person in &mut people {
        // The work of the next hour begins now.
        *person = Person {
            next: dice.below(10),
            again: person.again.saturating_sub(3_000),
            ..*person
        };
    }
    let (_, longest, left) = work(&door, &mut people, 3_000, 10, &mut dice);
    assert!(longest < 1_500 && left < 20, "{longest} s, {left} events wait");
}

#[test]
fn an_office_with_a_tracker_that_knows_no_persons_passes() {
    // Two thousand browsers of one make share one pseudonym: Plausible's tracker sends no daily value.
    let (door, mut dice) = (Door::with(""), Dice(3));
    let mut refused = 0;
    for _ in 0..3600 {
        // 2000 people with 40 pages an hour each.
        for _ in 0..dice.below(45) {
            refused += usize::from(door.refuses(OFFICE, 0, 1).is_some());
        }
        door.pass(Duration::from_secs(1));
    }
    assert_eq!(refused, 0);
}
