//! When a batch is sent, sent again or given up; it does not know what is in it and touches no network.

use crate::queue::{BATCH_EVENTS_MAX, Queue};

/// From the first queued event to the request: long enough to gather what one click causes, short
/// enough that a user who looks sees it happen.
pub(crate) const DEBOUNCE_MS: u32 = 1000;
/// The first wait after a failure is one to two of these; each further one is twice as long.
const BACKOFF_MS: u32 = 1000;
/// No wait of our own choice is longer.
const BACKOFF_MS_MAX: u32 = 60_000;
/// A relay that asks for more patience than this is asked again anyway.
const RETRY_AFTER_S_MAX: u32 = 3600;
/// After so many failures of one batch it is given up.
const TRIES_MAX: u32 = 8;

/// What the caller has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing.
    Rest,
    /// Call [`Delivery::wake`] after so many milliseconds.
    Wake(u32),
    /// POST this body and call [`Delivery::answer`].
    Send(String),
    /// The relay does not want anything from this page: switch off.
    Stop,
}

/// How the relay answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// The HTTP status, 0 when there was no answer.
    pub(crate) status: u16,
    /// The seconds of a `Retry-After` header.
    pub(crate) retry_after_s: Option<u32>,
    /// Any random number; spreads the retries of many browsers.
    pub(crate) random: u32,
}

impl Answer {
    /// A negative `retry_after_s` means that there was none.
    pub(crate) fn new(status: u16, retry_after_s: i32, random: u32) -> Self {
        Self {
            status,
            retry_after_s: u32::try_from(retry_after_s).ok(),
            random,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Waiting,
    Flying,
}

/// One flight at a time, from one bounded queue.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The body up to and with the bracket that opens the list of events.
    head: String,
    queue: Queue,
    state: State,
    tries: u32,
    beacon_events: usize,
    beacon_events_max: usize,
}

impl Delivery {
    pub(crate) fn new(head: String) -> Self {
        Self {
            head,
            queue: Queue::default(),
            state: State::Idle,
            tries: 0,
            beacon_events: 0,
            beacon_events_max: BATCH_EVENTS_MAX,
        }
    }

    pub(crate) fn push(&mut self, event: String) {
        self.queue.push(event);
    }

    pub(crate) fn refuse(&mut self) {
        self.queue.refuse();
    }

    pub(crate) fn dropped(&self) -> u32 {
        self.queue.dropped()
    }

    /// Arms the timer when there is something to send and nothing on its way.
    pub(crate) fn settle(&mut self) -> Action {
        if self.state != State::Idle || self.queue.is_empty() {
            return Action::Rest;
        }
        self.wait(DEBOUNCE_MS)
    }

    /// The timer has run out.
    pub(crate) fn wake(&mut self) -> Action {
        if self.state != State::Waiting {
            return Action::Rest;
        }
        let Some((count, body)) = self.queue.batch(&self.head, BATCH_EVENTS_MAX) else {
            self.state = State::Idle;
            return Action::Rest;
        };
        self.queue.depart(count);
        self.state = State::Flying;
        Action::Send(body)
    }

    /// The flight has ended.
    pub(crate) fn answer(&mut self, answer: Answer) -> Action {
        if self.state != State::Flying {
            return Action::Rest;
        }
        self.state = State::Idle;
        match answer.status {
            403 => return Action::Stop,
            200..=299 => self.queue.arrive(),
            0 | 429 | 500..=599 if self.tries + 1 < TRIES_MAX => {
                self.queue.turn_back();
                self.tries += 1;
                return self.wait(patience_ms(self.tries, answer));
            }
            _ => self.queue.give_up(),
        }
        self.tries = 0;
        self.settle()
    }

    /// The page goes away: the next body for a beacon, until there is none. What is in the air stays there.
    pub(crate) fn beacon(&mut self) -> Option<String> {
        match self.queue.batch(&self.head, self.beacon_events_max) {
            Some((count, body)) => {
                self.beacon_events = count;
                Some(body)
            }
            None => {
                self.beacon_events_max = BATCH_EVENTS_MAX;
                None
            }
        }
    }

    /// Whether the browser took that beacon. It has room for 64 KiB, so a refused one is tried at half
    /// the size; what does not even go alone stays queued.
    pub(crate) fn beacon_taken(&mut self, taken: bool) {
        if taken {
            self.queue.remove_waiting(self.beacon_events);
        } else {
            self.beacon_events_max = self.beacon_events / 2;
        }
    }

    fn wait(&mut self, ms: u32) -> Action {
        self.state = State::Waiting;
        Action::Wake(ms)
    }
}

fn patience_ms(tries: u32, answer: Answer) -> u32 {
    if let Some(seconds) = answer.retry_after_s {
        return seconds.clamp(1, RETRY_AFTER_S_MAX) * 1000 + answer.random % 1000;
    }
    let shortest = (BACKOFF_MS << (tries - 1).min(8)).min(BACKOFF_MS_MAX / 2);
    shortest + answer.random % (shortest + 1)
}

#[cfg(test)]
mod tests {
    use super::{Action, Answer, Delivery, TRIES_MAX, patience_ms};

    fn filled(count: usize) -> Delivery {
        let mut delivery = Delivery::new("[".into());
        for n in 0..count {
            delivery.push(n.to_string());
        }
        delivery
    }

    fn status(status: u16) -> Answer {
        Answer {
            status,
            retry_after_s: None,
            random: 0,
        }
    }

    #[test]
    fn nothing_to_send_means_no_timer() {
        assert_eq!(filled(0).settle(), Action::Rest);
        assert_eq!(filled(0).wake(), Action::Rest);
    }

    #[test]
    fn one_timer_and_one_flight_at_a_time() {
        let mut delivery = filled(1);
        assert_eq!(delivery.settle(), Action::Wake(1000));
        delivery.push("1".into());
        assert_eq!(delivery.settle(), Action::Rest);
        assert_eq!(delivery.wake(), Action::Send("[0,1]}".into()));
        delivery.push("2".into());
        assert_eq!(delivery.settle(), Action::Rest);
        assert_eq!(delivery.wake(), Action::Rest);
        assert_eq!(delivery.answer(status(202)), Action::Wake(1000));
        assert_eq!(delivery.wake(), Action::Send("[2]}".into()));
        assert_eq!(delivery.answer(status(202)), Action::Rest);
        assert_eq!(delivery.answer(status(202)), Action::Rest);
    }

    #[test]
    fn an_answer_decides_about_the_batch() {
        // status → what next, and the body after the next wake-up
        let check = |code: u16, next: &Action, then: &Action, dropped: u32| {
            let mut delivery = filled(21);
            delivery.settle();
            delivery.wake();
            assert_eq!(delivery.answer(status(code)), *next, "{code}");
            if *next != Action::Stop {
                assert_eq!(delivery.wake(), *then, "{code}");
            }
            assert_eq!(delivery.dropped(), dropped, "{code}");
        };
        let again = Action::Send("[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19]}".into());
        let rest = Action::Send("[20]}".into());
        for code in [200, 202, 204] {
            check(code, &Action::Wake(1000), &rest, 0);
        }
        for code in [0, 429, 500, 502, 503, 504] {
            check(code, &Action::Wake(1000), &again, 0);
        }
        for code in [301, 400, 404, 413, 415, 422] {
            check(code, &Action::Wake(1000), &rest, 20);
        }
        check(403, &Action::Stop, &Action::Rest, 0);
    }

    #[test]
    fn a_batch_that_never_arrives_is_given_up() {
        let mut delivery = filled(1);
        delivery.settle();
        for _ in 1..TRIES_MAX {
            assert_eq!(delivery.wake(), Action::Send("[0]}".into()));
            assert!(matches!(delivery.answer(status(503)), Action::Wake(_)));
        }
        assert_eq!(delivery.wake(), Action::Send("[0]}".into()));
        assert_eq!(delivery.answer(status(503)), Action::Rest);
        assert_eq!(delivery.dropped(), 1);
    }

    #[test]
    fn patience_grows_between_one_and_sixty_seconds() {
        // tries, Retry-After → shortest and longest wait
        let check = |tries, retry_after_s, shortest, longest| {
            let wait = |random| {
                patience_ms(
                    tries,
                    Answer {
                        status: 503,
                        retry_after_s,
                        random,
                    },
                )
            };
            let waits: Vec<u32> = (0..100_000).map(wait).collect();
            assert_eq!(waits.iter().min(), Some(&shortest), "{tries}");
            assert_eq!(waits.iter().max(), Some(&longest), "{tries}");
        };
        check(1, None, 1000, 2000);
        check(2, None, 2000, 4000);
        check(5, None, 16_000, 32_000);
        check(6, None, 30_000, 60_000);
        check(60, None, 30_000, 60_000);
        check(1, Some(7), 7000, 7999);
        check(1, Some(0), 1000, 1999);
        check(1, Some(u32::MAX), 3_600_000, 3_600_999);
    }

    #[test]
    fn beacons_take_all_that_is_not_in_the_air() {
        let mut delivery = filled(1);
        delivery.settle();
        delivery.wake();
        for n in 1..25 {
            delivery.push(n.to_string());
        }
        let mut sizes = Vec::new();
        while let Some(body) = delivery.beacon() {
            sizes.push(body.split(',').count());
            delivery.beacon_taken(true);
        }
        assert_eq!(sizes, [20, 4]);
        assert_eq!(delivery.answer(status(202)), Action::Rest);
    }

    #[test]
    fn a_batch_that_waits_for_its_retry_goes_by_beacon_too() {
        let mut delivery = filled(1);
        delivery.settle();
        delivery.wake();
        delivery.answer(status(503));
        assert_eq!(delivery.beacon(), Some("[0]}".into()));
        delivery.beacon_taken(true);
        assert_eq!(delivery.beacon(), None);
        assert_eq!(delivery.wake(), Action::Rest);
    }

    #[test]
    fn a_refused_beacon_shrinks_and_then_stays_queued() {
        let mut delivery = filled(5);
        let mut sizes = Vec::new();
        while let Some(body) = delivery.beacon() {
            sizes.push(body.split(',').count());
            delivery.beacon_taken(false);
        }
        assert_eq!(sizes, [5, 2, 1]);
        assert_eq!(delivery.settle(), Action::Wake(1000));
        assert_eq!(delivery.wake(), Action::Send("[0,1,2,3,4]}".into()));
    }
}
