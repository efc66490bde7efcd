//! Values derived from a plan: those that each kind of property accepts, and those it must not let through.

use relay_event::event::{Prop, Value};
use relay_event::plan::{EventPlan, Plan, PropKind, Unmatched};
use relay_event::route::{Form, Segment, Template};

/// Maximum number of events derived from one event of the plan, however many values an enum lists.
const VARIANTS_MAX: usize = 50;

/// The events of a plan, plus an unlisted one if the plan allows any event.
pub(super) fn events(plan: &Plan) -> Vec<EventPlan> {
    let mut events = plan.events.clone();
    if plan.unmatched == Unmatched::Scrub {
        events.push(EventPlan {
            name: "Unlisted".to_owned(),
            category: "any".to_owned(),
            description: String::new(),
            revenue: false,
            props: Vec::new(),
        });
    }
    events
}

/// The number of events needed to use each listed value of an event's properties once.
pub(super) fn variants(rules: &EventPlan) -> usize {
    let values = rules.props.iter().map(|prop| match &prop.kind {
        PropKind::Enum { values } => values.len(),
        _ => 2,
    });
    values.max().unwrap_or(1).min(VARIANTS_MAX)
}

/// A page of the site that matches a route of the plan, with its parameters filled in.
pub(super) fn page(plan: &Plan, nth: usize) -> String {
    let routes: Vec<_> = plan.routes.iter().collect();
    let path = match routes.get(nth % routes.len().max(1)) {
        Some(route) => fill(route),
        None => "/".to_owned(),
    };
    format!("https://panel.example.com/#{path}")
}

/// A route with its parameters filled in.
pub(super) fn fill(template: &Template) -> String {
    let fill = |segment: &Segment| match segment {
        Segment::Literal(text) => format!("/{text}"),
        Segment::Words { words, .. } => format!("/{}", words.first().map_or("", String::as_str)),
        Segment::Typed { form: Form::Int, .. } => "/4711".to_owned(),
        Segment::Typed { form: Form::Uuid, .. } => "/550e8400-e29b-41d4-a716-446655440000".to_owned(),
        Segment::Typed { form: Form::Slug, .. } | Segment::Any { .. } => "/acme-prod".to_owned(),
    };
    match template.segments() {
        [] => "/".to_owned(),
        segments => segments.iter().map(fill).collect(),
    }
}

/// All properties of an event, each with a value that the plan accepts.
pub(super) fn good_props(rules: &EventPlan, plan: &Plan, nth: usize) -> Vec<Prop> {
    rules
        .props
        .iter()
        .map(|prop| Prop {
            key: prop.key.clone(),
            value: good(&prop.kind, plan, nth),
        })
        .collect()
}

/// The nth value that a kind accepts.
pub(super) fn good(kind: &PropKind, plan: &Plan, nth: usize) -> Value {
    let text = |text: &str| Value::Text(text.to_owned());
    match kind {
        PropKind::Enum { values } => {
            let value = values.get(nth % values.len().max(1));
            text(value.map_or("", String::as_str))
        }
        PropKind::Int { min, max } => Value::Integer(if nth.is_multiple_of(2) { *min } else { *max }),
        PropKind::Bool => Value::Boolean(nth.is_multiple_of(2)),
        PropKind::Duration { .. } => Value::Integer(1234),
        PropKind::Version => text(["2026.11.0", "1.4"][nth % 2]),
        PropKind::Text { max } => Value::Text("it works well".chars().take(*max).collect()),
        PropKind::Route => Value::Text(page(plan, nth)),
        PropKind::Link => text("https://docs.example.org/guides/start?from=acme-prod"),
        PropKind::File => text("https://panel.example.com/files/acme-prod.pdf"),
    }
}

/// A value that a kind must not let through unchanged.
pub(super) fn bad(kind: &PropKind) -> Value {
    let text = |text: &str| Value::Text(text.to_owned());
    match kind {
        PropKind::Enum { .. } => text("acme-prod"),
        PropKind::Int { max, .. } => Value::Integer(max.saturating_add(1)),
        PropKind::Bool => text("yes"),
        PropKind::Duration { .. } => Value::Integer(-1),
        PropKind::Version => text("192.0.2.44"),
        PropKind::Text { .. } => text("ask jane@example.com"),
        PropKind::Route => text("/acme-prod/secret"),
        PropKind::Link => text("mailto:jane@example.com"),
        PropKind::File => text("jane"),
    }
}

/// The values that a kind lets through, in words.
pub(super) fn rule(kind: &PropKind) -> String {
    match kind {
        PropKind::Enum { values } => format!("one of {} listed texts, unchanged", values.len()),
        PropKind::Int { min, max } => format!("a whole number from {min} to {max}, unchanged"),
        PropKind::Bool => "true or false, unchanged".to_owned(),
        PropKind::Version => "a version of two to four numbers, unchanged".to_owned(),
        PropKind::Duration { buckets } => format!("replaced by one of {} buckets", buckets.labels().len()),
        PropKind::Text { max } => format!("text of at most {max} characters, personal data replaced"),
        PropKind::Route => "replaced by the matching route, or /other".to_owned(),
        PropKind::Link => "cut to scheme and host".to_owned(),
        PropKind::File => "cut to the file's extension".to_owned(),
    }
}
