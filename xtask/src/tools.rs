//! What the build and the tests need from the machine: found, installed where that is allowed, or named together with
//! the command that mends it.

use std::{
    env,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

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
    let mend = format!("rustup {}", arguments.join(" "));
    if find("rustup").is_none() {
        bail!("{what} is missing. With rustup the command `{mend}` adds it.");
    }
    step(&format!("adding {what}"), || {
        run(Command::new("rustup").args(arguments))
    })
    .with_context(|| format!("{what} is missing, and adding it failed; try yourself: {mend}"))
}

/// Finds a Chromium for the browser tests, or installs Debian's. The variable CHROMIUM overrides the search.
pub(crate) fn chromium() -> Result<PathBuf> {
    const NAMES: [&str; 4] = [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ];
    if let Some(chosen) = env::var_os("CHROMIUM") {
        let chosen = PathBuf::from(chosen);
        if !is_program(&chosen) {
            bail!("CHROMIUM names {}, which is no program.", chosen.display());
        }
        return Ok(chosen);
    }
    let search = || NAMES.iter().find_map(|name| find(name));
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

/// Finds nginx, or installs Debian's. It may be where only administrators look.
pub(crate) fn nginx() -> Result<PathBuf> {
    let search =
        || find("nginx").or_else(|| Some(PathBuf::from("/usr/sbin/nginx")).filter(|f| is_program(f)));
    if let Some(found) = search() {
        return Ok(found);
    }
    apt_install("nginx, which the relay is measured beside,", &["nginx-light"])?;
    search().context("nginx was installed, but is neither on the PATH nor in /usr/sbin.")
}

/// Makes sure that there is `taskset`, which holds a process on a core.
pub(crate) fn taskset() -> Result<()> {
    if find("taskset").is_some() {
        return Ok(());
    }
    apt_install("taskset", &["util-linux"])
}

/// Finds a tool that Debian has a package for, or installs it.
pub(crate) fn debian(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(found) = find(program) {
        return Ok(found);
    }
    apt_install(&format!("`{program}`"), &[package])?;
    find(program).with_context(|| format!("{package} was installed, but `{program}` is not on the PATH."))
}

/// Finds a program of a crate, or builds it into the target folder. Its version is pinned, and so are its dependencies.
pub(crate) fn cargo_program((name, version): (&str, &str)) -> Result<PathBuf> {
    // A folder for each version, so that another version is installed and not taken for this one.
    let folder = workspace::target()
        .join("tools")
        .join(format!("{name}-{version}"));
    let path = folder.join("bin").join(name);
    if is_program(&path) {
        return Ok(path);
    }
    step(&format!("building {name} {version}"), || {
        // Unoptimised: it runs for seconds, and would take minutes more to build.
        let install = [
            "install",
            "--locked",
            "--debug",
            "--quiet",
            name,
            "--version",
            version,
        ];
        run(workspace::cargo()
            .args(install)
            .arg("--root")
            .arg(&folder)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_TARGET_DIR", folder.join("build")))
    })
    .with_context(|| format!("{name} is missing; try yourself: cargo install --locked {name}@{version}"))?;
    // Only the program is needed.
    let _ = std::fs::remove_dir_all(folder.join("build"));
    Ok(path)
}

/// Finds a program that comes as a Python package (`name==version`), or installs the package into `folder`.
pub(crate) fn python_program(folder: &Path, package: &str, program: &str) -> Result<PathBuf> {
    // A folder for each version, so that another version is installed and not taken for this one.
    let folder = folder.join(package);
    let path = folder.join("bin").join(program);
    if is_program(&path) {
        return Ok(path);
    }
    let target = folder.to_str().context("the target folder's name is not UTF-8")?;
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        target,
        package,
    ];
    if !succeeds(Command::new("python3").args(["-m", "pip", "--version"])) {
        apt_install("pip", &["python3-pip"])?;
    }
    step(&format!("installing {package}"), || {
        run(Command::new("python3").args(install))
    })
    .with_context(|| {
        format!(
            "{program} is missing; try yourself: python3 {}",
            install.join(" ")
        )
    })?;
    if !is_program(&path) {
        bail!("{package} was installed, but has no bin/{program}.");
    }
    Ok(path)
}

/// Installs Debian packages as root or with a sudo that asks nothing; else names the command.
pub(crate) fn apt_install(what: &str, packages: &[&str]) -> Result<()> {
    let packages_shown = packages.join(" ");
    if find("apt-get").is_none() {
        bail!(
            "{what} is missing. Install it with your system's package manager (in Debian: apt-get install -y {packages_shown})."
        );
    }
    let sudo: &[&str] = if is_root() {
        &[]
    } else if succeeds(Command::new("sudo").args(["-n", "true"])) {
        &["sudo", "-n"]
    } else {
        bail!(
            "{what} is missing. Install it with:\n\n    sudo apt-get update && sudo apt-get install -y {packages_shown}\n"
        );
    };
    let apt = |arguments: &[&str]| {
        let words: Vec<&str> = sudo
            .iter()
            .chain(&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"])
            .chain(arguments)
            .copied()
            .collect();
        run(Command::new(words[0]).args(&words[1..]))
    };
    step(&format!("installing {what} from Debian"), || {
        // A stale third-party list must not stop an installation that can do without it.
        if let Err(error) = apt(&["update"]) {
            eprintln!("{error:#}; going on with the package lists that are there");
        }
        let mut install = vec!["install", "-y", "--no-install-recommends"];
        install.extend(packages);
        apt(&install)
    })
    .with_context(|| format!("{what} is missing, and installing it failed"))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Looks a program up in the PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
