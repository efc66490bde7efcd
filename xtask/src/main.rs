//! `cargo xtask`: every command that a developer, a newcomer or CI needs. Nothing here is part of the relay.

mod bench;
mod bundle;
mod chaos;
mod check;
mod children;
mod ci;
mod demo;
mod fuzz;
mod node;
mod policies;
mod release;
mod report;
mod sbom;
mod supply;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;
use tests_common::step;

use clap::{Parser, Subcommand};

/// Builds, tests and demonstrates the feedback relay.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "New here? `cargo xtask demo` sets everything up and starts it; `cargo xtask check` checks\n\
                  a change in minutes, `cargo xtask test` tests everything.\n\
                  Commands install missing tools if they may (as root, or with a sudo that asks no password);\n\
                  otherwise they print the command to run."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set up, build and start the whole demo: a panel, the relay and a receiver that stands in for Plausible
    Demo(demo::Demo),
    /// Build the files that the relay embeds or loads into relay/bundle: policy guest, browser module, pages
    Bundle {
        /// Also build the policies that only tests load, so that plain `cargo test` works afterwards
        #[arg(long)]
        for_tests: bool,
    },
    /// Build a policy component from a core WebAssembly module; fails if it imports anything
    Component {
        /// The module, such as target/wasm32-unknown-unknown/release/my_policy.wasm
        module: std::path::PathBuf,
        /// The component to write
        #[arg(long, value_name = "FILE")]
        out: std::path::PathBuf,
    },
    /// Write the C bindings of the policy world into a folder
    CBindings {
        /// The folder; created if it does not exist
        folder: std::path::PathBuf,
    },
    /// Build the example policies, the template in Rust and the one in C, as docs/POLICY.md describes
    PolicyExamples,
    /// Check formatting, lints and unit tests, in a few minutes; run it before each commit
    Check(check::Check),
    /// Run every test; the last line of the output counts them
    Test(test::Test),
    /// Measure the cost of an event beside nginx, Caddy, Traefik and Bento, under overload, and in policy and guard alone;
    /// and that of the module to a page
    Bench(bench::Bench),
    /// Run the fuzz targets, each from its corpus, which needs a nightly compiler; and the property tests of spool and
    /// delivery with new seeds
    Fuzz(fuzz::Fuzz),
    /// Build the relay for release into target/dist, with its checksum and SBOMs
    Release(release::Release),
    /// Check all dependencies: licences, duplicates, sources and advisories of crates, checksums and signatures of npm
    /// packages; and write lists of them (SBOM) into target/dist
    Supply,
    /// Kill the relay, cut its power, fill its disk, set its clock and flood it, and check that nothing is lost or leaks
    Chaos(chaos::Chaos),
    /// Run what CI runs: formatting, lints, documentation, dependencies, then every test
    Ci,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo(demo) => demo::run(&demo),
        Command::Bundle { for_tests } => bundle::all()
            .and_then(|()| if for_tests { bundle::for_tests() } else { Ok(()) })
            .map(|()| ExitCode::SUCCESS),
        Command::Component { module, out } => policies::wrap_file(&module, &out).map(|()| ExitCode::SUCCESS),
        Command::CBindings { folder } => policies::c_bindings(&folder).map(|()| ExitCode::SUCCESS),
        Command::PolicyExamples => policies::examples().map(|()| ExitCode::SUCCESS),
        Command::Check(_) => check::run(),
        Command::Test(test) => test::run(&test),
        Command::Bench(bench) => bench::run(&bench),
        Command::Fuzz(fuzz) => fuzz::run(&fuzz).map(|()| ExitCode::SUCCESS),
        Command::Release(release) => release::run_alone(&release),
        Command::Supply => supply::run_alone(),
        Command::Chaos(chaos) => chaos::run(&chaos),
        Command::Ci => ci::run(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("\nerror: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Arguments::command().debug_assert();
    }
}
