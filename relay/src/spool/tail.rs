//! The tail of a lane: once an event is on disk, a lane that has read all earlier ones gets it from memory.
//!
//! Reading every event back would cost the writer a transaction and a decoding per event. The disk remains the source of
//! truth: a lane that fell behind, or whose events were changed, reads from disk again.

use super::Waiting;
use crate::clock::Timestamp;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest an event is parked. A longer time is clamped to it. A stored time further away than this was written by a clock
/// that ran ahead: the event is due then.
pub(super) const PARK_MAX: Duration = Duration::from_secs(3600);

/// Most events kept in memory for one lane. With one more the lane has fallen behind, and reads the rest from disk.
const TAIL_MAX: usize = 32;
/// Most events kept in memory for all lanes. Above it lanes fall behind sooner.
const TAILS_MAX: usize = 4096;

/// A lane's part of memory. Only the writer changes it, in the order of the commits.
#[derive(Debug)]
pub(super) struct Tail(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Whether the lane was given, or finds in `queue`, every event on disk that is not parked.
    has_all: bool,
    /// The highest number the lane was given: if it asks after another number, it reads from disk.
    given: i64,
    /// Oldest first.
    queue: VecDeque<Waiting>,
    /// The number of events in all lanes' queues.
    in_all: Arc<AtomicUsize>,
    /// When the next parked event comes due, if known: then the lane must read the disk.
    next_due: Timestamp,
}

/// No parked event is known.
const NEVER: Timestamp = Timestamp(i64::MAX);
/// The disk was not read yet.
const UNKNOWN: Timestamp = Timestamp(i64::MIN);

impl State {
    fn keeps_up(&self) -> bool {
        self.has_all && self.queue.len() < TAIL_MAX && self.in_all.load(Ordering::Relaxed) < TAILS_MAX
    }

    fn clear(&mut self) {
        self.in_all.fetch_sub(self.queue.len(), Ordering::Relaxed);
        self.queue = VecDeque::new();
    }

    /// Whether a parked event may be due: its time has come, or is further away than [`PARK_MAX`], because the clock was set
    /// back.
    fn may_be_due(&self, now: Timestamp) -> bool {
        now >= self.next_due || (self.next_due != NEVER && self.next_due > now.plus(PARK_MAX))
    }
}

impl Tail {
    /// The state of a lane that has not read the disk yet. The lanes share the count of their events.
    pub(super) fn new(in_all: &Arc<AtomicUsize>) -> Self {
        Self(Mutex::new(State {
            has_all: false,
            given: 0,
            queue: VecDeque::new(),
            in_all: Arc::clone(in_all),
            next_due: UNKNOWN,
        }))
    }

    /// Whether the lane would get a new event from memory.
    pub(super) fn keeps_up(&self) -> bool {
        self.lock().keeps_up()
    }

    /// The lane's next events after a number; `None` if it must read the disk.
    pub(super) fn take(&self, after: i64, count: usize, now: Timestamp) -> Option<Vec<Waiting>> {
        let mut state = self.lock();
        let may_be_behind = state.queue.is_empty() && !state.has_all;
        if after != state.given || state.may_be_due(now) || may_be_behind {
            return None;
        }
        // An empty queue keeps no memory: there are thousands, and most are empty after a burst.
        let events = if state.queue.len() <= count {
            Vec::from(std::mem::take(&mut state.queue))
        } else {
            state.queue.drain(..count).collect()
        };
        state.in_all.fetch_sub(events.len(), Ordering::Relaxed);
        state.given = events.last().map_or(after, |last| last.seq);
        Some(events)
    }

    /// An event is on disk.
    pub(super) fn arrived(&self, event: Waiting) {
        let mut state = self.lock();
        state.has_all = state.keeps_up();
        if state.has_all {
            state.queue.push_back(event);
            state.in_all.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The lane has read the disk, and was given the events there up to a number: all of them, or a part.
    pub(super) fn looked(&self, given: i64, has_all: bool, next_due: Option<Timestamp>) {
        // The read returned the queued events, or they come after it.
        let mut state = self.lock();
        state.clear();
        (state.has_all, state.given) = (has_all, given);
        state.next_due = next_due.unwrap_or(NEVER);
    }

    /// When the next parked event comes due; `None` if none is known.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        Some(self.lock().next_due).filter(|due| *due != NEVER && *due != UNKNOWN)
    }

    /// An event was parked.
    pub(super) fn parked(&self, until: Timestamp) {
        let mut state = self.lock();
        state.next_due = state.next_due.min(until);
    }

    /// Events were removed or moved: the lane must read the disk.
    pub(super) fn forget(&self) {
        let mut state = self.lock();
        state.clear();
        (state.has_all, state.next_due) = (false, UNKNOWN);
    }

    /// The state is consistent after each statement, so a panic elsewhere leaves it usable.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{millis, tests};

    fn event(seq: i64) -> Waiting {
        Waiting {
            seq,
            stored_at: Timestamp(0),
            was_parked: false,
            scrubbed: tests::event("e", 1),
            purges: 0,
        }
    }

    fn take(tail: &Tail, after: i64, now: i64) -> Option<Vec<i64>> {
        let taken = tail.take(after, 3, Timestamp(now))?;
        Some(taken.iter().map(|event| event.seq).collect())
    }

    #[test]
    fn a_lane_that_has_all_is_handed_what_arrives_and_any_other_has_to_look() {
        let tail = Tail::new(&Arc::default());
        tail.arrived(event(1));
        assert_eq!(take(&tail, 0, 0), None, "the disk was not read yet");
        tail.looked(1, false, None);
        tail.arrived(event(2));
        assert_eq!(take(&tail, 1, 0), None, "there was more than was given");
        tail.looked(2, true, None);
        assert_eq!(take(&tail, 2, 0), Some(vec![]));
        (3..8).for_each(|seq| tail.arrived(event(seq)));
        assert_eq!(take(&tail, 0, 0), None, "it starts over");
        assert_eq!(take(&tail, 2, 0), Some(vec![3, 4, 5]));
        assert_eq!(take(&tail, 5, 0), Some(vec![6, 7]));
        tail.arrived(event(8));
        tail.forget();
        tail.arrived(event(9));
        assert_eq!(take(&tail, 7, 0), None, "something was taken away");
    }

    #[test]
    fn a_lane_that_falls_behind_is_handed_what_it_has_and_looks_for_the_rest() {
        let tail = Tail::new(&Arc::default());
        tail.looked(0, true, None);
        let count = i64::try_from(TAIL_MAX).unwrap();
        (1..=count + 5).for_each(|seq| tail.arrived(event(seq)));
        let mut after = 0;
        while let Some(taken) = take(&tail, after, 0) {
            after = *taken.last().unwrap();
        }
        assert_eq!(after, count);
    }

    #[test]
    fn an_event_that_was_parked_makes_it_look_when_its_time_has_come() {
        let tail = Tail::new(&Arc::default());
        tail.looked(0, true, Some(Timestamp(20)));
        assert_eq!(take(&tail, 0, 19), Some(vec![]));
        assert_eq!(take(&tail, 0, 20), None);
        tail.parked(Timestamp(10));
        assert_eq!((take(&tail, 0, 9), take(&tail, 0, 10)), (Some(vec![]), None));
        let hour = millis(PARK_MAX);
        tail.looked(0, true, Some(Timestamp(hour)));
        assert_eq!(take(&tail, 0, 0), Some(vec![]));
        assert_eq!(take(&tail, 0, -1), None, "the clock was set back");
        tail.looked(0, true, None);
        assert_eq!(take(&tail, 0, i64::MAX - 1), Some(vec![]));
        assert_eq!(take(&tail, 0, -hour), Some(vec![]));
    }
}
