//! The tools that build and tests need from the machine: finds them, installs them if that is allowed, or names the
//! command that installs them.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

pub(crate) use tests_common::programs::{apt_install, find};
use tests_common::programs::{is_program, succeeds};

use crate::{
    step::{output, run, step},
    workspace::{self, WASM_TARGET},
};

/// Makes sure that rustc can compile to WebAssembly.
pub(crate) fn wasm_target() -> Result<()> {
    let libraries =
        output(Command::new("rustc").args(["--print", "target-libdir", "--target", WASM_TARGET]))?;
    if Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    rustup(
        "the Rust target wasm32-unknown-unknown",
        &["target", "add", WASM_TARGET],
    )
}

/// Makes sure that a cargo subcommand which is a rustup component (`fmt`, `clippy`) is there.
pub(crate) fn component(subcommand: &str, component: &str) -> Result<()> {
    if succeeds(workspace::cargo().args([subcommand, "--version"])) {
        return Ok(());
    }
    rustup(&format!("`cargo {subcommand}`"), &["component", "add", component])
}

fn rustup(what: &str, arguments: &[&str]) -> Result<()> {
    let repair = format!("rustup {}", arguments.join(" "));
    if find("rustup").is_none() {
        bail!("{what} is missing. If you use rustup, run `{repair}`.");
    }
    step(&format!("adding {what}"), || {
        run(Command::new("rustup").args(arguments))
    })
    .with_context(|| format!("{what} is missing, and adding it failed; run it yourself: {repair}"))
}

/// Finds a Chromium for the browser tests, or installs Debian's. The variable CHROMIUM overrides the search.
pub(crate) fn chromium() -> Result<PathBuf> {
    if let Some(chosen) = env::var_os("CHROMIUM") {
        let chosen = PathBuf::from(chosen);
        if !is_program(&chosen) {
            bail!(
                "CHROMIUM names {}, which is not a program. Correct it or unset it.",
                chosen.display()
            );
        }
        return Ok(chosen);
    }
    let names = "chromium chromium-browser google-chrome google-chrome-stable";
    let search = || names.split(' ').find_map(find);
    if let Some(found) = search() {
        return Ok(found);
    }
    apt_install("Chromium", &["chromium"])?;
    search().context("Chromium was installed, but `chromium` is not on the PATH.")
}

/// Makes sure that there is a C compiler for WebAssembly, with its linker.
pub(crate) fn clang() -> Result<()> {
    if find("clang").is_some() && find("wasm-ld").is_some() {
        return Ok(());
    }
    apt_install("clang with wasm-ld, for the policy in C,", &["clang", "lld"])
}

/// Finds a program of a crate in exactly this version on the PATH or in the target folder, or builds it into the latter.
/// Its dependencies are pinned as well.
pub(crate) fn cargo_program((name, version): (&str, &str)) -> Result<PathBuf> {
    if let Some(found) = find(name).filter(|program| has_version(program, version)) {
        return Ok(found);
    }
    // One folder per version: a different version is installed instead of reusing this one.
    let folder = workspace::target()
        .join("tools")
        .join(format!("{name}-{version}"));
    let path = folder.join("bin").join(name);
    if is_program(&path) {
        return Ok(path);
    }
    step(&format!("building {name} {version}"), || {
        // Unoptimised: it runs for seconds, and would take minutes more to build.
        run(workspace::cargo()
            .args(["install", "--locked", "--debug", "--quiet", name])
            .args(["--version", version])
            .arg("--root")
            .arg(&folder)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_TARGET_DIR", folder.join("build")))
    })
    .with_context(|| {
        format!("{name} is missing; install it yourself: cargo install --locked {name}@{version}")
    })?;
    // Only the program is needed.
    let _ = std::fs::remove_dir_all(folder.join("build"));
    Ok(path)
}

/// Whether `--version` prints a line that ends with this version.
fn has_version(program: &Path, version: &str) -> bool {
    output(Command::new(program).arg("--version"))
        .is_ok_and(|printed| printed.split_whitespace().last() == Some(version))
}
