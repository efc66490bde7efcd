//! `policy check`: judges a policy before it is put to use, and shows what it found.

use super::{Case, PolicyArgs};
use crate::cli::{Outcome, say};
use crate::clock::Clock;
use crate::policy_check::patience::{Impatient, Patience};
use crate::policy_check::tally::{Tally, percent};
use crate::policy_check::{self, CheckError, Corpus, Report};
use crate::sandbox::{COMPONENT_BYTES_MAX, STACK_BYTES_MAX, sha256, trial};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use wasmtime::component::Component;

/// How often progress is shown on a terminal.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// `policy check` has said what is wrong as its verdict, where scripts look for it.
#[derive(Debug, thiserror::Error)]
#[error("the policy is not usable")]
pub(in crate::cli) struct NotUsable;

/// `policy check`.
pub(super) fn run(args: &PolicyArgs) -> Outcome {
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
            "; it refused {refused} of {} ordinary events ({})",
            verdict.ordinary,
            percent(refused, verdict.ordinary)
        ),
    };
    say(&format!(
        "ok: it imports nothing and takes the plan; in {} calls it failed on no event and answered the same in any order{refuses}",
        verdict.calls
    ));
    Ok(())
}

/// The findings under all plans together.
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
        let mut showing = |corpus: Corpus, done, of| progress.show(corpus, done, of);
        let judged = policy_check::judge(
            &sandbox,
            plan,
            (nth, case.plans.len()),
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

/// Shows what a policy did under one plan.
fn show(report: &Report) {
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
