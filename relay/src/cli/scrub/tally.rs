//! The counts and times of `scrub`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time spent in policy and guard, over all events.
#[derive(Default)]
pub(super) struct Timings {
    /// Events that passed the gate.
    pub(super) events: Cell<u32>,
    /// In the policy's sandbox.
    pub(super) policy: Cell<Duration>,
    /// In the guard.
    pub(super) guard: Cell<Duration>,
}

impl std::fmt::Display for Timings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mean =
            |total: &Cell<Duration>| total.get().as_secs_f64() * 1e6 / f64::from(self.events.get().max(1));
        let (policy, guard) = (mean(&self.policy), mean(&self.guard));
        write!(
            f,
            "per event: {policy:.1} µs in the policy's sandbox, {guard:.1} µs in the native guard"
        )
    }
}

impl Timings {
    /// Adds the time since `since`.
    pub(super) fn add(room: &Cell<Duration>, since: Instant) {
        room.set(room.get() + since.elapsed());
    }
}

/// Number of lines per result.
#[derive(Default)]
pub(super) struct Tally {
    /// Lines of which some data would leave.
    pub(super) leave: usize,
    /// The others, by reason.
    pub(super) ended: BTreeMap<String, usize>,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dropped: usize = self.ended.values().sum();
        write!(
            f,
            "{} read, {} would leave, {dropped} dropped",
            self.leave + dropped,
            self.leave
        )?;
        for (why, count) in &self.ended {
            write!(f, "; {why}: {count}")?;
        }
        Ok(())
    }
}
