//! The lists of components (SBOM, in CycloneDX's JSON), written into `target/dist`.
//!
//! One for the relay's binary, one for the browser module in it, and one for the npm packages by which the pages are built.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    node::Node,
    step::{output, run},
    tools,
    workspace::{self, WASM_TARGET, cargo, root},
};

/// The tool that lists crates.
const CYCLONEDX: (&str, &str) = ("cargo-cyclonedx", "0.5.9");
/// Its name for each list, beside each package's manifest. They are moved away at once.
const LIST: &str = "sbom-of-package";
/// The folder of each package whose list is kept, its target (`None`: this machine), and the list's name.
const LISTS: [(&str, Option<&str>, &str); 2] = [
    ("relay", None, "feedback-relay.cdx.json"),
    ("wasm-client", Some(WASM_TARGET), "feedback-client.cdx.json"),
];
/// The list of npm packages.
const NPM_LIST: &str = "web.cdx.json";

/// The folder of a release and its lists.
pub(crate) fn dist() -> PathBuf {
    workspace::target().join("dist")
}

/// Writes the lists, and fails if one has nothing in it.
pub(crate) fn write(node: &Node) -> Result<()> {
    let dist = dist();
    fs::create_dir_all(&dist).context("cannot create target/dist")?;
    let program = tools::cargo_program(CYCLONEDX)?;
    for (folder, target, name) in LISTS {
        let mut list = std::process::Command::new(&program);
        list.current_dir(root())
            .env("CARGO", cargo().get_program())
            .args("cyclonedx --quiet --format json --override-filename".split(' '))
            .arg(LIST);
        list.arg("--manifest-path")
            .arg(root().join(folder).join("Cargo.toml"));
        if let Some(target) = target {
            list.args(["--target", target]);
        }
        let ran = run(&mut list);
        let kept = keep(folder, &dist.join(name));
        ran.and(kept)?;
        ensure_full(&dist.join(name))?;
    }
    let npm = output(
        node.npm("web")
            .args(["sbom", "--sbom-format=cyclonedx", "--package-lock-only"]),
    )?;
    fs::write(dist.join(NPM_LIST), npm)?;
    ensure_full(&dist.join(NPM_LIST))
}

/// Moves the list of one package to its place, and removes those of all others: the tool writes one for each.
fn keep(folder: &str, place: &Path) -> Result<()> {
    let file = format!("{LIST}.json");
    let made = root().join(folder).join(&file);
    let moved = fs::copy(&made, place).with_context(|| format!("no SBOM was written for {folder}"));
    for member in members()? {
        let _ = fs::remove_file(member.join(&file));
    }
    moved?;
    // The tool writes absolute paths of local packages. They differ between machines and reveal folder names.
    let here = format!("{}/", root().display());
    let text = fs::read_to_string(place)?.replace(&here, "");
    fs::write(place, text).with_context(|| format!("cannot write {}", place.display()))
}

/// The folders of the workspace's packages.
fn members() -> Result<Vec<PathBuf>> {
    let metadata = output(workspace::locked("metadata").args(["--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists no packages")?;
    let manifests = packages
        .iter()
        .filter_map(|package| package["manifest_path"].as_str());
    Ok(manifests
        .filter_map(|path| Some(Path::new(path).parent()?.to_owned()))
        .collect())
}

fn ensure_full(list: &Path) -> Result<()> {
    let text = fs::read_to_string(list).with_context(|| format!("cannot read {}", list.display()))?;
    let list: serde_json::Value = serde_json::from_str(&text)?;
    let components = list["components"].as_array().map_or(0, Vec::len);
    ensure!(components > 0, "it lists no components");
    Ok(())
}
