//! Node.js and npm: the machine's own, Debian's, or a newer one if Debian's is too old.

use std::{env, ffi::OsString, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    step::{output, run, step},
    tools, workspace,
};

/// The oldest Node.js whose `node --test` supports the timeout that the browser tests use.
const NODE_OLDEST: (u32, u32) = (20, 11);

/// The Node.js from the npm registry, for machines whose own is too old (Debian 12 has 18).
const NODE_FROM_NPM: &str = "24.22.1";

/// Node.js and npm, from the PATH or from a folder of their own.
#[derive(Debug)]
pub(crate) struct Node {
    /// A folder to be put before the PATH, because its `node` is the one to use.
    folder: Option<PathBuf>,
}

impl Node {
    /// Finds Node.js and npm, or installs them.
    pub(crate) fn require() -> Result<Self> {
        if tools::find("node").is_none() || tools::find("npm").is_none() {
            tools::apt_install("Node.js (node and npm)", &["nodejs", "npm"])?;
        }
        let here = Self { folder: None };
        if here.is_recent() {
            return Ok(here);
        }
        let newer = Self::from_npm_folder();
        if !newer.is_recent() {
            Self::install_from_npm()?;
        }
        if !newer.is_recent() {
            let (major, minor) = NODE_OLDEST;
            bail!(
                "Node.js {major}.{minor} or newer is needed; `node --version` reports an older one. \
                 Install a newer one."
            );
        }
        Ok(newer)
    }

    /// `node`, to be run in this folder of the workspace.
    pub(crate) fn node(&self, folder: &str) -> Command {
        self.command("node", folder)
    }

    /// `npm`, to be run in this folder of the workspace.
    pub(crate) fn npm(&self, folder: &str) -> Command {
        self.command("npm", folder)
    }

    /// `npm ci`, unless the lock file is the one of the last success.
    pub(crate) fn install(&self, folder: &str) -> Result<()> {
        let folder_path = workspace::root().join(folder);
        let lock = folder_path.join("package-lock.json");
        let wanted = fs::read(&lock).with_context(|| format!("cannot read {folder}/package-lock.json"))?;
        let stamp = folder_path.join("node_modules/.xtask-package-lock.json");
        if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(());
        }
        step(&format!("installing the npm packages of {folder}"), || {
            run(self
                .npm(folder)
                .args(["ci", "--no-audit", "--no-fund", "--prefer-offline"]))?;
            // A package without dependencies gets no such folder.
            fs::create_dir_all(folder_path.join("node_modules"))?;
            fs::write(&stamp, wanted).context("cannot write the stamp")
        })
    }

    fn command(&self, program: &str, folder: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(workspace::root().join(folder))
            .env_remove("FORCE_COLOR");
        if let Some(path) = self.path() {
            command.env("PATH", path);
        }
        command
    }

    /// The PATH on which the right `node` comes first, if it is not the one that is set.
    pub(crate) fn path(&self) -> Option<OsString> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.folder.clone()?).chain(env::split_paths(&path));
        env::join_paths(folders).ok()
    }

    fn is_recent(&self) -> bool {
        output(self.node(".").arg("--version"))
            .ok()
            .and_then(|version| parse_version(&version))
            .is_some_and(|version| version >= NODE_OLDEST)
    }

    fn from_npm_folder() -> Self {
        let folder = workspace::target()
            .join("tools/node_modules")
            .join(Self::npm_package())
            .join("bin");
        Self { folder: Some(folder) }
    }

    fn npm_package() -> String {
        let machine = match env::consts::ARCH {
            "aarch64" => "arm64",
            _ => "x64",
        };
        let system = match env::consts::OS {
            "macos" => "darwin",
            system => system,
        };
        format!("node-{system}-{machine}")
    }

    fn install_from_npm() -> Result<()> {
        let (major, minor) = NODE_OLDEST;
        let what = format!(
            "fetching Node.js {NODE_FROM_NPM} into the target folder (this machine's is older than {major}.{minor})"
        );
        step(&what, || {
            let tools = workspace::target().join("tools");
            fs::create_dir_all(&tools)?;
            let package = format!("{}@{NODE_FROM_NPM}", Self::npm_package());
            run(Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--no-save", "--prefix"])
                .arg(&tools)
                .arg(package))
        })
    }
}

/// The major and minor number of `v20.19.2`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().trim_start_matches('v').split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let rows = [
            ("v20.20.2\n", Some((20, 20))),
            ("v18.20.4", Some((18, 20))),
            ("v100.0.0-nightly", Some((100, 0))),
            ("node", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse_version(text), expected, "{text}");
        }
        assert!((100, 0) > NODE_OLDEST && (20, 9) < NODE_OLDEST);
    }
}
