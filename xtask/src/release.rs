//! `cargo xtask release`: the relay as it is released, the same bytes from any folder.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use tests_common::workspace::{cargo_home, empty};

use crate::{
    node::Node,
    sbom,
    step::{output, run, say, step},
    workspace::{self, locked, root},
};

/// The program that is released.
const BINARY: &str = "feedback-relay";
/// The separator of rustc's flags in `CARGO_ENCODED_RUSTFLAGS`.
const FLAG_SEPARATOR: &str = "\u{1f}";

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// Build the commit that is checked out twice, in two other folders, and fail unless both are the same, byte by byte
    #[arg(long)]
    prove: bool,
}

/// Builds, and prints checksum and path.
pub(crate) fn run_alone(release: &Release) -> Result<ExitCode> {
    if release.prove {
        return prove().map(|()| ExitCode::SUCCESS);
    }
    let built = build(&root(), &workspace::target())?;
    let dist = sbom::dist();
    fs::create_dir_all(&dist).context("cannot create target/dist")?;
    fs::copy(&built, dist.join(BINARY)).context("cannot copy the binary to target/dist")?;
    let sum = checksum(&built)?;
    fs::write(
        dist.join(format!("{BINARY}.sha256")),
        format!("{sum}  {BINARY}\n"),
    )?;
    step("listing its components", || sbom::write(&Node::require()?))?;
    say(&format!("{sum}  {}", dist.join(BINARY).display()));
    Ok(ExitCode::SUCCESS)
}

/// Builds the commit in two folders whose names differ in length, and compares.
fn prove() -> Result<()> {
    let place = workspace::target().join("prove");
    let mut sums = Vec::new();
    for name in ["a", "another-folder"] {
        let clone = place.join(name);
        empty(&clone)?;
        run(Command::new("git")
            .args(["clone", "--quiet", "--no-hardlinks"])
            .arg(root())
            .arg(&clone))?;
        let sum = step(&format!("building in target/prove/{name}"), || {
            checksum(&build(&clone, &clone.join("target"))?)
        })?;
        say(&format!("{sum}  target/prove/{name}"));
        sums.push(sum);
    }
    ensure!(sums[0] == sums[1], "the two binaries differ");
    say("the two binaries are the same");
    Ok(())
}

/// Builds the bundle and the binary of a workspace, without a trace of its folder. Returns the binary's path.
fn build(workspace: &Path, target: &Path) -> Result<PathBuf> {
    // A separate folder: other flags would cause everything else to be rebuilt.
    let target = target.join("reproducible");
    let flags = Flags::new(workspace, &target)?;
    step("building the bundle", || {
        let xtask = env::current_exe().context("cannot find this program")?;
        run(flags.set(
            Command::new(xtask)
                .arg("bundle")
                .env("CARGO_MANIFEST_DIR", workspace.join("xtask")),
        ))
    })?;
    step("building the relay", || {
        let build = ["--release", "--package", BINARY];
        run(flags.set(locked("build").args(build).current_dir(workspace)))
    })?;
    Ok(target.join("release").join(BINARY))
}

/// The compilers' flags that replace this machine's folders by names that are the same everywhere.
struct Flags {
    rust: String,
    c: String,
    target: PathBuf,
}

impl Flags {
    fn new(workspace: &Path, target: &Path) -> Result<Self> {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let home = cargo_home().context("neither CARGO_HOME nor HOME is set")?;
        // The last match wins, so the more precise come last.
        let folders = [
            (home.as_path(), "/cargo"),
            (Path::new(sysroot.trim()), "/rust"),
            (workspace, "/feedback-relay"),
            (target, "/target"),
        ];
        let mapped = |flag: &str| {
            let one = |(from, to): &(&Path, &str)| format!("{flag}={}={to}", from.display());
            folders.iter().map(one).collect::<Vec<_>>()
        };
        Ok(Self {
            rust: mapped("--remap-path-prefix").join(FLAG_SEPARATOR),
            c: mapped("-ffile-prefix-map").join(" "),
            target: target.to_owned(),
        })
    }

    fn set<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env("CARGO_ENCODED_RUSTFLAGS", &self.rust)
            .env("CFLAGS", &self.c)
            .env("CXXFLAGS", &self.c)
            .env("CARGO_TARGET_DIR", &self.target)
            // C compilers would write the time of the build.
            .env("SOURCE_DATE_EPOCH", "0")
    }
}

fn checksum(file: &Path) -> Result<String> {
    let printed = output(Command::new("sha256sum").arg(file))?;
    let sum = printed
        .split_whitespace()
        .next()
        .context("sha256sum printed nothing")?;
    Ok(sum.to_owned())
}
