//! Advice on a plan that is valid but could be better: what a reviewer would say.

use relay_event::detect;
use relay_event::plan::{EventPlan, Plan, PropKind, PropPlan, Unmatched};
use relay_event::route::Segment;

/// A description shorter than this, in characters, hardly tells anybody anything.
const DESCRIPTION_CHARS_MIN: usize = 10;

/// What could be better, one sentence or two each, in the plan's order.
pub fn advice(plan: &Plan) -> Vec<String> {
    let mut advice = Vec::new();
    for category in &plan.categories {
        let place = format!("category \"{}\"", category.name);
        describe(&place, &category.description, &mut advice);
        let used = plan.events.iter().any(|event| event.category == category.name);
        let first = plan.categories.first() == Some(category);
        let catches_the_rest = first && plan.unmatched == Unmatched::Scrub;
        if !used && !catches_the_rest {
            advice.push(format!(
                "{place}: no event belongs to it, yet users are asked about it"
            ));
        }
    }
    routes(plan, &mut advice);
    for event in &plan.events {
        let place = format!("event \"{}\"", event.name);
        describe(&place, &event.description, &mut advice);
        if !detect::is_clean(&event.name) {
            advice.push(format!(
                "{place}: the detectors would take its name for personal data"
            ));
        }
        for prop in &event.props {
            of_prop(event, prop, &mut advice);
        }
    }
    advice
}

fn routes(plan: &Plan, advice: &mut Vec<String>) {
    if plan.routes.iter().next().is_none() && plan.unmatched == Unmatched::Other {
        advice.push("routes: there are none, so every page counts as /other".to_owned());
    }
    for (template, by) in plan.routes.shadowed() {
        advice.push(format!(
            "route {}: no page ever counts as it, because {} comes first and stands for the same",
            template.as_str(),
            by.as_str()
        ));
    }
    for template in plan.routes.iter() {
        let shown = template.segments().iter().flat_map(|segment| match segment {
            Segment::Literal(text) => std::slice::from_ref(text),
            Segment::Words { words, .. } => words,
            Segment::Typed { .. } | Segment::Any { .. } => &[],
        });
        for text in shown.filter(|text| !detect::is_clean(text)) {
            advice.push(format!(
                "route {}: the detectors would take \"{text}\" for personal data; should it be a parameter such as :name?",
                template.as_str()
            ));
        }
    }
}

fn of_prop(event: &EventPlan, prop: &PropPlan, advice: &mut Vec<String>) {
    let place = format!("event \"{}\", property \"{}\"", event.name, prop.key);
    describe(&place, &prop.description, advice);
    match &prop.kind {
        PropKind::Text { .. } => advice.push(format!(
            "{place}: free text leaves as far as the detectors find nothing in it, and no detector finds everything; consider an enum"
        )),
        PropKind::Enum { values } => {
            for value in values.iter().filter(|value| !detect::is_clean(value)) {
                advice.push(format!(
                    "{place}: the detectors would take the value \"{value}\" for personal data"
                ));
            }
        }
        PropKind::Int { min, max } if max.saturating_sub(*min) > INT_RANGE_MAX => advice.push(format!(
            "{place}: a number from {min} to {max} could be somebody's; consider a narrower range"
        )),
        _ => {}
    }
}

/// Above so many different numbers, one of them could stand for one person. Seven digits are a phone number.
const INT_RANGE_MAX: i64 = 1_000_000;

fn describe(place: &str, description: &str, advice: &mut Vec<String>) {
    if description.trim().chars().count() < DESCRIPTION_CHARS_MIN {
        advice.push(format!(
            "{place}: its description is shorter than {DESCRIPTION_CHARS_MIN} characters; users read it to decide"
        ));
    }
}
