//! `cargo xtask bench`: builds the benchmark (`tests/bench`) for release and runs it.

use crate::{
    node::Node,
    step::{self, step},
    tools,
    workspace::{BENCH_PACKAGES, locked, target},
};
use anyhow::Result;
use std::{ffi::OsString, process::Command, process::ExitCode};

/// The folder of the script that measures in a browser, and of the trackers beside the module.
pub(crate) const PAGES: &str = "tests/bench/browser";

#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Bench {
    /// Passed to the benchmark
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(bench: &Bench) -> Result<ExitCode> {
    step("building the benchmark", || {
        step::run(locked("build").arg("--release").args(BENCH_PACKAGES))
    })?;
    let mut command = Command::new(target().join("release/bench"));
    command.args(&bench.arguments);
    if bench.measures_pages() {
        pages(&mut command)?;
    }
    step::pass(&mut command)
}

impl Bench {
    /// Whether it needs a browser, and not only help.
    fn measures_pages(&self) -> bool {
        let asks = |word: &OsString| word == "--help" || word == "-h";
        self.arguments.first().is_some_and(|word| word == "browser") && !self.arguments.iter().any(asks)
    }
}

/// Makes sure that there are Node.js, the trackers and Chromium, and names them to the benchmark.
fn pages(command: &mut Command) -> Result<()> {
    let node = Node::require()?;
    node.install(PAGES)?;
    if let Some(path) = node.path() {
        command.env("PATH", path);
    }
    command.env("CHROMIUM", tools::chromium()?);
    Ok(())
}
