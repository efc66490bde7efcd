//! The benchmark: the cost of an event in the relay, compared with proxies that only forward it. `cargo xtask bench`
//! builds and starts it.

mod aims;
mod browser;
mod compare;
mod contender;
mod distance;
mod footprint;
mod load;
mod middle;
mod overload;
mod rates;
mod scrub;
mod soak;
mod stats;
mod table;
mod usage;

use anyhow::{Result, ensure};
use clap::Parser as _;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use tests_common::step::{run, step};
use tests_common::workspace::{cargo, locked, target};

/// Exit code of a run that succeeded but missed an aim.
const MISSED: u8 = 3;

/// Measures the relay beside nginx, Caddy, Traefik and Bento: the same events, the same sink, one after the other in rounds
///
/// Without a command and options it takes thirteen minutes, builds aside, and writes its tables into docs/BENCHMARK.md.
#[derive(Debug, clap::Parser)]
#[command(
    name = "cargo xtask bench",
    bin_name = "cargo xtask bench",
    args_conflicts_with_subcommands = true,
    after_help = "\
It needs Linux with two cores: one for the process that is measured, one for load generator and sink. It exits with 0 if
every aim is met, with 3 if one is missed, and with 1 if anything failed.

Examples:
  cargo xtask bench --quick                       three minutes; writes nothing
  cargo xtask bench --only relay,nginx --rounds 9
  cargo xtask bench --parts rates --relay FILE    one part, with a relay that is already built
  cargo xtask bench --soak 10m                    does memory, database or anything else grow?
  cargo xtask bench overload                      three minutes of overload
  cargo xtask bench scrub                         policy and guard alone, without network and disk
  cargo xtask bench browser                       two minutes: what the module costs a page, beside other trackers"
)]
struct Bench {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    compare: compare::Compare,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Overload(overload::Overload),
    Scrub(scrub::Scrub),
    Browser(browser::Browser),
}

impl Bench {
    /// Whether the run is the one that the document describes, and may therefore replace a table there: it has no
    /// options.
    fn is_whole(words: &[OsString]) -> bool {
        words.iter().all(|word| word == "overload" || word == "browser")
    }
}

fn main() -> ExitCode {
    let is_whole = Bench::is_whole(&std::env::args_os().skip(1).collect::<Vec<_>>());
    let bench = Bench::parse();
    let done = match &bench.command {
        Some(Command::Overload(overload)) => overload::run(overload, is_whole),
        Some(Command::Scrub(scrub)) => scrub::run(scrub),
        Some(Command::Browser(browser)) => browser::run(browser, is_whole),
        None => compare::run(&bench.compare, is_whole),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(MISSED),
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The relay to measure.
#[derive(Debug, clap::Args)]
struct Relay {
    /// Measure this relay instead of building one
    #[arg(long = "relay", value_name = "FILE", value_parser = relay_file)]
    file: Option<PathBuf>,
}

impl Relay {
    /// The relay's program: the chosen one, or a release build.
    fn program(&self) -> Result<PathBuf> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        run(cargo().args(["xtask", "bundle"]))?;
        step("building the relay for release", || {
            run(locked("build").args(["--release", "--package", "feedback-relay"]))
        })?;
        Ok(target().join("release/feedback-relay"))
    }
}

/// Checks `--relay` before the run spends minutes.
fn relay_file(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    match path.is_file() {
        true => Ok(path),
        false => Err("there is no such file; without --relay, the benchmark builds a relay".to_owned()),
    }
}

/// Creates the folder for configurations, databases and installed proxies.
fn prepare() -> Result<PathBuf> {
    ensure!(
        std::thread::available_parallelism()?.get() >= 2,
        "the benchmark needs two cores: one for the process that is measured, one for generator and sink"
    );
    let folder = target().join("bench");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::Bench;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_command_line_is_well_formed() {
        Bench::command().debug_assert();
    }

    #[test]
    fn only_a_run_without_options_may_replace_a_table_of_the_document() {
        let check = |words: &str, expected: bool| {
            let words: Vec<_> = words.split_whitespace().map(Into::into).collect();
            assert_eq!(Bench::is_whole(&words), expected, "{words:?}");
            let parsed = Bench::try_parse_from([&["bench".into()], words.as_slice()].concat());
            assert!(parsed.is_ok(), "{parsed:?}");
        };
        check("", true);
        check("overload", true);
        check("--quick", false);
        check("--rounds 1", false);
        check("--rounds=5", false);
        check("--only relay", false);
        check("--parts load,rates,distance,footprint", false);
        check(
            "--only relay,relay-batch,nginx,nginx-opaque,caddy,traefik,bento",
            false,
        );
        check("--relay Cargo.toml", false);
        check("--soak 10m", false);
        check("overload --rounds 1", false);
        check("overload --relay Cargo.toml", false);
        check("scrub", false);
        check("browser", true);
        check("browser --rounds 3", false);
    }
}
