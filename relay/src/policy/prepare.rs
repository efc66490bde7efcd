//! Takes a policy from its file to a sandbox that is ready to serve.

use super::verdicts::Verdicts;
use super::{BUILTIN, Identity, ReloadError};
use crate::bundle;
use crate::clock::Clock;
use crate::config::{Config, Plans, PolicyConfig};
use crate::digest::sha256;
use crate::policy::check::patience::Patience;
use crate::policy::check::{self, tally};
use crate::policy::sandbox::compiler::{COMPONENT_BYTES_MAX, Compiler, Priority, looks_like_a_component};
use crate::policy::sandbox::{Fault, LoadError, Sandbox};
use crate::reload::read_bounded;
use std::io::ErrorKind;
use tokio_util::sync::CancellationToken;

/// A policy that was read and looks like a component.
pub(super) struct Candidate {
    wasm: Vec<u8>,
    pub(super) identity: Identity,
}

/// Compiles, loads and judges policies under one configuration.
#[derive(Clone)]
pub(super) struct Preparer {
    config: PolicyConfig,
    plans: Plans,
    compiler: Compiler,
    verdicts: Verdicts,
    clock: Clock,
}

impl Preparer {
    pub(super) fn new(config: &Config, compiler: Compiler, clock: Clock) -> Self {
        Self {
            verdicts: Verdicts::open(&config.data_dir, &config.policy, &config.plans),
            compiler: compiler.cached_in(&config.data_dir),
            config: config.policy.clone(),
            plans: config.plans.clone(),
            clock,
        }
    }

    /// The verdicts that this data folder stores.
    pub(super) fn verdicts(&self) -> Verdicts {
        self.verdicts.clone()
    }

    /// Cancelled when the relay stops.
    pub(super) fn stop(&self) -> &CancellationToken {
        self.compiler.stop()
    }

    /// Reads the configured policy.
    pub(super) fn read(&self) -> Result<Candidate, LoadError> {
        read(&self.config)
    }

    /// [`Preparer::prepare`] for startup, which skips policies that failed before.
    pub(super) async fn at_start(&self, candidate: Candidate) -> Result<Sandbox, ReloadError> {
        let known = self.verdicts.recall(&candidate.identity.sha256);
        match known.and_then(|known| known.failure) {
            Some(failure) if !candidate.identity.is_built_in() => Err(ReloadError::Remembered(failure)),
            _ => self.in_background(candidate, Priority::Normal).await,
        }
    }

    /// [`Preparer::prepare`] on a separate thread.
    pub(super) async fn in_background(
        &self,
        candidate: Candidate,
        priority: Priority,
    ) -> Result<Sandbox, ReloadError> {
        let this = self.clone();
        let prepared = tokio::task::spawn_blocking(move || this.prepare(&candidate, priority));
        prepared.await.unwrap_or(Err(ReloadError::Lost))
    }

    /// Compiles, loads and judges a policy, and stores the verdict. Blocks the thread meanwhile.
    pub(super) fn prepare(&self, candidate: &Candidate, priority: Priority) -> Result<Sandbox, ReloadError> {
        let sha256 = &candidate.identity.sha256;
        let known = self.verdicts.recall(sha256).unwrap_or_default();
        // The built-in policy is the relay's own rules, and the relay's tests have judged it.
        let is_judged = candidate.identity.is_built_in() || known.passed;
        let prepared = self.load(candidate, priority).and_then(|sandbox| {
            if !is_judged {
                self.judge(&sandbox, sha256)?;
            }
            Ok(sandbox)
        });
        match &prepared {
            Ok(_) if is_judged && known.failure.is_none() => {}
            Ok(_) => self.verdicts.passed(sha256),
            Err(error) if error.fault() == Fault::Policy => {
                self.verdicts
                    .failed_check(sha256, &error.to_string(), self.clock.now());
            }
            Err(_) => {}
        }
        prepared
    }

    fn load(&self, candidate: &Candidate, priority: Priority) -> Result<Sandbox, ReloadError> {
        let component = self.compiler.compile(&candidate.wasm, priority)?;
        Ok(Sandbox::load(&component, &self.plans, &self.config)?)
    }

    fn judge(&self, sandbox: &Sandbox, sha256: &str) -> Result<(), ReloadError> {
        tracing::info!(
            sha256,
            "checking the policy; the verdict is kept for later starts"
        );
        let patience = Patience::begin(self.compiler.stop().clone());
        let seed = check::seed_of(sha256);
        let plans = self.plans.iter().count();
        for (nth, plan) in self.plans.iter().enumerate() {
            let report = check::judge(sandbox, plan, (nth, plans), seed, &patience, &mut |_, _, _| {})?;
            let objections = report.objections();
            if !objections.is_empty() {
                return Err(ReloadError::Unfit {
                    plan: plan.name().to_owned(),
                    why: objections.join("; "),
                });
            }
            if let Some((refused, of, names)) = report.refused() {
                tracing::warn!(
                    sha256,
                    plan = plan.name(),
                    refused,
                    of,
                    share = tally::percent(refused, of),
                    events = names,
                    "the policy refuses ordinary events that the plan lets through"
                );
            }
        }
        Ok(())
    }
}

/// Checks the configured policy as far as possible without compiling it.
///
/// # Errors
/// If there is none, its file cannot be read, or the file holds no component. The relay does not start then.
pub fn glance(config: &PolicyConfig) -> Result<(), LoadError> {
    read(config).map(drop)
}

/// Reads the configured policy: its file, or the built-in one.
fn read(config: &PolicyConfig) -> Result<Candidate, LoadError> {
    let Some(path) = &config.file else {
        return Candidate::built_in();
    };
    let wasm = read_bounded(path, COMPONENT_BYTES_MAX as u64).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => LoadError::TooLarge,
        _ => LoadError::Unreadable(error),
    })?;
    looks_like_a_component(&wasm)?;
    Ok(Candidate::new(wasm, "file"))
}

impl Candidate {
    fn new(wasm: Vec<u8>, source: &'static str) -> Self {
        let identity = Identity {
            sha256: sha256(&wasm),
            source,
        };
        Self { wasm, identity }
    }

    /// The built-in policy.
    pub(super) fn built_in() -> Result<Self, LoadError> {
        let wasm = bundle::default_policy().ok_or(LoadError::NotBuilt)?;
        Ok(Self::new(wasm.into_owned(), BUILTIN))
    }
}
