//! Decides whether a policy has failed too often to stay in service.
//!
//! A request fails at the policy if one of its events traps, takes too long or finds no instance. An occasional odd
//! event changes nothing. A policy is out of service once [`FAILURES`] requests failed within [`WINDOW`] and they
//! outnumber the successful ones. A sender who has found an input that slows a policy therefore has to send more
//! requests than all others together, and every one of them is counted. The built-in policy stays in service whatever
//! its status, so that no sender can stop it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Number of failed requests.
pub const FAILURES: usize = 20;
/// Period in which they must occur.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Counts the failures of one policy. Loading a policy again resets them.
#[derive(Debug, Default)]
pub struct PolicyStatus {
    is_failing: AtomicBool,
    recent: Mutex<Recent>,
}

/// The failures of the last [`WINDOW`], at most [`FAILURES`], and how many requests succeeded between them.
#[derive(Debug, Default)]
struct Recent {
    failures: VecDeque<FailedRequest>,
    /// Requests that succeeded since the last failure.
    good: usize,
    /// When [`PolicyStatus::note`] last reported too many failures.
    reported: Option<Instant>,
}

#[derive(Debug)]
struct FailedRequest {
    at: Instant,
    /// Requests that succeeded between the failure before and this one.
    good_before: usize,
}

impl PolicyStatus {
    /// The status of a policy that is out of service from the beginning.
    pub(super) fn out_of_service() -> Self {
        Self {
            is_failing: AtomicBool::new(true),
            ..Self::default()
        }
    }

    /// Whether the policy is out of service.
    pub fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// Takes the policy out of service. Returns whether it was in service until now.
    pub(super) fn take_out(&self) -> bool {
        !self.is_failing.swap(true, Ordering::Relaxed)
    }

    /// Records a request's result. Returns whether the policy has failed too often: at most once per [`WINDOW`].
    pub fn note(&self, failed: bool, now: Instant) -> bool {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if !failed {
            recent.good = recent.good.saturating_add(1);
            return false;
        }
        let good_before = std::mem::take(&mut recent.good);
        recent.failures.push_back(FailedRequest { at: now, good_before });
        while recent
            .failures
            .front()
            .is_some_and(|first| now.saturating_duration_since(first.at) > WINDOW)
            || recent.failures.len() > FAILURES
        {
            recent.failures.pop_front();
        }
        // Successes before the first failure may be older than the window.
        let good = recent.failures.iter().skip(1).map(|failure| failure.good_before);
        let is_majority = good.fold(0, usize::saturating_add) < FAILURES;
        let is_known = recent
            .reported
            .is_some_and(|at| now.saturating_duration_since(at) <= WINDOW);
        if recent.failures.len() < FAILURES || !is_majority || is_known {
            return false;
        }
        recent.reported = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays requests, one every `every_ms` milliseconds: `x` fails, `.` succeeds. Returns after how many of them the
    /// policy was out of service.
    fn play(every_ms: u64, requests: &str) -> Option<usize> {
        let status = PolicyStatus::default();
        let begin = Instant::now();
        let mut at = 0;
        let out = requests.chars().position(|request| {
            at += every_ms;
            status.note(request == 'x', begin + Duration::from_millis(at))
        });
        out.map(|n| n + 1)
    }

    #[test]
    fn a_policy_that_fails_most_requests_is_taken_out_and_one_that_fails_now_and_then_is_not() {
        assert_eq!(play(10, &"x".repeat(400)), Some(FAILURES));
        assert_eq!(play(10, &"x".repeat(FAILURES - 1)), None);
        assert_eq!(
            play(10, &"x.".repeat(200)),
            Some(2 * FAILURES - 1),
            "half of them"
        );
        assert_eq!(play(10, &"x..".repeat(200)), None, "a third");
        assert_eq!(play(10, &format!("{}x", ".".repeat(30)).repeat(20)), None);
        let well_before = format!("{}{}", ".".repeat(1000), "x".repeat(FAILURES));
        assert_eq!(
            play(10, &well_before),
            Some(1000 + FAILURES),
            "it was well before"
        );
        assert_eq!(play(10_000, &"x".repeat(400)), None, "six a minute");
        assert_eq!(play(3_000, &"x".repeat(400)), Some(FAILURES), "twenty a minute");
    }

    #[test]
    fn too_many_failures_are_reported_once_a_window_and_take_a_policy_out_once() {
        let status = PolicyStatus::default();
        let now = Instant::now();
        let times = |at| (0..100).filter(|_| status.note(true, at)).count();
        assert_eq!(times(now), 1);
        assert_eq!(times(now + WINDOW), 0);
        assert_eq!(times(now + WINDOW + Duration::from_millis(1)), 1);
        assert!(!status.is_failing(), "the caller decides");
        assert!(status.take_out() && status.is_failing());
        assert!(!status.take_out(), "it was out already");
    }
}
