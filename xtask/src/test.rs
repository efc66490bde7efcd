//! `cargo xtask test`: every test there is, and one closing line that counts them.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{
    bundle,
    node::Node,
    report::{Report, Runner},
    step::run as run_command,
    tools,
    workspace::{self, LOAD_PACKAGES, RELAY_PACKAGES},
};

/// Where the browser tests are.
const BROWSER_TESTS: &str = "tests/browser";

/// Where proptest's random numbers begin, so that a result depends on the change alone. `cargo xtask fuzz
/// properties` looks for what other seeds find.
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

/// What the tests run on.
#[derive(Debug)]
pub(crate) struct Tools {
    node: Node,
    /// None leaves the browser tests out.
    chromium: Option<PathBuf>,
}

/// Installs what is missing, and builds what the tests use.
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
    workspace::build_relay()?;
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
    // The policy guest only exists as WebAssembly; the relay's tests run it there.
    for (what, packages) in [
        ("testing the relay", RELAY_PACKAGES),
        ("testing the load generator", LOAD_PACKAGES),
        ("testing the browser module", &["--package", "feedback-client"]),
        ("testing xtask", &["--package", "xtask"]),
    ] {
        let mut test = workspace::locked("test");
        test.args(packages).arg("--no-fail-fast");
        test.env("FEEDBACK_RELAY_BIN", workspace::relay_binary());
        let (name, seed) = PROPERTY_SEED;
        if env::var_os(name).is_none() {
            test.env(name, seed);
        }
        report.suite(what, Runner::Cargo, &mut test);
    }
    report.check("checking the types of the pages", || {
        run_command(tools.node.npm("web").args(["run", "check"]))
    });
    report.test("walking one event through the demo", || {
        let xtask = env::current_exe().context("cannot find this program")?;
        run_command(Command::new(xtask).args(["demo", "--check"]))
    });
    if let Some(chromium) = &tools.chromium {
        match browser_tests() {
            Ok(files) => report.suite(
                "testing in the browser",
                Runner::Node,
                tools
                    .node
                    .node(BROWSER_TESTS)
                    // The bound is for a browser that hangs: a file takes half a minute, and Node.js 20 counts by file.
                    .args(["--test", "--test-reporter=spec", "--test-timeout=300000"])
                    .args(files)
                    .env("FEEDBACK_RELAY_BIN", workspace::relay_binary())
                    .env("CHROMIUM", chromium),
            ),
            Err(error) => report.fail(format!("testing in the browser: {error:#}")),
        }
    }
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
