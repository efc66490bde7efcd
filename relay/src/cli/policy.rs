//! `policy check`, `policy explain` and `policy log`.

mod check;

pub(super) use check::NotUsable;

use crate::cli::{self, ConfigArg, Outcome, complain, manage, say};
use crate::config::{self, Config, PolicyConfig, SitePlan};
use crate::http::assets;
use crate::policy::verdicts::Verdicts;
use crate::policy_check::explain::{self, Row};
use crate::sandbox::compiler::{Compiler, Priority};
use crate::sandbox::{LoadError, Sandbox, sha256};
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use std::fmt::Write as _;
use std::path::PathBuf;
use wasmtime::component::Component;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Check a policy before it is put to use, and say whether it is usable.
    ///
    /// Shows what the component imports, exports and weighs, gives it the plan, and runs ordinary and
    /// hostile events through it and the guard, some 20 000 calls for a plan. Start and reload of a relay judge a
    /// policy in the same way. With --config the relay's folder keeps the verdict: a policy that failed before is
    /// tried again at the next start once this says "ok". Exits 0 when it is usable, 1 when it is not.
    Check(PolicyArgs),
    /// List which policies were put to use, and when; the latest first.
    Log(ConfigArg),
    /// Show the effective rule of each field, by running the policy on made-up values.
    Explain {
        #[command(flatten)]
        policy: PolicyArgs,
        /// Explain the plan of one site of the configuration only.
        #[arg(long, value_name = "DOMAIN", requires = "config")]
        site: Option<String>,
        /// How to show it.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// A table for people.
    Text,
    /// For programs.
    Json,
}

/// Which policy, under which plan.
#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    /// The component. Without it: the configuration's `policy.file`, or the one built in.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The tracking plan to run it with. Without it and without a configuration: the one built in.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    plan: Option<PathBuf>,
    /// The configuration whose plans and limits to run it with.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs one of the commands.
pub(super) fn run(command: PolicyCommand) -> Outcome {
    match command {
        PolicyCommand::Check(policy) => check::run(&policy),
        PolicyCommand::Log(config) => manage::policy_log(&config.config),
        PolicyCommand::Explain { policy, site, format } => explain(&policy, site.as_deref(), format),
    }
}

/// A policy and what it is to be judged under.
struct Case {
    name: String,
    wasm: Vec<u8>,
    plans: Vec<SitePlan>,
    /// The sites of each plan, as far as a configuration names them.
    sites: Vec<(String, SitePlan)>,
    limits: PolicyConfig,
    compiler: Compiler,
    /// What the relay of the configuration remembers, if this command may write there.
    verdicts: Option<Verdicts>,
}

impl Case {
    fn of(args: &PolicyArgs) -> anyhow::Result<Self> {
        let (mut compiler, mut verdicts) = (cli::compiler(None), None);
        let (plans, sites, limits) = match (&args.config, &args.plan) {
            (Some(path), _) => {
                let config = Config::load(path, &config::process_env)?;
                compiler = cli::compiler(Some(&config));
                verdicts = cli::verdicts(&config);
                let sites = config.sites.iter().map(|s| (s.domain.clone(), s.plan.clone()));
                let sites = sites.collect();
                (config.plans.iter().cloned().collect(), sites, config.policy)
            }
            (None, Some(path)) => (
                vec![config::read_plan(path)?],
                Vec::new(),
                PolicyConfig::default(),
            ),
            (None, None) => (vec![SitePlan::built_in()?], Vec::new(), PolicyConfig::default()),
        };
        let file = args.file.as_ref().or(limits.file.as_ref());
        let (name, wasm) = match file {
            Some(path) => {
                let wasm = std::fs::read(path)
                    .with_context(|| format!("the policy {} cannot be read", path.display()))?;
                (path.display().to_string(), wasm)
            }
            None => {
                let wasm = assets::default_policy().ok_or(LoadError::NotBuilt)?;
                ("the policy built in".to_owned(), wasm.into_owned())
            }
        };
        Ok(Self {
            name,
            wasm,
            plans,
            sites,
            limits,
            compiler,
            verdicts,
        })
    }

    fn compile(&self) -> Result<Component, LoadError> {
        self.compiler.compile(&self.wasm, Priority::Normal)
    }

    fn load(&self, component: &Component, plan: &SitePlan) -> Result<Sandbox, LoadError> {
        Sandbox::load(component, &plan.clone().into(), &self.limits)
    }
}

/// `policy explain`.
fn explain(args: &PolicyArgs, site: Option<&str>, format: Format) -> Outcome {
    let mut case = Case::of(args)?;
    if let Some(domain) = site {
        let Some((_, plan)) = case.sites.iter().find(|(known, _)| known == domain) else {
            let known: Vec<_> = case.sites.iter().map(|(known, _)| known.as_str()).collect();
            bail!(
                "the site {domain} is not in the configuration, which has {}",
                known.join(", ")
            );
        };
        case.plans = vec![plan.clone()];
    }
    let component = case.compile()?;
    let mut all = Vec::new();
    for plan in &case.plans {
        let rows = explain::explain(&case.load(&component, plan)?, plan)?;
        match format {
            Format::Text => {
                say(&format!(
                    "{} under {}, version {}\n",
                    case.name,
                    plan.name(),
                    plan.version
                ));
                say(&table(&rows));
            }
            Format::Json => all.push(serde_json::json!({
                "plan": plan.name(), "version": plan.version, "policy": case.name,
                "sha256": sha256(&case.wasm), "fields": rows,
            })),
        }
    }
    match format {
        Format::Json => say(&serde_json::to_string_pretty(&all)?),
        Format::Text => {
            complain("The values are made up. What the policy is not shown, it cannot let through.")
        }
    }
    Ok(())
}

/// One heading per event and rule, then what becomes of each made-up value.
fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let (mut event, mut field) = (None, "");
    for row in rows {
        if event != Some(&row.event) {
            let heading = match row.event.as_str() {
                "" => "every event",
                name => name,
            };
            let _ = writeln!(text, "{heading}");
            (event, field) = (Some(&row.event), "");
        }
        if field != row.field {
            let _ = writeln!(text, "  {:<18} {}", row.field, row.rule);
            field = &row.field;
        }
        let _ = writeln!(text, "  {:<18}   {} -> {}", "", row.input, row.output);
    }
    text
}
