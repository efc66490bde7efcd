//! Builds `relay/bundle`: the policy guest, the browser module, and the pages and scripts around it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use wasm_bindgen_cli_support::Bindgen;
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::{
    node::Node,
    step::{run, step},
    tools, workspace,
};

/// Builds everything, after making sure that the tools are there.
pub(crate) fn all() -> Result<()> {
    tools::wasm_target()?;
    let node = Node::require()?;
    fs::create_dir_all(workspace::bundle()).context("cannot make relay/bundle")?;
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

/// Builds the policy that misbehaves, which the relay's tests load.
pub(crate) fn hostile_policy() -> Result<()> {
    let path = workspace::root().join("tests/hostile/hostile.wasm");
    step("building the hostile policy", || {
        component("hostile-policy", "hostile_policy.wasm", &path)
    })
}

/// Compiles a guest and wraps it as a component, which must not import anything.
fn component(package: &str, file: &str, path: &Path) -> Result<()> {
    let module = compile(package, "guest", file)?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .with_context(|| format!("cannot make a component of {package}"))?;
    let imports = imports(&component)?;
    ensure!(
        imports.is_empty(),
        "a policy must not use anything of its host, but {package} imports {}: the relay would refuse it",
        imports.join(", ")
    );
    fs::write(path, component).with_context(|| format!("cannot write {}", path.display()))
}

/// What a component asks for from its host, by name. Even the name of a type counts: a component that imports
/// nothing needs no judgement of what its imports could do.
fn imports(component: &[u8]) -> Result<Vec<String>> {
    let decoded = wit_component::decode(component).context("cannot read the component just made")?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        bail!("the policy is a WIT package, not a component");
    };
    let imports = resolve.worlds[world].imports.keys();
    Ok(imports.map(|key| resolve.name_world_key(key)).collect())
}

/// Compiles the browser module and writes its JavaScript side beside it. The only place that calls the generator:
/// its interface is half internal, so the lock file pins it together with the `wasm-bindgen` of the module.
fn browser_module() -> Result<()> {
    let module = compile("feedback-client", "client", "feedback_client.wasm")?;
    let package = client_package();
    // Snippets of an earlier build would stay otherwise.
    if package.exists() {
        fs::remove_dir_all(&package).with_context(|| format!("cannot empty {}", package.display()))?;
    }
    Bindgen::new()
        .input_bytes("feedback_client", module)
        .web(true)?
        .typescript(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(&package)
        .context("wasm-bindgen failed; its three crates must have one version in Cargo.toml")
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

/// Compiles one package to WebAssembly and gives the module.
fn compile(package: &str, profile: &str, file: &str) -> Result<Vec<u8>> {
    run(workspace::cargo()
        .args(["build", "--package", package, "--profile", profile])
        .args(["--lib", "--target", "wasm32-unknown-unknown"]))?;
    let path = workspace::target()
        .join(workspace::WASM_TARGET)
        .join(profile)
        .join(file);
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_import_counts() {
        // Binary, because a text parser would bring features that make cargo build the tests' dependencies twice.
        let rows: [(&str, &[u8], &[&str]); 3] = [
            ("", b"", &[]),
            (
                r#"(import "tell" (func))"#,
                b"\x07\x05\x01@\x00\x01\x00\x0a\x09\x01\x00\x04tell\x01\x00",
                &["tell"],
            ),
            (
                r#"(import "a:b/c" (instance (type $l (enum "x")) (export "l" (type (eq $l)))))"#,
                b"\x07\x0f\x01B\x02\x01m\x01\x01x\x04\x00\x01l\x03\x00\x00\x0a\x0a\x01\x00\x05a:b/c\x05\x00",
                &["a:b/c"],
            ),
        ];
        for (text, sections, expected) in rows {
            let component = [b"\0asm\x0d\0\x01\0", sections].concat();
            let expected = expected.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(imports(&component).ok(), Some(expected), "{text}");
        }
    }
}
