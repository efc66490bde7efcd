//! Handles a policy that has failed too often, or a startup without a policy.

use super::prepare::{Candidate, Preparer};
use super::status::{FAILURES, WINDOW};
use super::{Identity, InUse, Policy, ReloadError, Unusable, record};
use crate::clock::Clock;
use crate::config::WhenFailing;
use crate::policy::sandbox::Fault;
use crate::policy::sandbox::compiler::Priority;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause before the first retry. It doubles with each retry.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// Longest pause. After a machine recovers, the relay has a policy again at most this much later.
const PAUSE_MAX: Duration = Duration::from_secs(60);

impl Policy {
    /// Records whether a request failed at a policy. Takes a policy from a file out of service once it has failed too
    /// often. The built-in policy keeps serving: it fails only if an input or the machine makes it slow, and there is
    /// no better replacement.
    pub fn note(self: &Arc<Self>, policy: &Arc<InUse>, failed: bool) {
        if !policy.status.note(failed, Instant::now()) {
            return;
        }
        let Identity { sha256, source } = &policy.identity;
        if policy.identity.is_built_in() {
            tracing::error!(
                sha256,
                failures = FAILURES,
                within_s = WINDOW.as_secs(),
                "the built-in policy failed on more than half of the requests and stays in service; \
                 see `policy.request_cpu_ms` and `public.body_bytes_max`"
            );
            return;
        }
        if !policy.status.take_out() {
            return;
        }
        self.metrics.policy_failing.set(1);
        tracing::error!(
            sha256,
            source,
            failures = FAILURES,
            within_s = WINDOW.as_secs(),
            "the policy failed on more than half of the requests and is out of service"
        );
        let takes_over = self.config.when_failing == WhenFailing::Builtin;
        if !takes_over {
            tracing::error!(
                "no events are accepted until another policy is loaded, or SIGHUP retries this one"
            );
        }
        let (this, policy) = (Arc::clone(self), Arc::clone(policy));
        tokio::spawn(async move {
            this.remember(&policy).await;
            if takes_over {
                this.fall_back(&policy).await;
            }
        });
    }

    /// Retries the configured policy if the relay started without it and only the machine was at fault.
    pub fn recover(self: &Arc<Self>) {
        let started_with = self.current();
        let is_tried_again = |unusable: &Unusable| unusable.is_tried_again;
        if !started_with.unusable.as_ref().is_some_and(is_tried_again) {
            return;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let mut pause = PAUSE_MIN;
            while this.goes_on_after(&mut pause, &started_with).await {
                match this.reload().await {
                    Err(error) if error.fault() == Fault::Machine => {}
                    // Another policy is in use, or this one already has a verdict.
                    _ => return,
                }
            }
        });
    }

    /// Stores that a policy failed, so that the next startup does not try it again.
    async fn remember(&self, policy: &Arc<InUse>) {
        let _one_at_a_time = self.reloading.lock().await;
        if !Arc::ptr_eq(&self.current(), policy) {
            return;
        }
        let Identity { sha256, .. } = policy.identity.clone();
        let (verdicts, now) = (self.preparer.verdicts(), self.clock.now());
        let why = format!("{FAILURES} requests failed within {} s", WINDOW.as_secs());
        // Writes a file. A panic in that thread is already logged.
        let write = move || verdicts.failed_in_service(&sha256, &why, now);
        let _ = tokio::task::spawn_blocking(write).await;
    }

    /// Replaces a failed policy with the built-in one; retries until that succeeds.
    async fn fall_back(&self, failed: &Arc<InUse>) {
        let mut pause = PAUSE_MIN;
        while let Err(error) = self.take_over(failed).await {
            tracing::error!(
                %error,
                again_in_s = pause.as_secs(),
                "the built-in policy cannot take over; no events are accepted"
            );
            if !self.goes_on_after(&mut pause, failed).await {
                return;
            }
        }
    }

    /// Replaces a failed policy with the built-in one, unless another one is in use by now.
    async fn take_over(&self, failed: &Arc<InUse>) -> Result<(), ReloadError> {
        let _one_at_a_time = self.reloading.lock().await;
        if !Arc::ptr_eq(&self.current(), failed) {
            return Ok(());
        }
        let new = built_in(
            &self.preparer,
            Priority::Low,
            &self.clock,
            failed.identity.clone(),
        )
        .await?;
        record(&self.store, &new.identity, new.since).await?;
        tracing::warn!(
            sha256 = new.identity.sha256,
            "the built-in policy took over until another one is loaded, or SIGHUP retries the old one"
        );
        self.put(new);
        Ok(())
    }

    /// Waits, and doubles the pause. Returns whether to retry: the relay is not stopping, and `stale` is still the
    /// policy in use.
    async fn goes_on_after(&self, pause: &mut Duration, stale: &Arc<InUse>) -> bool {
        let over = tokio::time::timeout(*pause, self.preparer.stop().cancelled());
        *pause = PAUSE_MAX.min(*pause * 2);
        over.await.is_err() && Arc::ptr_eq(&self.current(), stale)
    }
}

/// Returns the replacement for a policy that is not usable at startup.
pub(super) async fn instead(
    preparer: &Preparer,
    configured: Identity,
    why: Unusable,
    when_failing: WhenFailing,
    clock: &Clock,
) -> Result<InUse, ReloadError> {
    match when_failing {
        WhenFailing::Stop => {
            tracing::error!(
                is_tried_again = why.is_tried_again,
                "no events are accepted until another policy is loaded, or SIGHUP retries this one"
            );
            Ok(InUse::nothing(configured, clock.now(), why)?)
        }
        WhenFailing::Builtin => {
            let new = built_in(preparer, Priority::Normal, clock, configured).await?;
            tracing::warn!(
                sha256 = new.identity.sha256,
                is_tried_again = why.is_tried_again,
                "the built-in policy serves until another one is loaded, or SIGHUP retries the configured one"
            );
            Ok(InUse {
                unusable: Some(why),
                ..new
            })
        }
    }
}

/// The built-in policy, to replace a failed one.
async fn built_in(
    preparer: &Preparer,
    priority: Priority,
    clock: &Clock,
    instead_of: Identity,
) -> Result<InUse, ReloadError> {
    let candidate = Candidate::built_in()?;
    let (identity, since) = (candidate.identity.clone(), clock.now());
    let sandbox = preparer.in_background(candidate, priority).await?;
    Ok(InUse {
        instead_of: Some(instead_of),
        ..InUse::new(sandbox, identity, since)
    })
}
