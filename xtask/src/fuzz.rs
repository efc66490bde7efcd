//! `cargo xtask fuzz`: the fuzz targets, one after the other, each for a while.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::{
    step::{output, run as run_command, step},
    tools, workspace,
};

/// Where the targets and their corpora are.
const FOLDER: &str = "tests/fuzz";
/// Longest time one input may take, in seconds. A slower one counts as found.
const TIMEOUT_SECONDS: u32 = 10;

#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// Run this target alone; without it, each in turn
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Runs the targets, goes on with the next one when one finds something, and names those that did.
pub(crate) fn run(fuzz: &Fuzz) -> Result<()> {
    let all = targets()?;
    let chosen = match &fuzz.target {
        Some(one) => {
            let known = all.join(", ");
            ensure!(
                all.contains(one),
                "there is no target `{one}`; there are: {known}"
            );
            vec![one.clone()]
        }
        None => all,
    };
    let tools = Tools::prepare()?;
    let mut found = Vec::new();
    for target in chosen {
        // Whatever a run finds interesting stays among the build's files; the corpora grow by hand.
        let finds = workspace::target().join("fuzz-finds").join(&target);
        fs::create_dir_all(&finds).with_context(|| format!("cannot make {}", finds.display()))?;
        let seconds = fuzz.seconds;
        let ran = step(&format!("fuzzing {target} for {seconds} s"), || {
            run_command(&mut tools.fuzz(&target, &finds, seconds))
        });
        if ran.is_err() {
            found.push(target);
        }
    }
    if !found.is_empty() {
        bail!(
            "something was found by: {}. The input is in {FOLDER}/artifacts and runs again with \
             `cargo +nightly fuzz run --fuzz-dir {FOLDER} --sanitizer none TARGET INPUT`; \
             once it is understood it belongs into {FOLDER}/regressions.",
            found.join(", ")
        );
    }
    Ok(())
}

/// The targets, by name.
fn targets() -> Result<Vec<String>> {
    let folder = workspace::root().join(FOLDER).join("fuzz_targets");
    let mut names = Vec::new();
    for file in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let name = file?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// What fuzzing needs beside the build's own tools.
struct Tools {
    /// Where cargo-fuzz is, when it is not on the PATH.
    folder: PathBuf,
}

impl Tools {
    /// Makes sure of a nightly compiler and of cargo-fuzz.
    fn prepare() -> Result<Self> {
        ensure!(
            tools::find("rustup").is_some() && output(&mut nightly(&["--version"])).is_ok(),
            "fuzzing needs a nightly compiler, for its instrumentation: rustup toolchain install nightly"
        );
        let root = workspace::target().join("fuzz-tools");
        let folder = root.join("bin");
        if tools::find("cargo-fuzz").is_none() && !folder.join("cargo-fuzz").exists() {
            step("installing cargo-fuzz", || {
                run_command(nightly(&["install", "cargo-fuzz", "--locked", "--root"]).arg(&root))
            })?;
        }
        Ok(Self { folder })
    }

    /// One run of a target: over its corpus, its regressions and what earlier runs found.
    fn fuzz(&self, target: &str, finds: &PathBuf, seconds: u64) -> Command {
        // AddressSanitizer has nothing to watch here, since unsafe code is forbidden, and would halve the speed.
        let mut fuzz = nightly(&["fuzz", "run", "--fuzz-dir", FOLDER, "--sanitizer", "none"]);
        fuzz.arg("--target-dir").arg(workspace::target().join("fuzz"));
        fuzz.arg(target).arg(finds);
        for kind in ["corpus", "regressions"] {
            let folder = workspace::root().join(FOLDER).join(kind).join(target);
            if folder.is_dir() {
                fuzz.arg(folder);
            }
        }
        fuzz.arg("--");
        fuzz.arg(format!("-max_total_time={seconds}"));
        fuzz.arg(format!("-timeout={TIMEOUT_SECONDS}"));
        let words = workspace::root().join(FOLDER).join("dictionaries").join(target);
        if words.is_file() {
            fuzz.arg(format!("-dict={}", words.display()));
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.folder.clone()).chain(env::split_paths(&path));
        if let Ok(path) = env::join_paths(folders) {
            fuzz.env("PATH", path);
        }
        fuzz
    }
}

/// The nightly cargo, with nothing of the environment that the cargo running this xtask left.
fn nightly(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).args(arguments);
    command.current_dir(workspace::root());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text == "CARGO" || text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}
