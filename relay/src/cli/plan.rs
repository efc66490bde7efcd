//! `plan check`, `plan docs` and `plan types`: a tracking plan's content for its author, for users and for
//! developers.

use crate::cli::{CommandResult, manage};
use crate::config::SitePlan;
use crate::notice::advice::advice;
use crate::notice::page::{self, About};
use crate::notice::{Summary, types};
use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum PlanCommand {
    /// Report every mistake in a plan with its line and the correction; for a valid plan, its content and possible
    /// improvements.
    ///
    /// Exits 78 on mistakes, like check-config. Advice is not a mistake.
    Check(Which),
    /// Write the privacy page for users, generated from the plan.
    ///
    /// The relay serves the same page at /privacy on its public listener.
    Docs {
        #[command(flatten)]
        which: Which,
        /// The format.
        #[arg(long, value_enum, default_value = "html")]
        format: Format,
        /// The product's name for users, instead of [privacy] product_name.
        #[arg(long, value_name = "NAME")]
        product_name: Option<String>,
    },
    /// Write TypeScript declarations of the plan's events and properties.
    Types(Which),
}

/// Selects a plan: a file, the plan of a configuration, or the built-in one.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The plan's file. Without it and without --config: the built-in plan.
    #[arg(value_name = "FILE", conflicts_with_all = ["config", "site"])]
    file: Option<PathBuf>,
    /// The configuration whose plans to use.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The site whose plan to use, if the configuration has several.
    #[arg(long, value_name = "DOMAIN", requires = "config")]
    site: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// One self-contained HTML page.
    Html,
    /// Markdown.
    Markdown,
}

/// Runs one of the commands.
pub(super) fn run(command: PlanCommand) -> CommandResult {
    match command {
        PlanCommand::Check(which) => {
            for plan in which.plans()?.0 {
                say!("{}: {}", plan.name(), Summary::of(&plan));
                for advice in advice(&plan) {
                    say!("advice: {advice}");
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
            say!("{}", document.trim_end());
        }
        PlanCommand::Types(which) => say!("{}", types::typescript(&which.one()?.0).trim_end()),
    }
    Ok(())
}

impl Which {
    /// All selected plans, and the configuration's other texts.
    fn plans(&self) -> anyhow::Result<(Vec<SitePlan>, About)> {
        if let Some(file) = &self.file {
            return Ok((vec![SitePlan::load(file)?], About::default()));
        }
        let Some(file) = &self.config else {
            return Ok((vec![SitePlan::built_in()?], About::default()));
        };
        let config = manage::load(file)?;
        let plans = match &self.site {
            None => config.plans.iter().cloned().collect(),
            Some(site) => vec![manage::site(&config, site)?.plan.clone()],
        };
        Ok((plans, config.privacy))
    }

    /// The single selected plan.
    fn one(&self) -> anyhow::Result<(SitePlan, About)> {
        let (plans, about) = self.plans()?;
        match <[SitePlan; 1]>::try_from(plans) {
            Ok([plan]) => Ok((plan, about)),
            Err(_) => bail!("the configuration's sites use several plans; choose one with --site DOMAIN"),
        }
    }
}
