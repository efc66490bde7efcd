//! The default policy as a function: an event in, the part of it that may leave out.
//!
//! The guest calls [`scrub`], and so does the host's guard: its result is the most that a policy may let
//! through, so both read the same rules but neither trusts the other.

use crate::address::{self, Address, Referrer, coarse_file, coarse_link};
use crate::detect::{self, Kind};
use crate::event::{Event, NAME_CHARS_MAX, Prop, VALUE_BYTES_MAX, Value};
use crate::plan::{self, EventPlan, Plan, PropKind, Unmatched};
use crate::route::OTHER;
use crate::shape;

/// Most bytes of free text that the detectors search in one event, keys of unlisted properties included. A property
/// that exceeds what is left of it is dropped. One text has at most [`VALUE_BYTES_MAX`] bytes, so four of the longest
/// fit. The detectors are linear, but slow: some 5 000 to 10 000 wasm instructions per byte of the worst texts, so
/// that without this limit an event of 64 KiB would use up a policy's fuel.
pub const SEARCHED_BYTES_MAX: usize = 8 * 1024;

/// What a policy is shown of an event, and what it gives back.
#[derive(Clone, PartialEq)]
pub struct Visible {
    /// The event's name.
    pub name: String,
    /// In: the page's address. Out: its page, a route template of the plan or `/other`; where the plan
    /// scrubs what it does not list, a path by the shape rules; with a campaign's keys where the plan says so.
    pub url: String,
    /// In: where the visitor came from. Out: a foreign origin, or nothing.
    pub referrer: Option<String>,
    /// The properties.
    pub props: Vec<Prop>,
}

impl Visible {
    /// What a policy is shown of an event: a value of the plan in its canonical form, so that a policy need not know
    /// in how many ways `5` can be written, and no referrer from the site's own domain.
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

/// A value of the plan as its kind writes it. One that the kind does not take stays as it is, to be dropped.
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

/// Why the default policy lets an event go no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A property that the plan requires is missing, or its value is not allowed.
    MissingProp,
    /// The plan does not list the event. The gate has checked before, so this is a second lock.
    UnknownEvent,
}

/// Keeps what the plan lists and drops, coarsens or scrubs the rest.
///
/// # Errors
/// When what is left would mislead: a required property is gone.
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

/// How many bytes of a property the detectors would have to search.
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

/// The page that stands for an address: a route template, a path by the shape rules, or `/other`; with the
/// campaign's keys behind a `?` where the plan lets them leave.
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

/// What may leave of a route: the template that fits, or what the shape rules leave, or `/other`. A template may
/// fit only once the shape rules have taken doubled slashes and matrix parameters away.
fn route(path: &str, plan: &Plan) -> String {
    let page = plan.routes.page(path);
    if page != OTHER || plan.unmatched == Unmatched::Other {
        return page.into();
    }
    let shaped = shape::path(path);
    let page = plan.routes.page(&shaped);
    if page == OTHER { shaped } else { page.into() }
}

/// What may leave of a referrer: a foreign page's origin. Of an own page nothing: Plausible ignores it (contract
/// a.4), and Vince would count the site as its own best source.
fn referrer(from: &str, url: &str) -> Option<String> {
    match Referrer::parse(from, url)? {
        Referrer::Own => None,
        Referrer::Foreign(page) => address::coarse_origin(&page),
    }
}

/// What may leave of a property: its value in its canonical form, its documented coarsening, or nothing. `rules` are
/// those of the event `name`, when the plan lists it; `own` is the page's host.
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

/// The links of Plausible's own events, of which the host or the extension is all that its reports show
/// (contract d.4). They belong to every plan that scrubs what it does not list.
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
            let clean = detect::redact(&plan::text_of(value)).into_owned();
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

/// What may leave of a name that no plan lists. One that replacements made too long for Plausible goes whole.
fn unlisted_name(name: &str) -> String {
    let clean = detect::redact(name);
    if clean.chars().count() <= NAME_CHARS_MAX {
        clean.into_owned()
    } else {
        detect::REMOVED.to_owned()
    }
}

/// Numbers below it are counts and sizes: a number of up to eight digits names nobody without a label.
const COUNTER_MAX: u64 = 100_000_000;

/// What may leave of a property that no plan lists: nothing when its key says what it is, else the value as far
/// as the detectors find nothing in it. A number stays whole or goes.
fn unlisted_value(prop: &Prop, own: &str) -> Option<Value> {
    if !detect::is_clean(&prop.key) {
        return None;
    }
    match &prop.value {
        // One bit names nobody, whatever its key: `mobile`, `login`.
        Value::Boolean(_) => Some(prop.value.clone()),
        Value::Text(text) if says_who(&prop.key, text) => None,
        Value::Integer(_) | Value::Decimal(_) if detect::key::judge(&prop.key).is_some() => None,
        Value::Integer(n) if n.unsigned_abs() < COUNTER_MAX => Some(prop.value.clone()),
        Value::Integer(n) => detect::is_clean(&n.to_string()).then(|| prop.value.clone()),
        Value::Decimal(n) => detect::is_clean(&n.to_string()).then(|| prop.value.clone()),
        Value::Text(text) => {
            let clean = unlisted_text(text, own);
            (clean.len() <= VALUE_BYTES_MAX).then_some(Value::Text(clean))
        }
    }
}

/// A web address by the rule for those, any other text what the detectors leave. That may be an address where
/// there was none: `http://[2001:db8::1` has no end of its host, `http://[[removed]` has one.
fn unlisted_text(text: &str, own: &str) -> String {
    unlisted_link(text, own).unwrap_or_else(|| {
        let left = shape::text(text);
        unlisted_link(&left, own).unwrap_or_else(|| left.into_owned())
    })
}

/// Answers that tell a sort and not a person, so that they may stay behind a key such as `user` or `card`.
#[rustfmt::skip]
const SORTS: &[&str] = &[
    "accepted", "admin", "amex", "anonymous", "apple-pay", "declined", "default", "denied", "disabled", "enabled",
    "expired", "external", "free", "google-pay", "granted", "guest", "internal", "invalid", "ldap", "left", "loggedin",
    "loggedout", "mastercard", "new", "newsletter", "none", "oidc", "owner", "paid", "paypal", "pending", "prompt",
    "returning", "right", "saml", "sepa", "sso", "trial", "unknown", "valid", "visa",
];

/// Whether a text names somebody or something by what its key says. The plural of a key says it of texts as well:
/// `users` is a number or a list of names.
fn says_who(key: &str, text: &str) -> bool {
    let kind = detect::key::judge(key).or_else(|| {
        let is_number = text.trim().parse::<f64>().is_ok();
        let one = key.strip_suffix('s').filter(|_| !is_number)?;
        detect::key::judge(one)
    });
    let is_sort = || SORTS.binary_search(&text.to_ascii_lowercase().as_str()).is_ok();
    kind.is_some_and(|kind| kind == Kind::Secret || !is_sort())
}

/// A text that is nothing but a web address: of an own page its route is left, of any other its origin.
fn unlisted_link(text: &str, own: &str) -> Option<String> {
    let text = text.trim();
    let to = Address::parse(text).filter(|_| !text.contains(char::is_whitespace))?;
    let path = shape::path(to.route());
    Some(match address::coarse_origin(&to) {
        Some(origin) if to.route().is_empty() => origin.trim_end_matches('/').to_owned(),
        Some(_) if to.host.eq_ignore_ascii_case(own) && path != "/" => path,
        Some(origin) => origin,
        // A single word behind a scheme is an example, not an address.
        None if is_word(to.host) && text.ends_with(&format!("://{}", to.host)) => return None,
        None => path,
    })
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphabetic())
}

/// Whether a property that the plan requires is not there.
pub fn missing_prop(rules: &EventPlan, props: &[Prop]) -> bool {
    rules
        .props
        .iter()
        .any(|want| want.required && !props.iter().any(|have| have.key == want.key))
}

/// Most characters of a property's value where it is free text, of which a policy may take away more than it has
/// to. `None` where it is not.
pub fn free_text_max(rules: Option<&EventPlan>, key: &str) -> Option<usize> {
    match rules.and_then(|rules| rules.prop(key)).map(|listed| &listed.kind) {
        None => Some(VALUE_BYTES_MAX),
        Some(PropKind::Text { max }) => Some(*max),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
