//! The sandbox and the guard together, against the policy shipped and against a hostile one.
//!
//! `cargo xtask test` builds both before it runs these.

use super::*;
use crate::config;
use crate::guard::{self, Sender};
use relay_event::Event;
use relay_event::event::{Prop, Value};
use relay_event::plan::{Category, Plan};
use std::fs;

fn wasm(path: &str) -> Vec<u8> {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read(&path).unwrap_or_else(|_| panic!("{path} is not there: `cargo xtask test` builds it"))
}

fn hostile(deed: &str) -> Result<(Sandbox, SitePlan), LoadError> {
    let plan = plan(deed);
    load(&wasm("../tests/hostile/hostile.wasm"), &plan).map(|sandbox| (sandbox, plan))
}

fn load(wasm: &[u8], plan: &SitePlan) -> Result<Sandbox, LoadError> {
    Sandbox::load(wasm, &plan.clone().into(), &limits())
}

/// The shipped plan, with the deed the hostile policy is to do.
fn plan(deed: &str) -> SitePlan {
    let mut plan = config::default_plan().unwrap();
    plan.categories.push(Category {
        name: "hostile".into(),
        description: deed.into(),
    });
    plan.into()
}

fn limits() -> PolicyConfig {
    PolicyConfig {
        memory_bytes_max: 14 * 1024 * 1024,
        ..PolicyConfig::default()
    }
}

fn event(workspace: &str) -> Event {
    let prop = |key: &str, value| Prop {
        key: key.into(),
        value,
    };
    Event {
        id: None,
        name: "Activity Rated".into(),
        site: "panel.example.com".into(),
        url: format!("https://panel.example.com/#/w/{workspace}/p/billing-7/tenants"),
        referrer: Some("https://search.example.org/?q=jane".into()),
        props: vec![
            prop("activity", Value::Text("project-created".into())),
            prop("user", Value::Text("jane@example.com".into())),
            prop("rating", Value::Integer(5)),
        ],
        interactive: true,
        engagement: None,
    }
}

/// Sends one event through sandbox and guard.
fn run(sandbox: &Sandbox, event: &Event, plan: &SitePlan) -> Result<String, Outcome> {
    let visible = Visible {
        name: event.name.clone(),
        url: event.url.clone(),
        referrer: event.referrer.clone(),
        props: event.props.clone(),
    };
    let sender = Sender {
        visitor: "2001:db8::1".parse().unwrap(),
        user_agent: None,
    };
    let proposed = sandbox.scrub(plan, &visible)?;
    let scrubbed = guard::prove(event, &event.site, &sender, proposed, plan)?;
    Ok(String::from_utf8(scrubbed.to_bytes()).unwrap())
}

#[test]
fn the_policy_shipped_scrubs_as_the_native_rules_do() {
    let plan = SitePlan::from(config::default_plan().unwrap());
    let sandbox = load(&wasm("bundle/policy.wasm"), &plan).unwrap();
    let record = run(&sandbox, &event("acme-prod"), &plan).unwrap();
    for kept in [
        "/w/:workspace/p/:project/tenants",
        "https://search.example.org/",
        "project-created",
        "[\"rating\",5]",
    ] {
        assert!(record.contains(kept), "{kept} is not in {record}");
    }
    for gone in ["acme", "billing", "jane"] {
        assert!(!record.contains(gone), "{gone} is in {record}");
    }
    let mut unrated = event("acme-prod");
    unrated.props.pop();
    assert_eq!(run(&sandbox, &unrated, &plan), Err(Outcome::MissingProp));
}

#[test]
fn a_hostile_policy_can_only_make_events_end() {
    let check = |deed: &str, want: Option<Outcome>| {
        let (sandbox, plan) = hostile(deed).unwrap();
        let got = run(&sandbox, &event("acme-prod"), &plan);
        assert_eq!(got.as_ref().err(), want.as_ref(), "a policy that {deed}: {got:?}");
        // Whatever happened, the sandbox goes on with a fresh or sound instance.
        let again = run(&sandbox, &event("acme-prod"), &plan);
        assert_eq!(again.err(), want, "a policy that {deed}, the second time");
    };
    check("is honest", None);
    check("loops", Some(Outcome::PolicyTimeout));
    check("takes all memory", Some(Outcome::PolicyTrap));
    check("recurses for ever", Some(Outcome::PolicyTrap));
    check("traps", Some(Outcome::PolicyTrap));
    check("refuses", Some(Outcome::Unsafe));
    check("returns ten megabytes", Some(Outcome::PolicyTrap));
    check("returns a million properties", Some(Outcome::PolicyTrap));
    check("forwards the address as it came", Some(Outcome::Widened));
    check("forwards the referrer as it came", Some(Outcome::Widened));
    check("adds a property", Some(Outcome::Widened));
    check("keeps an unlisted property", Some(Outcome::Widened));
    check("writes into a listed property", Some(Outcome::Widened));
    check("widens a range", Some(Outcome::Widened));
    check("swaps two values", Some(Outcome::Widened));
    check("encodes data in the order", Some(Outcome::Widened));
    check("encodes data in the case", Some(Outcome::Widened));
    check("encodes data in the page", Some(Outcome::Widened));
    check("repeats a property", Some(Outcome::Widened));
    check("renames the event", Some(Outcome::Widened));
}

#[test]
fn nothing_of_an_earlier_event_enters_a_later_one() {
    let deed = "carries over an earlier event";
    let (sandbox, plan) = hostile(deed).unwrap();
    assert!(run(&sandbox, &event("acme-prod"), &plan).is_ok());
    assert_eq!(run(&sandbox, &event("other"), &plan), Err(Outcome::Widened));
}

#[test]
fn each_plan_has_instances_of_its_own() {
    let (small, shipped) = (
        SitePlan::from(Plan::unplanned()),
        SitePlan::from(config::default_plan().unwrap()),
    );
    let plans = Plans::in_use([&small, &shipped, &small].into_iter());
    assert_eq!(plans.iter().count(), 2, "the same plan twice is one");
    let sandbox = Sandbox::load(&wasm("bundle/policy.wasm"), &plans, &limits()).unwrap();
    let page =
        |plan: &SitePlan| run(&sandbox, &event("acme-prod"), plan).map(|r| r.contains("/w/:workspace"));
    assert_eq!(page(&shipped), Ok(true));
    assert_ne!(page(&small), Ok(true));
    let stranger = SitePlan::from(config::default_plan().unwrap());
    assert_eq!(
        page(&stranger),
        Err(Outcome::PolicyUnavailable),
        "an equal plan that was not loaded"
    );
}

#[test]
fn what_is_no_policy_is_refused_when_it_is_loaded() {
    let check = |wasm: &[u8], want: &str| {
        let error = load(wasm, &plan("is honest")).err().unwrap().to_string();
        assert!(error.contains(want), "{want} is not in: {error}");
    };
    check(b"not wasm at all", "not a WebAssembly component");
    check(
        &wat::parse_str("(module)").unwrap(),
        "not a WebAssembly component",
    );
    check(
        &wat::parse_str("(component)").unwrap(),
        "not a WebAssembly component of this world",
    );
    check(
        &wat::parse_str(r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#).unwrap(),
        "imports `wasi:cli/environment@0.2.0`",
    );
    check(
        &wat::parse_str(r#"(component (import "f" (func)))"#).unwrap(),
        "imports `f`",
    );
    check(&vec![0; COMPONENT_BYTES_MAX + 1], "larger than");
    for (deed, want) in [
        (
            "configure refuses",
            "refuses the tracking plan: I do not like this plan",
        ),
        ("configure traps", "refuses the tracking plan"),
        ("configure loops", "refuses the tracking plan"),
    ] {
        let error = hostile(deed).err().unwrap().to_string();
        assert!(error.contains(want), "{deed}: {error}");
    }
}

#[test]
fn a_start_function_has_fuel_too() {
    let looping = r#"(component
        (core module $m (func $spin (loop (br 0))) (start $spin))
        (core instance (instantiate $m)))"#;
    // It is refused for its missing exports before it may run at all.
    let error = load(&wat::parse_str(looping).unwrap(), &plan("is honest"))
        .err()
        .unwrap();
    assert!(matches!(error, LoadError::NotAComponent(_)), "{error}");
}
