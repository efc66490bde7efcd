//! Wrong passwords, and how long a name has to wait after them.

use super::lock;
use crate::clock::Moment;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// Wrong passwords for one name before it has to wait.
const TRIES_FREE: u32 = 5;
/// Longest wait after wrong passwords.
const WAIT_MAX: Duration = Duration::from_secs(900);
/// Names whose wrong passwords are remembered. Above it the oldest memory goes.
const NAMES_MAX: usize = 1000;

/// The wrong passwords of each name.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<String, Failed>>);

#[derive(Debug, Clone, Copy)]
struct Failed {
    count: u32,
    last: Moment,
}

impl Failures {
    /// How long a name still has to wait.
    pub(super) fn must_wait(&self, name: &str, now: Moment) -> Option<Duration> {
        let failures = *lock(&self.0).get(name)?;
        let over = failures.count.checked_sub(TRIES_FREE)?;
        let wait = Duration::from_secs(1 << over.min(10)).min(WAIT_MAX);
        wait.checked_sub(now.since(failures.last))
            .filter(|left| !left.is_zero())
    }

    /// Notes a wrong password.
    pub(super) fn note(&self, name: &str, now: Moment) {
        let mut failures = lock(&self.0);
        if failures.len() >= NAMES_MAX && !failures.contains_key(name) {
            let oldest = failures
                .iter()
                .min_by_key(|(_, f)| f.last)
                .map(|(name, _)| name.clone());
            oldest.and_then(|name| failures.remove(&name));
        }
        let entry = failures
            .entry(name.to_owned())
            .or_insert(Failed { count: 0, last: now });
        *entry = Failed {
            count: entry.count + 1,
            last: now,
        };
    }

    /// Forgets a name's wrong passwords, after the right one.
    pub(super) fn forget(&self, name: &str) {
        lock(&self.0).remove(name);
    }
}
