//! A policy that scrubs honestly and then performs one hostile deed. The plan names the deed in the description of a
//! category called `hostile`.

#![allow(
    missing_docs,
    reason = "the generated exports cannot carry docs; policy.wit documents them"
)]
#![allow(
    clippy::too_many_arguments,
    reason = "the generated exports take an event's fields one by one"
)]

use exports::feedback::policy::scrubbing::{Event, Guest, Prop, Refusal, Value, Verdict};
use relay_event::Plan;
use relay_event::scrub::page;
use std::cell::{OnceCell, RefCell};
use std::hint::black_box;

wit_bindgen::generate!({ path: "../../relay/policy/wit", world: "policy" });

struct Hostile;

thread_local! {
    static PLAN: OnceCell<(Plan, String)> = const { OnceCell::new() };
    /// An earlier event's content, for the deed that carries it over into a later one.
    static EARLIER: RefCell<Option<String>> = const { RefCell::new(None) };
}

impl Guest for Hostile {
    fn configure(plan: String) -> Result<(), String> {
        let plan: Plan = serde_json::from_str(&plan).map_err(|error| error.to_string())?;
        let deed = plan
            .categories
            .iter()
            .find(|c| c.name == "hostile")
            .map(|c| c.description.clone());
        let deed = deed.ok_or("the plan names no deed")?;
        match deed.as_str() {
            "configure refuses" => return Err("I do not like this plan".into()),
            "configure traps" => panic!("at once"),
            "configure loops" => spin(),
            _ => {}
        }
        PLAN.with(|cell| cell.set((plan, deed)))
            .map_err(|_| "twice".to_owned())
    }

    fn scrub(event: Event) -> Verdict {
        PLAN.with(|cell| match cell.get() {
            Some((plan, deed)) => misbehave(event, plan, deed),
            None => Verdict::Refuse(Refusal::Unwanted),
        })
    }
}

fn misbehave(event: Event, plan: &Plan, deed: &str) -> Verdict {
    let raw = event.clone();
    let mut out = honest(event, plan);
    let secret = || Value::Text(raw.url.clone());
    match deed {
        "is honest" => {}
        "loops" => spin(),
        "takes all memory" => take_memory(),
        "recurses for ever" => drop(black_box(recurse(1))),
        "traps" => panic!("now"),
        "refuses" => return Verdict::Refuse(Refusal::Unsafe),
        "returns ten megabytes" => out.url = "x".repeat(10 * 1024 * 1024),
        "returns a million properties" => {
            out.props = vec![
                Prop {
                    key: "rating".into(),
                    value: Value::Integer(1)
                };
                1_000_000
            ];
        }
        "forwards the address as it came" => out.url = raw.url,
        "forwards the referrer as it came" => out.referrer = raw.referrer,
        "adds a property" => out.props.push(Prop {
            key: "extra".into(),
            value: secret(),
        }),
        "keeps an unlisted property" => out.props = raw.props,
        "writes into a listed property" => out.props[0].value = secret(),
        "widens a range" => out.props.iter_mut().for_each(|p| {
            if let Value::Integer(n) = &mut p.value {
                *n += 1;
            }
        }),
        "swaps two values" => {
            let first = out.props[0].value.clone();
            out.props[0].value = out.props[1].value.clone();
            out.props[1].value = first;
        }
        "widens an enum" => out.props[0].value = Value::Text("project-renamed".into()),
        "narrows an enum to another of its words" => {
            out.props[0].value = Value::Text("tenant-created".into());
        }
        "writes a number as text" => out.props[1].value = Value::Text("5".into()),
        "writes a number as a fraction" => out.props[1].value = Value::Decimal(5.0),
        "encodes data in the case of a text" => change_note(&mut out, &str::to_uppercase),
        "encodes data in the spaces of a text" => change_note(&mut out, &|text| text.replace(' ', "  ")),
        "encodes data in the order of words" => change_note(&mut out, &|text| {
            text.split(' ').rev().collect::<Vec<_>>().join(" ")
        }),
        "encodes data in look-alike letters" => change_note(&mut out, &|text| text.replace('e', "е")),
        "encodes data in invisible letters" => change_note(&mut out, &|text| format!("{text}\u{200b}")),
        "cuts letters out of a text" => change_note(&mut out, &|text| text.replace('w', "")),
        "encodes data in the case of a key" => {
            out.props[0].key = out.props[0].key.to_uppercase();
        }
        "swaps two keys" => {
            let first = std::mem::take(&mut out.props[0].key);
            out.props[0].key = std::mem::replace(&mut out.props[1].key, first);
        }
        "swaps page and referrer" => out.referrer = Some(std::mem::take(&mut out.url)),
        "sends a referrer where there was none to send" => {
            out.referrer = Some("https://acme-prod.example.org/".into());
        }
        "puts data behind the page" => out.url.push_str("?acme-prod"),
        "answers with a page as a template of its own" => out.url = "/w/:acme/p/:billing".into(),
        "puts data into the name" => out.name.push_str(" (acme-prod)"),
        "encodes data in the order" => out.props.reverse(),
        "encodes data in the case" => out.name = out.name.to_uppercase(),
        "encodes data in the page" => out.url = "/version".into(),
        "repeats a property" => out.props.push(out.props[0].clone()),
        "renames the event" => out.name = raw.url,
        "carries over an earlier event" => EARLIER.with(|earlier| {
            if let Some(url) = earlier.replace(Some(raw.url)) {
                out.props[0].value = Value::Text(url);
            }
        }),
        other => panic!("unknown deed {other}"),
    }
    Verdict::Forward(out)
}

/// The output of an honest policy, so that only the deed can cause a failure. Handles the listed properties of the
/// tests' event.
fn honest(event: Event, plan: &Plan) -> Event {
    let props = event
        .props
        .into_iter()
        .filter(|p| ["activity", "rating", "note"].contains(&p.key.as_str()))
        .collect();
    Event {
        url: page(&event.url, plan),
        name: event.name,
        referrer: None,
        props,
    }
}

/// Changes the property that holds the user's free text.
fn change_note(event: &mut Event, change: &dyn Fn(&str) -> String) {
    for prop in &mut event.props {
        if let ("note", Value::Text(text)) = (prop.key.as_str(), &mut prop.value) {
            *text = change(text);
        }
    }
}

fn spin() {
    let mut n: u64 = 0;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn take_memory() {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        all.push(black_box(vec![1; 1024 * 1024]));
    }
}

#[expect(unconditional_recursion, reason = "that is the deed")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + frame[1]
}

export!(Hostile);
