//! A strict policy to start from: no page and no referrer ever leaves, and of the properties only those
//! that the plan names, with a number, true or false, or a text that stands in the plan word for word.
//!
//! A policy can only take away. What it gives back is proved against the event and the plan by the
//! relay's guard, so a policy may be simpler than the plan: this one looks for the quoted word in the
//! plan's text instead of reading its JSON, and lets through a little more than the plan allows, such as
//! one property's word in another. An event the guard does not agree with ends there.

use exports::feedback::policy::scrubbing::{Event, Guest, Prop, Value, Verdict};
use std::cell::OnceCell;

wit_bindgen::generate!({ path: "wit", world: "policy" });

struct MyPolicy;

thread_local! {
    /// The plan's text, set once by `configure`. The only thing a policy may keep between two events.
    static PLAN: OnceCell<String> = const { OnceCell::new() };
}

impl Guest for MyPolicy {
    /// Called once per instance, before any event. An error makes the relay refuse the policy.
    fn configure(plan: String) -> Result<(), String> {
        if plan.is_empty() {
            return Err("the plan is empty".to_owned());
        }
        PLAN.with(|cell| cell.set(plan))
            .map_err(|_| "configured twice".to_owned())
    }

    /// Called once per event. Has to depend on the event and the plan alone.
    fn scrub(event: Event) -> Verdict {
        // The order stays: the guard refuses a changed one, because an order could carry a message.
        let props = PLAN.with(|plan| {
            let plan = plan.get().map_or("", String::as_str);
            event
                .props
                .into_iter()
                .filter(|prop| may_stay(prop, plan))
                .collect()
        });
        Verdict::Forward(Event {
            name: event.name,
            url: "/other".to_owned(),
            referrer: None,
            props,
        })
    }
}

fn may_stay(prop: &Prop, plan: &str) -> bool {
    let listed_as = |kind| {
        has(
            plan,
            "\"key\":\"",
            &prop.key,
            &format!("\",\"kind\":{{\"type\":\"{kind}\""),
        )
    };
    match &prop.value {
        Value::Integer(_) => listed_as("int"),
        Value::Boolean(_) => listed_as("bool"),
        Value::Text(text) => listed_as("enum") && has(plan, "\"", text, "\""),
        Value::Decimal(_) => false,
    }
}

/// Whether the plan holds the word between the other two, in one piece.
fn has(plan: &str, before: &str, word: &str, after: &str) -> bool {
    // A quote would end the word, a backslash start an escape: no plan writes such a word as it is.
    !word.contains(['"', '\\']) && plan.contains(&format!("{before}{word}{after}"))
}

export!(MyPolicy);
