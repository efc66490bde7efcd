//! `policy check`, `policy explain` and `policy log`.

mod check;

pub(super) use check::NotUsable;

use crate::cli::rules::{Rules, RulesArgs};
use crate::cli::{CommandResult, ConfigArg, manage};
use crate::config::SitePlan;
use crate::digest::sha256;
use crate::policy::check::explain::{self, Row};
use clap::{Args, Subcommand, ValueEnum};
use std::fmt::Write as _;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Check a policy before it goes into service, and report whether it is usable.
    ///
    /// Shows the component's imports, exports and size, gives it the plan, and runs ordinary and hostile events
    /// through it and the guard, about 20 000 calls per plan. A relay's startup and reload use the same check. Without
    /// --plan and --config it gets the built-in plan. With --config the verdict is stored in the relay's folder: after "ok", the next startup retries a policy that
    /// failed before. Exits 0 if the policy is usable, 1 if it is not.
    Check(PolicyArgs),
    /// List the policies that were in service, and since when; latest first.
    Log(ConfigArg),
    /// Show the effective rule of each field, by running the policy on sample values.
    Explain {
        #[command(flatten)]
        policy: PolicyArgs,
        /// Explain only the plan of one site of the configuration.
        #[arg(long, value_name = "DOMAIN", requires = "config")]
        site: Option<String>,
        /// The output format.
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

/// Selects a policy and a plan.
#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    /// The component. Without it: the configuration's `policy.file`, or the built-in policy.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    rules: RulesArgs,
}

impl PolicyArgs {
    fn load(&self) -> anyhow::Result<Rules> {
        self.rules.load(self.file.as_deref(), SitePlan::built_in)
    }
}

/// Runs one of the commands.
pub(super) fn run(command: PolicyCommand) -> CommandResult {
    match command {
        PolicyCommand::Check(policy) => check::run(&policy),
        PolicyCommand::Log(config) => manage::policy_log(&config.config),
        PolicyCommand::Explain { policy, site, format } => explain(&policy, site.as_deref(), format),
    }
}

/// `policy explain`.
fn explain(args: &PolicyArgs, site: Option<&str>, format: Format) -> CommandResult {
    let rules = args.load()?;
    let plans = match (site, rules.config()) {
        (Some(site), Some(config)) => manage::site(config, site)?.plan.clone().into(),
        _ => rules.plans(),
    };
    let component = rules.compile()?;
    let sandbox = rules.sandbox(&component, &plans)?;
    let mut all = Vec::new();
    for plan in plans.iter() {
        let rows = explain::explain(&sandbox, plan)?;
        match format {
            Format::Text => {
                say!(
                    "{} under {}, version {}\n",
                    rules.policy,
                    plan.name(),
                    plan.version
                );
                say!("{}", table(&rows));
            }
            Format::Json => all.push(serde_json::json!({
                "plan": plan.name(), "version": plan.version, "policy": rules.policy,
                "sha256": sha256(&rules.wasm), "fields": rows,
            })),
        }
    }
    match format {
        Format::Json => say!("{}", serde_json::to_string_pretty(&all)?),
        Format::Text => complain!(
            "The values are samples. The policy cannot let through a value that it does not receive."
        ),
    }
    Ok(())
}

/// One heading per event and rule, then the result of each sample value.
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
