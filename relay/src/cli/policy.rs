//! `policy check`, `policy explain` and `policy log`.

use crate::cli::{self, ConfigArg, Outcome, complain, manage, say};
use crate::clock::Clock;
use crate::config::{self, Config, PolicyConfig, SitePlan};
use crate::http::assets;
use crate::policy::verdicts::Verdicts;
use crate::policy_check::patience::{Impatient, Patience};
use crate::policy_check::tally::{Tally, percent};
use crate::policy_check::{self, CheckError, Corpus, Report, explain::Row};
use crate::sandbox::compiler::{Compiler, Priority};
use crate::sandbox::{COMPONENT_BYTES_MAX, LoadError, STACK_BYTES_MAX, Sandbox, sha256, trial};
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use wasmtime::component::Component;

/// How often progress is shown on a terminal.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Check a policy before it is put to use, and say whether it is usable.
    ///
    /// Shows what the component imports, exports and weighs, gives it the plan, and runs ordinary and
    /// hostile events through it and the guard. Exits 0 when it is usable, 1 when it is not.
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
        PolicyCommand::Check(policy) => check(&policy),
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

/// `policy check` has said what is wrong as its verdict, where scripts look for it.
#[derive(Debug, thiserror::Error)]
#[error("the policy is not usable")]
pub(super) struct NotUsable;

/// `policy check`.
fn check(args: &PolicyArgs) -> Outcome {
    let case = Case::of(args)?;
    let sha256 = sha256(&case.wasm);
    say(&format!("policy     {}", case.name));
    say(&format!(
        "size       {} bytes of at most {COMPONENT_BYTES_MAX}",
        case.wasm.len()
    ));
    say(&format!("sha256     {sha256}"));
    let known = case.verdicts.as_ref().and_then(|known| known.recall(&sha256));
    if let Some(failure) = known.and_then(|known| known.failure) {
        say(&format!(
            "remembered {failure}; `serve` does not try it again before it passes this check"
        ));
    }
    let mut verdict = Judged::default();
    match case.compile() {
        Ok(component) => {
            let anatomy = trial::anatomy(&component);
            say(&format!("imports    {}", list(&anatomy.imports)));
            say(&format!("exports    {}", list(&anatomy.exports)));
            say(&format!(
                "limits     {} fuel per event, {} bytes of memory, {STACK_BYTES_MAX} bytes of stack",
                case.limits.fuel, case.limits.memory_bytes_max
            ));
            judge(&case, &component, &sha256, &mut verdict)?;
        }
        Err(error) if error.is_the_policys_fault() => verdict.objections.push(error.to_string()),
        Err(error) => return Err(error.into()),
    }
    // One mistake shows under every plan.
    verdict.objections.dedup();
    let (objections, now) = (verdict.objections.join("; "), Clock::system().now());
    if let Some(verdicts) = &case.verdicts {
        match objections.as_str() {
            "" => verdicts.passed(&sha256),
            why => verdicts.failed_check(&sha256, why, now),
        }
    }
    if !objections.is_empty() {
        say(&format!("not usable: {objections}"));
        return Err(NotUsable.into());
    }
    let refuses = match verdict.refused {
        0 => String::new(),
        refused => format!(
            ", and refused {refused} of {} ordinary events ({})",
            verdict.ordinary,
            percent(refused, verdict.ordinary)
        ),
    };
    say(&format!(
        "ok: it imports nothing and takes the plan; in {} calls it failed on no event, answered the same in any order{refuses}",
        verdict.calls
    ));
    Ok(())
}

/// What was found under all plans together.
#[derive(Default)]
struct Judged {
    calls: usize,
    ordinary: usize,
    refused: usize,
    objections: Vec<String>,
}

/// Judges a policy under each plan.
fn judge(case: &Case, component: &Component, sha256: &str, all: &mut Judged) -> anyhow::Result<()> {
    let patience = Patience::begin(CancellationToken::new());
    let seed = policy_check::seed_of(sha256);
    for (nth, plan) in case.plans.iter().enumerate() {
        let sandbox = match case.load(component, plan) {
            Ok(sandbox) => sandbox,
            Err(error) => {
                all.objections.push(error.to_string());
                continue;
            }
        };
        say(&format!(
            "\nplan       {}, version {}: taken",
            plan.name(),
            plan.version
        ));
        let mut progress = Progress::new();
        let mut show = |corpus: Corpus, done, of| progress.show(corpus, done, of);
        let judged = policy_check::judge(
            &sandbox,
            plan,
            (nth, case.plans.len()),
            seed,
            &patience,
            &mut show,
        );
        progress.clear();
        let report = match judged {
            Ok(report) => report,
            Err(CheckError::Impatient(slow @ Impatient::Slow(..))) => {
                all.objections.push(slow.to_string());
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        tell(&report);
        all.calls += report.calls();
        if let Some((refused, of, _)) = report.refused() {
            all.refused += refused;
            all.ordinary += of;
        }
        all.objections.extend(report.objections());
    }
    Ok(())
}

/// Shows what a policy did under one plan.
fn tell(report: &Report) {
    for (corpus, tally) in &report.tallies {
        say(&describe(corpus.name(), tally));
    }
    if let Some((refused, of, names)) = report.refused() {
        say(&format!(
            "note: it refuses {refused} of {of} ordinary events ({}), which the plan lets through: {names}",
            percent(refused, of)
        ));
    }
    let stopped = report
        .tally(Corpus::Hostile)
        .map_or(0, |hostile| hostile.ended_as("policy_rejected", ""));
    if stopped > 0 {
        say(&format!(
            "note: on {stopped} hostile event(s) the policy let through what the guard then stopped; nothing leaves, but the event is lost"
        ));
    }
}

fn describe(name: &str, tally: &Tally) -> String {
    let mut text = format!(
        "{name:<10} {} events, twice each: {} as much as the rules allow, {} less",
        tally.events, tally.whole, tally.reduced
    );
    for ((label, reason), count) in &tally.ended {
        let _ = write!(text, ", {count} {label} {reason}");
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let _ = write!(
        text,
        "\n           per event: {:.1} µs median, {:.1} µs longest, {} fuel at most; {} bytes of memory",
        micros(tally.median),
        micros(tally.longest),
        tally.fuel,
        tally.memory_bytes
    );
    match tally.unstable {
        0 => text.push_str("; the same answers in any order"),
        n => {
            let _ = write!(text, "; {n} answer(s) depend on the order");
        }
    }
    text
}

fn list(names: &[String]) -> String {
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

/// A line that is written over while something takes long, on a terminal only.
struct Progress {
    shown: Option<Instant>,
    started: Instant,
}

impl Progress {
    fn new() -> Self {
        Self {
            shown: None,
            started: Instant::now(),
        }
    }

    fn show(&mut self, corpus: Corpus, done: usize, all: usize) {
        let last = self.shown.unwrap_or(self.started);
        if last.elapsed() < PROGRESS_EVERY || !std::io::stderr().is_terminal() {
            return;
        }
        self.shown = Some(Instant::now());
        // A terminal that is gone needs no progress.
        let _ = write!(
            std::io::stderr(),
            "\r\x1b[K{} events: {done} of {all} calls",
            corpus.name()
        );
    }

    fn clear(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
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
        let rows = policy_check::explain::explain(&case.load(&component, plan)?, plan)?;
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
