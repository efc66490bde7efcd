//! Which policy and which plan a command works with: those of a configuration, or named one by one.

use crate::config::{self, Config, PolicyConfig};
use crate::document::Mistakes;
use crate::http::assets;
use crate::sandbox::LoadError;
use anyhow::{Context, bail};
use clap::Args;
use relay_event::Plan;
use std::path::PathBuf;

/// Names a policy and a plan.
#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    /// The tracking plan.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    plan: Option<PathBuf>,
    /// The configuration whose plan and policy to use.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The policy component, instead of the configuration's or the one built in.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl PolicyArgs {
    /// Whether neither a plan nor a configuration is named, so that nothing is listed.
    pub(super) fn is_unplanned(&self) -> bool {
        self.plan.is_none() && self.config.is_none()
    }

    /// Reads the policy's component, the plan and the limits.
    pub(super) fn load(&self, site: Option<&str>) -> anyhow::Result<(Vec<u8>, Plan, PolicyConfig)> {
        let (plan, mut limits) = match (&self.plan, &self.config) {
            (Some(path), _) => (config::plan_of(path)?, PolicyConfig::default()),
            (None, Some(path)) => {
                let config = Config::load(path, &config::process_env)?;
                if let Some(site) = site
                    && !config.sites.iter().any(|known| known.domain == site)
                {
                    return Err(Mistakes::of_file(path, format!("no [[site]] has the domain {site}")).into());
                }
                (config.plan, config.policy)
            }
            (None, None) => (Plan::unplanned(), PolicyConfig::default()),
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
                None => bail!(crate::app::StartError::NoPolicy),
            },
        };
        Ok((wasm, plan, limits))
    }
}
