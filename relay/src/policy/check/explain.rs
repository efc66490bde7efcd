//! The effective rule of each field, shown by running the policy on sample values.

use super::{ending, probe};
use crate::config::SitePlan;
use crate::policy::sandbox::trial::Trial;
use crate::policy::sandbox::{LoadError, Sandbox};
use relay_event::event::{Prop, Value};
use relay_event::plan::{EventPlan, Plan, Unmatched};
use relay_event::scrub::Visible;
use relay_event::user_agent::{self, UserAgent};
use relay_event::{Event, Outcome};
use serde::Serialize;

/// A User-Agent that shows how the relay coarsens it.
const AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0.3) Gecko/20100101 Firefox/140.0.3 AcmeBrowser/7.1 (jane)";

/// One line of the explanation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The event this line describes; empty if it applies to every event.
    pub event: String,
    /// The field: `url`, `referrer`, `props.rating`, …
    pub field: String,
    /// The plan's and the built-in rules, in words.
    pub rule: String,
    /// A sample value.
    #[serde(rename = "in")]
    pub input: String,
    /// The value after this policy and the guard.
    #[serde(rename = "out")]
    pub output: String,
}

/// Runs sample values through the policy and the guard, field by field.
///
/// # Errors
/// If the policy rejects the plan.
pub fn explain(sandbox: &Sandbox, plan: &SitePlan) -> Result<Vec<Row>, LoadError> {
    let mut trial = sandbox.trial(plan)?;
    let mut rows = Vec::new();
    let events = probe::events(plan);
    if let Some(rules) = events.first() {
        addresses(&mut trial, rules, plan, &mut rows);
    }
    sender(&mut rows);
    for rules in &events {
        let event = ordinary(rules, plan);
        rows.push(Row {
            event: rules.name.clone(),
            field: "name".to_owned(),
            rule: match plan.event(&rules.name) {
                Some(_) => format!("listed in category {}", rules.category),
                None => "not listed: personal data replaced".to_owned(),
            },
            input: rules.name.clone(),
            output: show(&attempt(&mut trial, &event, plan), |out| Some(out.name.clone())),
        });
        for listed in &rules.props {
            for value in [probe::good(&listed.kind, plan, 0), probe::bad(&listed.kind)] {
                let mut event = ordinary(rules, plan);
                for prop in event.props.iter_mut().filter(|prop| prop.key == listed.key) {
                    prop.value = value.clone();
                }
                let required = if listed.required { "; required" } else { "" };
                rows.push(Row {
                    event: rules.name.clone(),
                    field: format!("props.{}", listed.key),
                    rule: format!("{}{required}", probe::rule(&listed.kind)),
                    input: text(&value),
                    output: show(&attempt(&mut trial, &event, plan), |out| {
                        value_of(out, &listed.key)
                    }),
                });
            }
        }
        rows.push(unlisted(&mut trial, rules, plan));
    }
    Ok(rows)
}

/// Adds the rows for the page and for the referrer.
fn addresses(trial: &mut Trial<'_>, rules: &EventPlan, plan: &Plan, rows: &mut Vec<Row>) {
    let with_parameter = plan.routes.iter().find(|route| route.as_str().contains(':'));
    let listed = with_parameter.or(plan.routes.iter().next());
    let path = listed.map_or("/".to_owned(), probe::fill);
    for url in [
        format!("https://panel.example.com/#{path}?tab=acme"),
        "https://panel.example.com/#/acme-prod/secret".to_owned(),
    ] {
        let mut event = ordinary(rules, plan);
        event.url.clone_from(&url);
        rows.push(Row {
            event: String::new(),
            field: "url".to_owned(),
            rule: match plan.unmatched {
                Unmatched::Other => "replaced by the matching route, or /other".to_owned(),
                Unmatched::Scrub => "replaced by the matching route, or by the shape rules".to_owned(),
            },
            output: show(&attempt(trial, &event, plan), |out| Some(out.url.clone())),
            input: url,
        });
    }
    for referrer in [
        "https://search.example.org/results?q=jane",
        "https://panel.example.com/#/w/acme-prod",
    ] {
        let mut event = ordinary(rules, plan);
        event.referrer = Some(referrer.to_owned());
        rows.push(Row {
            event: String::new(),
            field: "referrer".to_owned(),
            rule: "external pages: scheme and host; own pages: nothing".to_owned(),
            input: referrer.to_owned(),
            output: show(&attempt(trial, &event, plan), |out| out.referrer.clone()),
        });
    }
}

/// Adds the rows for the fields that the relay itself handles; no policy sees them.
fn sender(rows: &mut Vec<Row>) {
    let agent = match user_agent::coarsen(AGENT) {
        UserAgent::Browser(text) => text,
        UserAgent::Unknown | UserAgent::Bot => "dropped".to_owned(),
    };
    rows.push(Row {
        event: String::new(),
        field: "user-agent".to_owned(),
        rule: "by the relay, before the policy: family, major version, system".to_owned(),
        input: AGENT.to_owned(),
        output: agent,
    });
    rows.push(Row {
        event: String::new(),
        field: "address".to_owned(),
        rule: "by the relay, before the policy: a pseudonym under a key of the day".to_owned(),
        input: "192.0.2.44".to_owned(),
        output: "an address in 2001:db8::/32".to_owned(),
    });
}

/// The row for a property that the plan does not list for an event.
fn unlisted(trial: &mut Trial<'_>, rules: &EventPlan, plan: &Plan) -> Row {
    let value = Value::Text("jane@example.com".to_owned());
    let mut event = ordinary(rules, plan);
    event.props.push(Prop {
        key: "unlisted".to_owned(),
        value: value.clone(),
    });
    Row {
        event: rules.name.clone(),
        field: "props.*".to_owned(),
        rule: match plan.unmatched {
            Unmatched::Other => "a property that is not listed".to_owned(),
            Unmatched::Scrub => "not listed: key rules, then personal data replaced".to_owned(),
        },
        input: text(&value),
        output: show(&attempt(trial, &event, plan), |out| value_of(out, "unlisted")),
    }
}

/// A valid event of the plan.
fn ordinary(rules: &EventPlan, plan: &Plan) -> Event {
    Event {
        id: None,
        name: rules.name.clone(),
        site: "panel.example.com".to_owned(),
        url: probe::page(plan, 0),
        referrer: None,
        props: probe::good_props(rules, plan, 0),
        interactive: true,
        engagement: None,
        revenue: None,
    }
}

fn attempt(trial: &mut Trial<'_>, event: &Event, plan: &Plan) -> Result<Visible, Outcome> {
    ending(event, trial.scrub(&Visible::of(event, plan)).result, plan)
}

/// The remaining value, or the outcome of the whole event.
fn show(result: &Result<Visible, Outcome>, field: impl FnOnce(&Visible) -> Option<String>) -> String {
    match result {
        Ok(out) => field(out).unwrap_or_else(|| "dropped".to_owned()),
        Err(outcome) => format!("the event ends: {} {}", outcome.label(), outcome.reason()),
    }
}

fn value_of(event: &Visible, key: &str) -> Option<String> {
    let prop = event.props.iter().find(|prop| prop.key == key)?;
    Some(text(&prop.value))
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Integer(n) => n.to_string(),
        Value::Decimal(n) => n.to_string(),
        Value::Boolean(b) => b.to_string(),
    }
}
