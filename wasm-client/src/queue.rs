//! The bounded queue of serialised events: sizes, order, age, and which to drop when it is full. Independent of when an
//! event is sent.

/// Limit of queued events. A page that cannot reach its relay must not grow without bound. Above it the least valuable
/// waiting event is dropped and counted.
pub(crate) const EVENTS_MAX: usize = 200;
/// Limit of queued bytes over all events, with the same effect. Including the enclosing JSON, all of them fit into the
/// keepalive requests of a page that is being closed.
pub(crate) const BYTES_MAX: usize = 52 * 1024;
/// Largest single event; with all allowed properties at full length it could exceed a batch. A larger one is dropped
/// and counted.
pub(crate) const EVENT_BYTES_MAX: usize = 13 * 1024;
/// Limit of events per batch, so that the relay processes them in one pass of its sandbox.
pub(crate) const BATCH_EVENTS_MAX: usize = 20;
/// Largest request body. Browsers allow a closing page 64 KiB in flight, over all its requests.
pub(crate) const BATCH_BYTES_MAX: usize = 48 * 1024;
/// An event that waited longer is dropped and counted. The relay recognises a repeated id for an hour after it stored
/// it, so an event whose answer was lost must not be retried later than that; the rest of the hour is for the last
/// request in flight.
pub(crate) const AGE_MS_MAX: u32 = 50 * 60 * 1000;

/// The value of an event. A full queue drops the least valuable first, and of these the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Worth {
    Engagement,
    Pageview,
    /// An event the page names itself.
    Event,
    /// The user made the effort to answer.
    Rating,
}

#[derive(Debug)]
struct Entry {
    json: String,
    worth: Worth,
    since_ms: u32,
    /// The flight it is in, 0 while it waits.
    flight: u32,
    /// The number of the page view it belongs to.
    page: u32,
}

/// Events in chronological order.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: Vec<Entry>,
    bytes: usize,
    dropped: u32,
    /// The number of the current page view.
    page: u32,
    /// Whether none of its events has been sent yet.
    holds_page: bool,
}

impl Queue {
    /// Adds an event. If the queue is full, an event that is not in flight is dropped and counted.
    pub(crate) fn push(&mut self, json: String, worth: Worth, now_ms: u32) {
        if json.len() > EVENT_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        self.bytes += json.len();
        self.entries.push(Entry {
            json,
            worth,
            since_ms: now_ms,
            flight: 0,
            page: self.page,
        });
        while self.entries.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            let waiting = self.entries.iter().enumerate().filter(|(_, e)| e.flight == 0);
            // The first of several equal ones, which is the oldest.
            let Some((least, _)) = waiting.min_by_key(|(_, e)| e.worth) else {
                return;
            };
            self.bytes -= self.entries.remove(least).json.len();
            self.dropped += 1;
        }
    }

    /// Events from here on belong to a new page view.
    pub(crate) fn turn_page(&mut self) {
        self.page = self.page.wrapping_add(1);
        self.holds_page = true;
    }

    /// Whether no event of the current page view has been sent yet.
    pub(crate) fn holds_page(&self) -> bool {
        self.holds_page
    }

    /// Replaces the start of the current page view's events, if none has been sent yet.
    pub(crate) fn rename(&mut self, before: &str, start: &str) {
        for entry in &mut self.entries {
            let rest = entry.json.strip_prefix(before);
            let (true, Some(rest)) = (self.holds_page && entry.page == self.page, rest) else {
                continue;
            };
            let mut renamed = String::from(start);
            renamed.push_str(rest);
            self.bytes = self.bytes - entry.json.len() + renamed.len();
            entry.json = renamed;
        }
    }

    /// The body for the oldest waiting events, which are in this flight from now on.
    pub(crate) fn depart(
        &mut self,
        head: &str,
        events_max: usize,
        bytes_max: usize,
        flight: u32,
    ) -> Option<String> {
        let mut body = String::from(head);
        let mut count = 0;
        for entry in self.entries.iter_mut().filter(|e| e.flight == 0) {
            // A comma before it, and the two closing brackets after it.
            if count == events_max || body.len() + entry.json.len() + 3 > bytes_max.min(BATCH_BYTES_MAX) {
                break;
            }
            if count > 0 {
                body.push(',');
            }
            body.push_str(&entry.json);
            entry.flight = flight;
            self.holds_page &= entry.page != self.page;
            count += 1;
        }
        if count == 0 {
            return None;
        }
        body.push_str("]}");
        Some(body)
    }

    /// The number of events in a flight; 0 counts the waiting ones.
    pub(crate) fn count(&self, flight: u32) -> usize {
        self.entries.iter().filter(|e| e.flight == flight).count()
    }

    /// A flight failed; its events keep their positions and ids.
    pub(crate) fn turn_back(&mut self, flight: u32) {
        for entry in self.entries.iter_mut().filter(|e| e.flight == flight) {
            entry.flight = 0;
        }
    }

    /// A flight arrived.
    pub(crate) fn arrive(&mut self, flight: u32) {
        self.remove(|e| e.flight == flight);
    }

    /// A flight is given up.
    pub(crate) fn give_up(&mut self, flight: u32) {
        self.dropped += self.remove(|e| e.flight == flight);
    }

    /// Drops events that have waited too long.
    pub(crate) fn expire(&mut self, now_ms: u32) {
        // The millisecond clock wraps after 49 days.
        self.dropped += self.remove(|e| e.flight == 0 && now_ms.wrapping_sub(e.since_ms) > AGE_MS_MAX);
    }

    /// Counts an event that was refused before it reached the queue.
    pub(crate) fn refuse(&mut self) {
        self.dropped += 1;
    }

    /// Events lost so far: the queue was full, the event too large or too old, or the relay did not accept it.
    pub(crate) fn dropped(&self) -> u32 {
        self.dropped
    }

    /// The events by their numbers, and how many were dropped.
    #[cfg(test)]
    pub(crate) fn look(&self) -> (Vec<u32>, u32) {
        let numbers = self.entries.iter().filter_map(|e| e.json.parse().ok());
        (numbers.collect(), self.dropped)
    }

    fn remove(&mut self, which: impl Fn(&Entry) -> bool) -> u32 {
        let (mut bytes, mut count) = (0, 0);
        self.entries.retain(|entry| {
            let gone = which(entry);
            if gone {
                bytes += entry.json.len();
                count += 1;
            }
            !gone
        });
        self.bytes -= bytes;
        count
    }
}

#[cfg(test)]
mod tests;
