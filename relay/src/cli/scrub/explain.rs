//! The result for each field of an event, one line each. Contains kinds and rules, never content.

use crate::guard::Scrubbed;
use relay_event::Event;
use relay_event::event::{Prop, Value};
use relay_event::plan::{Plan, Unmatched};

/// One line for each field.
pub(super) fn fates(input: &Event, left: &Scrubbed, plan: &Plan) -> Vec<String> {
    let mut fates = vec![
        format!("name: {}", changed(&input.name, left.name())),
        format!("url: becomes the page {}", left.page()),
    ];
    if input.referrer.is_some() {
        fates.push(match left.referrer() {
            None => "referrer: dropped, it is a page of the site itself or not a web page with a host name"
                .to_owned(),
            Some(_) => "referrer: cut to its origin".to_owned(),
        });
    }
    for (position, prop) in input.props.iter().enumerate() {
        let kept = left.props().iter().find(|(key, _)| *key == prop.key);
        let name = if kept.is_some() || relay_pii::is_clean(&prop.key) {
            format!("props.{}", prop.key)
        } else {
            format!("property {}", position + 1)
        };
        let fate = match kept {
            Some((_, value)) => fate_of_kept(&prop.value, value),
            None => why_dropped(input, prop, plan),
        };
        fates.push(format!("{name}: {fate}"));
    }
    fates
}

fn fate_of_kept(input: &Value, output: &Value) -> String {
    match (input, output) {
        (Value::Text(input), Value::Text(output)) => changed(input, output),
        _ => "kept".to_owned(),
    }
}

fn changed(input: &str, output: &str) -> String {
    if input == output {
        return "kept".to_owned();
    }
    let kinds = kinds(input);
    if kinds.is_empty() {
        "coarsened by the plan or the shape rules".to_owned()
    } else {
        format!("kept without {kinds}")
    }
}

fn why_dropped(input: &Event, prop: &Prop, plan: &Plan) -> String {
    let rules = plan.event(&input.name);
    if rules.is_some_and(|rules| rules.prop(&prop.key).is_some()) {
        return "dropped, the plan does not allow the value".to_owned();
    }
    if plan.unmatched == Unmatched::Other {
        return "dropped, the plan does not list it".to_owned();
    }
    if let Some(kind) = relay_pii::kind_of_key(&prop.key) {
        return format!("dropped, its key names: {}", kind.as_str());
    }
    if !relay_pii::is_clean(&prop.key) {
        return format!("dropped, its key contains: {}", kinds(&prop.key));
    }
    let held = match &prop.value {
        Value::Text(text) => kinds(text),
        Value::Integer(n) => kinds(&n.to_string()),
        Value::Decimal(n) => kinds(&n.to_string()),
        Value::Boolean(_) => String::new(),
    };
    if held.is_empty() {
        "dropped by the policy".to_owned()
    } else {
        format!("dropped, it contains: {held}")
    }
}

/// The kinds of data that the detectors find, without duplicates.
fn kinds(text: &str) -> String {
    let mut kinds: Vec<&str> = relay_pii::findings(text)
        .iter()
        .map(|f| f.kind.as_str())
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds.join(", ")
}
