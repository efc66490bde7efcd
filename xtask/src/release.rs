//! `cargo xtask release`: the relay as it is given away, the same bytes from whatever folder it is built in.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{
    node::Node,
    sbom,
    step::{output, run, say, step},
    workspace::{self, locked, root},
};

/// What is released.
const BINARY: &str = "feedback-relay";
/// How rustc's flags are parted in `CARGO_ENCODED_RUSTFLAGS`.
const FLAGS_PARTED_BY: &str = "\u{1f}";

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// Build the commit that is checked out twice, in two other folders, and fail unless both are the same, byte by byte
    #[arg(long)]
    prove: bool,
}

/// Builds, and says what came out.
pub(crate) fn run_alone(release: &Release) -> Result<ExitCode> {
    if release.prove {
        return prove().map(|()| ExitCode::SUCCESS);
    }
    let built = build(&root(), &workspace::target())?;
    let dist = sbom::dist();
    fs::create_dir_all(&dist).context("cannot make target/dist")?;
    fs::copy(&built, dist.join(BINARY)).context("cannot copy the binary to target/dist")?;
    let sum = checksum(&built)?;
    fs::write(
        dist.join(format!("{BINARY}.sha256")),
        format!("{sum}  {BINARY}\n"),
    )?;
    step("listing what it is made of", || sbom::write(&Node::require()?))?;
    say(&format!("{sum}  {}", dist.join(BINARY).display()));
    Ok(ExitCode::SUCCESS)
}

/// Builds the commit in two folders whose names differ in length, and compares.
fn prove() -> Result<()> {
    let place = workspace::target().join("prove");
    let mut sums = Vec::new();
    for name in ["a", "another-folder"] {
        let clone = place.join(name);
        if clone.exists() {
            fs::remove_dir_all(&clone).with_context(|| format!("cannot remove {}", clone.display()))?;
        }
        fs::create_dir_all(&place)?;
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
    say("both are the same");
    Ok(())
}

/// Builds the bundle and the binary of the workspace in a folder, without a trace of where that is. Gives the binary's path.
fn build(workspace: &Path, target: &Path) -> Result<PathBuf> {
    // A folder of its own: other flags would have all else built anew.
    let target = target.join("reproducible");
    let flags = Flags::new(workspace, &target)?;
    step("building what the relay serves", || {
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
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
        let home = home.context("neither CARGO_HOME nor HOME is set")?;
        // The last that fits wins, so the more precise come last.
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
            rust: mapped("--remap-path-prefix").join(FLAGS_PARTED_BY),
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
            // Would otherwise be the time of the build in what C compilers write.
            .env("SOURCE_DATE_EPOCH", "0")
    }
}

fn checksum(file: &Path) -> Result<String> {
    let said = output(Command::new("sha256sum").arg(file))?;
    let sum = said.split_whitespace().next().context("sha256sum said nothing")?;
    Ok(sum.to_owned())
}
