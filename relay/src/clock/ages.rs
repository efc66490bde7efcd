//! The age of stored data, independent of changes to the wall clock.
//!
//! NTP sets a wall clock after a boot without a battery, or an operator sets it, sometimes by days. An age by that clock
//! could expire acknowledged events at once, or never. Stored data therefore has a time of its own, the monotonic time: it
//! begins at the wall clock's time and then runs monotonically. The offset of the wall clock from it is kept on disk, so
//! that the next start continues the same time.

use super::{Clock, Timestamp};
use std::time::Duration;

/// The monotonic time of `stored_at` and everything compared with it.
#[derive(Clone, Debug)]
pub struct Ages {
    steady: Clock,
    wall: Clock,
    /// The start of this process. Anything older was stored by an earlier one.
    started: Timestamp,
    /// How far the wall clock was ahead of the monotonic time at the start, in milliseconds.
    ahead_at_start: i64,
}

impl Ages {
    /// Continues the time of an earlier process. `ahead_ms` is how far the wall clock was ahead of the monotonic time then;
    /// `newest` is the latest timestamp on disk, if there is one: the monotonic time does not go back before it. If there is
    /// none, it begins at the wall clock's time.
    pub fn resume(wall: &Clock, ahead_ms: i64, newest: Option<Timestamp>) -> Self {
        let now = wall.now();
        let started = match newest {
            Some(newest) => Timestamp(now.0.saturating_sub(ahead_ms)).max(newest),
            None => now,
        };
        Self {
            steady: wall.steady(started),
            wall: wall.clone(),
            started,
            ahead_at_start: now.0.saturating_sub(started.0),
        }
    }

    /// The monotonic time now.
    pub fn now(&self) -> Timestamp {
        self.steady.now()
    }

    /// The time since something was stored: by monotonic time, and for data of an earlier process by the smaller of
    /// monotonic time and wall clock. The wall clock may have been wrong when this process began.
    pub fn age(&self, stored_at: Timestamp) -> Duration {
        self.judged_at(stored_at).since(stored_at)
    }

    /// The current time by which [`Ages::age`] is measured.
    pub fn judged_at(&self, stored_at: Timestamp) -> Timestamp {
        match stored_at < self.started {
            true => self.earliest_now(),
            false => self.now(),
        }
    }

    /// The smaller of monotonic time and wall clock.
    pub fn earliest_now(&self) -> Timestamp {
        let by_wall = self.wall.now().0.saturating_sub(self.ahead_at_start);
        self.now().min(Timestamp(by_wall))
    }

    /// The limit before which data is too old.
    pub fn too_old(&self, age_max: Duration) -> TooOld {
        let ago = |now: Timestamp| {
            now.0
                .saturating_sub(i64::try_from(age_max.as_millis()).unwrap_or(i64::MAX))
        };
        TooOld {
            started: self.started.0,
            before: ago(self.earliest_now()),
            since: ago(self.now()),
        }
    }

    /// How far the wall clock is ahead of the monotonic time, in milliseconds.
    pub fn ahead_ms(&self) -> i64 {
        self.wall.now().0.saturating_sub(self.now().0)
    }

    /// A moment of monotonic time as the wall clock would have shown it.
    pub fn shown(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_add(self.ahead_ms()))
    }

    /// A moment of the wall clock in monotonic time.
    pub fn of_wall(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_sub(self.ahead_ms()))
    }
}

/// The limit before which data is too old, for a query.
#[derive(Clone, Copy, Debug)]
pub struct TooOld {
    started: i64,
    before: i64,
    since: i64,
}

impl TooOld {
    /// The limit for a column, as an expression over a query's first three parameters.
    pub fn limit(column: &str) -> String {
        format!("iif({column} < ?1, ?2, ?3)")
    }

    /// Those parameters.
    pub fn parameters(self) -> [i64; 3] {
        [self.started, self.before, self.since]
    }
}

/// Uses one clock for both, for data that does not outlive the process, and in tests.
impl From<Clock> for Ages {
    fn from(clock: Clock) -> Self {
        Self {
            steady: clock.clone(),
            wall: clock,
            started: Timestamp(i64::MIN),
            ahead_at_start: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;
    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;

    fn hours(age: Duration) -> i64 {
        i64::try_from(age.as_millis()).unwrap() / HOUR
    }

    #[test]
    fn what_this_process_stored_is_as_old_as_time_has_passed_however_the_clock_is_set() {
        for jump in [-3 * DAY, -HOUR, -1000, 0, 1000, HOUR, 2 * DAY, 400 * DAY] {
            let clock = Clock::standing_at(Timestamp(NOW));
            let ages = Ages::resume(&clock, 0, None);
            let stored_at = ages.now();
            clock.jump(Timestamp(NOW + jump));
            assert_eq!(hours(ages.age(stored_at)), 0, "{jump}");
            assert_eq!(ages.ahead_ms(), jump);
            assert_eq!(ages.shown(stored_at), Timestamp(NOW + jump));
            assert_eq!(ages.of_wall(clock.now()), ages.now());
            clock.set(Timestamp(NOW + jump + 5 * HOUR));
            assert_eq!(hours(ages.age(stored_at)), 5, "{jump}");
        }
    }

    #[test]
    fn an_age_goes_on_over_a_restart_though_the_clock_was_set_before_it() {
        let check = |jump: i64| {
            let clock = Clock::standing_at(Timestamp(NOW));
            let first = Ages::resume(&clock, 0, None);
            let stored_at = first.now();
            clock.jump(Timestamp(NOW + jump));
            clock.set(Timestamp(NOW + jump + HOUR));
            let kept = first.ahead_ms();
            // The relay was away for two hours.
            clock.set(Timestamp(NOW + jump + 3 * HOUR));
            let second = Ages::resume(&clock, kept, Some(stored_at));
            assert_eq!(hours(second.age(stored_at)), 3, "{jump}");
        };
        [-3 * DAY, -HOUR, 0, HOUR, 2 * DAY].into_iter().for_each(check);
    }

    #[test]
    fn a_clock_that_was_wrong_at_the_start_makes_nothing_older_than_it_is_by_either() {
        let check = |wrong: i64, want_before: i64, want_after: i64| {
            let stored_at = Timestamp(NOW - HOUR);
            let clock = Clock::standing_at(Timestamp(NOW + wrong));
            let ages = Ages::resume(&clock, 0, Some(stored_at));
            assert_eq!(hours(ages.age(stored_at)), want_before, "{wrong}");
            clock.jump(Timestamp(NOW));
            assert_eq!(hours(ages.age(stored_at)), want_after, "{wrong}, set right");
        };
        check(0, 1, 1);
        check(3 * DAY, 73, 1);
        // The wall clock is behind the data: monotonic time begins at the data's, and the missing hour is not made up.
        check(-2 * DAY, 0, 0);
    }

    #[test]
    fn time_does_not_go_back_behind_what_was_written_and_begins_anew_with_nothing() {
        let clock = Clock::standing_at(Timestamp(NOW));
        let ahead = Timestamp(NOW + 3 * DAY);
        assert_eq!(Ages::resume(&clock, 0, Some(ahead)).now(), ahead);
        assert_eq!(Ages::resume(&clock, -3 * DAY, Some(ahead)).now(), ahead);
        assert_eq!(Ages::resume(&clock, 2 * DAY, None).now(), clock.now());
    }

    #[test]
    fn the_machines_even_time_goes_on() {
        let ages = Ages::resume(&Clock::system(), 0, None);
        let first = ages.now();
        while ages.now() == first {
            std::hint::spin_loop();
        }
        assert!(ages.now() > first);
    }
}
