//! What happens once the policy in use has failed too often.

use super::prepare::Candidate;
use super::standing::{FAILURES, WINDOW};
use super::{Identity, InUse, Policy, ReloadError, record};
use crate::config::WhenFailing;
use crate::sandbox::compiler::Priority;
use std::sync::Arc;
use std::time::Instant;

impl Policy {
    /// Notes how a request fared with a policy, and takes the policy out of service once it has failed too often.
    pub fn note(self: &Arc<Self>, policy: &Arc<InUse>, failed: bool) {
        if !policy.standing.note(failed, Instant::now()) {
            return;
        }
        let Identity { sha256, source } = &policy.identity;
        self.metrics.policy_failing.set(1);
        tracing::error!(
            sha256,
            source,
            failures = FAILURES,
            within_s = WINDOW.as_secs(),
            "the policy failed at most requests and is out of service"
        );
        let takes_over = match self.config.when_failing {
            WhenFailing::Builtin => !policy.identity.is_built_in(),
            WhenFailing::Stop => false,
        };
        if !takes_over {
            tracing::error!(
                "no events are taken until another policy is loaded, or SIGHUP tries this one again"
            );
        }
        let (this, policy) = (Arc::clone(self), Arc::clone(policy));
        tokio::spawn(async move {
            let _one_at_a_time = this.reloading.lock().await;
            if !Arc::ptr_eq(&this.current(), &policy) {
                return;
            }
            this.remember(&policy).await;
            if takes_over {
                this.fall_back(&policy).await;
            }
        });
    }

    /// Remembers that a policy failed, so that the next start does not try it again.
    async fn remember(&self, policy: &InUse) {
        let Identity { sha256, .. } = policy.identity.clone();
        let (verdicts, now) = (self.preparer.verdicts(), self.clock.now());
        let why = format!("{FAILURES} requests failed within {} s", WINDOW.as_secs());
        // Writes a file. A thread that is lost has left a message.
        let write = move || verdicts.failed_in_service(&sha256, &why, now);
        let _ = tokio::task::spawn_blocking(write).await;
    }

    /// Puts the built-in policy in the place of one that failed.
    async fn fall_back(&self, failed: &Arc<InUse>) {
        let since = self.clock.now();
        let taken_over = async {
            let built_in = Candidate::built_in()?;
            let identity = built_in.identity.clone();
            let sandbox = self.preparer.in_background(built_in, Priority::Low).await?;
            record(&self.store, &identity, since).await?;
            Ok::<_, ReloadError>(InUse {
                instead_of: Some(failed.identity.clone()),
                ..InUse::new(sandbox, identity, since)
            })
        };
        match taken_over.await {
            Ok(builtin) => {
                tracing::warn!(
                    sha256 = builtin.identity.sha256,
                    "the built-in policy took over until another one is loaded, or SIGHUP tries the old one again"
                );
                self.put(builtin);
            }
            Err(error) => {
                tracing::error!(%error, "the built-in policy cannot take over; no events are taken");
            }
        }
    }
}
