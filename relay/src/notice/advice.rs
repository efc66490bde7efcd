//! Advice on a valid plan that could be better: a reviewer's remarks.

use relay_event::plan::{EventPlan, Plan, PropKind, PropPlan, Unmatched};
use relay_event::route::Segment;

/// Minimum length of a description, in characters; a shorter one is hardly informative.
const DESCRIPTION_CHARS_MIN: usize = 10;

/// Possible improvements, one or two sentences each, in the plan's order.
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
                "{place}: it has no events, yet users are asked to agree to it; add an event or remove it"
            ));
        }
    }
    routes(plan, &mut advice);
    for event in &plan.events {
        let place = format!("event \"{}\"", event.name);
        describe(&place, &event.description, &mut advice);
        if !relay_pii::is_clean(&event.name) {
            advice.push(format!(
                "{place}: the detectors would treat its name as personal data; rename it"
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
        advice.push(
            "routes: none are listed, so every page counts as /other; list the pages to count".to_owned(),
        );
    }
    for (template, by) in plan.routes.shadowed() {
        advice.push(format!(
            "route {}: it never matches, because {} comes first and matches the same pages; remove one of them",
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
        for text in shown.filter(|text| !relay_pii::is_clean(text)) {
            advice.push(format!(
                "route {}: the detectors would treat \"{text}\" as personal data; consider a parameter such as :name",
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
            "{place}: the detectors do not find all personal data in free text; consider an enum"
        )),
        PropKind::Enum { values } => {
            for value in values.iter().filter(|value| !relay_pii::is_clean(value)) {
                advice.push(format!(
                    "{place}: the detectors would treat the value \"{value}\" as personal data; rename it"
                ));
            }
        }
        PropKind::Int { min, max } if max.saturating_sub(*min) > INT_RANGE_MAX => advice.push(format!(
            "{place}: a number from {min} to {max} could identify a person; consider a narrower range"
        )),
        _ => {}
    }
}

/// Width of a number range above which a value could identify one person. Seven digits are a phone number.
const INT_RANGE_MAX: i64 = 1_000_000;

fn describe(place: &str, description: &str, advice: &mut Vec<String>) {
    if description.trim().chars().count() < DESCRIPTION_CHARS_MIN {
        advice.push(format!(
            "{place}: its description is shorter than {DESCRIPTION_CHARS_MIN} characters; users need it to decide"
        ));
    }
}
