//! The guard against arbitrary policies.
//!
//! The input is readable text: lines that build an event, and lines that change the proposal of an honest policy.
//! Unknown lines are ignored, so that every text is a valid case.
//!
//! ```text
//! plan 3
//! name Noted
//! url https://panel.example.com/#/w/acme
//! from https://search.example.org/?q=jane
//! text note=call jane@example.com
//! int rating=3
//! ! swap 0 1
//! ```

use super::rules::{check_stored, event_of, plans, prove, show, text_of};
use feedback_relay::guard::Scrubbed;
use relay_event::event::{KEY_BYTES_MAX, NAME_CHARS_MAX, PROPS_MAX, Prop, VALUE_BYTES_MAX, Value};
use relay_event::plan::{Plan, PropKind, Unmatched};
use relay_event::route::OTHER;
use relay_event::scrub::{Visible, scrub};
use relay_pii::REMOVED;

/// Whatever a policy proposes, the guard either refuses it or passes the rules' own result, or less than that.
///
/// # Panics
/// If anything else passes, or if the rules' own result does not.
pub fn policy_output(data: &[u8]) {
    let text = text_of(data);
    let mut plan = &plans()[0];
    let mut input = Visible {
        name: "pageview".to_owned(),
        url: "https://panel.example.com/".to_owned(),
        referrer: None,
        props: Vec::new(),
    };
    let mut changes = Vec::new();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "plan" => plan = pick(plans(), rest).unwrap_or(plan),
            "!" => changes.push(rest),
            _ => tell(&mut input, word, rest),
        }
    }
    let event = event_of(&input);
    let most = scrub(&input, plan);
    let mut proposed = most.clone().unwrap_or_else(|_| input.clone());
    if let Ok(most) = &most {
        assert!(
            prove(&event, most.clone(), plan).is_ok(),
            "an honest policy is refused"
        );
    }
    for change in changes {
        apply(&mut proposed, change, &input);
    }
    let Ok(passed) = prove(&event, proposed, plan) else {
        return;
    };
    let most = most.expect("something passes of which nothing may leave");
    check(&passed, &most, plan);
    check_stored(&passed);
    assert!(passed.is_within(plan), "what passed is not within the plan");
}

/// Compares what passed with the rules' own result.
fn check(passed: &Scrubbed, most: &Visible, plan: &Plan) {
    assert_eq!(passed.name(), most.name);
    let path = most.url.split('?').next().unwrap_or_default();
    assert!(
        [&most.url, path, OTHER].contains(&passed.page()),
        "{}",
        passed.page()
    );
    assert!(passed.referrer().is_none() || passed.referrer() == most.referrer.as_deref());
    let rules = plan.event(&most.name);
    let mut rest = most.props.iter();
    for (key, value) in passed.props() {
        let most = rest.find(|prop| prop.key == *key);
        let most = most.unwrap_or_else(|| panic!("added, moved or twice: {key}"));
        let kind = rules.and_then(|rules| rules.prop(key)).map(|listed| &listed.kind);
        match (&most.value, value) {
            (most, value) if most == value => {}
            (Value::Text(most), Value::Text(text)) => {
                let free = match kind {
                    Some(kind) => matches!(kind, PropKind::Text { .. }),
                    None => plan.unmatched == Unmatched::Scrub,
                };
                assert!(free, "changed: {text:?}");
                assert!(is_redaction(most, text), "{text:?} is no redaction of {most:?}");
                assert!(relay_pii::is_clean(text), "something is found in {text:?}");
            }
            _ => panic!("{} became something else", show(most)),
        }
    }
    for want in rules.into_iter().flat_map(|rules| &rules.props) {
        let there = passed.props().iter().any(|(key, _)| *key == want.key);
        assert!(there || !want.required, "required and gone: {}", want.key);
    }
}

/// Whether a text is another with parts replaced by the fixed word. Computed column by column: the positions in the
/// original that the redaction read so far can correspond to.
fn is_redaction(original: &str, redaction: &str) -> bool {
    let from = original.as_bytes();
    let mut ends = vec![false; from.len() + 1];
    ends[0] = true;
    let mut rest = redaction;
    while let Some(c) = rest.chars().next() {
        let mut next = vec![false; from.len() + 1];
        if let Some(behind) = rest.strip_prefix(REMOVED) {
            // The word stands for any part from here on, including itself.
            let first = ends.iter().position(|end| *end).unwrap_or(from.len());
            next[first..].fill(true);
            rest = behind;
        } else {
            let mut bytes = [0; 4];
            let c = c.encode_utf8(&mut bytes).as_bytes();
            for at in (0..from.len()).filter(|at| ends[*at] && from[*at..].starts_with(c)) {
                next[at + c.len()] = true;
            }
            rest = &rest[c.len()..];
        }
        ends = next;
    }
    ends[from.len()]
}

/// Adds the content of a line to the event, within the limits of the wire format.
fn tell(input: &mut Visible, word: &str, rest: &str) {
    match word {
        "name" if !rest.trim().is_empty() && rest.chars().count() <= NAME_CHARS_MAX => {
            rest.clone_into(&mut input.name)
        }
        "url" => rest.clone_into(&mut input.url),
        "from" if !rest.is_empty() => input.referrer = Some(rest.to_owned()),
        _ => {
            let Some(prop) = rest
                .split_once('=')
                .and_then(|(key, value)| prop(word, key, value))
            else {
                return;
            };
            if input.props.len() < PROPS_MAX && input.props.iter().all(|other| other.key != prop.key) {
                input.props.push(prop);
            }
        }
    }
}

fn prop(kind: &str, key: &str, value: &str) -> Option<Prop> {
    let value = match kind {
        "text" => (!value.trim().is_empty() && value.len() <= VALUE_BYTES_MAX)
            .then(|| Value::Text(value.to_owned())),
        "int" => value.parse().ok().map(Value::Integer),
        "decimal" => value
            .parse()
            .ok()
            .filter(|n: &f64| n.is_finite())
            .map(Value::Decimal),
        "bool" => value.parse().ok().map(Value::Boolean),
        _ => None,
    };
    let usable = !key.trim().is_empty() && key.len() <= KEY_BYTES_MAX;
    value.filter(|_| usable).map(|value| Prop {
        key: key.to_owned(),
        value,
    })
}

/// Changes a proposal as a policy could: a verb, the positions of properties and characters, and a text.
fn apply(out: &mut Visible, change: &str, input: &Visible) {
    let mut words = change.splitn(4, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (verb, a, b, text) = (word(), word(), word(), word());
    let after_verb = change.split_once(' ').map_or("", |(_, rest)| rest);
    match verb {
        "name" => after_verb.clone_into(&mut out.name),
        "url" => after_verb.clone_into(&mut out.url),
        "from" => out.referrer = Some(after_verb.to_owned()),
        "quiet" => out.referrer = None,
        "rawname" => out.name.clone_from(&input.name),
        "rawurl" => out.url.clone_from(&input.url),
        "rawfrom" => out.referrer.clone_from(&input.referrer),
        "push" => out
            .props
            .extend(prop("text", a, change.splitn(3, ' ').nth(2).unwrap_or_default())),
        "clear" => out.props.clear(),
        "reverse" => out.props.reverse(),
        _ => {}
    }
    let Some(at) = position(a, out.props.len()) else {
        return;
    };
    match verb {
        "drop" => drop(out.props.remove(at)),
        "twice" => out.props.push(out.props[at].clone()),
        "swap" => {
            if let Some(b) = position(b, out.props.len()) {
                out.props.swap(at, b);
            }
        }
        "copy" => {
            if let Some(b) = position(b, out.props.len()) {
                out.props[b].value = out.props[at].value.clone();
            }
        }
        "key" => b.clone_into(&mut out.props[at].key),
        "raw" => {
            let key = &out.props[at].key;
            if let Some(raw) = input.props.iter().find(|prop| prop.key == *key) {
                out.props[at].value = raw.value.clone();
            }
        }
        "int" => out.props[at].value = Value::Integer(b.parse().unwrap_or(i64::MAX)),
        "bool" => out.props[at].value = Value::Boolean(b == "true"),
        "decimal" => out.props[at].value = Value::Decimal(b.parse().unwrap_or(f64::NAN)),
        _ => {
            if let Value::Text(value) = &mut out.props[at].value {
                change_text(value, verb, b, text);
            }
        }
    }
}

/// Changes a text at character `at`.
fn change_text(value: &mut String, verb: &str, at: &str, text: &str) {
    let places: Vec<usize> = value
        .char_indices()
        .map(|(i, _)| i)
        .chain([value.len()])
        .collect();
    let place = |text: &str| position(text, places.len()).map(|i| places[i]);
    let Some(at) = place(at) else { return };
    match verb {
        "upper" => *value = value.to_uppercase(),
        "cut" => value.truncate(at),
        "tail" => *value = value.split_off(at),
        "insert" => value.insert_str(at, text),
        "hole" => {
            let end = place(text).unwrap_or(at);
            value.replace_range(at.min(end)..at.max(end), REMOVED);
        }
        // Redacts a hole between every two characters.
        "holes" => {
            *value = value
                .chars()
                .flat_map(|c| [c.to_string(), REMOVED.to_owned()])
                .collect();
        }
        _ => {}
    }
}

/// The item that a number selects, modulo the length.
fn pick<'l, T>(list: &'l [T], number: &str) -> Option<&'l T> {
    position(number, list.len()).map(|at| &list[at])
}

fn position(number: &str, len: usize) -> Option<usize> {
    number.parse::<usize>().ok()?.checked_rem(len)
}
