//! The zoo below the language: components whose core module is written by hand, to do what no compiler
//! would. Whatever they do, the event ends counted, or the policy is refused when it is loaded.

mod slow;

use super::tests::{load, pageview, plan, run};
use super::*;
use relay_event::Outcome;
use std::time::{Duration, Instant};

const SKELETON: &str = include_str!("../../../tests/hostile/skeleton.wat");

/// The parts of a core module that answers each event with its name and the page `/other`.
struct Beast {
    /// The memory, and whatever else stands before the functions.
    memory: &'static str,
    /// Further definitions.
    extra: &'static str,
    /// What `configure` and `realloc` do first.
    configure: &'static str,
    realloc: &'static str,
    /// What `scrub` does before it writes its answer, and after.
    before: &'static str,
    after: &'static str,
    /// What is called once the host has read the answer.
    post: &'static str,
    /// What else the component holds.
    beside: &'static str,
    /// Whether the module is given `$new` and `$drop` of a resource.
    has_resource: bool,
}

const TAME: Beast = Beast {
    memory: r#"(memory (export "memory") 1)"#,
    extra: "",
    configure: "",
    realloc: "",
    before: "",
    after: "",
    post: "",
    beside: "",
    has_resource: false,
};

impl Beast {
    fn wat(&self) -> String {
        let Self {
            memory,
            extra,
            configure,
            realloc,
            before,
            after,
            post,
            beside,
            has_resource,
        } = self;
        let [imports, resource, given] = match has_resource {
            true => [
                r#"(import "r" "new" (func $new (param i32) (result i32)))
                   (import "r" "drop" (func $drop (param i32)))"#,
                "(type $r (resource (rep i32)))
                 (core func $new (canon resource.new $r))
                 (core func $drop (canon resource.drop $r))",
                r#"(instantiate $m (with "r" (instance (export "new" (func $new)) (export "drop" (func $drop)))))"#,
            ],
            false => ["", "", "(instantiate $m)"],
        };
        // The answer lies at 64: tag, name, url, referrer, properties. The heap starts at 4096, and the
        // plan stays at its beginning.
        let module = format!(
            r#"{resource}
(core module $m
  {imports}
  {memory}
  (data (i32.const 16) "/other")
  (data (i32.const 32) "\ff\fe\ed\a0\80\c0\af")
  (global $next (mut i32) (i32.const 4096))
  (global $kept (mut i32) (i32.const 4096))
  {extra}
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    {realloc}
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "configure") (param i32 i32) (result i32)
    {configure}
    (global.set $kept (global.get $next))
    (i32.store (i32.const 64) (i32.const 0))
    (i32.const 64))
  (func (export "scrub")
    (param $name i32) (param $name_len i32) (param $url i32) (param $url_len i32)
    (param i32 i32 i32) (param $props i32) (param $props_len i32) (result i32)
    {before}
    (global.set $next (global.get $kept))
    (i32.store (i32.const 64) (i32.const 0))
    (i32.store (i32.const 68) (local.get $name))
    (i32.store (i32.const 72) (local.get $name_len))
    (i32.store (i32.const 76) (i32.const 16))
    (i32.store (i32.const 80) (i32.const 6))
    (i32.store (i32.const 84) (i32.const 0))
    (i32.store (i32.const 96) (i32.const 0))
    (i32.store (i32.const 100) (i32.const 0))
    {after}
    (i32.const 64))
  (func (export "post") (param i32) {post}))"#
        );
        let text = SKELETON.replace("(instantiate $m)", given);
        text.replace("{module}", &module).replace("{beside}", beside)
    }

    fn load(&self) -> Result<(Sandbox, SitePlan), LoadError> {
        let plan = plan("is honest");
        let wasm = wat::parse_str(self.wat()).unwrap_or_else(|error| panic!("{error}"));
        load(&wasm, &plan).map(|sandbox| (sandbox, plan))
    }
}

/// Longest time one event may take, whatever the policy does, on a machine busy with other tests.
const EVENT_MAX: Duration = Duration::from_secs(5);

#[track_caller]
fn ends(deed: &str, want: Option<Outcome>, beast: &Beast) {
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
fn refused(deed: &str, want: &str, beast: &Beast) {
    let error = beast.load().err().map(|error| error.to_string());
    let error = error.unwrap_or_else(|| panic!("a policy that {deed} was loaded"));
    assert!(error.contains(want), "a policy that {deed}: {error}");
}

#[test]
fn a_module_written_by_hand_can_only_make_events_end() {
    use Outcome::{PolicyTimeout, PolicyTrap, Unsafe, Widened};
    let before = |before| Beast { before, ..TAME };
    let after = |after| Beast { after, ..TAME };
    ends("is tame", None, &TAME);
    ends(
        "refuses",
        Some(Unsafe),
        &after("(i32.store (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 1))"),
    );
    // Texts that are none.
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
    // Pointers to where nothing is.
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
    // Work without end.
    ends("loops", Some(PolicyTimeout), &before("(loop (br 0))"));
    ends(
        "recurses for ever",
        Some(PolicyTrap),
        &Beast {
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
        &Beast {
            extra: "(table $t 1 funcref)",
            before: "(loop (drop (table.grow $t (ref.null func) (i32.const 1000))) (br 0))",
            ..TAME
        },
    );
    ends("traps", Some(PolicyTrap), &before("unreachable"));
    // Where the host calls back.
    ends(
        "loops where the host makes room",
        Some(PolicyTimeout),
        &Beast {
            realloc: "(if (i32.ne (global.get $kept) (i32.const 4096)) (then (loop (br 0))))",
            ..TAME
        },
    );
    ends(
        "makes room beyond its memory",
        Some(PolicyTrap),
        &Beast {
            realloc: "(if (i32.ne (global.get $kept) (i32.const 4096)) (then (return (i32.const -8))))",
            ..TAME
        },
    );
    ends(
        "loops once its answer is read",
        Some(PolicyTimeout),
        &Beast {
            post: "(loop (br 0))",
            ..TAME
        },
    );
    ends(
        "traps once its answer is read",
        Some(PolicyTrap),
        &Beast {
            post: "unreachable",
            ..TAME
        },
    );
    // Odd, and harmless.
    ends(
        "brings a component and instances of its own",
        None,
        &Beast {
            beside:
                "(component $inner (core module $x (func (export \"f\"))) (core instance (instantiate $x)))
                     (instance (instantiate $inner)) (instance (instantiate $inner))",
            ..TAME
        },
    );
}

#[test]
fn a_component_that_takes_too_much_at_the_start_is_refused_when_it_is_loaded() {
    let extra = |extra| Beast { extra, ..TAME };
    let memory = |memory| Beast { memory, ..TAME };
    let beside = |beside| Beast { beside, ..TAME };
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
        &Beast {
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
    // Even what could do nothing: a component without imports needs no judgement.
    check(r#"(import "t" (type (sub resource)))"#, "t");
    check(
        r#"(import "a:b/c" (instance (type $l (enum "x")) (export "l" (type (eq $l)))))"#,
        "a:b/c",
    );
    check(r#"(import "m" (core module))"#, "m");
    // wasmtime has no use for a component as an import, and says so first.
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
    assert!(error.contains("it is no WebAssembly at all"), "{error}");
    let error = load(&vec![0; COMPONENT_BYTES_MAX + 1], &plan("is honest"))
        .err()
        .unwrap();
    assert!(matches!(error, LoadError::TooLarge), "{error}");
}

/// Why a component is refused.
fn load_text(text: &str) -> String {
    let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
    let error = load(&wasm, &plan("is honest")).err();
    error.unwrap_or_else(|| panic!("loaded: {text}")).to_string()
}
