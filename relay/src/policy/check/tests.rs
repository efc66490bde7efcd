//! The verdicts on this repository's policies: the shipped one, the two starter policies, the hostile one.

use super::*;
use crate::config::PolicyConfig;
use crate::policy::sandbox::compiler::compiled;
use relay_event::plan::{Category, Plan};
use tokio_util::sync::CancellationToken;

fn wasm(path: &str) -> Vec<u8> {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|_| panic!("{path} is not there: `cargo xtask test` builds it"))
}

const SHIPPED: &str = "bundle/policy.wasm";
const IN_C: &str = "policy/examples/strict-c.wasm";
const IN_RUST: &str = "policy/examples/strict-rust.wasm";
const HOSTILE: &str = "../tests/hostile/hostile.wasm";

fn load(path: &str, plan: Plan) -> (Sandbox, SitePlan) {
    load_with(path, plan, &PolicyConfig::default())
}

fn load_with(path: &str, plan: Plan, limits: &PolicyConfig) -> (Sandbox, SitePlan) {
    let plan = SitePlan::from(plan);
    let sandbox = Sandbox::load(&compiled(&wasm(path)).unwrap(), &plan.clone().into(), limits).unwrap();
    (sandbox, plan)
}

fn shipped_plan() -> Plan {
    (*SitePlan::built_in().unwrap()).clone()
}

pub(super) fn report_within(
    sandbox: &Sandbox,
    plan: &SitePlan,
    cpu_max: Duration,
) -> Result<Report, CheckError> {
    let patience = Patience::of(cpu_max, CancellationToken::new());
    judge(sandbox, plan, (0, 1), 1, &patience, &mut |_, _, _| {})
}

fn report(sandbox: &Sandbox, plan: &SitePlan) -> Report {
    report_within(sandbox, plan, patience::CPU_MAX).unwrap()
}

#[test]
fn a_check_ends_when_the_relay_stops() {
    let (sandbox, plan) = load(IN_C, shipped_plan());
    let stop = CancellationToken::new();
    stop.cancel();
    let ended = judge(
        &sandbox,
        &plan,
        (0, 1),
        1,
        &Patience::begin(stop),
        &mut |_, _, _| {},
    );
    assert!(matches!(ended, Err(CheckError::Impatient(Impatient::Stopped))));
}

fn tally(report: &Report, corpus: Corpus) -> &Tally {
    report.tally(corpus).unwrap()
}

#[test]
fn the_policy_shipped_leaves_all_that_the_rules_allow_and_fails_on_nothing() {
    let (sandbox, plan) = load(SHIPPED, shipped_plan());
    let report = report(&sandbox, &plan);
    for corpus in [Corpus::Ordinary, Corpus::Traffic] {
        let tally = tally(&report, corpus);
        assert_eq!((tally.whole, tally.reduced), (tally.events, 0), "{tally:?}");
        assert!(tally.fuel > 0 && tally.memory_bytes > 0);
    }
    assert_eq!(tally(&report, Corpus::Traffic).events, TRAFFIC_EVENTS);
    let hostile = tally(&report, Corpus::Hostile);
    assert_eq!(hostile.ended_as("policy_rejected", ""), 0, "{hostile:?}");
    assert_eq!(report.objections(), Vec::<String>::new());
    assert_eq!(report.refused(), None);
}

#[test]
fn the_policies_in_c_and_in_rust_are_usable_and_twins() {
    let twins = [IN_C, IN_RUST].map(|path| load(path, shipped_plan()));
    let [c, rust] = twins.each_ref().map(|(sandbox, plan)| report(sandbox, plan));
    for (language, report) in [("C", &c), ("Rust", &rust)] {
        assert_eq!(report.objections(), Vec::<String>::new(), "{language}");
        // Without page and referrer, only `/other` is as complete as the rules allow.
        let ordinary = tally(report, Corpus::Ordinary);
        assert_eq!(ordinary.forwarded(), ordinary.events, "{language}: {ordinary:?}");
        assert!(ordinary.reduced > 70, "{language}: {ordinary:?}");
    }
    for (c, rust) in c.tallies.iter().zip(&rust.tallies) {
        assert_eq!(
            (c.1.whole, c.1.reduced, &c.1.ended),
            (rust.1.whole, rust.1.reduced, &rust.1.ended)
        );
    }
    let [c, rust] = twins
        .each_ref()
        .map(|(sandbox, plan)| explain::explain(sandbox, plan).unwrap());
    assert_eq!(c, rust);
}

#[test]
fn what_the_policy_in_c_leaves_is_proved_by_the_guard() {
    let (sandbox, plan) = load(IN_C, shipped_plan());
    let body = r#"{"n":"Activity Rated","d":"panel.example.com",
        "u":"https://panel.example.com/#/w/acme-prod/p/billing-7/tenants","r":"https://search.example.org/?q=jane",
        "p":{"activity":"project-created","user":"jane@example.com","rating":5,"count":7,"ratio":0.5}}"#;
    let event = relay_event::wire::parse_plausible(body.as_bytes()).unwrap();
    let proposed = sandbox.scrub(&plan, &Visible::of(&event, &plan));
    let left = ending(&event, proposed, &plan).unwrap();
    let props: Vec<_> = left.props.iter().map(|prop| prop.key.as_str()).collect();
    assert_eq!(
        (left.url.as_str(), left.referrer, props),
        ("/other", None, vec!["activity", "rating"])
    );
}

#[test]
fn a_policy_that_misbehaves_is_refused_with_the_reason() {
    let check = |deed: &str, want: &str| {
        let mut plan = shipped_plan();
        plan.categories.push(Category {
            name: "hostile".into(),
            description: deed.into(),
        });
        // The hostile policy recognises only this event.
        plan.events.retain(|event| event.name == "Activity Rated");
        // Little fuel, so that loops end soon.
        let limits = PolicyConfig {
            fuel: 1_000_000,
            ..PolicyConfig::default()
        };
        let (sandbox, plan) = load_with(HOSTILE, plan, &limits);
        let patience = Patience::begin(CancellationToken::new());
        let tally = run(
            &sandbox,
            &plan,
            &corpus::friendly(&plan),
            &[],
            &patience,
            &mut |_, _| {},
        )
        .unwrap();
        let report = Report {
            tallies: vec![(Corpus::Ordinary, tally)],
        };
        let said = report.objections().join("; ");
        assert!(said.contains(want), "a policy that {deed}: {said}");
    };
    check("traps", "it traps on");
    check("loops", "it runs out of fuel or time on");
    check("refuses", "it lets no ordinary event through");
    check("adds a property", "the guard stops it on");
    check(
        "carries over an earlier event",
        "it answers differently in another order on",
    );
}

#[test]
fn the_explanation_covers_each_listed_property_and_what_the_relay_does_itself() {
    let (sandbox, plan) = load(SHIPPED, shipped_plan());
    let rows = explain::explain(&sandbox, &plan).unwrap();
    let check = |event: &str, field: &str, input: &str, output: &str| {
        let found = rows
            .iter()
            .any(|r| r.event == event && r.field == field && r.input.contains(input) && r.output == output);
        assert!(
            found,
            "{event} {field}: {input} -> {output} is not among {rows:#?}"
        );
    };
    check("", "url", "#/acme-prod/secret", "/other");
    check(
        "",
        "referrer",
        "search.example.org/results?q=jane",
        "https://search.example.org/",
    );
    check("", "referrer", "panel.example.com/#/w/acme-prod", "dropped");
    check("Activity Rated", "props.rating", "1", "1");
    check(
        "Activity Rated",
        "props.rating",
        "6",
        "the event ends: policy_refused missing_prop",
    );
    check("Activity Rated", "props.*", "jane@example.com", "dropped");
    check("File Download", "props.url", "acme-prod.pdf", "pdf");
    check("404", "props.path", "/acme-prod/secret", "/other");
    for field in ["user-agent", "address"] {
        assert!(
            rows.iter()
                .any(|r| r.field == field && r.rule.starts_with("by the relay"))
        );
    }
    for rules in &plan.events {
        for prop in &rules.props {
            let field = format!("props.{}", prop.key);
            let shown = rows.iter().filter(|r| r.event == rules.name && r.field == field);
            assert_eq!(shown.count(), 2, "{field} of {}", rules.name);
        }
    }
}

#[test]
fn a_site_without_a_plan_is_tried_and_explained_as_well() {
    let (sandbox, plan) = load(IN_C, Plan::unplanned());
    assert!(corpus::friendly(&plan).len() >= 40);
    assert!(corpus::hostile(&plan).len() >= 60);
    let rows = explain::explain(&sandbox, &plan).unwrap();
    for field in ["url", "referrer", "user-agent", "name", "props.*"] {
        assert!(rows.iter().any(|row| row.field == field), "{field}");
    }
}
