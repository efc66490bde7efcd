//! `policy check`: judges a policy before it goes into service, and prints the findings.

use super::PolicyArgs;
use crate::cli::CommandResult;
use crate::cli::rules::Rules;
use crate::clock::Clock;
use crate::digest::sha256;
use crate::policy::check::patience::{Impatient, Patience};
use crate::policy::check::tally::{Tally, percent};
use crate::policy::check::{self, CheckError, Corpus, Report};
use crate::policy::sandbox::{COMPONENT_BYTES_MAX, Fault, STACK_BYTES_MAX, trial};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use wasmtime::component::Component;

/// How often progress is printed on a terminal.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// `policy check` has already printed the objections as its verdict, for scripts.
#[derive(Debug, thiserror::Error)]
#[error("the policy is not usable")]
pub(in crate::cli) struct NotUsable;

/// `policy check`.
pub(super) fn run(args: &PolicyArgs) -> CommandResult {
    let rules = args.load()?;
    let sha256 = sha256(&rules.wasm);
    let verdicts = rules.verdicts();
    say!("policy     {}", rules.policy);
    say!(
        "size       {} bytes of at most {COMPONENT_BYTES_MAX}",
        rules.wasm.len()
    );
    say!("sha256     {sha256}");
    let known = verdicts.as_ref().and_then(|known| known.recall(&sha256));
    if let Some(failure) = known.and_then(|known| known.failure) {
        say!("remembered {failure}; `serve` does not retry it until it passes this check");
    }
    let mut verdict = Judged::default();
    match rules.compile() {
        Ok(component) => {
            let anatomy = trial::anatomy(&component);
            say!("imports    {}", list(&anatomy.imports));
            say!("exports    {}", list(&anatomy.exports));
            say!(
                "limits     {} fuel per event, {} bytes of memory, {STACK_BYTES_MAX} bytes of stack",
                rules.limits.fuel,
                rules.limits.memory_bytes_max
            );
            judge(&rules, &component, &sha256, &mut verdict)?;
        }
        Err(error) if error.fault() == Fault::Policy => verdict.objections.push(error.to_string()),
        Err(error) => return Err(error.into()),
    }
    // The same mistake can show under every plan.
    verdict.objections.dedup();
    let (objections, now) = (verdict.objections.join("; "), Clock::system().now());
    if let Some(verdicts) = &verdicts {
        match objections.as_str() {
            "" => verdicts.passed(&sha256),
            why => verdicts.failed_check(&sha256, why, now),
        }
    }
    if !objections.is_empty() {
        say!("not usable: {objections}");
        return Err(NotUsable.into());
    }
    let refuses = match verdict.refused {
        0 => String::new(),
        refused => format!(
            "; it refused {refused} of {} ordinary events ({})",
            verdict.ordinary,
            percent(refused, verdict.ordinary)
        ),
    };
    say!(
        "ok: it imports nothing and accepts the plan; in {} calls it never failed, and its answers did not depend on \
         the order{refuses}",
        verdict.calls
    );
    Ok(())
}

/// The combined findings of all plans.
#[derive(Default)]
struct Judged {
    calls: usize,
    ordinary: usize,
    refused: usize,
    objections: Vec<String>,
}

/// Judges a policy under each plan.
fn judge(rules: &Rules, component: &Component, sha256: &str, all: &mut Judged) -> anyhow::Result<()> {
    let patience = Patience::begin(CancellationToken::new());
    let seed = check::seed_of(sha256);
    let plans = rules.plans();
    for (nth, plan) in plans.iter().enumerate() {
        let sandbox = match rules.sandbox(component, &plan.clone().into()) {
            Ok(sandbox) => sandbox,
            Err(error) => {
                all.objections.push(error.to_string());
                continue;
            }
        };
        say!("\nplan       {}, version {}: accepted", plan.name(), plan.version);
        let mut progress = Progress::new();
        let mut showing = |corpus: Corpus, done, of| progress.show(corpus, done, of);
        let judged = check::judge(
            &sandbox,
            plan,
            (nth, plans.iter().count()),
            seed,
            &patience,
            &mut showing,
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
        show(&report);
        all.calls += report.calls();
        if let Some((refused, of, _)) = report.refused() {
            all.refused += refused;
            all.ordinary += of;
        }
        all.objections.extend(report.objections());
    }
    Ok(())
}

/// Prints a policy's results under one plan.
fn show(report: &Report) {
    for (corpus, tally) in &report.tallies {
        say!("{}", describe(corpus.name(), tally));
    }
    if let Some((refused, of, names)) = report.refused() {
        say!(
            "note: it refuses {refused} of {of} ordinary events ({}) that the plan allows: {names}",
            percent(refused, of)
        );
    }
    let stopped = report
        .tally(Corpus::Hostile)
        .map_or(0, |hostile| hostile.ended_as("policy_rejected", ""));
    if stopped > 0 {
        say!(
            "note: the policy let {stopped} hostile event(s) through, and the guard stopped them; nothing leaves, \
             but these events are lost"
        );
    }
}

fn describe(name: &str, tally: &Tally) -> String {
    let mut text = format!(
        "{name:<10} {} events, twice each: {} kept all that the rules allow, {} kept less",
        tally.events, tally.whole, tally.reduced
    );
    for ((label, reason), count) in &tally.ended {
        let _ = write!(text, ", {count} {label} {reason}");
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let _ = write!(
        text,
        "\n           per event: {:.1} µs median, {:.1} µs longest, at most {} fuel; {} bytes of memory",
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

/// A line that is overwritten during a long task, on a terminal only.
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
        // If the terminal is gone, progress is not needed.
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
