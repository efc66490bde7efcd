//! The default policy as a function: it takes an event and returns the part that may leave.
//!
//! The guest calls [`scrub`], and so does the host's guard: its result is the most that a policy may let through. Both
//! apply the same rules, but neither trusts the other.

use crate::address::{self, Address, Referrer, coarse_file, coarse_link};
use crate::event::{Event, NAME_CHARS_MAX, Prop, VALUE_BYTES_MAX, Value};
use crate::plan::{self, EventPlan, Plan, PropKind, Unmatched};
use crate::route::OTHER;
use crate::shape;
use relay_pii::Kind;

/// Most bytes of free text that the detectors search in one event, keys of unlisted properties included. A property
/// that exceeds the remaining budget is dropped. One text has at most [`VALUE_BYTES_MAX`] bytes, so four of the longest
/// fit. The detectors are linear, but slow: some 5 000 to 10 000 wasm instructions per byte of the worst texts. Without
/// this limit an event of 64 KiB would use up a policy's fuel.
pub const SEARCHED_BYTES_MAX: usize = 8 * 1024;

/// The part of an event that a policy sees, and the part that it returns.
#[derive(Clone, PartialEq)]
pub struct Visible {
    /// The event's name.
    pub name: String,
    /// In: the page's address. Out: its page, which is a route template of the plan or `/other`; if the plan scrubs
    /// unlisted pages, a path by the shape rules; followed by a campaign's keys if the plan allows them.
    pub url: String,
    /// In: the page the visitor came from. Out: a foreign origin, or nothing.
    pub referrer: Option<String>,
    /// The properties.
    pub props: Vec<Prop>,
}

impl Visible {
    /// The part of an event that a policy sees. Values that the plan lists are in canonical form, so that a policy need
    /// not handle the many spellings of `5`, and there is no referrer from the site's own domain.
    pub fn of(event: &Event, plan: &Plan) -> Self {
        let rules = plan.event(&event.name);
        let is_own = |from: &str| {
            Address::parse(from).is_some_and(|page| address::is_same_host(page.host, &event.site))
        };
        let prop = |prop: &Prop| Prop {
            key: prop.key.clone(),
            value: match rules.and_then(|rules| rules.prop(&prop.key)) {
                Some(listed) => settled(&listed.kind, &prop.value),
                None => prop.value.clone(),
            },
        };
        Self {
            name: event.name.clone(),
            url: event.url.clone(),
            referrer: event.referrer.as_ref().filter(|from| !is_own(from)).cloned(),
            props: event.props.iter().map(prop).collect(),
        }
    }
}

/// A listed property's value in canonical form. A value that the kind does not accept stays as it is, and is dropped
/// later.
fn settled(kind: &PropKind, value: &Value) -> Value {
    match (kind, value) {
        (PropKind::Text { .. }, Value::Integer(_) | Value::Decimal(_) | Value::Boolean(_)) => {
            Value::Text(plan::text_of(value).into_owned())
        }
        _ => kind.canonical(value).unwrap_or_else(|| value.clone()),
    }
}

impl std::fmt::Debug for Visible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Visible(hidden)")
    }
}

/// Why the default policy refuses an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A property that the plan requires is missing, or its value is not allowed.
    MissingProp,
    /// The plan does not list the event. The gate has checked this already, so this is a second barrier.
    UnknownEvent,
}

/// Keeps the values that the plan lists, and drops, coarsens or scrubs the rest.
///
/// # Errors
/// If the rest would mislead: a required property is gone.
pub fn scrub(event: &Visible, plan: &Plan) -> Result<Visible, Refusal> {
    let rules = plan.event(&event.name);
    if rules.is_none() && plan.unmatched == Unmatched::Other {
        return Err(Refusal::UnknownEvent);
    }
    let own = Address::parse(&event.url).map_or("", |page| page.host);
    let mut left = SEARCHED_BYTES_MAX;
    let keep = |prop: &Prop| {
        left = left.checked_sub(searched_bytes(rules, prop, plan))?;
        let value = allowed(&event.name, rules, prop, plan, own)?;
        Some(Prop {
            key: prop.key.clone(),
            value,
        })
    };
    let props: Vec<Prop> = event.props.iter().filter_map(keep).collect();
    if rules.is_some_and(|rules| missing_prop(rules, &props)) {
        return Err(Refusal::MissingProp);
    }
    Ok(Visible {
        name: match rules {
            Some(_) => event.name.clone(),
            None => unlisted_name(&event.name),
        },
        url: page(&event.url, plan),
        referrer: event
            .referrer
            .as_deref()
            .and_then(|from| referrer(from, &event.url)),
        props,
    })
}

/// How many bytes of a property the detectors would search.
fn searched_bytes(rules: Option<&EventPlan>, prop: &Prop, plan: &Plan) -> usize {
    let text = match &prop.value {
        Value::Text(text) => text.len(),
        _ => 0,
    };
    match rules.and_then(|rules| rules.prop(&prop.key)) {
        Some(listed) if matches!(listed.kind, PropKind::Text { .. }) => text,
        Some(_) => 0,
        None if plan.unmatched == Unmatched::Scrub => prop.key.len() + text,
        None => 0,
    }
}

/// The page for an address: a route template, a path by the shape rules, or `/other`, followed by `?` and the
/// campaign's keys if the plan allows them.
pub fn page(url: &str, plan: &Plan) -> String {
    let Some(address) = Address::parse(url) else {
        return OTHER.to_owned();
    };
    let mut page = route(address.route(), plan);
    if plan.campaigns {
        let campaign = shape::campaign(address.query);
        if !campaign.is_empty() {
            page.push('?');
            page.push_str(&campaign);
        }
    }
    page
}

/// The part of a route that may leave: the matching template, else the result of the shape rules, or `/other`. A
/// template may match only after the shape rules have removed doubled slashes and matrix parameters.
fn route(path: &str, plan: &Plan) -> String {
    let page = plan.routes.page(path);
    if page != OTHER || plan.unmatched == Unmatched::Other {
        return page.into();
    }
    let shaped = shape::path(path);
    let page = plan.routes.page(&shaped);
    if page == OTHER { shaped } else { page.into() }
}

/// The part of a referrer that may leave: a foreign page's origin. For an own page it is nothing: Plausible ignores it
/// (contract a.4), and Vince would count the site as its own best source.
fn referrer(from: &str, url: &str) -> Option<String> {
    match Referrer::parse(from, url)? {
        Referrer::Own => None,
        Referrer::Foreign(page) => address::coarse_origin(&page),
    }
}

/// The part of a property that may leave: its value in canonical form, its documented coarsening, or nothing. `rules`
/// are those of the event `name`, if the plan lists it; `own` is the page's host.
pub fn allowed(name: &str, rules: Option<&EventPlan>, prop: &Prop, plan: &Plan, own: &str) -> Option<Value> {
    if let Some(listed) = rules.and_then(|rules| rules.prop(&prop.key)) {
        return listed_value(&listed.kind, &prop.value, plan);
    }
    if plan.unmatched == Unmatched::Other {
        return None;
    }
    match system_kind(name, &prop.key) {
        Some(kind) => listed_value(&kind, &prop.value, plan),
        None => unlisted_value(prop, own),
    }
}

/// The links of Plausible's own events. Its reports show only their host or extension (contract d.4). They belong to
/// every plan that scrubs unlisted properties.
fn system_kind(name: &str, key: &str) -> Option<PropKind> {
    match (name, key) {
        ("Outbound Link: Click", "url") => Some(PropKind::Link),
        ("File Download", "url") => Some(PropKind::File),
        _ => None,
    }
}

fn listed_value(kind: &PropKind, value: &Value, plan: &Plan) -> Option<Value> {
    let coarse = match (kind, value) {
        (PropKind::Text { max }, _) => {
            let clean = relay_pii::redact(&plan::text_of(value)).into_owned();
            (clean.chars().count() <= *max).then_some(clean)?
        }
        (PropKind::Route, Value::Text(text)) => match text.trim() {
            path if path.starts_with('/') => route(path, plan),
            url => Address::parse(url).map_or(OTHER.to_owned(), |page| route(page.route(), plan)),
        },
        (PropKind::Link, Value::Text(text)) => coarse_link(text.trim())?,
        (PropKind::File, Value::Text(text)) => coarse_file(text.trim())?,
        _ => return kind.canonical(value),
    };
    Some(Value::Text(coarse))
}

/// The part of an unlisted name that may leave. If replacements make it too long for Plausible, all of it is replaced.
fn unlisted_name(name: &str) -> String {
    let clean = relay_pii::redact(name);
    if clean.chars().count() <= NAME_CHARS_MAX {
        clean.into_owned()
    } else {
        relay_pii::REMOVED.to_owned()
    }
}

/// Numbers below it are counts and sizes: a number of up to eight digits identifies no person without a label.
const COUNTER_MAX: u64 = 100_000_000;

/// The part of an unlisted property that may leave: nothing if its key marks it as personal data, else the value
/// without the detectors' findings. A number stays whole or is dropped.
fn unlisted_value(prop: &Prop, own: &str) -> Option<Value> {
    if !relay_pii::is_clean(&prop.key) {
        return None;
    }
    match &prop.value {
        // One bit identifies no person, whatever its key: `mobile`, `login`.
        Value::Boolean(_) => Some(prop.value.clone()),
        Value::Text(text) if says_who(&prop.key, text) => None,
        Value::Integer(_) | Value::Decimal(_) if relay_pii::kind_of_key(&prop.key).is_some() => None,
        Value::Integer(n) if n.unsigned_abs() < COUNTER_MAX => Some(prop.value.clone()),
        Value::Integer(n) => relay_pii::is_clean(&n.to_string()).then(|| prop.value.clone()),
        Value::Decimal(n) => relay_pii::is_clean(&n.to_string()).then(|| prop.value.clone()),
        Value::Text(text) => {
            let clean = unlisted_text(text, own);
            (clean.len() <= VALUE_BYTES_MAX).then_some(Value::Text(clean))
        }
    }
}

/// Treats a web address by the address rules, and removes the detectors' findings from any other text. The result may
/// be an address although the text was not: `http://[2001:db8::1` has no end of its host, `http://[[removed]` has one.
fn unlisted_text(text: &str, own: &str) -> String {
    unlisted_link(text, own).unwrap_or_else(|| {
        let left = shape::text(text);
        unlisted_link(&left, own).unwrap_or_else(|| left.into_owned())
    })
}

/// Values that name a type and not a person, so that they may leave under a key such as `user` or `card`.
#[rustfmt::skip]
const SORTS: &[&str] = &[
    "accepted", "admin", "amex", "anonymous", "apple-pay", "declined", "default", "denied", "disabled", "enabled",
    "expired", "external", "free", "google-pay", "granted", "guest", "internal", "invalid", "ldap", "left", "loggedin",
    "loggedout", "mastercard", "new", "newsletter", "none", "oidc", "owner", "paid", "paypal", "pending", "prompt",
    "returning", "right", "saml", "sepa", "sso", "trial", "unknown", "valid", "visa",
];

/// Whether a text identifies a person or thing according to its key. A plural key counts for texts as well: `users` is
/// a number or a list of names.
fn says_who(key: &str, text: &str) -> bool {
    let kind = relay_pii::kind_of_key(key).or_else(|| {
        let is_number = text.trim().parse::<f64>().is_ok();
        let one = key.strip_suffix('s').filter(|_| !is_number)?;
        relay_pii::kind_of_key(one)
    });
    let is_sort = || SORTS.binary_search(&text.to_ascii_lowercase().as_str()).is_ok();
    kind.is_some_and(|kind| kind == Kind::Secret || !is_sort())
}

/// A text that consists of a web address alone: an own page is reduced to its route, any other to its origin.
fn unlisted_link(text: &str, own: &str) -> Option<String> {
    let text = text.trim();
    let to = Address::parse(text).filter(|_| !text.contains(char::is_whitespace))?;
    let path = shape::path(to.route());
    Some(match address::coarse_origin(&to) {
        Some(origin) if to.route().is_empty() => origin.trim_end_matches('/').to_owned(),
        Some(_) if to.host.eq_ignore_ascii_case(own) && path != "/" => path,
        Some(origin) => origin,
        // A single word after a scheme is an example, not an address.
        None if is_word(to.host) && text.ends_with(&format!("://{}", to.host)) => return None,
        None => path,
    })
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphabetic())
}

/// Whether a property that the plan requires is missing.
pub fn missing_prop(rules: &EventPlan, props: &[Prop]) -> bool {
    rules
        .props
        .iter()
        .any(|want| want.required && !props.iter().any(|have| have.key == want.key))
}

/// Most characters of a property's value if it is free text, from which a policy may remove more than it has to. `None`
/// if it is not free text.
pub fn free_text_max(rules: Option<&EventPlan>, key: &str) -> Option<usize> {
    match rules.and_then(|rules| rules.prop(key)).map(|listed| &listed.kind) {
        None => Some(VALUE_BYTES_MAX),
        Some(PropKind::Text { max }) => Some(*max),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
