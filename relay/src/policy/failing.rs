//! What happens once the policy in use has failed too often, or a start had no policy.

use super::prepare::{Candidate, Preparer};
use super::standing::{FAILURES, WINDOW};
use super::{Identity, InUse, Policy, ReloadError, Unusable, record};
use crate::clock::Clock;
use crate::config::WhenFailing;
use crate::sandbox::compiler::Priority;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the relay waits before it tries again for the first time. The pause doubles each time.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// Longest pause. A machine that recovers has a policy again this much later at most.
const PAUSE_MAX: Duration = Duration::from_secs(60);

impl Policy {
    /// Notes how a request fared with a policy. Takes one from a file out of service once it has failed too often.
    /// The one built in goes on: it fails only if an input or the machine makes it slow, and nothing better could
    /// take its place.
    pub fn note(self: &Arc<Self>, policy: &Arc<InUse>, failed: bool) {
        if !policy.standing.note(failed, Instant::now()) {
            return;
        }
        let Identity { sha256, source } = &policy.identity;
        if policy.identity.is_built_in() {
            tracing::error!(
                sha256,
                failures = FAILURES,
                within_s = WINDOW.as_secs(),
                "the built-in policy failed at most requests and goes on serving; \
                 see `policy.request_cpu_ms` and `public.body_bytes_max`"
            );
            return;
        }
        if !policy.standing.take_out() {
            return;
        }
        self.metrics.policy_failing.set(1);
        tracing::error!(
            sha256,
            source,
            failures = FAILURES,
            within_s = WINDOW.as_secs(),
            "the policy failed at most requests and is out of service"
        );
        let takes_over = self.config.when_failing == WhenFailing::Builtin;
        if !takes_over {
            tracing::error!(
                "no events are taken until another policy is loaded, or SIGHUP tries this one again"
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

    /// Tries the configured policy again if this start had to do without it and only the machine was at fault.
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
                    Err(error) if error.is_the_machines_fault() => {}
                    // Another policy is in use, or this one has a verdict.
                    _ => return,
                }
            }
        });
    }

    /// Remembers that a policy failed, so that the next start does not try it again.
    async fn remember(&self, policy: &Arc<InUse>) {
        let _one_at_a_time = self.reloading.lock().await;
        if !Arc::ptr_eq(&self.current(), policy) {
            return;
        }
        let Identity { sha256, .. } = policy.identity.clone();
        let (verdicts, now) = (self.preparer.verdicts(), self.clock.now());
        let why = format!("{FAILURES} requests failed within {} s", WINDOW.as_secs());
        // Writes a file. A thread that is lost has left a message.
        let write = move || verdicts.failed_in_service(&sha256, &why, now);
        let _ = tokio::task::spawn_blocking(write).await;
    }

    /// Puts the built-in policy in the place of one that failed, and tries until that works.
    async fn fall_back(&self, failed: &Arc<InUse>) {
        let mut pause = PAUSE_MIN;
        while let Err(error) = self.take_over(failed).await {
            tracing::error!(
                %error,
                again_in_s = pause.as_secs(),
                "the built-in policy cannot take over; no events are taken"
            );
            if !self.goes_on_after(&mut pause, failed).await {
                return;
            }
        }
    }

    /// Puts the built-in policy in the place of one that failed, unless another one is in use by now.
    async fn take_over(&self, failed: &Arc<InUse>) -> Result<(), ReloadError> {
        let _one_at_a_time = self.reloading.lock().await;
        if !Arc::ptr_eq(&self.current(), failed) {
            return Ok(());
        }
        let since = self.clock.now();
        let built_in = Candidate::built_in()?;
        let identity = built_in.identity.clone();
        let sandbox = self.preparer.in_background(built_in, Priority::Low).await?;
        record(&self.store, &identity, since).await?;
        tracing::warn!(
            sha256 = identity.sha256,
            "the built-in policy took over until another one is loaded, or SIGHUP tries the old one again"
        );
        self.put(InUse {
            instead_of: Some(failed.identity.clone()),
            ..InUse::new(sandbox, identity, since)
        });
        Ok(())
    }

    /// Waits, and doubles the pause. Returns whether to try again: the relay is not stopping, and `stale` is still the
    /// policy in use.
    async fn goes_on_after(&self, pause: &mut Duration, stale: &Arc<InUse>) -> bool {
        let over = tokio::time::timeout(*pause, self.preparer.stop().cancelled());
        *pause = PAUSE_MAX.min(*pause * 2);
        over.await.is_err() && Arc::ptr_eq(&self.current(), stale)
    }
}

/// Returns the stand-in for a policy that is not usable, for a start.
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
                "no events are taken until another policy is loaded, or SIGHUP tries this one again"
            );
            Ok(InUse::nothing(configured, clock.now(), why)?)
        }
        WhenFailing::Builtin => {
            let built_in = Candidate::built_in()?;
            let identity = built_in.identity.clone();
            let sandbox = preparer.in_background(built_in, Priority::Normal).await?;
            tracing::warn!(
                sha256 = identity.sha256,
                is_tried_again = why.is_tried_again,
                "the built-in policy serves until another one is loaded, or SIGHUP tries the configured one again"
            );
            Ok(InUse {
                instead_of: Some(configured),
                unusable: Some(why),
                ..InUse::new(sandbox, identity, clock.now())
            })
        }
    }
}
