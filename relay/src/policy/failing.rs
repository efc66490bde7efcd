//! What happens once the policy in use has failed too often.

use super::standing::{FAILURES, WINDOW};
use super::{BUILTIN, Identity, InUse, Policy, ReloadError, record};
use crate::config::WhenFailing;
use crate::http::assets;
use crate::sandbox::{LoadError, Sandbox, sha256};
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
        match self.config.when_failing {
            WhenFailing::Builtin if *source != BUILTIN => {
                let (this, policy) = (Arc::clone(self), Arc::clone(policy));
                tokio::spawn(async move { this.fall_back(&policy).await });
            }
            WhenFailing::Builtin | WhenFailing::Stop => {
                tracing::error!(
                    "no events are taken until another policy is loaded, or SIGHUP tries this one again"
                );
            }
        }
    }

    /// Puts the built-in policy in the place of one that failed.
    async fn fall_back(&self, failed: &Arc<InUse>) {
        let _one_at_a_time = self.reloading.lock().await;
        if !Arc::ptr_eq(&self.current(), failed) {
            return;
        }
        let (limits, plans) = (self.config.clone(), self.plans.clone());
        let load = move || {
            let wasm = assets::default_policy().ok_or(LoadError::NotBuilt)?;
            let identity = Identity {
                sha256: sha256(&wasm),
                source: BUILTIN,
            };
            Ok((Sandbox::load(&wasm, &plans, &limits)?, identity))
        };
        let since = self.clock.now();
        let taken_over = async {
            let loaded: Result<_, ReloadError> = tokio::task::spawn_blocking(load)
                .await
                .unwrap_or(Err(ReloadError::Lost));
            let (sandbox, identity) = loaded?;
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
