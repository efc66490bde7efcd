//! The policy in use, and its replacement while the relay serves.
//!
//! A new policy is read, compiled, given every site's plan and tried on ordinary events on a thread of
//! its own, then recorded, and only then put in the place of the old one. A request keeps the policy it
//! began with, so none is dropped and no batch is scrubbed by two. Whatever is wrong with a new policy,
//! the old one goes on serving.
//!
//! A policy that fails at most requests is taken out of service ([`standing`]). Then no events are taken, or the
//! built-in policy takes over, as `policy.when_failing` says, until the policy is loaded again: another file, or
//! SIGHUP.

mod failing;
pub mod standing;

use crate::app::StartError;
use crate::clock::{Clock, Moment};
use crate::config::{Config, Plans, PolicyConfig};
use crate::http::assets;
use crate::metrics::{Metrics, ResultLabel};
use crate::policy_check;
use crate::reload::{Reload, Stamps};
use crate::sandbox::{LoadError, Sandbox, sha256};
use crate::store::{Store, StoreError};
use rusqlite::{Connection, OptionalExtension};
use standing::Standing;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

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
    /// How it does.
    pub standing: Standing,
    /// The policy that it stands in for, because that one failed.
    pub instead_of: Option<Identity>,
}

impl InUse {
    fn new(sandbox: Sandbox, identity: Identity, since: Moment) -> Self {
        Self {
            sandbox,
            identity,
            since,
            standing: Standing::default(),
            instead_of: None,
        }
    }

    /// Why events are not scrubbed by the policy that is configured: in words for an operator.
    pub fn failure(&self) -> Option<&'static str> {
        match &self.instead_of {
            _ if self.standing.is_failing() => Some(
                "the policy failed at most requests and is out of service: no events are taken, and senders come \
                 back later; put another policy in its place, or send SIGHUP to try this one again",
            ),
            Some(_) => Some(
                "the policy failed at most requests and is out of service: the built-in one took over; put \
                 another policy in its place, or send SIGHUP to try this one again",
            ),
            None => None,
        }
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
    /// The change could not be recorded.
    #[error("the change of policy could not be recorded: {0}")]
    Store(#[from] StoreError),
    /// The thread that tried it ended in a panic: a defect of ours.
    #[error("the policy could not be tried")]
    Lost,
}

/// The policy in use.
pub struct Policy {
    current: RwLock<Arc<InUse>>,
    config: PolicyConfig,
    plans: Plans,
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
    /// Loads the policy a relay starts with and records it when it is another than before.
    ///
    /// # Errors
    /// When it cannot be loaded or recorded. The relay does not start then.
    pub async fn open(
        config: &Config,
        store: Store,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let seen = Stamps::of(config.policy.file.as_deref());
        let (wasm, source) = read(&config.policy)?;
        let sandbox = Sandbox::load(&wasm, &config.plans, &config.policy)?;
        let identity = Identity {
            sha256: sha256(&wasm),
            source,
        };
        let since = clock.now();
        record(&store, &identity, since).await?;
        metrics.policy.set(&identity);
        Ok(Self {
            current: RwLock::new(Arc::new(InUse::new(sandbox, identity, since))),
            config: config.policy.clone(),
            plans: config.plans.clone(),
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
        let (config, plans) = (self.config.clone(), self.plans.clone());
        let serving = self.current();
        // Compiling and trying take a good part of a second.
        let tried = tokio::task::spawn_blocking(move || {
            let (wasm, source) = read(&config)?;
            let identity = Identity {
                sha256: sha256(&wasm),
                source,
            };
            if identity == serving.identity && !serving.standing.is_failing() {
                return Ok(None);
            }
            let sandbox = Sandbox::load(&wasm, &plans, &config)?;
            for plan in plans.iter() {
                policy_check::smoke(&sandbox, plan).map_err(|why| ReloadError::Unfit {
                    plan: plan.name().to_owned(),
                    why,
                })?;
            }
            Ok(Some((sandbox, identity)))
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

fn read(config: &PolicyConfig) -> Result<(Vec<u8>, &'static str), LoadError> {
    match &config.file {
        Some(path) => Ok((std::fs::read(path)?, "file")),
        None => {
            let wasm = assets::default_policy().ok_or(LoadError::NotBuilt)?;
            Ok((wasm.into_owned(), BUILTIN))
        }
    }
}

/// One change of policy, as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it was put to use.
    pub at: Moment,
    /// The SHA-256 of the component.
    pub sha256: String,
    /// `builtin` or `file`.
    pub source: String,
}

/// Records a policy that is put to use, when it is not the last one recorded.
async fn record(store: &Store, identity: &Identity, at: Moment) -> Result<(), StoreError> {
    let identity = identity.clone();
    let insert = move |db: &Connection| {
        let last: Option<(String, String)> = db
            .query_row(
                "SELECT sha256, source FROM policy_log ORDER BY id DESC LIMIT 1",
                (),
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        if last.is_some_and(|(sha256, source)| sha256 == identity.sha256 && source == identity.source) {
            return Ok(());
        }
        db.execute(
            "INSERT INTO policy_log (at, sha256, source) VALUES (?1, ?2, ?3)",
            (at.0, &identity.sha256, identity.source),
        )?;
        Ok(())
    };
    store.run(insert).await
}

/// The changes of policy on record, the latest first.
///
/// # Errors
/// When the database cannot be read.
pub fn changes(db: &Connection, limit: u32) -> rusqlite::Result<Vec<Change>> {
    let mut rows = db.prepare("SELECT at, sha256, source FROM policy_log ORDER BY id DESC LIMIT ?1")?;
    let change = |row: &rusqlite::Row<'_>| {
        Ok(Change {
            at: Moment(row.get(0)?),
            sha256: row.get(1)?,
            source: row.get(2)?,
        })
    };
    rows.query_map([limit], change)?.collect()
}
