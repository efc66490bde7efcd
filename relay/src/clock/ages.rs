//! How old what is stored is, whatever happens to the wall clock.
//!
//! A wall clock is set: by NTP after a start without a battery, or by hand, by days. An age by it would let
//! acknowledged events expire at once, or never. What is stored therefore has a time of its own, which begins at the
//! wall clock's and then goes on evenly. How far the wall clock has moved away from it is kept on disk, so that the
//! next start goes on with the same time.

use super::{Clock, Moment};
use std::time::Duration;

/// The even time that `stored_at` and everything compared with it is in.
#[derive(Clone, Debug)]
pub struct Ages {
    steady: Clock,
    wall: Clock,
    /// When this process began. What is older was stored by an earlier one.
    started: Moment,
    /// How far the wall clock was ahead of the even time at that moment, in milliseconds.
    ahead_at_start: i64,
}

impl Ages {
    /// Goes on where an earlier process ended. `ahead_ms` is how far the wall clock was ahead of the even time then;
    /// `newest` is the latest time that was written, if anything is kept: the even time does not go back behind it.
    /// If nothing is kept, it begins anew at the wall clock's.
    pub fn resume(wall: &Clock, ahead_ms: i64, newest: Option<Moment>) -> Self {
        let now = wall.now();
        let started = match newest {
            Some(newest) => Moment(now.0.saturating_sub(ahead_ms)).max(newest),
            None => now,
        };
        Self {
            steady: wall.steady(started),
            wall: wall.clone(),
            started,
            ahead_at_start: now.0.saturating_sub(started.0),
        }
    }

    /// The even time now.
    pub fn now(&self) -> Moment {
        self.steady.now()
    }

    /// How long ago something was stored: by even time, and for what an earlier process stored by the smaller of even
    /// time and wall clock. The wall clock may have been wrong when this process began.
    pub fn age(&self, stored_at: Moment) -> Duration {
        self.judged_at(stored_at).since(stored_at)
    }

    /// The moment by which the age of something counts.
    pub fn judged_at(&self, stored_at: Moment) -> Moment {
        match stored_at < self.started {
            true => self.earliest_now(),
            false => self.now(),
        }
    }

    /// The smaller of even time and wall clock.
    pub fn earliest_now(&self) -> Moment {
        let by_wall = self.wall.now().0.saturating_sub(self.ahead_at_start);
        self.now().min(Moment(by_wall))
    }

    /// Where too old begins.
    pub fn too_old(&self, age_max: Duration) -> TooOld {
        let ago = |now: Moment| {
            now.0
                .saturating_sub(i64::try_from(age_max.as_millis()).unwrap_or(i64::MAX))
        };
        TooOld {
            started: self.started.0,
            before: ago(self.earliest_now()),
            since: ago(self.now()),
        }
    }

    /// How far the wall clock is ahead of the even time, in milliseconds.
    pub fn ahead_ms(&self) -> i64 {
        self.wall.now().0.saturating_sub(self.now().0)
    }

    /// A moment of even time as the wall clock would have shown it.
    pub fn shown(&self, at: Moment) -> Moment {
        Moment(at.0.saturating_add(self.ahead_ms()))
    }

    /// A moment of the wall clock in even time.
    pub fn of_wall(&self, at: Moment) -> Moment {
        Moment(at.0.saturating_sub(self.ahead_ms()))
    }
}

/// What was stored before this is too old, for a query.
#[derive(Clone, Copy, Debug)]
pub struct TooOld {
    started: i64,
    before: i64,
    since: i64,
}

impl TooOld {
    /// The limit for a column, by a query's first three parameters.
    pub fn limit(column: &str) -> String {
        format!("iif({column} < ?1, ?2, ?3)")
    }

    /// Those parameters.
    pub fn parameters(self) -> [i64; 3] {
        [self.started, self.before, self.since]
    }
}

/// Takes a clock for both, as where nothing is kept between two starts, and in tests.
impl From<Clock> for Ages {
    fn from(clock: Clock) -> Self {
        Self {
            steady: clock.clone(),
            wall: clock,
            started: Moment(i64::MIN),
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
            let clock = Clock::standing_at(Moment(NOW));
            let ages = Ages::resume(&clock, 0, None);
            let stored_at = ages.now();
            clock.jump(Moment(NOW + jump));
            assert_eq!(hours(ages.age(stored_at)), 0, "{jump}");
            assert_eq!(ages.ahead_ms(), jump);
            assert_eq!(ages.shown(stored_at), Moment(NOW + jump));
            assert_eq!(ages.of_wall(clock.now()), ages.now());
            clock.set(Moment(NOW + jump + 5 * HOUR));
            assert_eq!(hours(ages.age(stored_at)), 5, "{jump}");
        }
    }

    #[test]
    fn an_age_goes_on_over_a_restart_though_the_clock_was_set_before_it() {
        let check = |jump: i64| {
            let clock = Clock::standing_at(Moment(NOW));
            let first = Ages::resume(&clock, 0, None);
            let stored_at = first.now();
            clock.jump(Moment(NOW + jump));
            clock.set(Moment(NOW + jump + HOUR));
            let kept = first.ahead_ms();
            // The relay was away for two hours.
            clock.set(Moment(NOW + jump + 3 * HOUR));
            let second = Ages::resume(&clock, kept, Some(stored_at));
            assert_eq!(hours(second.age(stored_at)), 3, "{jump}");
        };
        [-3 * DAY, -HOUR, 0, HOUR, 2 * DAY].into_iter().for_each(check);
    }

    #[test]
    fn a_clock_that_was_wrong_at_the_start_makes_nothing_older_than_it_is_by_either() {
        let check = |wrong: i64, want_before: i64, want_after: i64| {
            let stored_at = Moment(NOW - HOUR);
            let clock = Clock::standing_at(Moment(NOW + wrong));
            let ages = Ages::resume(&clock, 0, Some(stored_at));
            assert_eq!(hours(ages.age(stored_at)), want_before, "{wrong}");
            clock.jump(Moment(NOW));
            assert_eq!(hours(ages.age(stored_at)), want_after, "{wrong}, set right");
        };
        check(0, 1, 1);
        check(3 * DAY, 73, 1);
        // Behind what was written: even time begins there, and the hour that is missing is not made up.
        check(-2 * DAY, 0, 0);
    }

    #[test]
    fn time_does_not_go_back_behind_what_was_written_and_begins_anew_with_nothing() {
        let clock = Clock::standing_at(Moment(NOW));
        let ahead = Moment(NOW + 3 * DAY);
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
