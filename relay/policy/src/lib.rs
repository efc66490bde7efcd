//! The default policy: exports the rules of `relay-event` as the policy world's two functions.
//!
//! The bindings are generated code, and contain the only `unsafe` besides `relay/artifact` and `relay/heap`.

#![allow(
    missing_docs,
    reason = "the generated exports cannot carry docs; policy.wit documents them"
)]

use exports::feedback::policy::scrubbing::{self as types, Guest};
use relay_event::Plan;
use relay_event::event::{Prop, Value};
use relay_event::scrub::{Refusal, Visible, scrub};
use std::cell::OnceCell;

wit_bindgen::generate!({ path: "wit", world: "policy" });

struct Default;

thread_local! {
    /// The plan, set once by `configure`.
    static PLAN: OnceCell<Plan> = const { OnceCell::new() };
}

impl Guest for Default {
    fn configure(plan: String) -> Result<(), String> {
        // serde's message may quote the plan, which is not secret.
        let plan = serde_json::from_str(&plan).map_err(|error| error.to_string())?;
        PLAN.with(|cell| cell.set(plan))
            .map_err(|_| "configure was called twice".to_owned())
    }

    fn scrub(event: types::Event) -> types::Verdict {
        let scrubbed = PLAN.with(|cell| match cell.get() {
            Some(plan) => scrub(&from_host(event), plan),
            None => Err(Refusal::UnknownEvent),
        });
        match scrubbed {
            Ok(event) => types::Verdict::Forward(to_host(event)),
            Err(Refusal::MissingProp) => types::Verdict::Refuse(types::Refusal::MissingProp),
            Err(Refusal::UnknownEvent) => types::Verdict::Refuse(types::Refusal::Unwanted),
        }
    }
}

fn from_host(event: types::Event) -> Visible {
    let prop = |prop: types::Prop| Prop {
        key: prop.key,
        value: match prop.value {
            types::Value::Text(text) => Value::Text(text),
            types::Value::Integer(n) => Value::Integer(n),
            types::Value::Decimal(n) => Value::Decimal(n),
            types::Value::Boolean(b) => Value::Boolean(b),
        },
    };
    Visible {
        name: event.name,
        url: event.url,
        referrer: event.referrer,
        props: event.props.into_iter().map(prop).collect(),
    }
}

fn to_host(event: Visible) -> types::Event {
    let prop = |prop: Prop| types::Prop {
        key: prop.key,
        value: match prop.value {
            Value::Text(text) => types::Value::Text(text),
            Value::Integer(n) => types::Value::Integer(n),
            Value::Decimal(n) => types::Value::Decimal(n),
            Value::Boolean(b) => types::Value::Boolean(b),
        },
    };
    types::Event {
        name: event.name,
        url: event.url,
        referrer: event.referrer,
        props: event.props.into_iter().map(prop).collect(),
    }
}

export!(Default);
