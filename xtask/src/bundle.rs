//! Builds `relay/bundle`: the policy guest, the browser module, and the pages and scripts around it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use tests_common::workspace::empty;
use wasm_bindgen_cli_support::Bindgen;

use crate::{
    node::Node,
    policies,
    step::{run, step},
    tools, workspace,
};

/// Builds everything, and installs missing tools first.
pub(crate) fn all() -> Result<()> {
    tools::wasm_target()?;
    let node = Node::require()?;
    fs::create_dir_all(workspace::bundle()).context("cannot create relay/bundle")?;
    step("building the policy guest", || {
        component(
            "relay-policy",
            "relay_policy.wasm",
            &workspace::bundle().join("policy.wasm"),
        )
    })?;
    step("building the browser module", browser_module)?;
    node.install("web")?;
    step("building the pages", || web(&node))
}

/// Builds the policies that only the relay's tests load: the hostile one, and the templates.
pub(crate) fn for_tests() -> Result<()> {
    let path = workspace::root().join("tests/hostile/hostile.wasm");
    step("building the hostile policy", || {
        component("hostile-policy", "hostile_policy.wasm", &path)
    })?;
    policies::examples()
}

/// Compiles a guest and wraps it as a component.
fn component(package: &str, file: &str, path: &Path) -> Result<()> {
    let module = compile(package, "guest", file)?;
    let component = policies::wrap(&module).with_context(|| format!("{package} is not a policy"))?;
    fs::write(path, component).with_context(|| format!("cannot write {}", path.display()))
}

/// Compiles the browser module and writes its JavaScript side beside it. The only place that calls the generator:
/// its interface is half internal, so the lock file pins it together with the `wasm-bindgen` of the module.
fn browser_module() -> Result<()> {
    let module = compile("feedback-client", "client", "feedback_client.wasm")?;
    let package = client_package();
    // Otherwise snippets of an earlier build would remain.
    empty(&package)?;
    Bindgen::new()
        .input_bytes("feedback_client", module)
        .web(true)?
        .typescript(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(&package)
        .context("wasm-bindgen failed; its three crates must have the same version in Cargo.toml")
}

fn web(node: &Node) -> Result<()> {
    run(node
        .npm("web")
        .args(["run", "build"])
        .env("FEEDBACK_CLIENT_PKG", client_package())
        .env("FEEDBACK_BUNDLE", workspace::bundle()))
}

fn client_package() -> std::path::PathBuf {
    workspace::target().join("feedback-client-pkg")
}

/// Compiles one package to WebAssembly and returns the module.
fn compile(package: &str, profile: &str, file: &str) -> Result<Vec<u8>> {
    run(workspace::locked("build")
        .args(["--package", package, "--profile", profile])
        .args(["--lib", "--target", "wasm32-unknown-unknown"]))?;
    let path = workspace::target()
        .join(workspace::WASM_TARGET)
        .join(profile)
        .join(file);
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}
