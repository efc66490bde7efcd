//! Instructions that cost little fuel and much time: however a guest uses them, its request ends within its processor
//! time.

use super::super::{pageview, plan};
use super::{Guest, TAME};
use crate::clock::thread_cpu_time;
use crate::config::{PolicyConfig, SitePlan};
use crate::policy::sandbox::Sandbox;
use crate::policy::sandbox::compiler::compiled;
use relay_event::Outcome::{self, PolicyTimeout, PolicyTrap};
use relay_event::scrub::Visible;
use std::time::Duration;

/// Processor time of a request in these tests.
const BUDGET: Duration = Duration::from_millis(20);
/// Longest allowed time: one tick more, plus a debug build's overhead.
const BOUND: Duration = Duration::from_millis(400);
/// Events of a request.
const EVENTS: usize = 100;

fn load(beast: &Guest) -> (Sandbox, SitePlan) {
    let plan = plan("is honest");
    let wasm = wat::parse_str(beast.wat()).unwrap_or_else(|error| panic!("{error}"));
    let limits = PolicyConfig {
        request_cpu: BUDGET,
        ..PolicyConfig::default()
    };
    let sandbox = Sandbox::load(&compiled(&wasm).unwrap(), &plan.clone().into(), &limits);
    (sandbox.unwrap_or_else(|error| panic!("{error}")), plan)
}

/// Sends a request of many events, and checks how it ends and that it ends in time.
#[track_caller]
fn request(deed: &str, want: Option<Outcome>, (sandbox, plan): &(Sandbox, SitePlan)) {
    let visible = Visible::of(&pageview(), plan);
    let began = thread_cpu_time();
    let mut request = sandbox.begin(plan).unwrap();
    let ends: Vec<_> = (0..EVENTS).map(|_| request.scrub(&visible).err()).collect();
    let took = thread_cpu_time() - began;
    assert!(ends.contains(&want), "a policy that {deed}: {:?}", ends.first());
    assert!(
        took < BOUND,
        "a policy that {deed} took {took:?} for {EVENTS} events"
    );
}

#[track_caller]
fn ends(deed: &str, want: Option<Outcome>, beast: &Guest) {
    let loaded = load(beast);
    request(deed, want, &loaded);
    request(&format!("{deed}, once more"), want, &loaded);
}

#[test]
fn an_instruction_that_costs_little_fuel_and_much_time_ends_with_the_time_of_its_request() {
    const TABLE: &str = "(table $t 10000 20000 funcref) (table $u 9000 funcref) (elem $e func $f) (func $f)";
    let before = |before| Guest {
        extra: TABLE,
        before,
        ..TAME
    };
    let slow = |deed: &str, beast: &Guest| ends(deed, Some(PolicyTimeout), beast);
    ends("is tame", None, &TAME);
    slow(
        "makes and drops resources over and over",
        &Guest {
            has_resource: true,
            ..before("(loop (call $drop (call $new (i32.const 1))) (br 0))")
        },
    );
    ends(
        "makes resources and keeps them",
        Some(PolicyTrap),
        &Guest {
            has_resource: true,
            ..before("(loop (drop (call $new (i32.const 1))) (br 0))")
        },
    );
    slow(
        "grows its memory by nothing",
        &before("(loop (drop (memory.grow (i32.const 0))) (br 0))"),
    );
    slow(
        "grows a table by nothing",
        &before("(loop (drop (table.grow $t (ref.null func) (i32.const 0))) (br 0))"),
    );
    slow(
        "fills a table",
        &before("(loop (table.fill $t (i32.const 0) (ref.func $f) (i32.const 10000)) (br 0))"),
    );
    slow(
        "copies a table",
        &before("(loop (table.copy $t $u (i32.const 0) (i32.const 0) (i32.const 9000)) (br 0))"),
    );
    slow(
        "fills a table with a piece of its module",
        &before("(loop (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1)) (br 0))"),
    );
    slow(
        "fills memory",
        &before("(loop (memory.fill (i32.const 4096) (i32.const 1) (i32.const 60000)) (br 0))"),
    );
    slow(
        "copies memory",
        &before("(loop (memory.copy (i32.const 4096) (i32.const 4097) (i32.const 60000)) (br 0))"),
    );
    slow(
        "copies memory in small pieces",
        &before("(loop (memory.copy (i32.const 4096) (i32.const 4097) (i32.const 129)) (br 0))"),
    );
    slow(
        "computes with fractions",
        &Guest {
            extra: "(global $x (mut f64) (f64.const 1.5))",
            before: "(loop (global.set $x (f64.sqrt (f64.div (f64.const 1e308) (global.get $x)))) (br 0))",
            ..TAME
        },
    );
    slow(
        "divides numbers",
        &Guest {
            extra: "(global $x (mut i64) (i64.const -7))",
            before: "(loop (global.set $x (i64.or (i64.rem_s (global.get $x) (i64.const -3)) (i64.const -7))) (br 0))",
            ..TAME
        },
    );
    slow(
        "calls through a table",
        &before("(loop (call_indirect $u (i32.const 0)) (br 0))").with_functions(),
    );
}

impl Guest {
    /// Puts a function into the second table.
    fn with_functions(self) -> Self {
        Self {
            extra: "(table $u 1 funcref) (func $f) (elem (table $u) (i32.const 0) func $f)",
            ..self
        }
    }
}

#[test]
fn many_slow_instructions_without_a_loop_end_in_time_too() {
    let fill = "(table.fill $t (i32.const 0) (ref.null func) (i32.const 20000))".repeat(2000);
    let grow = "(drop (memory.grow (i32.const 0)))".repeat(20_000);
    for (deed, before) in [("fills a table", fill), ("grows its memory by nothing", grow)] {
        let beast = Guest {
            extra: "(table $t 20000 funcref)",
            before: "{deed}",
            ..TAME
        };
        let plan = plan("is honest");
        let wasm = wat::parse_str(beast.wat().replace("{deed}", &before)).unwrap();
        let limits = PolicyConfig {
            request_cpu: BUDGET,
            ..PolicyConfig::default()
        };
        let sandbox = Sandbox::load(&compiled(&wasm).unwrap(), &plan.clone().into(), &limits).unwrap();
        request(
            &format!("{deed} thousands of times"),
            Some(PolicyTimeout),
            &(sandbox, plan),
        );
    }
}

#[test]
fn an_instance_made_while_events_come_is_under_the_request_s_time() {
    // Takes longer than a request is allowed and less than a start is allowed.
    let started = Guest {
        extra: "(func $start (local $n i32)
            (loop (drop (memory.grow (i32.const 0)))
              (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 2000000)))))
          (start $start)",
        before: "unreachable",
        ..TAME
    };
    let (sandbox, plan) = load(&started);
    let visible = Visible::of(&pageview(), &plan);
    assert_eq!(
        sandbox.scrub(&plan, &visible).err(),
        Some(PolicyTrap),
        "with the first instance"
    );
    let began = thread_cpu_time();
    assert_eq!(sandbox.scrub(&plan, &visible).err(), Some(PolicyTimeout));
    assert!(thread_cpu_time() - began < BOUND);
}
