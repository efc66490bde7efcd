//! The default policy as a function: an event in, the part of it that may leave out.
//!
//! The guest calls [`scrub`]; the host's guard calls [`allowed`] and friends to prove the guest's
//! output, so both read the same rules but neither trusts the other.

use crate::address::{Address, coarse_file, coarse_link, coarse_referrer};
use crate::detect;
use crate::event::{Prop, Value};
use crate::plan::{EventPlan, Plan, PropKind};
use crate::route::OTHER;
use std::borrow::Cow;

/// What a policy is shown of an event, and what it gives back.
#[derive(Clone, PartialEq)]
pub struct Visible {
    /// The event's name.
    pub name: String,
    /// In: the page's address. Out: its page, a route template of the plan or `/other`.
    pub url: String,
    /// In: where the visitor came from. Out: a foreign origin or nothing.
    pub referrer: Option<String>,
    /// The properties.
    pub props: Vec<Prop>,
}

impl std::fmt::Debug for Visible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Visible(hidden)")
    }
}

/// Why the default policy lets an event go no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A property that the plan requires is missing, or its value is not allowed.
    MissingProp,
    /// The plan does not list the event. The gate has checked before, so this is a second lock.
    UnknownEvent,
}

/// Keeps what the plan lists and drops or coarsens the rest.
///
/// # Errors
/// When what is left would mislead: a required property is gone.
pub fn scrub(event: Visible, plan: &Plan) -> Result<Visible, Refusal> {
    let rules = plan.event(&event.name).ok_or(Refusal::UnknownEvent)?;
    let referrer = event
        .referrer
        .and_then(|referrer| coarse_referrer(&referrer, &event.url));
    let keep = |prop: Prop| {
        let value = allowed(rules, &prop, plan)?;
        Some(Prop { key: prop.key, value })
    };
    let props: Vec<Prop> = event.props.into_iter().filter_map(keep).collect();
    if missing_prop(rules, &props) {
        return Err(Refusal::MissingProp);
    }
    Ok(Visible {
        url: page(&event.url, plan).into_owned(),
        name: event.name,
        referrer,
        props,
    })
}

/// The page that stands for an address: a route template, or `/other`.
pub fn page<'p>(url: &str, plan: &'p Plan) -> Cow<'p, str> {
    Address::parse(url).map_or(Cow::Borrowed(OTHER), |address| plan.routes.page(address.route()))
}

/// What may leave of a property: its value unchanged, its documented coarsening, or nothing.
pub fn allowed(rules: &EventPlan, prop: &Prop, plan: &Plan) -> Option<Value> {
    let kind = &rules.prop(&prop.key)?.kind;
    if let PropKind::Duration { buckets } = kind {
        return buckets
            .label(&prop.value)
            .map(|label| Value::Text(label.to_owned()));
    }
    let Value::Text(text) = &prop.value else {
        return kind.takes(&prop.value).then(|| prop.value.clone());
    };
    let coarse = match kind {
        PropKind::Route if text.starts_with('/') => plan.routes.page(text).into_owned(),
        PropKind::Route => page(text, plan).into_owned(),
        PropKind::Link => coarse_link(text)?,
        PropKind::File => coarse_file(text)?,
        PropKind::Text { max } => {
            let clean = detect::redact(text);
            (clean.chars().count() <= *max).then_some(clean)?
        }
        PropKind::Enum { .. }
        | PropKind::Int { .. }
        | PropKind::Bool
        | PropKind::Version
        | PropKind::Duration { .. } => {
            return kind.takes(&prop.value).then(|| prop.value.clone());
        }
    };
    Some(Value::Text(coarse))
}

/// Whether a property that the plan requires is not there.
pub fn missing_prop(rules: &EventPlan, props: &[Prop]) -> bool {
    rules
        .props
        .iter()
        .any(|want| want.required && !props.iter().any(|have| have.key == want.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Category, PropPlan, Unmatched};
    use crate::route::Template;

    fn plan() -> Plan {
        let prop = |key: &str, kind, required| PropPlan {
            key: key.into(),
            kind,
            required,
            description: String::new(),
        };
        Plan {
            version: 1,
            categories: vec![Category {
                name: "usage".into(),
                description: String::new(),
            }],
            routes: vec![Template::parse("/w/:workspace/p/:project/tenants").unwrap()].into(),
            unmatched: Unmatched::Other,
            campaigns: false,
            events: vec![EventPlan {
                name: "Rated".into(),
                category: "usage".into(),
                description: String::new(),
                props: vec![
                    prop("rating", PropKind::Int { min: 1, max: 5 }, true),
                    prop("path", PropKind::Route, false),
                    prop("url", PropKind::Link, false),
                    prop("note", PropKind::Text { max: 40 }, false),
                ],
            }],
        }
    }

    fn event(url: &str, props: &[(&str, Value)]) -> Visible {
        Visible {
            name: "Rated".into(),
            url: url.into(),
            referrer: None,
            props: props
                .iter()
                .map(|(k, v)| Prop {
                    key: (*k).into(),
                    value: v.clone(),
                })
                .collect(),
        }
    }

    #[test]
    fn only_what_the_plan_lists_is_left() {
        let text = |t: &str| Value::Text(t.into());
        let out = scrub(
            event(
                "https://panel.example.com/#/w/acme-prod/p/billing-7/tenants",
                &[
                    ("rating", Value::Integer(4)),
                    ("user", text("jane")),
                    ("path", text("/w/acme-prod/p/billing-7/tenants")),
                    ("url", text("https://docs.example.org/acme?x=1")),
                    ("note", text("ask jane@example.com please")),
                ],
            ),
            &plan(),
        )
        .unwrap();
        assert_eq!(out.url, "/w/:workspace/p/:project/tenants");
        let props: Vec<_> = out
            .props
            .iter()
            .map(|p| (p.key.as_str(), p.value.clone()))
            .collect();
        assert!(
            props
                == [
                    ("rating", Value::Integer(4)),
                    ("path", text("/w/:workspace/p/:project/tenants")),
                    ("url", text("https://docs.example.org/")),
                    ("note", text("ask [removed] please")),
                ]
        );
    }

    #[test]
    fn a_missing_required_prop_or_an_unknown_event_is_refused() {
        let url = "https://panel.example.com/";
        assert_eq!(scrub(event(url, &[]), &plan()).err(), Some(Refusal::MissingProp));
        assert_eq!(
            scrub(event(url, &[("rating", Value::Integer(9))]), &plan()).err(),
            Some(Refusal::MissingProp)
        );
        let unknown = Visible {
            name: "Other".into(),
            ..event(url, &[])
        };
        assert_eq!(scrub(unknown, &plan()).err(), Some(Refusal::UnknownEvent));
    }
}
