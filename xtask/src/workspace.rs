//! Where things are: the workspace's folders, and cargo itself.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// What `cargo` is told to choose the packages around the relay.
///
/// Cargo unites the features of all that it builds in one go. With xtask or the browser module among them, other
/// features would come out than for the relay alone, and wasmtime would be compiled twice.
pub(crate) const RELAY_PACKAGES: &[&str] = &[
    "--package",
    "relay-event",
    "--package",
    "feedback-relay",
    "--package",
    "feedback-tests",
    "--package",
    "policy-artifact",
];

/// What `cargo` is told to choose the benchmark's load generator, which asks for more of a crate than the relay does.
pub(crate) const LOAD_PACKAGES: &[&str] = &["--package", "feedback-load"];

/// What `cargo` is told to choose the packages that become WebAssembly.
pub(crate) const WASM_PACKAGES: &[&str] = &[
    "--package",
    "relay-policy",
    "--package",
    "feedback-client",
    "--package",
    "hostile-policy",
];

/// What `cargo` is told to compile for WebAssembly.
pub(crate) const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    // Cargo sets the variable for `cargo run`; the other is for a binary that is started by hand.
    let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = PathBuf::from(here);
    here.parent().map_or_else(|| here.clone(), Path::to_path_buf)
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(target) => env::current_dir().unwrap_or_default().join(target),
        None => root().join("target"),
    }
}

/// The folder that is built into, or loaded by, the relay.
pub(crate) fn bundle() -> PathBuf {
    root().join("relay/bundle")
}

/// The relay's binary as tests and demo use it.
pub(crate) fn relay_binary() -> PathBuf {
    target().join("debug/feedback-relay")
}

/// The cargo that runs this xtask, to be run in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).env("CARGO_TARGET_DIR", target());
    // `cargo run` describes xtask's package in the environment, and build scripts that watch these
    // variables would run again whenever `cargo build` and `cargo xtask` take turns.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// A subcommand of cargo that takes the versions of `Cargo.lock` or fails: nothing is updated on the way.
pub(crate) fn locked(subcommand: &str) -> Command {
    let mut command = cargo();
    command.args([subcommand, "--locked"]);
    command
}

/// Builds the relay's binary, in the profile the tests use.
pub(crate) fn build_relay() -> anyhow::Result<()> {
    crate::step::step("building the relay", || {
        crate::step::run(locked("build").args(["--package", "feedback-relay"]))
    })
}
