//! `cargo xtask chaos`: injects every fault that could lose or leak events into a relay, repeatedly. The faults and
//! their checks are in `tests/src/chaos`; this builds and starts them.

use crate::{
    step::{self, step},
    workspace::{self, RELAY_PACKAGES},
};
use anyhow::Result;
use clap::{Args, ValueEnum, value_parser};
use std::process::{Command, ExitCode};

/// Rounds of each kind by default.
const ROUNDS: u64 = 3;
/// Longest run of one kind, in minutes: a week. More is an error.
const MINUTES_MAX: u64 = 7 * 24 * 60;

#[derive(Debug, Args)]
#[command(after_help = "\
A round is one relay with a fresh data folder, several faults under load, and a check at the end: each event that
was answered 202 was delivered or counted, and no event arrived after \"off\" was answered. Before power cuts, a
sanity run lets the syncs of the disk lie and must find a loss; if it finds none, the run fails.

The exit code is 1 unless the table at the end has 0 lost and 0 after off. Each failure is listed with its seed, the
command that repeats the round, and the folder that keeps its data folder, configuration and logs. The seed does not
decide what the machine's scheduler does, so repeating a failure may need a few tries.

Examples:
  cargo xtask chaos                        a few rounds of each kind, about six minutes
  cargo xtask chaos kill power             two kinds
  cargo xtask chaos --minutes 60           an hour of each kind
  cargo xtask chaos off --seed 17 --rounds 1")]
pub(crate) struct Chaos {
    /// The kinds of faults; without any, each in turn
    kinds: Vec<Kind>,
    /// Rounds of each kind
    #[arg(long, value_name = "N", default_value_t = ROUNDS, conflicts_with = "minutes", value_parser = value_parser!(u64).range(1..))]
    rounds: u64,
    /// Minutes for each kind; a round that has begun is finished
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
    /// A disk that is full, over its quota, read-only or fails: 503, nothing lost, recovery without a restart
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
        step::run(workspace::locked("build").arg("--bins").args(RELAY_PACKAGES))
    })?;
    // 32 random bits, so that a seed is short to type.
    let seed = chaos.seed.map_or_else(|| getrandom::u32().map(u64::from), Ok)?;
    let kinds = match chaos.kinds.as_slice() {
        [] => Kind::value_variants(),
        some => some,
    };
    let kinds = kinds.iter().filter_map(Kind::to_possible_value);
    let built = workspace::target().join("debug");
    let evidence = workspace::target().join("chaos");
    eprintln!("▸ chaos from seed {seed} …");
    step::pass(
        Command::new(built.join("chaos"))
            .current_dir(workspace::root())
            .arg(built.join("relay-under-test"))
            // As one would type it in the workspace's root.
            .arg(evidence.strip_prefix(workspace::root()).unwrap_or(&evidence))
            .arg(seed.to_string())
            .arg(match chaos.minutes {
                Some(minutes) => format!("seconds={}", minutes * 60),
                None => format!("rounds={}", chaos.rounds),
            })
            .args(kinds.map(|kind| kind.get_name().to_owned())),
    )
}
