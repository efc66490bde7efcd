//! Counts logins, and logs failed ones at most once a minute.
//!
//! Only names that have an account are logged: people type passwords into the name field.

use super::lock;
use super::metrics::{LoginResult, Metrics};
use crate::clock::Timestamp;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// Shortest interval between two log lines about failures.
const LINE_EVERY: Duration = Duration::from_secs(60);
/// Most accounts that one line names. Failures of further accounts are only in its total.
const NAMES_MAX: usize = 8;
/// The period that health and `doctor` report, in minutes.
const MINUTES: usize = 60;

/// Counts logins and logs them.
#[derive(Debug)]
pub(super) struct Journal {
    metrics: Metrics,
    failures: Mutex<FailedLogins>,
}

#[derive(Debug, Default)]
struct FailedLogins {
    line: Line,
    logged_at: Option<Timestamp>,
    recent: Recent,
}

/// Failures not yet logged.
#[derive(Debug, Default)]
struct Line {
    accounts: BTreeMap<String, u64>,
    wrong: u64,
    unknown: u64,
    throttled: u64,
    overloaded: u64,
    incomplete: u64,
}

/// Failures in each minute of the last hour.
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
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            failures: Mutex::default(),
        }
    }

    /// Records a successful login.
    pub(super) fn succeeded(&self, account: &str, is_known_device: bool) {
        self.metrics.admin_logins.with([LoginResult::Ok.name()]).inc();
        tracing::info!(account, is_known_device, "logged in");
    }

    /// Records a failed login; `account` is set only if an account of that name exists.
    pub(super) fn failed(&self, result: LoginResult, account: Option<&str>, now: Timestamp) {
        self.metrics.admin_logins.with([result.name()]).inc();
        if result == LoginResult::Unavailable {
            // No password was checked; the writer logs the database error.
            return;
        }
        let mut failures = lock(&self.failures);
        failures.recent.add(now);
        let line = &mut failures.line;
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
        failures.log(now);
    }

    /// Logs failures that have waited for their minute.
    pub(super) fn flush(&self, now: Timestamp) {
        lock(&self.failures).log(now);
    }

    /// Logs waiting failures before their minute is over.
    pub(super) fn close(&self, now: Timestamp) {
        let mut failures = lock(&self.failures);
        failures.logged_at = None;
        failures.log(now);
    }

    /// Failed logins within the last hour.
    pub(super) fn failed_recently(&self, now: Timestamp) -> u64 {
        lock(&self.failures).recent.total(now)
    }
}

impl FailedLogins {
    fn log(&mut self, now: Timestamp) {
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

    /// The accounts with their counts: `alice:3 bob:1`.
    fn names(&self) -> String {
        let named = self
            .accounts
            .iter()
            .map(|(name, count)| format!("{name}:{count}"));
        named.collect::<Vec<_>>().join(" ")
    }
}

impl Recent {
    fn add(&mut self, now: Timestamp) {
        self.forget(now);
        self.counts[place(self.minute)] += 1;
    }

    fn total(&mut self, now: Timestamp) -> u64 {
        self.forget(now);
        self.counts.iter().sum()
    }

    fn forget(&mut self, now: Timestamp) {
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
    use crate::metrics::Registry;

    const START: Timestamp = Timestamp(1_800_000_000_000);

    fn minute(n: u64) -> Timestamp {
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
        let journal = Journal::new(Metrics::register(&mut Registry::default()));
        let waiting = || {
            let failures = lock(&journal.failures);
            (failures.line.wrong, failures.line.unknown, failures.line.names())
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
        assert_eq!(lock(&journal.failures).line.accounts.len(), NAMES_MAX);
    }
}
