//! The admin listener's metrics: logins, and passwords tried at `/metrics`.

use crate::metrics::ResultLabel;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What became of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginResult {
    /// Name and password were right.
    Ok,
    /// Name or password was wrong.
    Wrong,
    /// Refused unseen: too many were wrong before.
    Throttled,
    /// Refused unseen: too many at once.
    Overloaded,
    /// The account is disabled.
    Disabled,
    /// The body did not arrive in time, or made room for others.
    Incomplete,
    /// The database could not be asked.
    Unavailable,
}

const LOGINS: [(LoginResult, &str); 7] = [
    (LoginResult::Ok, "ok"),
    (LoginResult::Wrong, "wrong"),
    (LoginResult::Throttled, "throttled"),
    (LoginResult::Overloaded, "overloaded"),
    (LoginResult::Disabled, "disabled"),
    (LoginResult::Incomplete, "incomplete"),
    (LoginResult::Unavailable, "unavailable"),
];

/// Logins by what became of them.
#[derive(Clone, Debug, Default)]
pub struct LoginMetrics([Counter; LOGINS.len()]);

impl LoginMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let logins = Family::<ResultLabel, Counter>::default();
        registry.register(
            "admin_logins",
            "Logins on the admin listener, by what became of them",
            logins.clone(),
        );
        Self(LOGINS.map(|(_, result)| logins.get_or_create(&ResultLabel { result }).clone()))
    }

    /// Counts one.
    pub fn count(&self, result: LoginResult) {
        self.0[result as usize].inc();
    }
}

/// What became of a request for `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrapeResult {
    /// The password was right.
    Ok,
    /// It was wrong.
    Wrong,
    /// There was none.
    Missing,
    /// It was not looked at: too many were wrong before.
    Throttled,
}

const SCRAPES: [(ScrapeResult, &str); 4] = [
    (ScrapeResult::Ok, "ok"),
    (ScrapeResult::Wrong, "wrong"),
    (ScrapeResult::Missing, "missing"),
    (ScrapeResult::Throttled, "throttled"),
];

/// Requests for `/metrics` by what became of them.
#[derive(Clone, Debug, Default)]
pub struct ScrapeMetrics([Counter; SCRAPES.len()]);

impl ScrapeMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let scrapes = Family::<ResultLabel, Counter>::default();
        registry.register(
            "metrics_auth",
            "Requests for /metrics, by what became of their password",
            scrapes.clone(),
        );
        Self(SCRAPES.map(|(_, result)| scrapes.get_or_create(&ResultLabel { result }).clone()))
    }

    /// Counts one.
    pub fn count(&self, result: ScrapeResult) {
        self.0[result as usize].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_has_its_place() {
        for (i, (result, _)) in LOGINS.iter().enumerate() {
            assert_eq!(*result as usize, i);
        }
        for (i, (result, _)) in SCRAPES.iter().enumerate() {
            assert_eq!(*result as usize, i);
        }
    }
}
