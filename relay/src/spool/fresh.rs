//! What arrives for a lane that has nothing else to read is handed to it from memory, once it is on disk.
//!
//! Reading every event back would cost the writer a transaction and a decoding per event. The disk stays
//! the truth: a lane that fell behind, or whose events were touched, reads from there again.

use super::Waiting;
use super::lanes::PARK_MAX;
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

impl State {
    /// Whether a parked event may be due: its time has come, or lies further away than anything is parked,
    /// because the clock was set back.
    fn may_be_due(&self, now: Moment) -> bool {
        now >= self.next_due || (self.next_due != NEVER && self.next_due > now.plus(PARK_MAX))
    }
}

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
        if after != state.given || state.may_be_due(now) || may_be_behind {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::millis;

    fn event(seq: i64) -> Waiting {
        Waiting {
            seq,
            stored_at: Moment(0),
            was_parked: false,
            scrubbed: None,
            purges: 0,
        }
    }

    fn take(fresh: &Fresh, after: i64, now: i64) -> Option<Vec<i64>> {
        let taken = fresh.take(after, 3, Moment(now))?;
        Some(taken.iter().map(|event| event.seq).collect())
    }

    #[test]
    fn a_lane_that_has_all_is_handed_what_arrives_and_any_other_has_to_look() {
        let fresh = Fresh::default();
        fresh.arrived(event(1));
        assert_eq!(take(&fresh, 0, 0), None, "nobody has looked yet");
        fresh.looked(1, false, None);
        fresh.arrived(event(2));
        assert_eq!(take(&fresh, 1, 0), None, "there was more than was given");
        fresh.looked(2, true, None);
        assert_eq!(take(&fresh, 2, 0), Some(vec![]));
        (3..8).for_each(|seq| fresh.arrived(event(seq)));
        assert_eq!(take(&fresh, 0, 0), None, "it starts over");
        assert_eq!(take(&fresh, 2, 0), Some(vec![3, 4, 5]));
        assert_eq!(take(&fresh, 5, 0), Some(vec![6, 7]));
        fresh.arrived(event(8));
        fresh.forget();
        fresh.arrived(event(9));
        assert_eq!(take(&fresh, 7, 0), None, "something was taken away");
    }

    #[test]
    fn a_lane_that_falls_behind_is_handed_what_it_has_and_looks_for_the_rest() {
        let fresh = Fresh::default();
        fresh.looked(0, true, None);
        let count = i64::try_from(FRESH_MAX).unwrap();
        (1..=count + 5).for_each(|seq| fresh.arrived(event(seq)));
        let mut after = 0;
        while let Some(taken) = take(&fresh, after, 0) {
            after = *taken.last().unwrap();
        }
        assert_eq!(after, count);
    }

    #[test]
    fn an_event_that_was_parked_makes_it_look_when_its_time_has_come() {
        let fresh = Fresh::default();
        fresh.looked(0, true, Some(Moment(20)));
        assert_eq!(take(&fresh, 0, 19), Some(vec![]));
        assert_eq!(take(&fresh, 0, 20), None);
        fresh.parked(Moment(10));
        assert_eq!((take(&fresh, 0, 9), take(&fresh, 0, 10)), (Some(vec![]), None));
        let hour = millis(PARK_MAX);
        fresh.looked(0, true, Some(Moment(hour)));
        assert_eq!(take(&fresh, 0, 0), Some(vec![]));
        assert_eq!(take(&fresh, 0, -1), None, "the clock was set back");
        fresh.looked(0, true, None);
        assert_eq!(take(&fresh, 0, i64::MAX - 1), Some(vec![]));
        assert_eq!(take(&fresh, 0, -hour), Some(vec![]));
    }
}
