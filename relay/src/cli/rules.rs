//! The rules a command works by: the policy, and the plan of each site.

use crate::cli;
use crate::config::{self, Config, PolicyConfig, Profile, SitePlan};
use crate::http::assets;
use crate::sandbox::LoadError;
use crate::sandbox::compiler::Compiler;
use anyhow::{Context, bail};
use axum::http::HeaderName;
use clap::Args;
use relay_event::Plan;
use std::path::PathBuf;

/// Names a policy and a plan.
#[derive(Debug, Args)]
pub(super) struct RulesArgs {
    /// The tracking plan for every site.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    plan: Option<PathBuf>,
    /// The configuration whose sites, plans and policy to use.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The policy component, instead of the configuration's or the one built in.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// A policy with its limits, and which plan counts where.
pub(super) struct Rules {
    /// The component.
    pub(super) wasm: Vec<u8>,
    /// Its limits.
    pub(super) limits: PolicyConfig,
    /// Compiles it.
    pub(super) compiler: Compiler,
    /// The kind of server that events go to.
    pub(super) profile: Profile,
    /// The header for the visitor's address.
    pub(super) address_header: HeaderName,
    scope: Scope,
}

enum Scope {
    /// One plan, whatever the site.
    Everywhere(SitePlan),
    /// Each configured site has its own.
    Sites(Vec<(String, SitePlan)>),
}

impl RulesArgs {
    /// Whether neither a plan nor a configuration is named, so that nothing is listed.
    pub(super) fn is_unplanned(&self) -> bool {
        self.plan.is_none() && self.config.is_none()
    }

    /// Reads what is named.
    pub(super) fn load(&self) -> anyhow::Result<Rules> {
        let mut profile = Profile::default();
        let mut address_header = profile.address_header();
        let mut compiler = cli::compiler(None);
        let (scope, mut limits) = match (&self.plan, &self.config) {
            (Some(path), _) => (Scope::Everywhere(SitePlan::load(path)?), PolicyConfig::default()),
            (None, Some(path)) => {
                let config = Config::load(path, &config::process_env)?;
                profile = config.upstream.profile;
                compiler = cli::compiler(Some(&config));
                address_header = config.upstream.address_header;
                let sites = config.sites.into_iter().map(|site| (site.domain, site.plan));
                (Scope::Sites(sites.collect()), config.policy)
            }
            (None, None) => (
                Scope::Everywhere(Plan::unplanned().into()),
                PolicyConfig::default(),
            ),
        };
        if let Some(path) = &self.policy {
            limits.file = Some(path.clone());
        }
        let wasm = match &limits.file {
            Some(path) => std::fs::read(path)
                .map_err(LoadError::from)
                .with_context(|| path.display().to_string())?,
            None => match assets::default_policy() {
                Some(wasm) => wasm.into_owned(),
                None => bail!(LoadError::NotBuilt),
            },
        };
        Ok(Rules {
            wasm,
            limits,
            compiler,
            profile,
            address_header,
            scope,
        })
    }
}

impl Rules {
    /// Every plan.
    pub(super) fn plans(&self) -> impl Iterator<Item = &SitePlan> {
        match &self.scope {
            Scope::Everywhere(plan) => std::slice::from_ref(plan).iter().collect::<Vec<_>>(),
            Scope::Sites(sites) => sites.iter().map(|(_, plan)| plan).collect(),
        }
        .into_iter()
    }

    /// The plan of a site. `None` for one that is not configured.
    pub(super) fn plan_of(&self, site: &str) -> Option<&SitePlan> {
        match &self.scope {
            Scope::Everywhere(plan) => Some(plan),
            Scope::Sites(sites) => {
                let (_, plan) = sites.iter().find(|(domain, _)| domain == site)?;
                Some(plan)
            }
        }
    }

    /// The sites that are configured; none where one plan counts everywhere.
    pub(super) fn sites(&self) -> Vec<&str> {
        match &self.scope {
            Scope::Everywhere(_) => Vec::new(),
            Scope::Sites(sites) => sites.iter().map(|(domain, _)| domain.as_str()).collect(),
        }
    }
}
