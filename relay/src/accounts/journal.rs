//! What became of logins: counted, and logged at most once a minute when they fail.
//!
//! A name that has an account is logged. Any other is not: people type passwords into the field for the name.

use super::lock;
use crate::clock::Moment;
use crate::metrics::logins::{LoginMetrics, LoginResult};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// How often failures are logged at most.
const LINE_EVERY: Duration = Duration::from_secs(60);
/// Accounts that one line names. The failures of further ones are in its total.
const NAMES_MAX: usize = 8;
/// How far back health and `doctor` look, in minutes.
const MINUTES: usize = 60;

/// Counts logins and logs them.
#[derive(Debug)]
pub(super) struct Journal {
    metrics: LoginMetrics,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    line: Line,
    logged_at: Option<Moment>,
    recent: Recent,
}

/// Failures that are not logged yet.
#[derive(Debug, Default)]
struct Line {
    accounts: BTreeMap<String, u64>,
    wrong: u64,
    unknown: u64,
    throttled: u64,
    overloaded: u64,
    incomplete: u64,
}

/// Failures per minute of the last hour.
#[derive(Debug)]
struct Recent {
    counts: [u64; MINUTES],
    minute: i64,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            counts: [0; MINUTES],
            minute: 0,
        }
    }
}

impl Journal {
    pub(super) fn new(metrics: LoginMetrics) -> Self {
        Self {
            metrics,
            kept: Mutex::default(),
        }
    }

    /// Notes a login that succeeded.
    pub(super) fn succeeded(&self, account: &str, is_known_device: bool) {
        self.metrics.count(LoginResult::Ok);
        tracing::info!(account, is_known_device, "logged in");
    }

    /// Notes a login that failed; `account` only if there is one of that name.
    pub(super) fn failed(&self, result: LoginResult, account: Option<&str>, now: Moment) {
        self.metrics.count(result);
        if result == LoginResult::Unavailable {
            // Nothing was tried; the writer logs what is wrong with the database.
            return;
        }
        let mut kept = lock(&self.kept);
        kept.recent.add(now);
        let line = &mut kept.line;
        match result {
            LoginResult::Throttled => line.throttled += 1,
            LoginResult::Overloaded => line.overloaded += 1,
            LoginResult::Incomplete => line.incomplete += 1,
            _ => line.wrong += 1,
        }
        match account {
            Some(name) if line.accounts.len() < NAMES_MAX || line.accounts.contains_key(name) => {
                *line.accounts.entry(name.to_owned()).or_default() += 1;
            }
            None if result == LoginResult::Wrong => line.unknown += 1,
            _ => {}
        }
        kept.log(now);
    }

    /// Logs what has waited for its minute.
    pub(super) fn flush(&self, now: Moment) {
        lock(&self.kept).log(now);
    }

    /// Logs what waits, though its minute is not over.
    pub(super) fn close(&self, now: Moment) {
        let mut kept = lock(&self.kept);
        kept.logged_at = None;
        kept.log(now);
    }

    /// How many logins failed within the last hour.
    pub(super) fn failed_recently(&self, now: Moment) -> u64 {
        lock(&self.kept).recent.total(now)
    }
}

impl Kept {
    fn log(&mut self, now: Moment) {
        let is_early = self.logged_at.is_some_and(|at| now.since(at) < LINE_EVERY);
        if is_early || self.line.is_empty() {
            return;
        }
        let line = std::mem::take(&mut self.line);
        self.logged_at = Some(now);
        tracing::warn!(
            wrong = line.wrong,
            of_accounts = line.names(),
            of_unknown_names = line.unknown,
            throttled = line.throttled,
            overloaded = line.overloaded,
            incomplete = line.incomplete,
            "logins failed"
        );
    }
}

impl Line {
    fn is_empty(&self) -> bool {
        self.wrong + self.throttled + self.overloaded + self.incomplete == 0
    }

    /// The accounts, each with its number: `alice:3 bob:1`.
    fn names(&self) -> String {
        let named = self
            .accounts
            .iter()
            .map(|(name, count)| format!("{name}:{count}"));
        named.collect::<Vec<_>>().join(" ")
    }
}

impl Recent {
    fn add(&mut self, now: Moment) {
        self.forget(now);
        self.counts[place(self.minute)] += 1;
    }

    fn total(&mut self, now: Moment) -> u64 {
        self.forget(now);
        self.counts.iter().sum()
    }

    fn forget(&mut self, now: Moment) {
        let minute = now.0.div_euclid(60_000).max(self.minute);
        for passed in (self.minute + 1..=minute).rev().take(MINUTES) {
            self.counts[place(passed)] = 0;
        }
        self.minute = minute;
    }
}

fn place(minute: i64) -> usize {
    usize::try_from(minute.rem_euclid(MINUTES as i64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment(1_800_000_000_000);

    fn minute(n: u64) -> Moment {
        START.plus(Duration::from_secs(60 * n))
    }

    #[test]
    fn failures_of_the_last_hour_are_counted_and_older_ones_forgotten() {
        let mut recent = Recent::default();
        for n in 0..10 {
            recent.add(minute(n));
        }
        let totals = [10, 59, 60, 64, 69, 10_000].map(|n| (n, recent.total(minute(n))));
        assert_eq!(
            totals,
            [(10, 10), (59, 10), (60, 9), (64, 5), (69, 0), (10_000, 0)]
        );
        recent.add(minute(3));
        assert_eq!(
            recent.total(minute(10_001)),
            1,
            "a clock that goes back loses none"
        );
    }

    #[test]
    fn failures_are_logged_at_once_and_then_together_once_a_minute() {
        let journal = Journal::new(LoginMetrics::default());
        let waiting = || {
            let kept = lock(&journal.kept);
            (kept.line.wrong, kept.line.unknown, kept.line.names())
        };
        journal.failed(LoginResult::Wrong, Some("alice"), minute(0));
        assert_eq!(waiting(), (0, 0, String::new()), "the first one");
        for account in [Some("alice"), None, Some("alice"), Some("bob")] {
            journal.failed(LoginResult::Wrong, account, minute(0));
        }
        journal.flush(minute(0));
        assert_eq!(waiting(), (4, 1, "alice:2 bob:1".into()));
        journal.flush(minute(1));
        assert_eq!(waiting(), (0, 0, String::new()));
        for n in 0..100 {
            journal.failed(LoginResult::Wrong, Some(&format!("account-{n}")), minute(1));
        }
        assert_eq!(lock(&journal.kept).line.accounts.len(), NAMES_MAX);
    }
}
