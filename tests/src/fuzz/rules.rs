//! Properties of all scrubbed data that several targets check, written independently of the code under test.

use feedback_relay::config::{DEFAULT_PLAN, SitePlan};
use feedback_relay::guard::{self, Scrubbed, Sender};
use relay_event::event::{KEY_BYTES_MAX, NAME_CHARS_MAX, Prop, VALUE_BYTES_MAX, Value};
use relay_event::plan::{Plan, PropKind, Unmatched};
use relay_event::scrub::{Visible, scrub};
use relay_event::shape::{CAMPAIGN_KEYS, ID};
use relay_event::{Event, Outcome};
use std::net::Ipv6Addr;
use std::sync::LazyLock;

/// The host of the pages into which scrubbed data is fed again. No corpus contains it.
const AGAIN: &str = "https://again.example";
/// Longest scrubbed page, in bytes: with scheme and host in front Plausible still accepts it.
const PAGE_BYTES_MAX: usize = 1600;
/// Longest segment that the shape rules keep, including a page's extension.
const SEGMENT_BYTES_MAX: usize = 46;
/// Limit of segments that the shape rules keep.
const SEGMENTS_MAX: usize = 16;
/// Longest campaign value, in bytes.
const CAMPAIGN_BYTES_MAX: usize = 60;
/// Longest host name, in bytes (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// The targets' plans: the shipped one, none, both, and one with every kind of property.
static PLANS: LazyLock<[SitePlan; 4]> = LazyLock::new(|| {
    let read = |text: &str| SitePlan::parse("plan.toml", text).unwrap();
    let open = Plan {
        unmatched: Unmatched::Scrub,
        campaigns: true,
        ..(*read(DEFAULT_PLAN)).clone()
    };
    [
        read(DEFAULT_PLAN),
        Plan::unplanned().into(),
        open.into(),
        read(include_str!("../../plan.toml")),
    ]
});

pub(super) fn plans() -> &'static [SitePlan; 4] {
    &PLANS
}

/// The text in a fuzzer's bytes.
pub(super) fn text_of(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

/// An event around the part of it that a policy sees.
pub(super) fn event_of(visible: &Visible) -> Event {
    Event {
        id: None,
        name: visible.name.clone(),
        site: "panel.example.com".to_owned(),
        url: visible.url.clone(),
        referrer: visible.referrer.clone(),
        props: visible.props.clone(),
        interactive: true,
        engagement: None,
        revenue: None,
    }
}

/// The guard's verdict on a proposal.
pub(super) fn prove(event: &Event, proposed: Visible, plan: &Plan) -> Result<Scrubbed, Outcome> {
    let sender = Sender {
        visitor: Ipv6Addr::LOCALHOST,
        user_agent: None,
    };
    guard::prove(
        &Visible::of(event, plan),
        event,
        &event.site,
        &sender,
        proposed,
        plan,
    )
}

/// Scrubs an event by a plan and checks every guarantee about the result.
pub(super) fn check_event(event: &Event, plan: &Plan) {
    let input = Visible::of(event, plan);
    let Ok(left) = scrub(&input, plan) else {
        return;
    };
    check_left(&input, &left, plan);
    check_again(&left, plan);
    let scrubbed = prove(event, left, plan).expect("the guard refuses what the rules leave");
    assert!(scrubbed.is_within(plan), "what was proven is not within the plan");
    check_stored(&scrubbed);
}

/// Reading from the disk returns what was written, except the last digits of a decimal number.
pub(super) fn check_stored(scrubbed: &Scrubbed) {
    let stored = Scrubbed::from_bytes(&scrubbed.to_bytes()).expect("the spool cannot read its own record");
    let shown = |record: &Scrubbed| {
        let props = record.props().iter().map(|(key, value)| match value {
            Value::Decimal(n) => format!("{key}={n:.12e}"),
            value => format!("{key}={}", serde_json::to_string(value).unwrap()),
        });
        let props: Vec<String> = props.collect();
        let texts = [Some(record.name()), Some(record.page()), record.referrer()];
        format!("{texts:?} {props:?} {:?}", record.engagement())
    };
    assert_eq!(shown(&stored), shown(scrubbed), "the spool changes it");
}

/// The scrubbed event contains less than the input, is within the limits, and has the documented form.
fn check_left(input: &Visible, left: &Visible, plan: &Plan) {
    let chars = left.name.chars().count();
    assert!(
        (1..=NAME_CHARS_MAX).contains(&chars),
        "a name of {chars} characters"
    );
    if plan.event(&input.name).is_some() {
        assert_eq!(left.name, input.name, "a planned event has another name");
    }
    check_page(&left.url, plan);
    if let Some(from) = &left.referrer {
        check_origin(from);
    }
    let mut rest = input.props.iter();
    for prop in &left.props {
        assert!(
            rest.any(|from| from.key == prop.key),
            "a key was added or moved: {}",
            prop.key
        );
        assert!(prop.key.len() <= KEY_BYTES_MAX, "a long key");
        if let Value::Text(text) = &prop.value {
            assert!(text.len() <= VALUE_BYTES_MAX, "a value of {} bytes", text.len());
        }
    }
}

/// Scrubbing a scrubbed event changes nothing.
fn check_again(left: &Visible, plan: &Plan) {
    let rules = plan.event(&left.name);
    // A kind that replaces a value by another form, such as `pdf` for a link, is not idempotent.
    let stays = |prop: &&Prop| match rules.and_then(|rules| rules.prop(&prop.key)) {
        None => (left.name.as_str(), prop.key.as_str()) != ("File Download", "url"),
        Some(listed) => matches!(
            listed.kind,
            PropKind::Enum { .. }
                | PropKind::Int { .. }
                | PropKind::Bool
                | PropKind::Version
                | PropKind::Text { .. }
                | PropKind::Route
                | PropKind::Link
        ),
    };
    let again = Visible {
        name: left.name.clone(),
        url: format!("{AGAIN}{}", left.url),
        referrer: left.referrer.clone(),
        props: left.props.iter().filter(stays).cloned().collect(),
    };
    let Ok(twice) = scrub(&again, plan) else {
        let gone = again.props.len() < left.props.len();
        assert!(gone, "what has left is refused the second time");
        return;
    };
    assert_eq!(twice.name, left.name, "another name");
    assert_eq!(twice.url, left.url, "another page");
    assert_eq!(twice.referrer, left.referrer, "another referrer");
    let shown = |props: &[Prop]| -> Vec<String> { props.iter().map(show).collect() };
    assert_eq!(shown(&twice.props), shown(&again.props), "other properties");
}

/// A property as text, for messages: here nothing is secret.
pub(super) fn show(prop: &Prop) -> String {
    format!(
        "{}={}",
        prop.key,
        serde_json::to_string(&prop.value).unwrap_or_default()
    )
}

/// A page: a route, and after a `?` campaign keys, each once.
pub(super) fn check_page(page: &str, plan: &Plan) {
    assert!(page.len() <= PAGE_BYTES_MAX, "a page of {} bytes", page.len());
    let (path, query) = page.split_once('?').unwrap_or((page, ""));
    check_route(path, plan);
    assert!(
        plan.campaigns || page == path,
        "a campaign no plan lets leave: {page}"
    );
    check_campaign(query);
}

/// A page of the plan, `/other`, or a path that the shape rules keep.
fn check_route(path: &str, plan: &Plan) {
    if plan.routes.page(path) == path {
        return;
    }
    assert_eq!(plan.unmatched, Unmatched::Scrub, "no page of the plan: {path}");
    check_shape(path);
}

/// A path of words as they appear in a program, and `:id`.
pub(super) fn check_shape(path: &str) {
    let rest = path
        .strip_prefix('/')
        .unwrap_or_else(|| panic!("no path: {path}"));
    if rest.is_empty() {
        return;
    }
    assert!(rest.split('/').count() <= SEGMENTS_MAX, "too deep: {path}");
    for segment in rest.split('/').filter(|segment| *segment != ID) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        assert!(
            (1..=SEGMENT_BYTES_MAX).contains(&segment.len()) && segment.bytes().all(plain),
            "no route word: {segment}"
        );
        check_digits(segment, 2);
    }
}

/// Campaign keys, each once, with values as a marketing department would choose them.
pub(super) fn check_campaign(query: &str) {
    let mut seen = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or_else(|| panic!("no value: {pair}"));
        assert!(CAMPAIGN_KEYS.contains(&key), "no campaign key: {key}");
        assert!(!seen.contains(&key), "twice: {key}");
        seen.push(key);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
        assert!(
            (1..=CAMPAIGN_BYTES_MAX).contains(&value.len()) && value.bytes().all(plain),
            "no campaign: {value}"
        );
        check_digits(value, 4);
    }
}

/// A foreign origin: scheme and host, nothing else.
pub(super) fn check_origin(origin: &str) {
    let host = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    let host = host.and_then(|host| host.strip_suffix('/'));
    check_host(host.unwrap_or_else(|| panic!("no origin: {origin}")));
}

/// A name of at least two labels in ASCII: no port, no user, no IP address.
pub(super) fn check_host(host: &str) {
    assert!(host.len() <= HOST_BYTES_MAX, "a host of {} bytes", host.len());
    let labels: Vec<&str> = host.split('.').collect();
    assert!(labels.len() >= 2, "a machine's name: {host}");
    for label in &labels {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        assert!(
            (1..=63).contains(&label.len()) && label.bytes().all(plain),
            "no label: {label}"
        );
    }
    let last = labels[labels.len() - 1];
    assert!(!last.bytes().all(|b| b.is_ascii_digit()), "an address: {host}");
}

/// Checks that no run of digits is longer than this.
fn check_digits(text: &str, most: usize) {
    let long = text
        .split(|c: char| !c.is_ascii_digit())
        .find(|run| run.len() > most);
    assert!(long.is_none(), "more than {most} digits: {text}");
}
