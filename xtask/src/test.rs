//! `cargo xtask test`: every test, with the time of each part and one closing line that counts them.

use std::{
    env, fs,
    num::NonZero,
    path::PathBuf,
    process::{Command, ExitCode},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{
    bundle,
    node::Node,
    report::{Report, Runner},
    step::run as run_command,
    tools,
    workspace::{self, BENCH_PACKAGES, FLOORS_PACKAGES, RELAY_BINARY, RELAY_PACKAGES, XTASK_PACKAGES},
};

/// The suites that cargo runs: a name, the packages, and the targets with unit tests. The policy guest has none: it only
/// exists as WebAssembly, and the relay's tests run it there.
pub(crate) const SUITES: [(&str, &[&str], &[&str]); 5] = [
    ("testing the relay", RELAY_PACKAGES, &["--lib", "--bins"]),
    ("testing the benchmark", BENCH_PACKAGES, &["--bins"]),
    (
        "testing the browser module",
        &["--package", "feedback-client"],
        &["--lib"],
    ),
    ("testing the imports", FLOORS_PACKAGES, &["--tests"]),
    ("testing xtask", XTASK_PACKAGES, &["--lib", "--bins"]),
];

/// The folder of the browser tests.
const BROWSER_TESTS: &str = "tests/browser";

/// Tests that run at a time, per core.
const TESTS_PER_CORE: usize = 4;
/// Files of browser tests that run at a time, each with a Chromium of its own. Two keep two cores busy.
const BROWSERS: &str = "2";

/// The seed of the property tests, so that a result depends on the change alone. `cargo xtask fuzz properties` tries
/// other seeds.
const PROPERTY_SEED: (&str, &str) = ("PROPTEST_RNG_SEED", "20261122");

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Leave out the tests that need Chromium
    #[arg(long)]
    no_browser: bool,
}

/// Runs all tests and prints the closing line.
pub(crate) fn run(test: &Test) -> Result<ExitCode> {
    let mut report = Report::default();
    let tools = prepare(!test.no_browser);
    if let Some(tools) = report.take("setting up", tools) {
        all(&tools, &mut report);
    }
    Ok(report.close())
}

/// The programs that the tests run on.
#[derive(Debug)]
pub(crate) struct Tools {
    node: Node,
    /// `None` leaves out the browser tests.
    chromium: Option<PathBuf>,
}

/// Installs missing programs, and builds the files and programs that the tests use.
pub(crate) fn prepare(browser: bool) -> Result<Tools> {
    let node = Node::require()?;
    let chromium = if browser {
        node.install(BROWSER_TESTS)?;
        Some(tools::chromium().context("without it: cargo xtask test --no-browser")?)
    } else {
        None
    };
    bundle::all()?;
    bundle::for_tests()?;
    workspace::build_relay_with_tests()?;
    Ok(Tools { node, chromium })
}

impl Tools {
    /// Node.js and npm.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }
}

/// Runs all tests into a report.
pub(crate) fn all(tools: &Tools, report: &mut Report) {
    // Before any test, because tests that measure time must not compete with a compiler.
    report.check("compiling the tests", || {
        SUITES
            .iter()
            .try_for_each(|(_, packages, _)| run_command(cargo_test(packages).arg("--no-run")))
    });
    native(report);
    pages(tools, report);
    report.test("sending one event through the demo", || {
        let xtask = env::current_exe().context("cannot find this program")?;
        // With the binary that was tested: a build for the demo alone compiles dependencies with other features.
        let mut demo = Command::new(xtask);
        run_command(
            demo.args(["demo", "--check"])
                .env(RELAY_BINARY, workspace::relay_binary()),
        )
    });
}

/// Runs the suites of cargo.
fn native(report: &mut Report) {
    for (what, packages, _) in SUITES {
        report.suite(
            what,
            Runner::Cargo,
            cargo_test(packages)
                .arg("--no-fail-fast")
                .env(RELAY_BINARY, workspace::relay_binary())
                .envs(test_threads()),
        );
    }
}

/// Runs several tests per core, unless the environment says how many: most tests wait for timers, disk and network, and
/// those of the relay use a quarter of two cores if only two run at a time.
fn test_threads() -> Option<(&'static str, String)> {
    const THREADS: &str = "RUST_TEST_THREADS";
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    env::var_os(THREADS)
        .is_none()
        .then(|| (THREADS, (TESTS_PER_CORE * cores).to_string()))
}

/// Checks the types of the pages, and runs the tests in the browser if there is one.
fn pages(tools: &Tools, report: &mut Report) {
    report.check("checking the types of the pages", || {
        run_command(tools.node.npm("web").args(["run", "check"]))
    });
    let Some(chromium) = &tools.chromium else {
        return;
    };
    match browser_tests() {
        Ok(files) => report.suite(
            "testing in the browser",
            Runner::Node,
            tools
                .node
                .node(BROWSER_TESTS)
                // The bound is for a browser that hangs: a file takes three minutes on a slow machine, and Node.js 20
                // applies the bound per file.
                .args(["--test", "--test-reporter=spec", "--test-timeout=600000"])
                .args(["--test-concurrency", BROWSERS])
                .args(files)
                .env(RELAY_BINARY, workspace::relay_binary())
                .env("CHROMIUM", chromium),
        ),
        Err(error) => report.fail(format!("testing in the browser: {error:#}")),
    }
}

/// `cargo test` of these packages, with a fixed seed unless the environment names another one.
pub(crate) fn cargo_test(packages: &[&str]) -> Command {
    let mut test = workspace::locked("test");
    test.args(packages);
    let (name, seed) = PROPERTY_SEED;
    if env::var_os(name).is_none() {
        test.env(name, seed);
    }
    test
}

/// The files of browser tests, by name.
fn browser_tests() -> Result<Vec<String>> {
    let folder = workspace::root().join(BROWSER_TESTS);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {BROWSER_TESTS}"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".test.mjs") {
            files.push(name);
        }
    }
    ensure!(!files.is_empty(), "no *.test.mjs in {BROWSER_TESTS}");
    files.sort();
    Ok(files)
}
