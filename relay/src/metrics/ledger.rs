//! The ledger: each event is booked in once and out once, under one lock, so that every reading of it
//! is consistent.
//!
//! An event in the corridor is a [`Ticket`]. A ticket can only be used up: by ending with an
//! [`Outcome`] or by becoming a spooled event. Dropping one unused books the event as lost, which is
//! a defect that conservation makes visible instead of hiding it.

use relay_event::Outcome;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const OUTCOMES: usize = Outcome::ALL.len();

/// Counts every event of one relay since it started.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Counts>);

/// One reading of the ledger.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Events that arrived.
    pub received: u64,
    /// Events found in the spool at the start, or put back into it.
    pub recovered: u64,
    /// Events between arrival and spool.
    pub in_progress: u64,
    /// Events waiting for delivery.
    pub spooled: u64,
    /// Bytes of events waiting for delivery.
    pub spool_bytes: u64,
    /// When the oldest waiting event was stored, in milliseconds since 1970; 0 when none waits.
    pub spool_oldest_ms: i64,
    ended: [u64; OUTCOMES],
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            received: 0,
            recovered: 0,
            in_progress: 0,
            spooled: 0,
            spool_bytes: 0,
            spool_oldest_ms: 0,
            ended: [0; OUTCOMES],
        }
    }
}

impl Counts {
    /// Events that ended in one way.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.ended[outcome as usize]
    }

    /// Events that ended.
    pub fn ended_total(&self) -> u64 {
        self.ended.iter().sum()
    }
}

impl Ledger {
    /// Books in the events of one request.
    pub fn receive(self: &Arc<Self>, events: usize) -> Vec<Ticket> {
        let mut counts = self.lock();
        counts.received += events as u64;
        counts.in_progress += events as u64;
        drop(counts);
        (0..events)
            .map(|_| Ticket {
                ledger: Arc::clone(self),
                used: false,
            })
            .collect()
    }

    /// Books in what the spool held at the start, or what came back into it.
    pub fn recover(&self, events: u64) {
        let mut counts = self.lock();
        counts.recovered += events;
        counts.spooled += events;
    }

    /// Books out spooled events.
    pub fn end_spooled(&self, outcome: Outcome, events: u64) {
        let mut counts = self.lock();
        counts.spooled = counts.spooled.saturating_sub(events);
        counts.ended[outcome as usize] += events;
    }

    /// Notes the spool's size and the age of its oldest event.
    pub fn note_spool(&self, bytes: u64, oldest_ms: i64) {
        let mut counts = self.lock();
        counts.spool_bytes = bytes;
        counts.spool_oldest_ms = oldest_ms;
    }

    /// One consistent reading.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// A panic while holding the lock leaves plain numbers, which stay usable.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One event on its way to the spool.
#[derive(Debug)]
#[must_use = "an event has to end or be spooled"]
pub struct Ticket {
    ledger: Arc<Ledger>,
    used: bool,
}

impl Ticket {
    /// Ends the event before the spool.
    pub fn end(mut self, outcome: Outcome) {
        self.book_out(|counts| counts.ended[outcome as usize] += 1);
    }

    /// The event is on disk.
    pub fn spooled(mut self) {
        self.book_out(|counts| counts.spooled += 1);
    }

    fn book_out(&mut self, book: impl FnOnce(&mut Counts)) {
        self.used = true;
        let mut counts = self.ledger.lock();
        counts.in_progress = counts.in_progress.saturating_sub(1);
        book(&mut counts);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.used {
            self.book_out(|counts| counts.ended[Outcome::Lost as usize] += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_booked_out_once_and_a_dropped_ticket_is_lost() {
        let ledger = Arc::new(Ledger::default());
        let mut tickets = ledger.receive(4).into_iter();
        assert_eq!(ledger.counts().in_progress, 4);
        tickets.next().unwrap().end(Outcome::Bot);
        tickets.next().unwrap().spooled();
        tickets.next().unwrap().spooled();
        drop(tickets);
        ledger.end_spooled(Outcome::Delivered, 1);
        ledger.recover(7);
        let counts = ledger.counts();
        assert_eq!((counts.in_progress, counts.spooled), (0, 8));
        assert_eq!(counts.ended(Outcome::Bot), 1);
        assert_eq!(counts.ended(Outcome::Lost), 1);
        assert_eq!(counts.difference(), 0);
    }
}
