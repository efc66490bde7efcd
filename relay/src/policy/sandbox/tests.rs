//! The sandbox and the guard together, against the shipped policy and against a hostile one.
//!
//! `cargo xtask test` builds both before it runs these.

mod hostile_guests;

use super::compiler::compiled;
use super::*;
use crate::guard::{self, Sender};
use relay_event::Event;
use relay_event::Outcome::{self, PolicyTimeout, PolicyTrap, Unsafe, Widened};
use relay_event::event::{Prop, Value};
use relay_event::plan::{Category, Plan, PropKind, PropPlan};
use std::fs;

pub(super) fn wasm(path: &str) -> Vec<u8> {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read(&path).unwrap_or_else(|_| panic!("{path} is not there: `cargo xtask test` builds it"))
}

fn hostile(deed: &str) -> Result<(Sandbox, SitePlan), LoadError> {
    let plan = plan(deed);
    load(&wasm("../tests/hostile/hostile.wasm"), &plan).map(|sandbox| (sandbox, plan))
}

pub(super) fn load(wasm: &[u8], plan: &SitePlan) -> Result<Sandbox, LoadError> {
    Sandbox::load(&compiled(wasm)?, &plan.clone().into(), &limits())
}

/// The shipped plan, with the deed that the hostile policy performs.
pub(super) fn plan(deed: &str) -> SitePlan {
    let mut plan = (*SitePlan::built_in().unwrap()).clone();
    plan.categories.push(Category {
        name: "hostile".into(),
        description: deed.into(),
    });
    // A free text, which gives a policy the most room to write something else.
    let rated = plan
        .events
        .iter_mut()
        .find(|e| e.name == "Activity Rated")
        .unwrap();
    rated.props.push(PropPlan {
        key: "note".into(),
        kind: PropKind::Text { max: 200 },
        required: false,
        description: String::new(),
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
            prop("note", Value::Text("it works very well".into())),
        ],
        interactive: true,
        engagement: None,
        revenue: None,
    }
}

/// An event without properties.
pub(super) fn pageview() -> Event {
    Event {
        name: "pageview".into(),
        props: Vec::new(),
        ..event("acme-prod")
    }
}

/// Sends one event through sandbox and guard.
pub(super) fn run(sandbox: &Sandbox, event: &Event, plan: &SitePlan) -> Result<String, Outcome> {
    let visible = Visible::of(event, plan);
    let sender = Sender {
        visitor: "2001:db8::1".parse().unwrap(),
        user_agent: None,
    };
    let proposed = sandbox.scrub(plan, &visible)?;
    let scrubbed = guard::prove(&visible, event, &event.site, &sender, proposed, plan)?;
    Ok(String::from_utf8(scrubbed.to_bytes()).unwrap())
}

#[test]
fn the_policy_shipped_scrubs_as_the_native_rules_do() {
    let plan = SitePlan::built_in().unwrap();
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
    unrated.props.retain(|prop| prop.key != "rating");
    assert_eq!(run(&sandbox, &unrated, &plan), Err(Outcome::MissingProp));
}

/// The hostile policy's deeds, and the outcome of the event.
const DEEDS: &[(&str, Option<Outcome>)] = &[
    ("is honest", None),
    ("loops", Some(PolicyTimeout)),
    ("takes all memory", Some(PolicyTrap)),
    ("recurses for ever", Some(PolicyTrap)),
    ("traps", Some(PolicyTrap)),
    ("refuses", Some(Unsafe)),
    ("returns ten megabytes", Some(PolicyTrap)),
    ("returns a million properties", Some(PolicyTrap)),
    ("forwards the address as it came", Some(Widened)),
    ("forwards the referrer as it came", Some(Widened)),
    ("adds a property", Some(Widened)),
    ("keeps an unlisted property", Some(Widened)),
    ("writes into a listed property", Some(Widened)),
    ("widens a range", Some(Widened)),
    ("swaps two values", Some(Widened)),
    ("widens an enum", Some(Widened)),
    ("narrows an enum to another of its words", Some(Widened)),
    ("writes a number as text", Some(Widened)),
    ("writes a number as a fraction", Some(Widened)),
    ("encodes data in the case of a text", Some(Widened)),
    ("encodes data in the spaces of a text", Some(Widened)),
    ("encodes data in the order of words", Some(Widened)),
    ("encodes data in look-alike letters", Some(Widened)),
    ("encodes data in invisible letters", Some(Widened)),
    ("encodes data in the case of a key", Some(Widened)),
    ("cuts letters out of a text", Some(Widened)),
    ("swaps two keys", Some(Widened)),
    ("swaps page and referrer", Some(Widened)),
    ("sends a referrer where there was none to send", Some(Widened)),
    ("puts data behind the page", Some(Widened)),
    ("answers with a page as a template of its own", Some(Widened)),
    ("puts data into the name", Some(Widened)),
    ("encodes data in the order", Some(Widened)),
    ("encodes data in the case", Some(Widened)),
    ("encodes data in the page", Some(Widened)),
    ("repeats a property", Some(Widened)),
    ("renames the event", Some(Widened)),
];

#[test]
fn a_hostile_policy_can_only_make_events_end() {
    // One component with one plan per deed, because compiling takes the longest.
    let plans: Vec<_> = DEEDS.iter().map(|(deed, _)| plan(deed)).collect();
    let honest = &plans[0];
    let sandbox = Sandbox::load(
        &compiled(&wasm("../tests/hostile/hostile.wasm")).unwrap(),
        &Plans::in_use(plans.iter()),
        &limits(),
    )
    .unwrap();
    for ((deed, want), plan) in DEEDS.iter().zip(&plans) {
        for time in ["first", "second"] {
            let got = run(&sandbox, &event("acme-prod"), plan);
            assert_eq!(got.err(), *want, "a policy that {deed}, the {time} time");
            // In every case the next event finds a sound instance.
            let next = run(&sandbox, &event("acme-prod"), honest);
            assert_eq!(next.err(), None, "after a policy that {deed}");
        }
    }
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
    let (small, shipped) = (SitePlan::from(Plan::unplanned()), SitePlan::built_in().unwrap());
    let plans = Plans::in_use([&small, &shipped, &small].into_iter());
    assert_eq!(plans.iter().count(), 2, "the same plan twice is one");
    let sandbox = Sandbox::load(&compiled(&wasm("bundle/policy.wasm")).unwrap(), &plans, &limits()).unwrap();
    let page =
        |plan: &SitePlan| run(&sandbox, &event("acme-prod"), plan).map(|r| r.contains("/w/:workspace"));
    assert_eq!(page(&shipped), Ok(true));
    assert_ne!(page(&small), Ok(true));
    let stranger = SitePlan::built_in().unwrap();
    assert_eq!(
        page(&stranger),
        Err(Outcome::PolicyUnavailable),
        "an equal plan that was not loaded"
    );
}

#[test]
fn a_policy_that_cannot_be_configured_is_refused_when_it_is_loaded() {
    let check = |deed: &str, want: &str| {
        let error = hostile(deed).err().unwrap().to_string();
        let want = format!("refuses the tracking plan: {want}");
        assert!(error.contains(&want), "{deed}: {error}");
    };
    check("configure refuses", "I do not like this plan");
    check("configure traps", "wasm trap: wasm `unreachable`");
    check("configure loops", "wasm trap: all fuel consumed");
}
