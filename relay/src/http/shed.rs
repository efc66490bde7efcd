//! Load shedding: how many requests are worked on at once, so that those which are taken are answered soon.
//!
//! The limit follows how long requests take from their last byte until their events are on disk, as TCP
//! follows the network: it grows by a step while answers come in time, and falls by a third when one is
//! late, or has not come yet and should have. Above the limit the relay says 503 at once, before it reads
//! a body.
//!
//! A request waits before anybody looks at it, too: with thousands of connections it lies in its socket until
//! theirs have had their turn. How long that takes, a task tells that does nothing but wait for its own.

use crate::metrics::door::DoorMetrics;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The limit never falls below so many, that there is always something to learn from.
const FLOOR: usize = 16;
/// Nor below the largest limit's share of one in so many. As shipped that is 128, about ten milliseconds of work, so
/// fewer would hardly be answered sooner. And while the disk is slow all of them share the wait for it: fewer
/// would only be refused.
const FLOOR_ONE_IN: usize = 8;
/// How often it is found out how long a turn takes.
const TURN_EVERY: Duration = Duration::from_millis(50);
/// In how many steps it grows from nothing to the largest limit.
const STEPS: usize = 32;

/// The limit as a state machine: moments go in, a limit comes out. It changes once in a window, which is
/// as long as an answer may take; only a first late answer is not waited with.
#[derive(Clone, Debug)]
struct Limit {
    target: Duration,
    floor: usize,
    ceiling: usize,
    now: usize,
    changed: Option<(Instant, Change)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Grew,
    Fell,
}

impl Limit {
    fn new(target: Duration, ceiling: usize) -> Self {
        Self {
            target,
            floor: FLOOR.max(ceiling / FLOOR_ONE_IN).min(ceiling),
            ceiling,
            now: ceiling,
            changed: None,
        }
    }

    /// Events are on disk that took so long, while this many requests were under way.
    fn stored(&mut self, now: Instant, took: Duration, under_way: usize) {
        if took > self.target {
            self.late(now, under_way);
        } else if self.window_is_over(now) {
            let step = (self.ceiling / STEPS).max(1);
            self.now = self.ceiling.min(self.now + step);
            self.changed = Some((now, Change::Grew));
        }
    }

    /// An answer is late. What is late together has one cause, so a window sees one fall. It starts at what
    /// was under way: a limit far above that would have to fall for long before it mattered.
    fn late(&mut self, now: Instant, under_way: usize) {
        let fell = matches!(self.changed, Some((_, Change::Fell)));
        if fell && !self.window_is_over(now) {
            return;
        }
        let from = self.now.min(under_way);
        self.now = self.floor.max(from - from / 3);
        self.changed = Some((now, Change::Fell));
    }

    fn window_is_over(&self, now: Instant) -> bool {
        self.changed
            .is_none_or(|(then, _)| now.saturating_duration_since(then) >= self.target)
    }
}

/// Lets requests in, up to the limit.
#[derive(Debug)]
pub struct Admission {
    state: Mutex<State>,
    limit: Gauge,
    in_progress: Gauge,
}

#[derive(Debug)]
struct State {
    limit: Limit,
    /// When each request under way began. Numbers grow with time, so the first is the oldest.
    under_way: BTreeMap<u64, Instant>,
    next: u64,
    turn: Turn,
}

/// How long what is ready to run waits until it does.
#[derive(Debug, Default)]
struct Turn {
    last: Duration,
    /// When the next turn is due: while it is overdue, it takes that long at least.
    due: Option<Instant>,
}

/// A request that was let in. Its place is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    began: Instant,
    admission: Arc<Admission>,
}

impl Admission {
    /// For answers within `target`, with at most `ceiling` requests at once.
    pub fn new(target: Duration, ceiling: usize, metrics: &DoorMetrics) -> Self {
        let admission = Self {
            state: Mutex::new(State {
                limit: Limit::new(target, ceiling),
                under_way: BTreeMap::new(),
                next: 0,
                turn: Turn::default(),
            }),
            limit: metrics.requests_limit.clone(),
            in_progress: metrics.requests_in_progress.clone(),
        };
        admission.show(&admission.lock());
        admission
    }

    /// Looks from now on how long a turn takes, until the admission is dropped.
    pub(crate) fn watch_turns(self: &Arc<Self>) {
        let admission = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(admission) = admission.upgrade() {
                let now = Instant::now();
                let due = now + TURN_EVERY;
                admission.lock().turn.came(now, due);
                drop(admission);
                tokio::time::sleep_until(due.into()).await;
            }
        });
    }

    /// Whether a request would be refused now. Asked before its body is read.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let full = state.is_full(now);
        self.show(&state);
        full
    }

    /// Lets a request in whose body was read; `None` when there is no place for it.
    pub(crate) fn begin(self: &Arc<Self>, now: Instant) -> Option<Place> {
        let mut state = self.lock();
        if state.is_full(now) {
            self.show(&state);
            return None;
        }
        let number = state.next;
        state.next += 1;
        state.under_way.insert(number, now);
        self.show(&state);
        Some(Place {
            number,
            began: now,
            admission: Arc::clone(self),
        })
    }

    fn show(&self, state: &State) {
        let signed = |n| i64::try_from(n).unwrap_or(i64::MAX);
        self.limit.set(signed(state.limit.now));
        self.in_progress.set(signed(state.under_way.len()));
    }

    /// A panic while holding the lock leaves a state that is still right.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_full(&mut self, now: Instant) -> bool {
        let oldest = self.under_way.first_key_value().map(|(_, began)| *began);
        let waits = oldest.map(|began| now.saturating_duration_since(began) + self.turn.takes(now));
        if waits.is_some_and(|waits| waits > self.limit.target) {
            self.limit.late(now, self.under_way.len());
        }
        self.under_way.len() >= self.limit.now
    }
}

impl Turn {
    /// A turn came, and when the next one is due.
    fn came(&mut self, now: Instant, next: Instant) {
        let due = self.due.replace(next);
        self.last = due.map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
    }

    /// How long a turn takes at present.
    fn takes(&self, now: Instant) -> Duration {
        let overdue = self.due.map(|due| now.saturating_duration_since(due));
        self.last.max(overdue.unwrap_or_default())
    }
}

impl Place {
    /// The request's events are on disk: its place is free. Told by the writer, since the request's own turn may come much
    /// later where thousands are refused beside it; places that were kept until then would be what refuses them. A
    /// request that ends otherwise says nothing about the disk.
    pub(crate) fn stored(self, now: Instant) {
        let mut state = self.admission.lock();
        let under_way = state.under_way.len();
        let took = now.saturating_duration_since(self.began) + state.turn.takes(now);
        state.limit.stored(now, took, under_way);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.under_way.remove(&self.number);
        self.admission.show(&state);
    }
}

#[cfg(test)]
mod tests;
