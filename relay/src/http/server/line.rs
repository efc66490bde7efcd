//! State shared by the table of connections, a connection and its responses.

use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Signals between the table and a connection.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Cancelled when the connection has to close.
    pub(super) go: CancellationToken,
    /// Notified when the connection has to release its buffers.
    pub(super) rest: Notify,
    /// Requests in flight.
    pub(super) requests: AtomicUsize,
    /// Responses that are not sent.
    pub(super) unsent: Unsent,
}

/// Responses are counted by the period in which they were made: this one, the last, and the one before.
const PERIODS: usize = 3;

/// The unsent responses of a connection, by the period in which they were made.
#[derive(Debug, Default)]
pub(super) struct Unsent([AtomicUsize; PERIODS]);

impl Unsent {
    /// Unsent responses of all periods.
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|period| period.load(Ordering::Relaxed)).sum()
    }

    /// Whether any is older than two whole periods. Called when `next` is about to begin.
    pub(super) fn is_overdue(&self, next: usize) -> bool {
        self.0[next % PERIODS].load(Ordering::Relaxed) > 0
    }

    /// Counts a response that was made in this period.
    pub(super) fn add(&self, period: usize) {
        self.0[period % PERIODS].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a response of this period as sent.
    pub(super) fn remove(&self, period: usize) {
        self.0[period % PERIODS].fetch_sub(1, Ordering::Relaxed);
    }
}
