//! `cargo xtask bench`: builds the benchmark (`tests/bench`) for release and runs it.

use crate::{
    step::{self, step},
    workspace::{BENCH_PACKAGES, locked, target},
};
use anyhow::Result;
use std::{ffi::OsString, process::Command, process::ExitCode};

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
    step::pass(Command::new(target().join("release/bench")).args(&bench.arguments))
}
