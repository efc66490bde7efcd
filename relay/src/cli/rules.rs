//! The rules of a command: the policy, and the plan of each site.

use crate::bundle;
use crate::cli::{is_own_data, manage};
use crate::config::toml::Diagnostics;
use crate::config::{Config, Plans, PolicyConfig, Profile, SitePlan};
use crate::policy::sandbox::compiler::{Compiler, Priority};
use crate::policy::sandbox::{LoadError, Sandbox};
use crate::policy::verdicts::Verdicts;
use anyhow::Context;
use axum::http::HeaderName;
use clap::Args;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;
use wasmtime::component::Component;

/// Selects plans, and with a configuration its policy and limits.
#[derive(Debug, Args)]
pub(super) struct RulesArgs {
    /// The tracking plan for every site.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    plan: Option<PathBuf>,
    /// The configuration whose sites, plans, policy and limits to use.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A policy with its limits, and the plan of each site.
pub(super) struct Rules {
    /// The name of the policy, for people.
    pub(super) policy: String,
    /// The component.
    pub(super) wasm: Vec<u8>,
    /// Its limits.
    pub(super) limits: PolicyConfig,
    scope: Scope,
}

enum Scope {
    /// One plan for every site.
    Everywhere(SitePlan),
    /// The sites and plans of a configuration.
    Configured(Box<Config>),
}

impl RulesArgs {
    /// Whether neither a plan nor a configuration is given.
    pub(super) fn is_empty(&self) -> bool {
        self.plan.is_none() && self.config.is_none()
    }

    /// Reads the selected files. `policy` is the component to use instead of the configured or built-in one. Without
    /// a plan and a configuration `otherwise` is the plan.
    pub(super) fn load(
        &self,
        policy: Option<&Path>,
        otherwise: impl FnOnce() -> Result<SitePlan, Diagnostics>,
    ) -> anyhow::Result<Rules> {
        let scope = match (&self.config, &self.plan) {
            (Some(path), _) => Scope::Configured(Box::new(manage::load(path)?)),
            (None, Some(path)) => Scope::Everywhere(SitePlan::load(path)?),
            (None, None) => Scope::Everywhere(otherwise()?),
        };
        let limits = match &scope {
            Scope::Configured(config) => config.policy.clone(),
            Scope::Everywhere(_) => PolicyConfig::default(),
        };
        let (policy, wasm) = match policy.or(limits.file.as_deref()) {
            Some(path) => {
                let name = path.display().to_string();
                let wasm =
                    std::fs::read(path).with_context(|| format!("the policy {name} cannot be read"))?;
                (name, wasm)
            }
            None => {
                let wasm = bundle::default_policy().ok_or(LoadError::NotBuilt)?;
                ("the built-in policy".to_owned(), wasm.into_owned())
            }
        };
        Ok(Rules {
            policy,
            wasm,
            limits,
            scope,
        })
    }
}

impl Rules {
    /// The configuration, if the command has one.
    pub(super) fn config(&self) -> Option<&Config> {
        match &self.scope {
            Scope::Everywhere(_) => None,
            Scope::Configured(config) => Some(config),
        }
    }

    /// Every plan, once.
    pub(super) fn plans(&self) -> Plans {
        match &self.scope {
            Scope::Everywhere(plan) => plan.clone().into(),
            Scope::Configured(config) => config.plans.clone(),
        }
    }

    /// The plan of a site. `None` if the site is not configured.
    pub(super) fn plan_of(&self, site: &str) -> Option<&SitePlan> {
        match &self.scope {
            Scope::Everywhere(plan) => Some(plan),
            Scope::Configured(config) => Some(&config.site(site)?.plan),
        }
    }

    /// The kind of the upstream server, and its header for the visitor's address.
    pub(super) fn upstream(&self) -> (Profile, HeaderName) {
        match self.config() {
            Some(config) => (config.upstream.profile, config.upstream.address_header.clone()),
            None => (Profile::default(), Profile::default().address_header()),
        }
    }

    /// Compiles the policy. Reuses and stores the result in the data folder of the configuration, if there is one.
    pub(super) fn compile(&self) -> Result<Component, LoadError> {
        let mut compiler = Compiler::child(CancellationToken::new());
        if let Some(config) = self.config().filter(|config| is_own_data(&config.data_dir)) {
            compiler = compiler.cached_in(&config.data_dir);
        }
        compiler.compile(&self.wasm, Priority::Normal)
    }

    /// Loads the compiled policy for some of the plans.
    pub(super) fn sandbox(&self, component: &Component, plans: &Plans) -> Result<Sandbox, LoadError> {
        Sandbox::load(component, plans, &self.limits)
    }

    /// The verdicts of the configuration's relay, if there is one and this command may write there.
    pub(super) fn verdicts(&self) -> Option<Verdicts> {
        let config = self.config().filter(|config| is_own_data(&config.data_dir))?;
        Some(Verdicts::open(&config.data_dir, &config.policy, &config.plans))
    }
}
