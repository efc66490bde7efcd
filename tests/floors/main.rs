//! No module of the product imports one that imports it, directly or indirectly: the code can be read bottom-up, and a
//! room can change without affecting those below it. For the relay, `docs/ARCHITECTURE.md` lists the floors.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod circles;
mod modules;

use circles::{Imports, rooms};
use modules::Crate;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Imports that still violate the rule, each as "room: from -> to". The list must only shrink: instead of adding a
/// line, move the shared item to a lower floor, or pass it in.
const KNOWN: &[&str] = &[];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The folders of the product's packages: the workspace members that are neither tests nor tools.
fn packages() -> Vec<String> {
    let manifest = text("Cargo.toml");
    let members = manifest.split_once("members = [").unwrap().1;
    let members = members.split_once(']').unwrap().0;
    let quoted = members.split('"').skip(1).step_by(2);
    let product = quoted.filter(|folder| folder.starts_with("relay") || *folder == "wasm-client");
    product.map(str::to_owned).collect()
}

/// The crates of a package: library and binary.
fn crates(package: &str) -> Vec<Crate> {
    let source = Path::new(package).join("src");
    let files = ["lib.rs", "main.rs"].map(|name| source.join(name));
    let files = files.iter().filter(|file| root().join(file).is_file());
    files.map(|file| Crate::read(&root(), file)).collect()
}

/// The imports in a room without the known ones, which are removed from `known`.
fn unknown(read: &Crate, package: &str, room: &[String], known: &mut Vec<&str>) -> (String, Imports) {
    let label = [&[package.to_owned()], room].concat().join("/");
    let mut imports = Imports::of(read, room);
    known.retain(|edge| {
        let edge = edge.strip_prefix(&label).and_then(|edge| edge.strip_prefix(": "));
        let edge = edge.and_then(|edge| edge.split_once(" -> "));
        !edge.is_some_and(|(from, to)| imports.remove(from, to))
    });
    (label, imports)
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let (mut wrong, mut known) = (String::new(), KNOWN.to_vec());
    for package in packages() {
        for read in crates(&package) {
            for room in rooms(&read) {
                let (label, imports) = unknown(&read, &package, &room, &mut known);
                for circle in imports.circles() {
                    wrong += &format!("{label}: {}", imports.explain(&circle));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "import circles:\n{wrong}");
    assert!(
        known.is_empty(),
        "no longer imported, so remove from KNOWN: {known:#?}"
    );
}

#[test]
fn each_module_of_the_relay_imports_only_from_floors_below_its_own() {
    let architecture = text("docs/ARCHITECTURE.md");
    let drawn = architecture
        .split_once("### The floors")
        .expect("the floors are drawn")
        .1;
    let drawn = drawn.split("```").nth(1).unwrap().trim_start_matches("text\n");
    let mut floors = BTreeMap::new();
    for (from_top, floor) in drawn.lines().enumerate() {
        for module in floor.split_whitespace() {
            let before = floors.insert(module, from_top);
            assert_eq!(before, None, "{module} is on two floors");
        }
    }
    let read = Crate::read(&root(), Path::new("relay/src/lib.rs"));
    let (_, imports) = unknown(&read, "relay", &[], &mut KNOWN.to_vec());
    let modules: Vec<&str> = imports.modules().map(String::as_str).collect();
    let listed: Vec<&str> = floors.keys().copied().collect();
    assert_eq!(
        listed, modules,
        "docs/ARCHITECTURE.md lists the modules of relay/src by floors"
    );
    for from in modules {
        for (to, ties) in imports.named_by(from) {
            assert!(
                floors[to.as_str()] > floors[from],
                "{from} is not above {to}: {ties:#?}"
            );
        }
    }
}

#[test]
fn a_circle_is_found_and_none_is_invented() {
    let check = |says: &str, text: &str, want: &[&str]| {
        let read = Crate::parse(text);
        let mut found = Vec::new();
        for room in rooms(&read) {
            let circles = Imports::of(&read, &room).circles();
            found.extend(
                circles
                    .iter()
                    .map(|circle| [&room[..], &[circle.join(" ")]].concat().join("/")),
            );
        }
        assert_eq!(found, want, "{says}");
    };
    check(
        "one imports the other",
        "mod a { use crate::b::B; } mod b {}",
        &[],
    );
    check(
        "two import each other",
        "mod a { use crate::b::B; } mod b { use crate::a::A; }",
        &["a b"],
    );
    check(
        "three in a row",
        "mod a { use crate::b; } mod b { use crate::c; } mod c { use crate::a; }",
        &["a b c"],
    );
    check(
        "two apart",
        "mod a { use crate::b; } mod b { use crate::a; } mod c { use crate::d; } mod d { use crate::c; }",
        &["a b", "c d"],
    );
    check(
        "nested braces",
        "mod a { use crate::{c, b::{self, B}}; } mod b { use crate::{a::A as Z}; } mod c {}",
        &["a b"],
    );
    check(
        "a path from above",
        "mod a { use super::b::B; } mod b { use super::a::A; }",
        &["a b"],
    );
    check(
        "a path in code",
        "mod a { fn f() -> crate::b::B { g(crate::b::B) } } mod b { fn g() { super::a::f() } }",
        &["a b"],
    );
    check(
        "in a macro's arguments",
        "mod a { fn f() { log!(\"{}\", crate::b::B); } } mod b { use crate::a; }",
        &["a b"],
    );
    check(
        "in an attribute",
        "mod a { #[serde(with = crate::b::c)] struct A; } mod b { use crate::a; }",
        &["a b"],
    );
    check(
        "a name that the root passes on",
        "pub use a::A; mod a { use crate::b::B; } mod b { use crate::A; }",
        &["a b"],
    );
    check(
        "only in tests",
        "mod a { use crate::b; #[cfg(test)] mod t { use crate::c; } } mod b { #[cfg(test)] use crate::{a}; #[cfg(test)] fn f() { crate::a::f() } } mod c { use crate::a; }",
        &[],
    );
    check(
        "after what is only for tests",
        "mod a { struct S { #[cfg(test)] t: crate::b::B, b: u8 } } mod b { #[cfg(test)] use crate::a; #[derive(Debug)] struct B(crate::a::S); }",
        &[],
    );
    check(
        "behind what is only for tests",
        "mod a { #[cfg(test)] #[derive(Debug)] struct T; use crate::b::B; } mod b { #[cfg(test)] static T: [u8; 1] = [1]; use crate::a::A; }",
        &["a b"],
    );
    check(
        "in comments and texts",
        "mod a { use crate::b; } mod b { /// [`crate::a`]\n const A: &str = \"use crate::a;\"; }",
        &[],
    );
    check(
        "a visibility",
        "mod a { pub(in crate::b) fn f() {} } mod b { use crate::a; }",
        &[],
    );
    check(
        "another crate's",
        "mod a { use crate::b; } mod b { use c::a; use ::d::a; }",
        &[],
    );
    check(
        "inside a room",
        "mod r { mod a { use super::b; } mod b { use crate::r::a; } }",
        &["r/a b"],
    );
    check(
        "a parent and its child",
        "mod r { use a::A; mod a { use super::R; } struct R; }",
        &[],
    );
    check(
        "siblings through their parent's names",
        "mod r { pub(crate) use a::A; mod a { use super::b; } mod b { use super::A; } }",
        &["r/a b"],
    );
    check(
        "rooms by their innermost modules",
        "mod r { mod a { use crate::s; } } mod s { mod b { mod c { use crate::r::a::A; } } }",
        &["r s"],
    );
}
