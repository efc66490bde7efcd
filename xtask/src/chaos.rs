//! `cargo xtask chaos`: everything that could lose or leak, done to a relay again and again. What is done, and how it is
//! judged, is in `tests/src/chaos`; this builds it and passes the wish on.

use crate::{
    random::random_hex,
    step::{self, step},
    workspace::{self, RELAY_PACKAGES},
};
use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum, value_parser};
use std::process::{Command, ExitCode, Stdio};

/// Rounds of each kind by default.
const ROUNDS: u64 = 3;
/// Longest run of one kind, in minutes: a week. More is an error.
const MINUTES_MAX: u64 = 7 * 24 * 60;

#[derive(Debug, Args)]
#[command(after_help = "\
A round is one relay with a fresh data folder, several faults under load, and the books at the end: each event that
was answered 202 was delivered or counted, and no event arrived after \"off\" was answered. Before power cuts, a
sanity run lets the syncs of the disk lie and has to find a loss; if it finds none, the run fails, because it is blind.

The table at the end has lost and after off at 0, or the exit code is 1. What failed is named with its seed, the
command that throws the same dice again, and the folder that keeps its data folder, configuration and logs. What the
machine's scheduler does is not thrown, so an unlucky round may need a few tries.

Examples:
  cargo xtask chaos                        a few rounds of each kind, about six minutes
  cargo xtask chaos kill power             two kinds
  cargo xtask chaos --minutes 60           an hour of each kind
  cargo xtask chaos off --seed 17 --rounds 1")]
pub(crate) struct Chaos {
    /// What to do to the relay; without it, each in turn
    kinds: Vec<Kind>,
    /// How many rounds of each kind
    #[arg(long, value_name = "N", default_value_t = ROUNDS, conflicts_with = "minutes", value_parser = value_parser!(u64).range(1..))]
    rounds: u64,
    /// How long to go on with each kind; a round that has begun is finished
    #[arg(long, value_name = "M", value_parser = value_parser!(u64).range(1..=MINUTES_MAX))]
    minutes: Option<u64>,
    /// The seed of each kind's first round; each further round has the next number. Without it, a random one, which
    /// is printed
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// kill -9 at random moments under load: nothing lost, hardly anything twice
    Kill,
    /// Power cuts at any change of the disk: synced bytes stay, all others are kept, dropped or torn
    Power,
    /// A disk that is full, over its quota, read-only or fails: 503, nothing lost, and on by itself
    Disk,
    /// Jumps of the wall clock by hours and days, back and forth
    Clock,
    /// The switch turned off around load, kills and restarts: nothing arrives after "off" was answered
    Off,
    /// Denials of service, each beside honest requests, health and the switch
    Floods,
}

pub(crate) fn run(chaos: &Chaos) -> Result<ExitCode> {
    step("building relay and harness", || {
        step::run(workspace::cargo().args(["build", "--bins"]).args(RELAY_PACKAGES))
    })?;
    let seed = match chaos.seed {
        Some(seed) => seed,
        // Half of 64 bits, so that it is short to type.
        None => u64::from_str_radix(&random_hex(4)?, 16)?,
    };
    let kinds = match chaos.kinds.is_empty() {
        true => Kind::value_variants().to_vec(),
        false => chaos.kinds.clone(),
    };
    let built = workspace::target().join("debug");
    let mut play = Command::new(built.join("chaos"));
    play.current_dir(workspace::root())
        .arg(built.join("relay-under-test"))
        .arg(evidence())
        .arg(seed.to_string())
        .arg(match chaos.minutes {
            Some(minutes) => format!("seconds={}", minutes * 60),
            None => format!("rounds={}", chaos.rounds),
        });
    for kind in kinds {
        play.args(kind.to_possible_value().iter().map(|kind| kind.get_name()));
    }
    eprintln!("▸ chaos from seed {seed} …");
    let status = play
        .stdin(Stdio::null())
        .status()
        .context("cannot start the harness")?;
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Where the evidence of failed rounds goes, as one would type it in the workspace's root.
fn evidence() -> std::path::PathBuf {
    let folder = workspace::target().join("chaos");
    match folder.strip_prefix(workspace::root()) {
        Ok(below) => below.to_owned(),
        Err(_) => folder,
    }
}
