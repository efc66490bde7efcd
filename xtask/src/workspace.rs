//! The workspace's folders and packages, and cargo itself.

use std::path::PathBuf;

pub(crate) use tests_common::workspace::{cargo, locked, root, target};

/// The arguments of `cargo` that choose the packages around the relay.
///
/// Cargo unites the features of all packages in one build. With xtask or the browser module among them, wasmtime would
/// get other features than for the relay alone, and be compiled twice.
pub(crate) const RELAY_PACKAGES: &[&str] = &[
    "--package",
    "relay-event",
    "--package",
    "feedback-demo",
    "--package",
    "relay-pii",
    "--package",
    "feedback-relay",
    "--package",
    "feedback-tests",
    "--package",
    "policy-artifact",
    "--package",
    "process-heap",
];

/// The benchmark, which asks for more of a crate than the relay does.
pub(crate) const BENCH_PACKAGES: &[&str] = &["--package", "feedback-bench"];

/// The test of the product's imports, whose one dependency needs other settings than the rest.
pub(crate) const FLOORS_PACKAGES: &[&str] = &["--package", "feedback-floors"];

/// xtask and what it shares with the benchmark and the end-to-end tests.
pub(crate) const XTASK_PACKAGES: &[&str] = &["--package", "xtask", "--package", "tests-common"];

/// The policies, which become WebAssembly.
pub(crate) const POLICY_PACKAGES: &[&str] = &["--package", "relay-policy", "--package", "hostile-policy"];

/// The target of WebAssembly.
pub(crate) const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// The folder of files that the relay embeds or loads.
pub(crate) fn bundle() -> PathBuf {
    root().join("relay/bundle")
}

/// The variable that names the relay's binary to the tests and to the demo that they start.
pub(crate) const RELAY_BINARY: &str = "FEEDBACK_RELAY_BIN";

/// The relay's binary as tests and demo build it.
pub(crate) fn relay_binary() -> PathBuf {
    target().join("debug/feedback-relay")
}

/// Builds the relay's binary alone, for the demo.
pub(crate) fn build_relay() -> anyhow::Result<()> {
    crate::step::step("building the relay", || {
        crate::step::run(locked("build").args(["--package", "feedback-relay"]))
    })
}

/// Builds the relay's binary and tests together: the tests enable features of dependencies, which would otherwise be
/// compiled once for the binary and once more for the tests.
pub(crate) fn build_relay_with_tests() -> anyhow::Result<()> {
    crate::step::step("building the relay and its tests", || {
        crate::step::run(locked("build").args(RELAY_PACKAGES).args(["--bins", "--tests"]))
    })
}
