//! External programs: finds them, installs them if that is allowed, or names the command that installs them.

use std::{
    env,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::step::{run, step};

/// Finds a tool that Debian has a package for, or installs it.
pub fn debian(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(found) = find(program) {
        return Ok(found);
    }
    apt_install(&format!("`{program}`"), &[package])?;
    find(program).with_context(|| format!("{package} was installed, but `{program}` is not on the PATH."))
}

/// Finds a program that comes as a Python package (`name==version`), or installs the package into `folder`.
pub fn python_program(folder: &Path, package: &str, program: &str) -> Result<PathBuf> {
    // One folder per version: a different version is installed instead of reusing this one.
    let folder = folder.join(package);
    let path = folder.join("bin").join(program);
    if is_program(&path) {
        return Ok(path);
    }
    let target = folder.to_str().context("the target folder's name is not UTF-8")?;
    if !succeeds(Command::new("python3").args(["-m", "pip", "--version"])) {
        apt_install("pip", &["python3-pip"])?;
    }
    let mut install = Command::new("python3");
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    install.args(["--target", target, package]);
    step(&format!("installing {package}"), || run(&mut install))
        .with_context(|| format!("{program} is missing"))?;
    if !is_program(&path) {
        bail!("{package} was installed, but has no bin/{program}.");
    }
    Ok(path)
}

/// Installs Debian packages as root or with passwordless sudo; otherwise names the command to run.
pub fn apt_install(what: &str, packages: &[&str]) -> Result<()> {
    let packages = packages.join(" ");
    if find("apt-get").is_none() {
        bail!(
            "{what} is missing. Install it with your system's package manager (in Debian: apt-get install -y {packages})."
        );
    }
    let words: &[&str] = if is_root() {
        &["sh", "-c"]
    } else if succeeds(Command::new("sudo").args(["-n", "true"])) {
        &["sudo", "-n", "sh", "-c"]
    } else {
        bail!(
            "{what} is missing. Install it with:\n\n    sudo apt-get update && sudo apt-get install -y {packages}\n"
        );
    };
    // A stale third-party list must not stop an installation that does not need it.
    let script = format!(
        "export DEBIAN_FRONTEND=noninteractive
        apt-get update || echo 'going on with the package lists that are there'
        apt-get install -y --no-install-recommends {packages}"
    );
    step(&format!("installing {what} from Debian"), || {
        run(Command::new(words[0]).args(&words[1..]).arg(script))
    })
    .with_context(|| format!("{what} is missing, and installing it failed"))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a command starts and exits successfully.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Looks a program up in the PATH, and in a folder for administrators, where Debian puts nginx.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
}

/// Whether a file is executable.
pub fn is_program(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
