//! The workspace's folders, and cargo itself.

use anyhow::{Context as _, Result};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The workspace's root: the folder with `Cargo.lock` above the package that `cargo run` started.
#[must_use]
pub fn root() -> PathBuf {
    // Cargo sets the variable for `cargo run`; the fallback is for a binary started by hand.
    let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = PathBuf::from(here);
    let root = here
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file());
    root.map_or_else(|| here.clone(), Path::to_path_buf)
}

/// Cargo's target folder.
#[must_use]
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(target) => env::current_dir().unwrap_or_default().join(target),
        None => root().join("target"),
    }
}

/// Cargo's folder of the user; `None` without a home.
#[must_use]
pub fn cargo_home() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
}

/// Makes an empty folder, in place of one that is there.
///
/// # Errors
/// The file system refuses it.
pub fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// The cargo that runs this program, to be run in the workspace's root.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).env("CARGO_TARGET_DIR", target());
    // `cargo run` describes the package it runs in the environment. Build scripts that watch these variables would run
    // again whenever `cargo build` and `cargo xtask` alternate.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// A cargo subcommand that uses the versions of `Cargo.lock` or fails; it never updates them.
#[must_use]
pub fn locked(subcommand: &str) -> Command {
    let mut command = cargo();
    command.args([subcommand, "--locked"]);
    command
}
