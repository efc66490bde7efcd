//! The policy in use, and its replacement while the relay serves.
//!
//! A reload reads the new policy, compiles it in a separate process, gives it every site's plan and judges it with
//! the same checks as `policy check` (`prepare`). Then it records the change, and only then swaps the policy. A
//! request keeps the policy it began with, so a swap drops no request and two policies never scrub one batch. If
//! anything is wrong with the new policy, the old one keeps serving.
//!
//! A policy from a file that fails on more than half of the requests is taken out of service ([`status`]). Then,
//! depending on `policy.when_failing`, the relay refuses events or the built-in policy takes over until the policy is
//! loaded again: from a changed file, or on SIGHUP. The same happens if the policy is not usable at startup.
//! [`verdicts`] stores which policies failed, so that a restart does not try them again. If only the machine was at
//! fault, the relay retries on its own (`failing`).

pub mod check;
mod failing;
mod log;
pub mod metrics;
mod prepare;
pub mod sandbox;
pub mod status;
pub mod verdicts;

pub use log::{PolicyChange, changes};
pub use prepare::glance;

use crate::clock::{Clock, Timestamp};
use crate::config::{Config, PolicyConfig};
use crate::metrics::Registry;
use crate::policy::check::CheckError;
use crate::policy::check::patience::Impatient;
use crate::policy::sandbox::compiler::{CompileError, Compiler, Priority};
use crate::policy::sandbox::{Fault, LoadError, Sandbox};
use crate::reload::{Reload, Stamps};
use crate::store::{Store, StoreError};
use failing::instead;
use log::record;
use metrics::{Metrics, PolicyInfo};
use prepare::Preparer;
use status::PolicyStatus;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use verdicts::Failure;

/// The source of the policy that is built into the binary.
const BUILTIN: &str = "builtin";

/// A policy that serves now or served before.
#[derive(Debug)]
pub struct InUse {
    /// The sandbox that runs it.
    pub sandbox: Sandbox,
    /// Hash and source of the component.
    pub identity: Identity,
    /// When it was put into service.
    pub since: Timestamp,
    /// Whether it has failed too often.
    pub status: PolicyStatus,
    /// The failed policy that this one replaces, if any.
    pub instead_of: Option<Identity>,
    /// Why the relay started without the configured policy, if it did.
    unusable: Option<Unusable>,
}

/// Why a relay started without the configured policy.
#[derive(Debug)]
struct Unusable {
    /// The reason, for an operator.
    why: String,
    /// True if only the machine was at fault: the relay then retries.
    is_tried_again: bool,
}

impl InUse {
    fn new(sandbox: Sandbox, identity: Identity, since: Timestamp) -> Self {
        Self {
            sandbox,
            identity,
            since,
            status: PolicyStatus::default(),
            instead_of: None,
            unusable: None,
        }
    }

    /// No policy: the configured one is not usable.
    fn nothing(configured: Identity, since: Timestamp, why: Unusable) -> Result<Self, LoadError> {
        Ok(Self {
            status: PolicyStatus::out_of_service(),
            unusable: Some(why),
            ..Self::new(Sandbox::empty()?, configured, since)
        })
    }

    /// Why the configured policy does not scrub events, for an operator.
    pub fn failure(&self) -> Option<String> {
        let why = match &self.unusable {
            Some(Unusable { why, .. }) => format!("the policy has been out of service since startup: {why}"),
            None => "the policy failed on more than half of the requests and is out of service".to_owned(),
        };
        let so = match &self.instead_of {
            _ if self.status.is_failing() => "no events are accepted, and senders retry later",
            Some(_) => "the built-in policy took over",
            None => return None,
        };
        let again = match &self.unusable {
            Some(unusable) if unusable.is_tried_again => {
                "the relay retries it every minute, and immediately on SIGHUP"
            }
            _ => "replace the policy, or send SIGHUP to retry this one",
        };
        Some(format!("{why}: {so}; {again}"))
    }
}

/// Identifies a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The SHA-256 of the component, in hexadecimal.
    pub sha256: String,
    /// Its origin: `builtin` or `file`.
    pub source: &'static str,
}

impl Identity {
    /// Whether this is the built-in policy.
    pub fn is_built_in(&self) -> bool {
        self.source == BUILTIN
    }
}

/// The result of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// Another policy now serves.
    Replaced(Identity),
    /// The file holds the policy that already serves.
    Unchanged,
}

/// Why a policy was not put into service. The previous one keeps serving.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file does not hold a loadable policy.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The policy fails on ordinary events.
    #[error("the policy is not usable with {plan}: {why}")]
    Unfit {
        /// The plan's name.
        plan: String,
        /// The failed check.
        why: String,
    },
    /// The check did not finish.
    #[error(transparent)]
    Impatient(#[from] Impatient),
    /// The policy failed before, and nothing has changed since.
    #[error("{0}")]
    Remembered(Failure),
    /// The change could not be recorded.
    #[error("the policy change could not be recorded: {0}")]
    Store(#[from] StoreError),
    /// The thread that tried it panicked: a bug in the relay.
    #[error("the relay could not run the policy")]
    Lost,
}

impl From<CheckError> for ReloadError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Load(error) => error.into(),
            CheckError::Impatient(error) => error.into(),
        }
    }
}

impl ReloadError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Load(error) => error.fault(),
            Self::Unfit { .. } | Self::Impatient(Impatient::Slow(..)) => Fault::Policy,
            Self::Impatient(Impatient::Busy) | Self::Store(_) => Fault::Machine,
            Self::Impatient(Impatient::Stopped) | Self::Remembered(_) | Self::Lost => Fault::Other,
        }
    }

    /// Whether it failed only because the relay is stopping.
    fn is_stop(&self) -> bool {
        matches!(
            self,
            Self::Load(LoadError::Compile(CompileError::Stopped)) | Self::Impatient(Impatient::Stopped)
        )
    }
}

/// The policy in use.
pub struct Policy {
    current: Arc<RwLock<Arc<InUse>>>,
    config: PolicyConfig,
    preparer: Preparer,
    store: Store,
    clock: Clock,
    metrics: Metrics,
    /// The file's stamps before it was last read.
    seen: Mutex<Stamps>,
    /// The error of the last reload, if it failed.
    trouble: Mutex<Option<String>>,
    /// Held while reloading: reloads run one at a time.
    reloading: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("identity", &self.current().identity)
            .finish_non_exhaustive()
    }
}

impl Policy {
    /// Loads the policy at startup and records it if it differs from the previous one. A policy that fails to compile
    /// or fails the check, now or earlier, is not put into service: `policy.when_failing` selects its replacement.
    ///
    /// # Errors
    /// If its file cannot be read or holds no component, if the built-in one is needed and cannot be loaded, or
    /// if the relay is stopping.
    pub async fn open(
        config: &Config,
        store: Store,
        clock: Clock,
        registry: &mut Registry,
        compiler: Compiler,
    ) -> Result<Self, ReloadError> {
        let seen = Stamps::of(config.policy.file.as_deref());
        let preparer = Preparer::new(config, compiler, clock.clone());
        let candidate = preparer.read().map_err(ReloadError::Load)?;
        let configured = candidate.identity.clone();
        let in_use = match preparer.at_start(candidate).await {
            Ok(sandbox) => InUse::new(sandbox, configured, clock.now()),
            Err(error) if configured.is_built_in() || error.is_stop() => return Err(error),
            Err(error) => {
                let why = Unusable {
                    why: error.to_string(),
                    is_tried_again: error.fault() == Fault::Machine,
                };
                tracing::error!(
                    sha256 = configured.sha256,
                    why = why.why,
                    "the policy is not usable and was not loaded"
                );
                instead(&preparer, configured, why, config.policy.when_failing, &clock).await?
            }
        };
        if !in_use.status.is_failing() {
            record(&store, &in_use.identity, in_use.since).await?;
        }
        let metrics = Metrics::register(registry);
        metrics.policy_failing.set(i64::from(in_use.failure().is_some()));
        let current = Arc::new(RwLock::new(Arc::new(in_use)));
        registry.collector(PolicyInfo(Arc::clone(&current)));
        Ok(Self {
            current,
            config: config.policy.clone(),
            preparer,
            store,
            clock,
            metrics,
            seen: Mutex::new(seen),
            trouble: Mutex::new(None),
            reloading: tokio::sync::Mutex::new(()),
        })
    }

    /// The policy that serves now. Holding the result keeps it alive across a swap.
    pub fn current(&self) -> Arc<InUse> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The policy's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The error of the last reload, or `None` if it succeeded.
    pub fn last_error(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the policy's file again and puts the policy into service if it is a different one and passes the check.
    ///
    /// # Errors
    /// Why the policy was not swapped; the previous one keeps serving.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let _one_at_a_time = self.reloading.lock().await;
        let result = self.replace().await;
        let trouble = result.as_ref().err().map(ToString::to_string);
        match &result {
            Ok(Reloaded::Unchanged) => tracing::info!("the policy is unchanged"),
            Ok(Reloaded::Replaced(identity)) => {
                tracing::info!(
                    sha256 = identity.sha256,
                    source = identity.source,
                    "the policy was replaced"
                );
                self.count("ok");
            }
            Err(error) => {
                tracing::error!(%error, "the policy was not replaced; the previous one stays in use");
                self.count("failed");
            }
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        result
    }

    async fn replace(&self) -> Result<Reloaded, ReloadError> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = self.look();
        let preparer = self.preparer.clone();
        let serving = self.current();
        // Compiling and judging take several seconds.
        let tried = tokio::task::spawn_blocking(move || {
            let candidate = preparer.read()?;
            if candidate.identity == serving.identity && !serving.status.is_failing() {
                return Ok(None);
            }
            // Retries a policy that failed before: a changed file or SIGHUP requests it.
            let sandbox = preparer.prepare(&candidate, Priority::Low)?;
            Ok(Some((sandbox, candidate.identity)))
        });
        let tried: Result<_, ReloadError> = tried.await.unwrap_or(Err(ReloadError::Lost));
        let Some((sandbox, identity)) = tried? else {
            return Ok(Reloaded::Unchanged);
        };
        let since = self.clock.now();
        // Recorded before it serves, so that every scrubbed event can be traced to a recorded policy.
        record(&self.store, &identity, since).await?;
        self.put(InUse::new(sandbox, identity.clone(), since));
        self.metrics.policy_failing.set(0);
        Ok(Reloaded::Replaced(identity))
    }

    fn put(&self, new: InUse) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
    }

    fn count(&self, result: &'static str) {
        self.metrics.policy_reloads.with([result]).inc();
    }
}

impl Reload for Policy {
    fn interval(&self) -> Duration {
        self.config.reload_interval
    }

    fn seen(&self) -> Stamps {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn look(&self) -> Stamps {
        Stamps::of(self.config.file.as_deref())
    }

    async fn reload(&self) {
        // `reload` logs and counts the result, and health shows it.
        let _ = Self::reload(self).await;
    }
}
