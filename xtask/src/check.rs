//! `cargo xtask check`: a contributor's local loop of formatting, lints and unit tests.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    bundle,
    report::{Report, Runner},
    step, test, tools,
    workspace::{
        BENCH_PACKAGES, FLOORS_PACKAGES, POLICY_PACKAGES, RELAY_PACKAGES, WASM_TARGET, XTASK_PACKAGES, cargo,
        locked,
    },
};

/// Groups of packages that cargo builds in one go, and the target and profile of each. See [`RELAY_PACKAGES`].
///
/// The WebAssembly modules have the profiles in which they were just built, so that their procedural macros are not
/// compiled once more.
pub(crate) const GROUPS: [(&str, &[&str], &[&str]); 6] = [
    ("the relay", RELAY_PACKAGES, &[]),
    ("the benchmark", BENCH_PACKAGES, &[]),
    ("the test of imports", FLOORS_PACKAGES, &[]),
    ("xtask", XTASK_PACKAGES, &[]),
    (
        "the policies",
        POLICY_PACKAGES,
        &["--target", WASM_TARGET, "--profile", "guest"],
    ),
    (
        "the browser module",
        &["--package", "feedback-client"],
        &["--target", WASM_TARGET, "--profile", "client"],
    ),
];

#[derive(Debug, Args)]
#[command(after_help = "\
Runs these steps, and continues after a failure:
  1. cargo fmt --all --check
  2. cargo clippy --all-targets -- --deny warnings, for each group of packages that belongs together
  3. the unit tests: of the relay and its libraries, the benchmark, the browser module and xtask, and the test of imports

Each failure names the command that repeats it. A warm run takes a few minutes, most of them for compiling what
changed; the first run compiles all dependencies. Before you push, `cargo xtask ci` adds documentation, licences,
the end-to-end tests and those in the browser.")]
pub(crate) struct Check;

/// Runs the checks and prints the closing line.
pub(crate) fn run() -> Result<ExitCode> {
    let mut report = Report::default();
    formatting(&mut report)?;
    // The relay embeds the pages and loads the policy, so both must exist and be current.
    let bundled = bundle::all().and_then(|()| bundle::for_tests());
    if report.take("building the bundle", bundled).is_some() {
        lints(&mut report)?;
        unit_tests(&mut report);
    }
    Ok(report.close())
}

/// Checks the formatting of the workspace.
pub(crate) fn formatting(report: &mut Report) -> Result<()> {
    tools::component("fmt", "rustfmt")?;
    report.check("checking the formatting", || {
        step::run(cargo().args(["fmt", "--all", "--check"])).context("run `cargo fmt --all`")
    });
    Ok(())
}

/// Lints every package.
pub(crate) fn lints(report: &mut Report) -> Result<()> {
    tools::component("clippy", "clippy")?;
    for (name, packages, target) in GROUPS {
        report.check(&format!("linting {name}"), || {
            let mut clippy = locked("clippy");
            clippy.args(packages).args(target);
            // Tests do not run as WebAssembly.
            if target.is_empty() {
                clippy.arg("--all-targets");
            }
            step::run(clippy.args(["--", "--deny", "warnings"]))
        });
    }
    Ok(())
}

/// Runs the unit tests.
fn unit_tests(report: &mut Report) {
    for (what, packages, targets) in test::SUITES {
        report.suite(
            what,
            Runner::Cargo,
            test::cargo_test(packages).args(targets).arg("--no-fail-fast"),
        );
    }
}
