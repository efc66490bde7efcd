//! The policy in use, and its replacement while the relay serves.
//!
//! A new policy is read, compiled in a process of its own, given every site's plan and judged as `policy check` does
//! (`prepare`), then recorded, and only then put in the place of the old one. A request keeps the policy it
//! began with, so none is dropped and no batch is scrubbed by two. Whatever is wrong with a new policy,
//! the old one goes on serving.
//!
//! A policy from a file that fails at most requests is taken out of service ([`standing`]). Then no events are taken,
//! or the built-in policy takes over, as `policy.when_failing` says, until the policy is loaded again: another file, or
//! SIGHUP. The same happens at a start whose policy is not usable. [`verdicts`] remembers what failed, so that no
//! start tries it again. If only the machine was at fault, the relay tries again by itself (`failing`).

mod failing;
mod log;
mod prepare;
pub mod standing;
pub mod verdicts;

pub use log::{Change, changes};
pub use prepare::glance;

use crate::app::StartError;
use crate::clock::{Clock, Moment};
use crate::config::{Config, PolicyConfig};
use crate::metrics::{Metrics, ResultLabel};
use crate::policy_check::CheckError;
use crate::policy_check::patience::Impatient;
use crate::reload::{Reload, Stamps};
use crate::sandbox::compiler::{CompileError, Compiler, Priority};
use crate::sandbox::{LoadError, Sandbox};
use crate::store::{Store, StoreError};
use failing::instead;
use log::record;
use prepare::Preparer;
use standing::Standing;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use verdicts::Failure;

/// The source of the policy that is built into the binary.
const BUILTIN: &str = "builtin";

/// A policy that serves or served.
#[derive(Debug)]
pub struct InUse {
    /// Runs it.
    pub sandbox: Sandbox,
    /// What it is.
    pub identity: Identity,
    /// When it was put to use.
    pub since: Moment,
    /// Whether it has failed too often.
    pub standing: Standing,
    /// The policy that it stands in for, because that one failed.
    pub instead_of: Option<Identity>,
    /// Why the relay started without the policy that is configured, if it did.
    unusable: Option<Unusable>,
}

/// Why a relay started without the policy that is configured.
#[derive(Debug)]
struct Unusable {
    /// In words for an operator.
    why: String,
    /// Whether only the machine was at fault: then the relay tries the policy again.
    is_tried_again: bool,
}

impl InUse {
    fn new(sandbox: Sandbox, identity: Identity, since: Moment) -> Self {
        Self {
            sandbox,
            identity,
            since,
            standing: Standing::default(),
            instead_of: None,
            unusable: None,
        }
    }

    /// No policy at all: the one that is configured is not usable.
    fn nothing(configured: Identity, since: Moment, why: Unusable) -> Result<Self, LoadError> {
        Ok(Self {
            standing: Standing::out_of_service(),
            unusable: Some(why),
            ..Self::new(Sandbox::empty()?, configured, since)
        })
    }

    /// Why events are not scrubbed by the policy that is configured: in words for an operator.
    pub fn failure(&self) -> Option<String> {
        let why = match &self.unusable {
            Some(Unusable { why, .. }) => format!("the policy is out of service since the start: {why}"),
            None => "the policy failed at most requests and is out of service".to_owned(),
        };
        let so = match &self.instead_of {
            _ if self.standing.is_failing() => "no events are taken, and senders come back later",
            Some(_) => "the built-in one took over",
            None => return None,
        };
        let again = match &self.unusable {
            Some(unusable) if unusable.is_tried_again => {
                "the relay tries it again every minute, and at once on SIGHUP"
            }
            _ => "put another policy in its place, or send SIGHUP to try this one again",
        };
        Some(format!("{why}: {so}; {again}"))
    }
}

/// What a policy is recognised by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The SHA-256 of the component, in hexadecimal.
    pub sha256: String,
    /// Where it came from: `builtin` or `file`.
    pub source: &'static str,
}

impl Identity {
    /// Whether it is the policy that is built into the binary.
    pub fn is_built_in(&self) -> bool {
        self.source == BUILTIN
    }
}

/// What came of an attempt to reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// Another policy serves from now on.
    Replaced(Identity),
    /// It is the policy that serves already.
    Unchanged,
}

/// Why a policy was not put to use. The one before it goes on serving.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It is no policy.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It is one, but fails on ordinary events.
    #[error("the policy is not usable with {plan}: {why}")]
    Unfit {
        /// The plan's name.
        plan: String,
        /// What is wrong.
        why: String,
    },
    /// It could not be judged to the end.
    #[error(transparent)]
    Impatient(#[from] Impatient),
    /// It failed before, and nothing has changed since.
    #[error("{0}")]
    Remembered(Failure),
    /// The change could not be recorded.
    #[error("the change of policy could not be recorded: {0}")]
    Store(#[from] StoreError),
    /// The thread that tried it ended in a panic: a defect of ours.
    #[error("the policy could not be tried")]
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
    /// Whether the policy would fail in the same way the next time, as far as can be known.
    pub fn is_the_policys_fault(&self) -> bool {
        match self {
            Self::Load(error) => error.is_the_policys_fault(),
            Self::Unfit { .. } | Self::Impatient(Impatient::Slow(..)) => true,
            Self::Impatient(_) | Self::Remembered(_) | Self::Store(_) | Self::Lost => false,
        }
    }

    /// Whether the machine lacked something for the moment, so that it may work the next time.
    fn is_the_machines_fault(&self) -> bool {
        match self {
            Self::Load(error) => error.is_the_machines_fault(),
            Self::Impatient(Impatient::Busy) | Self::Store(_) => true,
            Self::Impatient(_) | Self::Unfit { .. } | Self::Remembered(_) | Self::Lost => false,
        }
    }

    /// Whether it is only because the relay is stopping.
    fn is_stop(&self) -> bool {
        matches!(
            self,
            Self::Load(LoadError::Compile(CompileError::Stopped)) | Self::Impatient(Impatient::Stopped)
        )
    }
}

/// The policy in use.
pub struct Policy {
    current: RwLock<Arc<InUse>>,
    config: PolicyConfig,
    preparer: Preparer,
    store: Store,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// The file as it was before it was last read.
    seen: Mutex<Stamps>,
    /// Why the last reload failed, if it did.
    trouble: Mutex<Option<String>>,
    /// Held while reloading, so that two reloads do not cross.
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
    /// Loads the policy a relay starts with and records it when it is another than before. One that compiles or runs
    /// badly, or did so before, is not put to use: `policy.when_failing` says what serves instead.
    ///
    /// # Errors
    /// When its file cannot be read or holds no component, when the built-in one is needed and cannot be loaded, or
    /// when the relay is stopping.
    pub async fn open(
        config: &Config,
        store: Store,
        clock: Clock,
        metrics: Arc<Metrics>,
        compiler: Compiler,
    ) -> Result<Self, StartError> {
        let seen = Stamps::of(config.policy.file.as_deref());
        let preparer = Preparer::new(config, compiler, clock.clone());
        let candidate = preparer.read().map_err(ReloadError::Load)?;
        let configured = candidate.identity.clone();
        let in_use = match preparer.at_start(candidate).await {
            Ok(sandbox) => InUse::new(sandbox, configured, clock.now()),
            Err(error) if configured.is_built_in() || error.is_stop() => return Err(error.into()),
            Err(error) => {
                let why = Unusable {
                    why: error.to_string(),
                    is_tried_again: error.is_the_machines_fault(),
                };
                tracing::error!(
                    sha256 = configured.sha256,
                    why = why.why,
                    "the policy is not usable and was not loaded"
                );
                instead(&preparer, configured, why, config.policy.when_failing, &clock).await?
            }
        };
        if !in_use.standing.is_failing() {
            record(&store, &in_use.identity, in_use.since).await?;
        }
        metrics.policy.set(&in_use.identity);
        metrics.policy_failing.set(i64::from(in_use.failure().is_some()));
        Ok(Self {
            current: RwLock::new(Arc::new(in_use)),
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

    /// How often the file is looked at.
    pub fn look_every(&self) -> Duration {
        self.config.look_every
    }

    /// The policy that serves now. Whoever holds it keeps it.
    pub fn current(&self) -> Arc<InUse> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why the last reload failed; `None` when it did not.
    pub fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Reads the policy's file again and puts it to use when it is another one and fit.
    ///
    /// # Errors
    /// Why it was not; the policy before goes on serving.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let _one_at_a_time = self.reloading.lock().await;
        let result = self.replace().await;
        let trouble = result.as_ref().err().map(ToString::to_string);
        match &result {
            Ok(Reloaded::Unchanged) => tracing::info!("the policy is the one in use"),
            Ok(Reloaded::Replaced(identity)) => {
                tracing::info!(
                    sha256 = identity.sha256,
                    source = identity.source,
                    "another policy is in use"
                );
                self.count("ok");
            }
            Err(error) => {
                tracing::error!(%error, "the policy was not replaced; the one before goes on serving");
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
        // Compiling and judging take some seconds.
        let tried = tokio::task::spawn_blocking(move || {
            let candidate = preparer.read()?;
            if candidate.identity == serving.identity && !serving.standing.is_failing() {
                return Ok(None);
            }
            // Also one that failed before: a changed file or SIGHUP asks for it.
            let sandbox = preparer.prepare(&candidate, Priority::Low)?;
            Ok(Some((sandbox, candidate.identity)))
        });
        let tried: Result<_, ReloadError> = tried.await.unwrap_or(Err(ReloadError::Lost));
        let Some((sandbox, identity)) = tried? else {
            return Ok(Reloaded::Unchanged);
        };
        let since = self.clock.now();
        // On record before it serves, so that no event is scrubbed by a policy nobody can name later.
        record(&self.store, &identity, since).await?;
        self.put(InUse::new(sandbox, identity.clone(), since));
        self.metrics.policy_failing.set(0);
        Ok(Reloaded::Replaced(identity))
    }

    fn put(&self, new: InUse) {
        self.metrics.policy.set(&new.identity);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
    }

    fn count(&self, result: &'static str) {
        let label = ResultLabel { result };
        self.metrics.policy_reloads.get_or_create(&label).inc();
    }
}

impl Reload for Policy {
    fn seen(&self) -> Stamps {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn look(&self) -> Stamps {
        Stamps::of(self.config.file.as_deref())
    }

    async fn reload(&self) {
        // The result is logged, counted and shown in the health.
        let _ = Self::reload(self).await;
    }
}
