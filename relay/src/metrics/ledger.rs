//! The ledger: each event is booked in once and out once, under one lock, so that every reading is consistent.
//!
//! An event in the corridor is a [`Ticket`]. A ticket must be consumed: by an [`Outcome`] or by becoming a spooled
//! event. Dropping an unused ticket books the event as lost, so that conservation reveals the defect instead of
//! hiding it.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use relay_event::Outcome;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const OUTCOMES: usize = Outcome::ALL.len();

/// Counts every event of one relay since its start.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Counts>);

/// One consistent reading of the ledger.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Events that arrived.
    pub received: u64,
    /// Events found in the spool at the start, or restored to it.
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
    /// Events that ended with this outcome.
    pub fn ended(&self, outcome: Outcome) -> u64 {
        self.ended[outcome as usize]
    }

    /// Events that ended, with any outcome.
    pub fn ended_total(&self) -> u64 {
        self.ended.iter().sum()
    }

    /// The conservation difference: `received + recovered - in_progress - spooled - ended`. It must be 0.
    pub fn difference(&self) -> i64 {
        let taken = self.received + self.recovered;
        let found = self.in_progress + self.spooled + self.ended_total();
        signed(taken) - signed(found)
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
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

    /// Books in events that end at once.
    pub fn refuse(&self, events: usize, outcome: Outcome) {
        let mut counts = self.lock();
        counts.received += events as u64;
        counts.ended[outcome as usize] += events as u64;
    }

    /// Books in the events in the spool at the start, or restored to it.
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

    /// Records the spool's size and the age of its oldest event.
    pub fn note_spool(&self, bytes: u64, oldest_ms: i64) {
        let mut counts = self.lock();
        counts.spool_bytes = bytes;
        counts.spool_oldest_ms = oldest_ms;
    }

    /// One consistent reading.
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// After a panic under the lock the plain numbers are still usable.
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
    /// Ends the event before it reaches the spool.
    pub fn end(mut self, outcome: Outcome) {
        self.book_out(|counts| counts.ended[outcome as usize] += 1);
    }

    /// Books the event as spooled: it is on disk.
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

/// Encodes one consistent reading of the ledger per scrape, so conservation holds in each.
#[derive(Debug)]
pub(super) struct LedgerCollector(pub(super) Arc<Ledger>);

impl Collector for LedgerCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.0.counts();
        let mut counter = |name, help, value: u64| {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        counter(
            "events_received",
            "Events that arrived, readable or not",
            counts.received,
        )?;
        counter(
            "events_recovered",
            "Events found in the spool at the start, or replayed from quarantine",
            counts.recovered,
        )?;
        let mut gauge = |name, help, value: i64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        gauge(
            "events_in_progress",
            "Events between arrival and spool",
            signed(counts.in_progress),
        )?;
        gauge(
            "spool_events",
            "Events waiting for delivery",
            signed(counts.spooled),
        )?;
        gauge(
            "spool_bytes",
            "Bytes of events waiting for delivery",
            signed(counts.spool_bytes),
        )?;
        gauge(
            "spool_oldest_timestamp_seconds",
            "When the oldest waiting event was stored, in seconds since 1970; 0 when none waits",
            counts.spool_oldest_ms / 1000,
        )?;
        gauge(
            "conservation_difference",
            "Events received or recovered that neither ended nor wait: any value but 0 is a defect of the relay",
            counts.difference(),
        )?;
        let (name, help) = ("events_ended", "Events by outcome; every event ends exactly once");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for outcome in Outcome::ALL {
            let labels = [("outcome", outcome.label()), ("reason", outcome.reason())];
            ConstCounter::new(counts.ended(*outcome)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
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
        ledger.refuse(2, Outcome::Overloaded);
        let counts = ledger.counts();
        assert_eq!((counts.in_progress, counts.spooled), (0, 8));
        assert_eq!(counts.ended(Outcome::Bot), 1);
        assert_eq!(counts.ended(Outcome::Lost), 1);
        assert_eq!((counts.received, counts.ended(Outcome::Overloaded)), (6, 2));
        assert_eq!(counts.difference(), 0);
    }
}
