//! The bounded queue of written events: sizes, order, age and which goes first when it is full. It does not know
//! when an event is sent.

/// Most events kept. A page that cannot reach its relay must not grow without end. Above it the least valuable
/// waiting event is dropped and counted.
pub(crate) const EVENTS_MAX: usize = 200;
/// Most bytes kept, over all events; the same happens above it. With what surrounds them, all of them fit into the
/// requests of a page that goes away.
pub(crate) const BYTES_MAX: usize = 52 * 1024;
/// Largest single event; with all allowed properties at full length it could outgrow a batch. A larger one is
/// dropped and counted.
pub(crate) const EVENT_BYTES_MAX: usize = 13 * 1024;
/// Most events in one batch, so that the relay judges them in one pass of its sandbox.
pub(crate) const BATCH_EVENTS_MAX: usize = 20;
/// Largest request body. Browsers let a page have 64 KiB under way when it closes, all requests together.
pub(crate) const BATCH_BYTES_MAX: usize = 48 * 1024;
/// An event that waited longer is dropped and counted. The relay recognises a repeated id for an hour after it
/// stored it, so an event whose answer was lost must not come back later than that; the rest of the hour is for the
/// last request under way.
pub(crate) const AGE_MS_MAX: u32 = 50 * 60 * 1000;

/// What an event is worth. A full queue drops the least worth first, of these the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Worth {
    Engagement,
    Pageview,
    /// An event the page names itself.
    Event,
    /// The user took the trouble to answer.
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

/// Events in the order they happened.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: Vec<Entry>,
    bytes: usize,
    dropped: u32,
    /// The number of the page view that is shown.
    page: u32,
    /// Whether none of its events has left yet.
    holds_page: bool,
}

impl Queue {
    /// Adds an event. When the queue is full, an event that is not under way is dropped and counted.
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
            // The first of equal ones, which is the oldest.
            let Some((least, _)) = waiting.min_by_key(|(_, e)| e.worth) else {
                return;
            };
            self.bytes -= self.entries.remove(least).json.len();
            self.dropped += 1;
        }
    }

    /// The events from here on belong to a new page view.
    pub(crate) fn turn_page(&mut self) {
        self.page = self.page.wrapping_add(1);
        self.holds_page = true;
    }

    /// Whether no event of the page view that is shown has left yet.
    pub(crate) fn holds_page(&self) -> bool {
        self.holds_page
    }

    /// Gives the events of the page view that is shown another start, if none has left yet.
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
            // A comma before it and the two closing brackets after it.
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

    /// How many events are in a flight; 0 counts those that wait.
    pub(crate) fn count(&self, flight: u32) -> usize {
        self.entries.iter().filter(|e| e.flight == flight).count()
    }

    /// A flight did not arrive; its events stay where they are, with the ids they have.
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

    /// Gives up what has waited too long.
    pub(crate) fn expire(&mut self, now_ms: u32) {
        // The clock's milliseconds begin anew after 49 days.
        self.dropped += self.remove(|e| e.flight == 0 && now_ms.wrapping_sub(e.since_ms) > AGE_MS_MAX);
    }

    /// Counts an event that was refused before it got here.
    pub(crate) fn refuse(&mut self) {
        self.dropped += 1;
    }

    /// Events lost so far: the queue was full, the event too large or too old, or the relay did not take it.
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
