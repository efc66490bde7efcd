//! Runs rounds of chaos until a number of rounds or a time limit is reached. `cargo xtask chaos` builds the
//! prerequisites and starts this.

use feedback_tests::chaos::{Failure, Kind, Size, Stage, Tally, round, sanity};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Usage; `cargo xtask chaos --help` explains it.
const USAGE: &str = "chaos RELAY EVIDENCE SEED (rounds=N | seconds=N) KIND...";

#[derive(Debug)]
struct Wish {
    stage: Stage,
    seed: u64,
    bound: Bound,
    kinds: Vec<Kind>,
}

/// When to stop playing rounds of a kind.
#[derive(Clone, Copy, Debug)]
enum Bound {
    Rounds(u64),
    Time(Duration),
}

/// One kind's line in the table.
#[derive(Debug)]
struct Line {
    kind: Kind,
    rounds: u64,
    tally: Tally,
    failures: Vec<(u64, Failure)>,
}

fn main() -> ExitCode {
    let Some(wish) = Wish::read(std::env::args().skip(1).collect()) else {
        eprintln!("usage: {USAGE}");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(all(&wish)),
        Err(error) => {
            eprintln!("no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Wish {
    fn read(arguments: Vec<String>) -> Option<Self> {
        let mut arguments = arguments.into_iter();
        let exe = arguments.next()?;
        let evidence = PathBuf::from(arguments.next()?);
        let seed = arguments.next()?.parse().ok()?;
        let bound = arguments.next()?;
        let bound = match bound.split_once('=')? {
            ("rounds", n) => Bound::Rounds(n.parse().ok()?),
            ("seconds", n) => Bound::Time(Duration::from_secs(n.parse().ok()?)),
            _ => return None,
        };
        let kind = |name: String| Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let kinds = arguments.map(kind).collect::<Option<Vec<_>>>()?;
        let stage = Stage {
            exe,
            size: Size::Full,
            evidence,
        };
        Some(Self {
            stage,
            seed,
            bound,
            kinds,
        })
    }
}

async fn all(wish: &Wish) -> ExitCode {
    let mut is_blind = None;
    if wish.kinds.contains(&Kind::Power) {
        match sanity(&wish.stage, wish.seed).await {
            Ok(lost) => eprintln!(
                "  sanity: over a disk whose syncs lie, at least {lost} events were lost, as they have to be"
            ),
            Err(failure) => is_blind = Some(failure),
        }
    }
    let mut lines = Vec::new();
    for kind in &wish.kinds {
        lines.push(play(wish, *kind).await);
    }
    close(wish, &lines, is_blind.as_ref())
}

/// Plays the rounds of one kind: the first with the given seed, each further one with the next number.
async fn play(wish: &Wish, kind: Kind) -> Line {
    let mut line = Line {
        kind,
        rounds: 0,
        tally: Tally::default(),
        failures: Vec::new(),
    };
    let start = Instant::now();
    let goes_on = |rounds: u64| match wish.bound {
        Bound::Rounds(most) => rounds < most,
        Bound::Time(most) => rounds == 0 || start.elapsed() < most,
    };
    while goes_on(line.rounds) {
        let seed = wish.seed.wrapping_add(line.rounds);
        line.rounds += 1;
        let begun = Instant::now();
        let result = round(&wish.stage, kind, seed).await;
        let took = begun.elapsed().as_secs_f64();
        match result {
            Ok(tally) => {
                line.tally.add(tally);
                eprintln!(
                    "  {} round {}, seed {seed}: {} {}, {} acknowledged, {} again, {took:.0} s",
                    kind.name(),
                    line.rounds,
                    tally.faults,
                    kind.faults(),
                    tally.acknowledged,
                    tally.duplicated
                );
            }
            Err(failure) => {
                eprintln!(
                    "  {} round {}, seed {seed}: FAILED: {}",
                    kind.name(),
                    line.rounds,
                    failure.what
                );
                line.tally.add(failure.tally);
                line.failures.push((seed, failure));
            }
        }
    }
    line
}

/// Prints the table, and how to reproduce each failure.
fn close(wish: &Wish, lines: &[Line], is_blind: Option<&Failure>) -> ExitCode {
    let mut text = format!(
        "{:<8}{:>8}  {:<22}{:>13}{:>7}{:>12}{:>11}{:>8}\n",
        "kind", "rounds", "faults", "acknowledged", "lost", "duplicated", "after off", "failed"
    );
    for line in lines {
        let Line { kind, tally, .. } = line;
        let faults = format!("{} {}", tally.faults, kind.faults());
        text += &format!(
            "{:<8}{:>8}  {faults:<22}{:>13}{:>7}{:>12}{:>11}{:>8}\n",
            kind.name(),
            line.rounds,
            tally.acknowledged,
            tally.lost,
            tally.duplicated,
            tally.after_off,
            line.failures.len()
        );
    }
    for (line, (seed, failure)) in lines
        .iter()
        .flat_map(|line| line.failures.iter().map(move |failure| (line, failure)))
    {
        text += &format!(
            "\n{} failed: {}\n  again:    cargo xtask chaos {} --seed {seed} --rounds 1\n  evidence: {}\n",
            line.kind.name(),
            failure.what,
            line.kind.name(),
            failure.evidence.display()
        );
    }
    if let Some(failure) = is_blind {
        text += &format!(
            "\nsanity failed: {}\n  again:    cargo xtask chaos power --seed {} --rounds 1\n  evidence: {}\n",
            failure.what,
            wish.seed,
            failure.evidence.display()
        );
    }
    let mut stdout = std::io::stdout().lock();
    // A reader that has gone away is no failure.
    let _ = stdout.write_all(text.as_bytes());
    match is_blind.is_none() && lines.iter().all(|line| line.failures.is_empty()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
