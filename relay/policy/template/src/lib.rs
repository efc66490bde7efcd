//! A strict policy to start from: it never lets a page or a referrer leave. Of the properties it keeps only those that
//! the plan names, with a number, true or false, or a text that appears in the plan word for word.
//!
//! A policy can only remove. The relay's guard checks its output against the event and the plan, so a policy may be
//! simpler than the plan: this one searches the plan's text for the quoted word instead of parsing the JSON, and
//! therefore allows a little more than the plan, such as one property's word in another. If the guard rejects the
//! output, the event ends there.

use exports::feedback::policy::scrubbing::{Event, Guest, Prop, Value, Verdict};
use std::cell::OnceCell;

wit_bindgen::generate!({ path: "wit", world: "policy" });

struct MyPolicy;

thread_local! {
    /// The plan's text, set once by `configure`. A policy must keep no other state between two events.
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

    /// Called once per event. The result must depend on the event and the plan alone.
    fn scrub(event: Event) -> Verdict {
        // Keeps the order: the guard rejects a changed one, because an order could carry a message.
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

/// Whether the plan contains the word directly between the other two.
fn has(plan: &str, before: &str, word: &str, after: &str) -> bool {
    // A quote would end the word and a backslash would start an escape: no plan contains such a word unescaped.
    !word.contains(['"', '\\']) && plan.contains(&format!("{before}{word}{after}"))
}

export!(MyPolicy);
