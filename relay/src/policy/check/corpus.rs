//! The events a policy is tried on: ordinary ones that fit a plan, and hostile ones that carry personal data in every
//! field.
//!
//! Both files hold bodies in Plausible's format, one per line. The name `*` stands for each event of the plan, the
//! property `*` for each property that the plan lists for that event, and `<<x*9>>` for nine `x`.

use super::probe;
use relay_event::event::Prop;
use relay_event::plan::{EventPlan, Plan, Unmatched};
use relay_event::{Event, wire};

const FRIENDLY: &str = include_str!("friendly.jsonl");
const HOSTILE: &str = include_str!("hostile.jsonl");

/// Placeholder for every event, or for every property of an event.
const EACH: &str = "*";

/// Ordinary events: those of the file that the plan lists, and one of each kind derived from the plan.
pub fn friendly(plan: &Plan) -> Vec<Event> {
    let mut events: Vec<Event> = lines(FRIENDLY)
        .filter(|event| plan.event(&event.name).is_some() || plan.unmatched == Unmatched::Scrub)
        .collect();
    let Some(model) = lines(FRIENDLY).next() else {
        return events;
    };
    for rules in &plan.events {
        for nth in 0..probe::variants(rules) {
            events.push(Event {
                name: rules.name.clone(),
                url: probe::page(plan, nth),
                props: probe::good_props(rules, plan, nth),
                ..model.clone()
            });
        }
    }
    events
}

/// Events that try to get data past the policy. The gate accepts each of them.
pub fn hostile(plan: &Plan) -> Vec<Event> {
    let rules = probe::events(plan);
    lines(HOSTILE)
        .flat_map(|event| {
            let fitted = rules.iter().map(move |rules| fit(&event, rules, plan));
            fitted.collect::<Vec<_>>()
        })
        .collect()
}

/// Turns a line of the file into an event of the plan.
fn fit(event: &Event, rules: &EventPlan, plan: &Plan) -> Event {
    let mut event = event.clone();
    event.name.clone_from(&rules.name);
    let mut props: Vec<Prop> = Vec::new();
    for prop in event.props.drain(..) {
        if prop.key != EACH {
            props.push(prop);
            continue;
        }
        props.extend(rules.props.iter().map(|listed| Prop {
            key: listed.key.clone(),
            value: prop.value.clone(),
        }));
        // A property that the plan does not list must be dropped, whatever its value.
        props.push(Prop {
            key: "unlisted".to_owned(),
            value: prop.value,
        });
    }
    // Adds the properties that the plan requires, so that the event is not refused before its other fields are
    // checked.
    for good in probe::good_props(rules, plan, 0) {
        if !props.iter().any(|prop| prop.key == good.key) {
            props.push(good);
        }
    }
    event.props = props;
    event
}

/// The events of a file. Skips a line that is not an event; a test ensures that there is none.
fn lines(file: &str) -> impl Iterator<Item = Event> {
    file.lines()
        .filter_map(|line| wire::parse_plausible(unfold(line).as_bytes()).ok())
}

/// Expands `<<x*9>>` to nine `x`.
fn unfold(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("<<") {
        out.push_str(before);
        let folded = after
            .split_once(">>")
            .and_then(|(folded, after)| Some((folded.rsplit_once('*')?, after)));
        let Some(((what, times), after)) = folded else {
            rest = after;
            continue;
        };
        out.push_str(&what.repeat(times.parse().unwrap_or(1)));
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use relay_event::event::Value;

    #[test]
    fn every_line_is_an_event_that_the_front_door_takes() {
        for (file, least) in [(FRIENDLY, 40), (HOSTILE, 60)] {
            assert!(file.lines().count() >= least);
            for line in file.lines() {
                let parsed = wire::parse_plausible(unfold(line).as_bytes());
                assert!(parsed.is_ok(), "{:?}: {line}", parsed.err());
            }
        }
    }

    #[test]
    fn a_folded_text_is_written_out() {
        for (folded, want) in [
            ("plain", "plain"),
            ("a<<b*3>>c<<de*2>>", "abbbcdede"),
            ("<<**2>>", "**"),
            ("<<a", "a"),
        ] {
            assert_eq!(unfold(folded), want, "{folded}");
        }
    }

    #[test]
    fn the_corpora_fit_the_plan_and_reach_its_every_property() {
        let plan = config::SitePlan::built_in().unwrap();
        for events in [friendly(&plan), hostile(&plan)] {
            for rules in &plan.events {
                for listed in &rules.props {
                    let found = events
                        .iter()
                        .any(|e| e.name == rules.name && e.props.iter().any(|p| p.key == listed.key));
                    assert!(found, "{} of {}", listed.key, rules.name);
                }
            }
        }
        let hostile = hostile(&plan);
        assert!(hostile.iter().any(|e| e.url.len() > 7900));
        assert!(hostile.iter().any(|e| e.props.len() > 95));
        let is_long = |prop: &Prop| matches!(&prop.value, Value::Text(text) if text.len() >= 1980);
        assert!(hostile.iter().any(|e| e.props.iter().any(is_long)));
    }
}
