//! `cargo xtask`: every command a developer, a newcomer or CI needs, and nothing the relay itself is made of.

mod bench;
mod bundle;
mod chaos;
mod check;
mod children;
mod ci;
mod demo;
mod fuzz;
mod http;
mod node;
mod policies;
mod random;
mod release;
mod report;
mod sbom;
mod step;
mod supply;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests and demonstrates the feedback relay.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "New here? `cargo xtask demo` sets everything up and starts it; `cargo xtask test` tests it.\n\
                  What a command needs and may install (as root, or with sudo that asks no password), it installs;\n\
                  otherwise it names the command that does."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set up, build and start the whole demo: a panel, the relay and a receiver that stands in for Plausible
    Demo(demo::Demo),
    /// Build all that the relay serves or loads, into relay/bundle: policy guest, browser module, pages
    Bundle {
        /// Build what only the relay's tests load as well, so that plain `cargo test` works afterwards
        #[arg(long)]
        for_tests: bool,
    },
    /// Make a component of a core WebAssembly module that was built for the policy world, and refuse one that imports
    Component {
        /// The module, as target/wasm32-unknown-unknown/release/my_policy.wasm
        module: std::path::PathBuf,
        /// Where the component goes
        #[arg(long, value_name = "FILE")]
        out: std::path::PathBuf,
    },
    /// Write the C bindings of the policy world into a folder
    CBindings {
        /// The folder; made where there is none
        folder: std::path::PathBuf,
    },
    /// Build the policies people start from, the template in Rust and the one in C, as the documentation says
    PolicyExamples,
    /// Run every test; the last line of the output counts them
    Test(test::Test),
    /// Measure how fast events are scrubbed
    Bench(bench::Bench),
    /// Feed the fuzz targets for a while, each from its corpus, and try the property tests of spool and delivery
    /// with new seeds (`fuzz properties`); all but those need a nightly compiler
    Fuzz(fuzz::Fuzz),
    /// Build the relay as it is given away, with checksum and lists of its parts, into target/dist
    Release(release::Release),
    /// Check what the relay is made of: licences, sources and advisories of crates, checksums and signatures of npm
    /// packages; and write the lists (SBOM) into target/dist
    Supply,
    /// Kill the relay, cut its power, fill its disk, set its clock, flood it, and see that nothing is lost or leaks
    Chaos(chaos::Chaos),
    /// Run what CI runs: formatting, lints, documentation, then every test
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
