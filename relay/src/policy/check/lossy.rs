//! Policies that lose events occasionally: the check rejects each kind, or reports its loss as a figure.

use super::tests::report_within;
use super::*;
use crate::config::{PolicyConfig, SitePlan};
use crate::policy::sandbox::compiler::compiled;
use std::time::Duration;

const SKELETON: &str = include_str!("../../../../tests/hostile/skeleton.wat");
/// One property, which the policy below forwards unchanged.
const PLAN: &str = r#"
version = 1
routes = ["/", "/w/:workspace", "/w/:workspace/p/:project"]

[category.usage]
description = "Use."

[[event]]
name = "pageview"
category = "usage"
description = "A page."

[[event]]
name = "Load"
category = "usage"
description = "A number."

[event.prop.n]
type = "int"
min = 0
max = 1_000_000
required = true
description = "Its number."
"#;

/// A policy that forwards the name and the property with a one-byte key, unless `deed` overrides it. In `deed`,
/// `$calls` is the number of the call on this instance, and `$hash` a hash of the page's address.
fn policy(deed: &str) -> Vec<u8> {
    let module = format!(
        r#"(core module $m
  (memory (export "memory") 16)
  (table $t 1 funcref)
  (data (i32.const 16) "/other")
  (global $next (mut i32) (i32.const 4096))
  (global $calls (mut i32) (i32.const 0))
  (global $poison (mut i32) (i32.const 0))
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "configure") (param i32 i32) (result i32)
    (global.set $next (i32.const 4096))
    (i32.store (i32.const 64) (i32.const 0))
    (i32.const 64))
  (func (export "scrub")
    (param $name i32) (param $name_len i32) (param $url i32) (param $url_len i32)
    (param i32 i32 i32) (param $props i32) (param $props_len i32) (result i32)
    (local $hash i32) (local $i i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (local.set $hash (i32.const 5381))
    (loop $again
      (local.set $hash (i32.add (i32.mul (local.get $hash) (i32.const 33))
        (i32.load8_u (i32.add (local.get $url) (local.get $i)))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (local.get $url_len))))
    (local.set $hash (i32.xor (local.get $hash) (i32.shr_u (local.get $hash) (i32.const 15))))
    (i32.store (i32.const 64) (i32.const 0))
    (i32.store (i32.const 68) (local.get $name))
    (i32.store (i32.const 72) (local.get $name_len))
    (i32.store (i32.const 76) (i32.const 16))
    (i32.store (i32.const 80) (i32.const 6))
    (i32.store (i32.const 84) (i32.const 0))
    (i32.store (i32.const 96) (i32.const 0))
    (i32.store (i32.const 100) (i32.const 0))
    (local.set $i (i32.const 0))
    (block $done (loop $each
      (br_if $done (i32.ge_u (local.get $i) (local.get $props_len)))
      (if (i32.eq (i32.load offset=4 (local.get $props)) (i32.const 1))
        (then
          (i32.store (i32.const 96) (local.get $props))
          (i32.store (i32.const 100) (i32.const 1))))
      (local.set $props (i32.add (local.get $props) (i32.const 24)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $each)))
    {deed}
    (i32.const 64))
  (func (export "post") (param i32) (global.set $next (i32.const 4096))))"#
    );
    let text = SKELETON.replace("{module}", &module).replace("{beside}", "");
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a deed on one event in 300, selected by hash.
fn rarely(deed: &str) -> String {
    format!("(if (i32.eq (i32.rem_u (local.get $hash) (i32.const 300)) (i32.const 7)) (then {deed}))")
}

/// Runs a deed once an instance has seen `calls` events.
fn after(calls: u32, deed: &str) -> String {
    format!("(if (i32.gt_u (global.get $calls) (i32.const {calls})) (then {deed}))")
}

const REFUSE: &str = "(i32.store (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 1))";
const WIDEN: &str = "(i32.store (i32.const 80) (i32.const 5))";

fn judged(deed: &str, cpu_max: Duration) -> Result<Report, CheckError> {
    let plan = SitePlan::parse("plan.toml", PLAN).unwrap();
    let component = compiled(&policy(deed)).unwrap();
    let sandbox = Sandbox::load(&component, &plan.clone().into(), &PolicyConfig::default()).unwrap();
    report_within(&sandbox, &plan, cpu_max)
}

#[test]
fn a_policy_that_fails_on_one_event_in_hundreds_is_not_usable() {
    let check = |what: &str, deed: &str, want: &str| {
        let report =
            judged(deed, patience::CPU_MAX).unwrap_or_else(|error| panic!("a policy that {what}: {error}"));
        let said = report.objections().join("; ");
        match want {
            "" => assert_eq!(said, "", "a policy that {what}"),
            want => assert!(said.contains(want), "a policy that {what}: {said}"),
        }
    };
    check("is honest", "", "");
    check("traps on rare content", &rarely("unreachable"), "it traps on");
    check(
        "loops on rare content",
        &rarely("(loop (br 0))"),
        "it runs out of fuel or time on",
    );
    check("widens rare content", &rarely(WIDEN), "the guard stops it on");
    check(
        "traps at every 263rd call",
        "(if (i32.eqz (i32.rem_u (global.get $calls) (i32.const 263))) (then unreachable))",
        "it traps on",
    );
    check(
        "traps at the last call of an instance",
        &after(CALLS_MAX - 1, "unreachable"),
        "it traps on",
    );
    check(
        "leaks memory until there is none",
        "(if (i32.eqz (i32.rem_u (global.get $calls) (i32.const 30))) (then (drop (memory.grow (i32.const 1)))))",
        "it traps on",
    );
    check(
        "leaks places of a table",
        "(drop (table.grow $t (ref.null func) (i32.const 20)))",
        "it traps on",
    );
    check(
        "refuses what the instance sees late",
        &after(
            3000,
            &rarely(REFUSE).replace("local.get $hash", "global.get $calls"),
        ),
        "it answers differently in another order on",
    );
    check(
        "fails after a hostile event",
        "(if (i32.gt_u (local.get $url_len) (i32.const 2000)) (then (global.set $poison (i32.const 1))))
         (if (i32.and (global.get $poison) (i32.lt_u (local.get $url_len) (i32.const 100))) (then unreachable))",
        "it answers differently in another order on",
    );
    let most = format!("(if (i32.rem_u (local.get $hash) (i32.const 3)) (then {REFUSE}))");
    check("refuses two thirds", &most, "it refuses more than 50 %");
}

#[test]
fn what_a_policy_refuses_of_ordinary_events_is_shown_as_a_figure() {
    let report = judged(&rarely(REFUSE), patience::CPU_MAX).unwrap();
    assert_eq!(report.objections(), Vec::<String>::new(), "refusing is its right");
    let (refused, of, names) = report.refused().unwrap();
    assert!((10..=70).contains(&refused), "{refused} of {of}");
    assert!(of >= TRAFFIC_EVENTS && names.contains("Load"), "{of} {names}");
}

#[test]
fn a_slow_policy_does_not_take_minutes_to_check() {
    let slow = "(local.set $i (i32.const 0))
        (loop $burn (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $burn (i32.lt_u (local.get $i) (i32.const 1000000))))";
    let error = judged(slow, Duration::from_millis(200)).unwrap_err().to_string();
    assert!(error.contains("the policy is too slow: it answered "), "{error}");
}
