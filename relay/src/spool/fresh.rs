//! What arrives for a lane that has nothing else to read is handed to it from memory, once it is on disk.
//!
//! Reading every event back would cost the writer a transaction and a decoding per event. The disk stays
//! the truth: a lane that fell behind, or whose events were touched, reads from there again.

use super::Waiting;
use crate::clock::Moment;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most events that are kept in memory for one lane. When one more comes the lane has fallen behind, and
/// reads the rest from the disk.
const FRESH_MAX: usize = 32;

/// A lane's part of memory. Told of changes on the writer alone, in the order of the commits.
#[derive(Debug)]
pub(super) struct Fresh(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Whether the lane has been given, or finds in `queue`, all that waits on disk and is not parked.
    has_all: bool,
    /// The highest number the lane was given: one that asks after another starts over.
    given: i64,
    /// Oldest first.
    queue: VecDeque<Waiting>,
    /// When the next parked event comes due, as far as is known: the disk has to be asked then.
    next_due: Moment,
}

/// No parked event is known of.
const NEVER: Moment = Moment(i64::MAX);
/// Nobody has looked yet.
const UNKNOWN: Moment = Moment(i64::MIN);

impl Default for Fresh {
    /// A lane that knows nothing yet and has to look on disk.
    fn default() -> Self {
        Self(Mutex::new(State {
            has_all: false,
            given: 0,
            queue: VecDeque::new(),
            next_due: UNKNOWN,
        }))
    }
}

impl Fresh {
    /// What the lane gets after a number without a look at the disk; `None` when it has to look.
    pub(super) fn take(&self, after: i64, count: usize, now: Moment) -> Option<Vec<Waiting>> {
        let mut state = self.lock();
        let may_be_behind = state.queue.is_empty() && !state.has_all;
        if after != state.given || now >= state.next_due || may_be_behind {
            return None;
        }
        let count = count.min(state.queue.len());
        let events: Vec<Waiting> = state.queue.drain(..count).collect();
        state.given = events.last().map_or(after, |last| last.seq);
        Some(events)
    }

    /// An event is on disk.
    pub(super) fn arrived(&self, event: Waiting) {
        let mut state = self.lock();
        state.has_all &= state.queue.len() < FRESH_MAX;
        if state.has_all {
            state.queue.push_back(event);
        }
    }

    /// The lane has looked on disk, and was given what waits there up to a number: all of it, or a part.
    pub(super) fn looked(&self, given: i64, has_all: bool, next_due: Option<Moment>) {
        // What was queued is among what the look found, or behind it.
        *self.lock() = State {
            has_all,
            given,
            queue: VecDeque::new(),
            next_due: next_due.unwrap_or(NEVER),
        };
    }

    /// An event was parked.
    pub(super) fn parked(&self, until: Moment) {
        let mut state = self.lock();
        state.next_due = state.next_due.min(until);
    }

    /// Events were taken away or put back by somebody else: the lane has to look on disk.
    pub(super) fn forget(&self) {
        let mut state = self.lock();
        state.has_all = false;
        state.queue.clear();
        state.next_due = UNKNOWN;
    }

    /// The state is consistent between any two statements.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
