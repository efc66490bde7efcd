//! `plan check`, `plan docs` and `plan types`: what a tracking plan says, to its author, to users and to
//! developers.

use crate::cli::{Outcome, say};
use crate::config::{self, Config, SitePlan};
use crate::plan::advice::advice;
use crate::plan::page::{self, About};
use crate::plan::{Summary, types};
use crate::switch::TurnError;
use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum PlanCommand {
    /// Tell every mistake of a plan with its line and what to write instead, or what the plan holds and could do better.
    ///
    /// Exits 78 on mistakes, like check-config. Advice is no mistake.
    Check(Which),
    /// Write the privacy page that users read, made from the plan.
    ///
    /// The relay serves the same page at /privacy on its public listener.
    Docs {
        #[command(flatten)]
        which: Which,
        /// How to write it.
        #[arg(long, value_enum, default_value = "html")]
        format: Format,
        /// What the users call the product, instead of [privacy] product_name.
        #[arg(long, value_name = "NAME")]
        product_name: Option<String>,
    },
    /// Write TypeScript declarations of the plan's events and properties.
    Types(Which),
}

/// Which plan: a file, that of a configuration, or the one built in.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The plan's file. Without it and without --config, the plan built in.
    #[arg(value_name = "FILE", conflicts_with_all = ["config", "site"])]
    file: Option<PathBuf>,
    /// The configuration whose plans are meant.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The site whose plan is meant, where the configuration has several.
    #[arg(long, value_name = "DOMAIN", requires = "config")]
    site: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// One HTML page that needs nothing else.
    Html,
    /// Markdown.
    Markdown,
}

/// Runs one of the commands.
pub(super) fn run(command: PlanCommand) -> Outcome {
    match command {
        PlanCommand::Check(which) => {
            for plan in which.plans()?.0 {
                say(&format!("{}: {}", plan.name(), Summary::of(&plan)));
                for advice in advice(&plan) {
                    say(&format!("advice: {advice}"));
                }
            }
        }
        PlanCommand::Docs {
            which,
            format,
            product_name,
        } => {
            let (plan, mut about) = which.one()?;
            about.product_name = product_name.or(about.product_name);
            let document = match format {
                Format::Html => page::html(&plan, &about),
                Format::Markdown => page::markdown(&plan, &about),
            };
            say(document.trim_end());
        }
        PlanCommand::Types(which) => say(types::typescript(&which.one()?.0).trim_end()),
    }
    Ok(())
}

impl Which {
    /// All the plans that are meant, and what the configuration says besides.
    fn plans(&self) -> anyhow::Result<(Vec<SitePlan>, About)> {
        if let Some(file) = &self.file {
            return Ok((vec![config::read_plan(file)?], About::default()));
        }
        let Some(file) = &self.config else {
            return Ok((vec![SitePlan::built_in()?], About::default()));
        };
        let config = Config::load(file, &config::process_env)?;
        let plans = match &self.site {
            None => config.plans.iter().cloned().collect(),
            Some(site) => {
                let found = config.sites.iter().find(|known| known.domain == *site);
                let found = found.ok_or_else(|| TurnError::UnknownSite(site.clone()))?;
                vec![found.plan.clone()]
            }
        };
        Ok((plans, config.privacy))
    }

    /// The one plan that is meant.
    fn one(&self) -> anyhow::Result<(SitePlan, About)> {
        let (plans, about) = self.plans()?;
        match <[SitePlan; 1]>::try_from(plans) {
            Ok([plan]) => Ok((plan, about)),
            Err(_) => bail!("the configuration's sites have several plans; say which one with --site DOMAIN"),
        }
    }
}
