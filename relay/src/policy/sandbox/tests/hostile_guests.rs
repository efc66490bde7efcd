//! Hostile guests below the language: components with hand-written core modules that do things no compiler would
//! emit. In every case the event ends counted, or loading refuses the policy.

mod guest;
mod slow;

use super::{load, pageview, plan, run};
use crate::policy::sandbox::*;
use guest::{Guest, TAME};
use relay_event::Outcome;
use std::time::{Duration, Instant};

/// Longest time for one event of any policy, on a machine busy with other tests.
const EVENT_MAX: Duration = Duration::from_secs(5);

#[track_caller]
fn ends(deed: &str, want: Option<Outcome>, beast: &Guest) {
    let (sandbox, plan) = beast.load().unwrap_or_else(|error| panic!("{deed}: {error}"));
    for time in ["first", "second"] {
        let started = Instant::now();
        let got = run(&sandbox, &pageview(), &plan);
        assert_eq!(got.err(), want, "a policy that {deed}, the {time} time");
        let took = started.elapsed();
        assert!(took < EVENT_MAX, "a policy that {deed} took {took:?}");
    }
}

#[track_caller]
fn refused(deed: &str, want: &str, beast: &Guest) {
    let error = beast.load().err().map(|error| error.to_string());
    let error = error.unwrap_or_else(|| panic!("a policy that {deed} was loaded"));
    assert!(error.contains(want), "a policy that {deed}: {error}");
}

#[test]
fn a_module_written_by_hand_can_only_make_events_end() {
    use Outcome::{PolicyTimeout, PolicyTrap, Unsafe, Widened};
    let before = |before| Guest { before, ..TAME };
    let after = |after| Guest { after, ..TAME };
    ends("is tame", None, &TAME);
    ends(
        "refuses",
        Some(Unsafe),
        &after("(i32.store (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 1))"),
    );
    // Invalid texts.
    ends(
        "answers with bytes that are no UTF-8",
        Some(PolicyTrap),
        &after("(i32.store (i32.const 76) (i32.const 32)) (i32.store (i32.const 80) (i32.const 2))"),
    );
    ends(
        "answers with a lone surrogate",
        Some(PolicyTrap),
        &after("(i32.store (i32.const 76) (i32.const 34)) (i32.store (i32.const 80) (i32.const 3))"),
    );
    ends(
        "answers with an overlong slash",
        Some(PolicyTrap),
        &after("(i32.store (i32.const 76) (i32.const 37)) (i32.store (i32.const 80) (i32.const 2))"),
    );
    ends(
        "answers with nothing as a page",
        Some(Widened),
        &after("(i32.store (i32.const 80) (i32.const 0))"),
    );
    // Pointers out of bounds.
    ends(
        "points its answer beyond its memory",
        Some(PolicyTrap),
        &after("(return (i32.const -8))"),
    );
    ends(
        "points its answer at an odd place",
        Some(PolicyTrap),
        &after("(return (i32.const 65))"),
    );
    ends(
        "points a text beyond its memory",
        Some(PolicyTrap),
        &after("(i32.store (i32.const 76) (i32.const 65530)) (i32.store (i32.const 80) (i32.const 100))"),
    );
    ends(
        "points a text around the end of the address space",
        Some(PolicyTrap),
        &after("(i32.store (i32.const 76) (i32.const -16)) (i32.store (i32.const 80) (i32.const 32))"),
    );
    ends(
        "lists more properties than memory holds",
        Some(PolicyTrap),
        &after(
            "(i32.store (i32.const 96) (i32.const 128)) (i32.store (i32.const 100) (i32.const 0x0fffffff))",
        ),
    );
    ends(
        "answers with a verdict that is none",
        Some(PolicyTrap),
        &after("(i32.store (i32.const 64) (i32.const 7))"),
    );
    ends(
        "gives a reason that is none",
        Some(PolicyTrap),
        &after("(i32.store (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 9))"),
    );
    ends(
        "answers with all its memory as one text",
        Some(PolicyTrap),
        &after(
            "(drop (memory.grow (i32.const 160)))
             (memory.fill (i32.const 4096) (i32.const 120) (i32.const 10000000))
             (i32.store (i32.const 76) (i32.const 4096)) (i32.store (i32.const 80) (i32.const 10000000))",
        ),
    );
    // Endless work.
    ends("loops", Some(PolicyTimeout), &before("(loop (br 0))"));
    ends(
        "recurses for ever",
        Some(PolicyTrap),
        &Guest {
            extra: "(func $deep (param i64) (result i64) (i64.add (call $deep (local.get 0)) (i64.const 1)))",
            before: "(drop (call $deep (i64.const 1)))",
            ..TAME
        },
    );
    ends(
        "grows its memory without end",
        Some(PolicyTrap),
        &before("(loop (drop (memory.grow (i32.const 16))) (br 0))"),
    );
    ends(
        "fills its memory over and over",
        Some(PolicyTimeout),
        &before(
            "(drop (memory.grow (i32.const 200)))
             (loop (memory.fill (i32.const 4096) (i32.const 1) (i32.const 13000000)) (br 0))",
        ),
    );
    ends(
        "copies its memory over and over",
        Some(PolicyTimeout),
        &before(
            "(drop (memory.grow (i32.const 200)))
             (loop (memory.copy (i32.const 4096) (i32.const 4097) (i32.const 13000000)) (br 0))",
        ),
    );
    ends(
        "grows and fills a table over and over",
        Some(PolicyTrap),
        &Guest {
            extra: "(table $t 1 funcref)",
            before: "(loop (drop (table.grow $t (ref.null func) (i32.const 1000))) (br 0))",
            ..TAME
        },
    );
    ends("traps", Some(PolicyTrap), &before("unreachable"));
    // Deeds in the functions that the host calls back.
    ends(
        "loops where the host makes room",
        Some(PolicyTimeout),
        &Guest {
            realloc: "(if (i32.ne (global.get $kept) (i32.const 4096)) (then (loop (br 0))))",
            ..TAME
        },
    );
    ends(
        "makes room beyond its memory",
        Some(PolicyTrap),
        &Guest {
            realloc: "(if (i32.ne (global.get $kept) (i32.const 4096)) (then (return (i32.const -8))))",
            ..TAME
        },
    );
    ends(
        "loops once its answer is read",
        Some(PolicyTimeout),
        &Guest {
            post: "(loop (br 0))",
            ..TAME
        },
    );
    ends(
        "traps once its answer is read",
        Some(PolicyTrap),
        &Guest {
            post: "unreachable",
            ..TAME
        },
    );
    // Odd, but harmless.
    ends(
        "brings a component and instances of its own",
        None,
        &Guest {
            beside:
                "(component $inner (core module $x (func (export \"f\"))) (core instance (instantiate $x)))
                     (instance (instantiate $inner)) (instance (instantiate $inner))",
            ..TAME
        },
    );
}

#[test]
fn a_component_that_takes_too_much_at_the_start_is_refused_when_it_is_loaded() {
    let extra = |extra| Guest { extra, ..TAME };
    let memory = |memory| Guest { memory, ..TAME };
    let beside = |beside| Guest { beside, ..TAME };
    refused(
        "loops in its start function",
        "fuel",
        &extra("(func $start (loop (br 0))) (start $start)"),
    );
    refused(
        "traps in its start function",
        "unreachable",
        &extra("(func $start unreachable) (start $start)"),
    );
    refused(
        "takes all memory in its start function",
        "growing memory",
        &extra("(func $start (loop (drop (memory.grow (i32.const 16))) (br 0))) (start $start)"),
    );
    refused(
        "has a memory over the limit",
        "growing memory",
        &memory(r#"(memory (export "memory") 1000)"#),
    );
    refused(
        "has a table over the limit",
        "growing table",
        &extra("(table 1000000 funcref)"),
    );
    refused(
        "has data beyond its memory",
        "out of bounds",
        &extra(r#"(data (i32.const 65535) "more than one")"#),
    );
    refused(
        "has a memory of 64 bits",
        "memory64",
        &memory(r#"(memory (export "memory") i64 1)"#),
    );
    refused(
        "has two memories",
        "multi",
        &memory(r#"(memory (export "memory") 1) (memory 1)"#),
    );
    refused(
        "shares its memory",
        "threads",
        &memory(r#"(memory (export "memory") 1 1 shared)"#),
    );
    refused(
        "has more instances than the limit",
        "instance",
        &beside(
            "(component $c (core module $x) (core instance (instantiate $x)) (core instance (instantiate $x))
               (core instance (instantiate $x)) (core instance (instantiate $x)))
             (instance (instantiate $c)) (instance (instantiate $c)) (instance (instantiate $c))
             (instance (instantiate $c)) (instance (instantiate $c))",
        ),
    );
    refused(
        "computes what differs from machine to machine",
        "relaxed",
        &extra(
            "(func (param v128 v128 v128) (result v128)
               (f32x4.relaxed_madd (local.get 0) (local.get 1) (local.get 2)))",
        ),
    );
    refused(
        "loops while it is configured",
        "fuel",
        &Guest {
            configure: "(loop (br 0))",
            ..TAME
        },
    );
}

#[test]
fn what_imports_anything_is_refused_and_named() {
    let check = |import: &str, name: &str| {
        let error = load_text(&format!("(component {import})"));
        assert!(error.contains(&format!("imports `{name}`")), "{import}: {error}");
    };
    check(
        r#"(import "wasi:cli/environment@0.2.0" (instance))"#,
        "wasi:cli/environment@0.2.0",
    );
    check(
        r#"(import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func (result u64)))))"#,
        "wasi:clocks/wall-clock@0.2.0",
    );
    check(r#"(import "f" (func))"#, "f");
    // Even an import that could do nothing is refused, so that there is nothing to judge.
    check(r#"(import "t" (type (sub resource)))"#, "t");
    check(
        r#"(import "a:b/c" (instance (type $l (enum "x")) (export "l" (type (eq $l)))))"#,
        "a:b/c",
    );
    check(r#"(import "m" (core module))"#, "m");
    // wasmtime does not support a component as an import, and rejects it first.
    let error = load_text(r#"(component (import "c" (component)))"#);
    assert!(error.contains("component imports are not supported"), "{error}");
}

#[test]
fn what_does_not_export_the_world_is_refused() {
    let check = |text: &str, want: &str| {
        let error = load_text(text);
        assert!(error.contains(want), "{text}: {error}");
    };
    let tame = TAME.wat();
    check("(module)", "core module");
    check(
        "(component)",
        "no exported instance named `feedback:policy/scrubbing@0.1.0`",
    );
    for (from, to, want) in [
        ("scrubbing@0.1.0", "scrubbing@0.2.0", "no exported instance"),
        (
            r#"(export "configure" (func $configure))"#,
            r#"(export "configured" (func $configure))"#,
            "`configure`",
        ),
        (
            r#"(export "scrub" (func $scrub) (func (param "event" $event3) (result $verdict3)))"#,
            r#"(export "scrub" (func $configure))"#,
            "type mismatch",
        ),
        (
            r#"(case "decimal" f64)"#,
            r#"(case "decimal" f32)"#,
            "type mismatch",
        ),
        (
            r#""missing-prop" "unsafe""#,
            r#""unsafe" "missing-prop""#,
            "type mismatch",
        ),
    ] {
        assert!(tame.contains(from), "{from}");
        check(&tame.replace(from, to), want);
    }
    let error = load(b"not wasm at all", &plan("is honest"))
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("it is not WebAssembly"), "{error}");
    let error = load(&vec![0; COMPONENT_BYTES_MAX + 1], &plan("is honest"))
        .err()
        .unwrap();
    assert!(matches!(error, LoadError::TooLarge), "{error}");
}

/// Returns why a component is refused.
fn load_text(text: &str) -> String {
    let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
    let error = load(&wasm, &plan("is honest")).err();
    error.unwrap_or_else(|| panic!("loaded: {text}")).to_string()
}
