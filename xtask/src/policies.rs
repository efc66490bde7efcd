//! Policies as components: the wrapping, the C bindings, and the two templates.
//!
//! `docs/POLICY.md` names these commands, and the tests run them too.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use wit_bindgen_core::{Files, wit_parser::Resolve};
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::{
    step::{run, step},
    tools, workspace,
};

/// The stack of a policy in C. It lies below the data, so that an overflow traps.
const C_STACK_BYTES: u32 = 64 * 1024;

/// Wraps a core module that was built for the policy world as a component.
pub(crate) fn wrap(module: &[u8]) -> Result<Vec<u8>> {
    let component = ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| encoder.encode())
        .context(
            "cannot build a component from it; check that it was built with the bindings of policy.wit",
        )?;
    let imports = imports(&component)?;
    ensure!(
        imports.is_empty(),
        "it imports {}: the relay rejects a policy that imports anything from its host",
        imports.join(", ")
    );
    Ok(component)
}

/// The imports of a component, by name. Even the import of a type counts: a component without imports needs no review
/// of them.
fn imports(component: &[u8]) -> Result<Vec<String>> {
    let decoded = wit_component::decode(component).context("cannot read the new component")?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        bail!("it is a WIT package, not a component");
    };
    let imports = resolve.worlds[world].imports.keys();
    Ok(imports.map(|key| resolve.name_world_key(key)).collect())
}

/// [`wrap`] from file to file.
pub(crate) fn wrap_file(module: &Path, out: &Path) -> Result<()> {
    let bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let component = wrap(&bytes).with_context(|| format!("{} is not a policy", module.display()))?;
    fs::write(out, component).with_context(|| format!("cannot write {}", out.display()))
}

/// Writes the C bindings of the policy world: `policy.h`, `policy.c` and an object file that holds the world's types.
pub(crate) fn c_bindings(folder: &Path) -> Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(source().join("wit"))?;
    let world = resolve.select_world(&[package], Some("policy"))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default()
        .build()
        .generate(&mut resolve, world, &mut files)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, content) in files.iter() {
        fs::write(folder.join(name), content).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

/// Builds the template and the policy in C to where the relay's tests find them.
pub(crate) fn examples() -> Result<()> {
    tools::wasm_target()?;
    tools::clang()?;
    let work = workspace::target().join("policies");
    fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    let out = source().join("examples");
    step("building the policy in C", || {
        in_c(&work, &out.join("strict-c.wasm"))
    })?;
    step("building the policy template outside the workspace", || {
        template(&work, &out.join("strict-rust.wasm"))
    })
}

fn in_c(work: &Path, out: &Path) -> Result<()> {
    let bindings = work.join("c-bindings");
    c_bindings(&bindings)?;
    let source = source().join("examples/c");
    let module = work.join("strict-c.module.wasm");
    run(Command::new("clang")
        .args("--target=wasm32-unknown-unknown -std=c11 -O2 -ffreestanding -nostdlib".split(' '))
        .args("-Wall -Wextra -Werror".split(' '))
        .arg("-I")
        .arg(source.join("include"))
        .arg("-I")
        .arg(&bindings)
        .args(["-Wl,--no-entry", "-Wl,--stack-first", "-Wl,--strip-debug"])
        .arg(format!("-Wl,-z,stack-size={C_STACK_BYTES}"))
        .args([source.join("strict.c"), source.join("heap.c")])
        .args([
            bindings.join("policy.c"),
            bindings.join("policy_component_type.o"),
        ])
        .arg("-o")
        .arg(&module))?;
    wrap_file(&module, out)
}

/// Copies the template out of the workspace and builds the copy, so that it cannot depend on the workspace.
fn template(work: &Path, out: &Path) -> Result<()> {
    let copy = work.join("template");
    for file in ["Cargo.toml", "Cargo.lock", "src/lib.rs", "wit/policy.wit"] {
        let to = copy.join(file);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::copy(source().join("template").join(file), &to).with_context(|| format!("cannot copy {file}"))?;
    }
    run(workspace::locked("build")
        .args(["--release", "--target", workspace::WASM_TARGET])
        .env("CARGO_TARGET_DIR", copy.join("target"))
        .current_dir(&copy))?;
    let module = copy
        .join("target")
        .join(workspace::WASM_TARGET)
        .join("release/my_policy.wasm");
    wrap_file(&module, out)
}

fn source() -> PathBuf {
    workspace::root().join("relay/policy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_has_the_contract_as_it_is() {
        let read = |path: &str| fs::read_to_string(source().join(path)).unwrap();
        assert_eq!(
            read("template/wit/policy.wit"),
            read("wit/policy.wit"),
            "copy relay/policy/wit/policy.wit into the template"
        );
    }

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
