//! Decides when a batch is sent, retried or given up, independent of its content; does no I/O.

use crate::json::text;
use crate::queue::{BATCH_EVENTS_MAX, Queue, Worth};

/// From the first queued event to the request: long enough to collect the events of one click, short enough that a
/// watching user sees it happen.
pub(crate) const DEBOUNCE_MS: u32 = 1000;
/// The same for the first events of a session: a router may still replace the address of its first page, and then the
/// waiting pageview is corrected instead of a second one made.
pub(crate) const START_MS: u32 = 3000;
/// The first back-off after a failure is one to two of these; each further one is twice as long.
const BACKOFF_MS: u32 = 1000;
/// Upper bound of the back-off, unless the relay asks for more.
const BACKOFF_MS_MAX: u32 = 60_000;
/// Upper bound of a relay's Retry-After: a longer one is cut, so that the retry comes before the events are too old.
const RETRY_AFTER_S_MAX: u32 = 600;
/// Browsers allow a page 64 KiB of keepalive requests in flight, and refuse more. A little is left for the page's own.
/// An event that does not fit stays queued.
const FLYING_BYTES_MAX: usize = 60 * 1024;

/// Replaces the status of a request whose page token was refused, if the answer carried a new one.
pub(crate) const RENEWED: u16 = 401;

/// The caller's next step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing.
    Rest,
    /// Call [`Delivery::wake`] after this many milliseconds.
    Wake(u32),
    /// POST this body as [`Delivery::flight`] and call [`Delivery::answer`].
    Send(String),
    /// The relay accepts nothing from this page: switch off.
    Stop,
}

/// The relay's answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// The request it answers.
    pub(crate) flight: u32,
    /// The HTTP status; 0 if there was no answer, or one that is not the relay's; [`RENEWED`].
    pub(crate) status: u16,
    /// The seconds of a `Retry-After` header.
    pub(crate) retry_after_s: Option<u32>,
    /// Any random number; spreads the retries of many browsers over time.
    pub(crate) random: u32,
}

impl Answer {
    /// A negative `retry_after_s` means that there was no such header.
    pub(crate) fn new(flight: u32, status: u16, retry_after_s: i32, random: u32) -> Self {
        Self {
            flight,
            status,
            retry_after_s: u32::try_from(retry_after_s).ok(),
            random,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    number: u32,
    bytes: usize,
}

/// At most one flight at a time from one bounded queue; several only when the page is closed.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The body up to and including the bracket that opens the list of events.
    head: String,
    /// The browser's values of the day, as members of the body, each followed by a comma.
    visitor: String,
    queue: Queue,
    now_ms: u32,
    /// Whether the timer is armed.
    armed: bool,
    /// The wait before the next batch.
    debounce_ms: u32,
    flights: Vec<Flight>,
    /// The number of the last flight.
    last: u32,
    /// The number of consecutive failed flights. It only determines the back-off; events are given up by age or because
    /// the queue is full.
    failures: u32,
    /// Whether the last one failed without a `Retry-After`, so that the back-off is ours.
    own_pace: bool,
    /// Whether the page token was renewed since the last batch arrived.
    renewed: bool,
    events_max: usize,
}

impl Delivery {
    pub(crate) fn new(head: String) -> Self {
        Self {
            head,
            visitor: String::new(),
            queue: Queue::default(),
            now_ms: 0,
            armed: false,
            debounce_ms: START_MS,
            flights: Vec::new(),
            last: 0,
            failures: 0,
            own_pace: false,
            renewed: false,
            events_max: BATCH_EVENTS_MAX,
        }
    }

    /// Sets the time for the calls that follow, on a monotonic clock.
    pub(crate) fn at(&mut self, now_ms: u32) {
        self.now_ms = now_ms;
    }

    /// The browser's value of this day and, after a space, of the previous day; both may be missing.
    pub(crate) fn visitor(&mut self, values: &str) {
        self.visitor.clear();
        for (key, value) in ["\"visitor\":", "\"visitor_before\":"]
            .iter()
            .zip(values.split(' '))
        {
            if !value.is_empty() {
                self.visitor.push_str(key);
                text(&mut self.visitor, value);
                self.visitor.push(',');
            }
        }
    }

    pub(crate) fn push(&mut self, event: String, worth: Worth) {
        self.queue.push(event, worth, self.now_ms);
    }

    /// Events from here on belong to a new page view.
    pub(crate) fn turn_page(&mut self) {
        self.queue.turn_page();
    }

    /// Whether no event of the current page view has been sent yet.
    pub(crate) fn holds_page(&self) -> bool {
        self.queue.holds_page()
    }

    /// Replaces the start of the current page view's events.
    pub(crate) fn rename(&mut self, before: &str, start: &str) {
        self.queue.rename(before, start);
    }

    pub(crate) fn refuse(&mut self) {
        self.queue.refuse();
    }

    pub(crate) fn dropped(&self) -> u32 {
        self.queue.dropped()
    }

    /// The number of the last flight.
    pub(crate) fn flight(&self) -> u32 {
        self.last
    }

    /// Arms the timer if there is something to send and nothing in flight.
    pub(crate) fn settle(&mut self) -> Action {
        if self.armed || !self.flights.is_empty() || self.queue.count(0) == 0 {
            return Action::Rest;
        }
        let ms = std::mem::replace(&mut self.debounce_ms, DEBOUNCE_MS);
        self.wait(ms)
    }

    /// The timer has fired.
    pub(crate) fn wake(&mut self) -> Action {
        self.armed = false;
        if !self.flights.is_empty() {
            return Action::Rest;
        }
        self.depart().map_or(Action::Rest, Action::Send)
    }

    /// The browser is online again: ends a back-off, unless the relay asked for it.
    pub(crate) fn online(&mut self) -> Action {
        if self.armed && self.own_pace {
            self.own_pace = false;
            return self.wait(DEBOUNCE_MS);
        }
        Action::Rest
    }

    /// The page may never run again: returns the next body to send now, `None` after the last.
    pub(crate) fn part(&mut self) -> Option<String> {
        self.depart()
    }

    /// A flight has ended.
    pub(crate) fn answer(&mut self, answer: Answer) -> Action {
        let number = answer.flight;
        let Some(place) = self.flights.iter().position(|f| f.number == number) else {
            return Action::Rest;
        };
        self.flights.swap_remove(place);
        match answer.status {
            202 => {
                self.queue.arrive(number);
                self.failures = 0;
                self.renewed = false;
                self.events_max = BATCH_EVENTS_MAX;
            }
            // At once, because only the token was wrong; a second time in a row it is a failure like any other.
            RENEWED if !self.renewed => {
                self.renewed = true;
                self.queue.turn_back(number);
                return self.wake();
            }
            403 => return Action::Stop,
            413 if self.queue.count(number) > 1 => {
                self.events_max = self.queue.count(number) / 2;
                self.queue.turn_back(number);
            }
            400 | 413 | 415 => self.queue.give_up(number),
            _ => {
                self.queue.turn_back(number);
                self.queue.expire(self.now_ms);
                self.failures += 1;
                self.own_pace = answer.retry_after_s.is_none();
                if self.queue.count(0) > 0 {
                    return self.wait(patience_ms(self.failures, answer));
                }
            }
        }
        self.settle()
    }

    fn depart(&mut self) -> Option<String> {
        self.queue.expire(self.now_ms);
        let flying: usize = self.flights.iter().map(|f| f.bytes).sum();
        let number = self.last.wrapping_add(1).max(1);
        let room = FLYING_BYTES_MAX.saturating_sub(flying);
        let (brace, rest) = self.head.split_at_checked(1).unwrap_or_default();
        let mut head = String::from(brace);
        head.push_str(&self.visitor);
        head.push_str(rest);
        let body = self.queue.depart(&head, self.events_max, room, number)?;
        self.last = number;
        self.flights.push(Flight {
            number,
            bytes: body.len(),
        });
        Some(body)
    }

    fn wait(&mut self, ms: u32) -> Action {
        self.armed = true;
        Action::Wake(ms)
    }
}

fn patience_ms(failures: u32, answer: Answer) -> u32 {
    if let Some(seconds) = answer.retry_after_s {
        return seconds.clamp(1, RETRY_AFTER_S_MAX) * 1000 + answer.random % 1000;
    }
    let shortest = (BACKOFF_MS << (failures - 1).min(8)).min(BACKOFF_MS_MAX / 2);
    shortest + answer.random % (shortest + 1)
}

#[cfg(test)]
mod tests;
