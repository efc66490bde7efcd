//! `cargo xtask bench`: what an event costs in the relay, beside what it costs in proxies that only pass it on.

mod aims;
mod chart;
mod compare;
mod contender;
mod ends;
mod middle;
mod overload;
mod process;
mod procfs;
mod profile;
mod scrub;
mod soak;
mod stats;
mod table;

use crate::step::{self, step};
use crate::{tools, workspace};
use anyhow::{Result, ensure};
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures the relay beside nginx, Caddy and Traefik: the same events, the same sink, one after the other in
/// rounds
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compare: compare::Compare,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Scrub(scrub::Scrub),
    Profile(profile::Profile),
    Overload(overload::Overload),
}

pub(crate) fn run(bench: &Bench) -> Result<ExitCode> {
    match &bench.command {
        Some(Command::Scrub(scrub)) => scrub::run(scrub),
        Some(Command::Profile(profile)) => profile::run(profile),
        Some(Command::Overload(overload)) => overload::run(overload),
        None => compare::run(&bench.compare),
    }
}

/// The relay that `--relay` names, before minutes go by that need it.
fn relay_file(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    match path.is_file() {
        true => Ok(path),
        false => Err("there is no such file; without --relay one is built".to_owned()),
    }
}

/// What the benchmark writes: configurations, databases, installed proxies.
fn folder() -> PathBuf {
    workspace::target().join("bench")
}

/// Makes sure of what every measurement needs, and gives the folder.
fn prepare() -> Result<PathBuf> {
    tools::taskset()?;
    ensure!(
        std::thread::available_parallelism()?.get() >= 2,
        "the benchmark needs two cores: one for what is measured, one for generator and sink"
    );
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Builds generator and sink, and gives their program.
fn build_load() -> Result<PathBuf> {
    step("building load generator and sink", || {
        step::run(workspace::locked("build").args(["--release", "--package", "feedback-load"]))
    })?;
    Ok(workspace::target().join("release/feedback-load"))
}
