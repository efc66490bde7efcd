//! The reader of tracking plans.

use super::rules::{check_event, event_of, text_of};
use feedback_relay::config::SitePlan;
use relay_event::Plan;
use relay_event::event::{KEY_BYTES_MAX, NAME_CHARS_MAX};
use relay_event::scrub::Visible;
use std::collections::HashSet;

/// Longest line about one mistake, in characters, so that it is readable in a terminal.
const MISTAKE_CHARS_MAX: usize = 420;

/// Reading a plan is total. Each mistake is one short line without control characters, and names a line of the text. A
/// plan without mistakes follows its own rules, and reaches the policy as JSON unchanged.
///
/// # Panics
/// If one of these is violated.
pub fn plan(data: &[u8]) {
    let text = text_of(data);
    match SitePlan::parse("plan.toml", &text) {
        Ok(plan) => check(&plan),
        Err(mistakes) => {
            let lines = text.lines().count().max(1);
            let mistakes = mistakes.to_string();
            assert!(!mistakes.is_empty(), "refused without a reason");
            for mistake in mistakes.split('\n') {
                check_mistake(mistake, lines);
            }
        }
    }
}

fn check_mistake(mistake: &str, lines: usize) {
    let rest = mistake.strip_prefix("plan.toml:");
    let line = rest.and_then(|rest| rest.split_once(": ")?.0.parse::<usize>().ok());
    let line = line.unwrap_or_else(|| panic!("no line: {mistake:?}"));
    // A missing item is reported at the line after the last.
    assert!(
        (1..=lines + 1).contains(&line),
        "no line of the text: {mistake:?}"
    );
    let chars = mistake.chars().count();
    assert!(chars <= MISTAKE_CHARS_MAX, "{chars} characters: {mistake:?}");
    assert!(
        !mistake.contains(char::is_control),
        "a control character: {mistake:?}"
    );
}

fn check(plan: &Plan) {
    let json = serde_json::to_string(plan).expect("a plan is JSON");
    let read: Plan = serde_json::from_str(&json).expect("a policy can read a plan");
    assert!(read == *plan, "a policy reads another plan");

    assert!(plan.version >= 1);
    let mut names = HashSet::new();
    for event in &plan.events {
        assert!(!event.name.trim().is_empty() && event.name.chars().count() <= NAME_CHARS_MAX);
        assert!(names.insert(&event.name), "an event is there twice");
        assert!(!event.description.trim().is_empty());
        assert!(
            plan.categories
                .iter()
                .any(|category| category.name == event.category)
        );
        for prop in &event.props {
            assert!(prop.key.len() <= KEY_BYTES_MAX, "a long key");
            assert!(!prop.description.trim().is_empty());
        }
        check_event(&event_of(&seen(&event.name, "/")), plan);
    }
    for route in plan.routes.iter().map(|route| route.as_str()) {
        assert!(route.starts_with('/') && route.is_ascii());
        let page = plan.routes.page(route);
        assert_eq!(
            plan.routes.page(&page),
            page,
            "another page the second time: {route}"
        );
    }
}

/// A visit of a page.
fn seen(name: &str, path: &str) -> Visible {
    Visible {
        name: name.to_owned(),
        url: format!("https://panel.example.com{path}"),
        referrer: None,
        props: Vec::new(),
    }
}
