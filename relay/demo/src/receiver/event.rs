//! One event as a relay sends it, read by Plausible's rules.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

/// Most properties. Plausible silently drops the rest.
const PROPS_MAX: usize = 30;

/// A valid event.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) site: String,
    pub(super) name: String,
    /// The decoded path.
    pub(super) page: String,
    /// Properties as texts.
    pub(super) props: Map<String, Value>,
    pub(super) address: String,
    pub(super) agent: String,
    /// Whether Plausible drops it: its referrer is spam, or its User-Agent a bot's.
    pub(super) unwanted: bool,
}

impl Event {
    /// Reads a request.
    ///
    /// # Errors
    /// The map from field to messages that Plausible sends with a 400.
    pub(super) fn parse(body: &Value, address: &str, agent: &str) -> Result<Self, Value> {
        let text = |key: &str| body[key].as_str().unwrap_or_default();
        let (name, url) = (text("name"), text("url"));
        let (host, page) = host_and_page(url);
        let site = body["domain"].as_str().unwrap_or(host);
        let untimed = name == "engagement" && !body["e"].is_u64() && !body["sd"].is_u64();
        let rules = [
            ("event_name", name.trim().is_empty(), "can't be blank"),
            (
                "event_name",
                name.chars().count() > 120,
                "should be at most 120 character(s)",
            ),
            ("event_name", untimed, "engagement needs an integer sd or e"),
            ("url", url.is_empty(), "is required"),
            ("url", url.len() > 2000, "must be a valid url"),
            ("domain", site.trim().is_empty(), "can't be blank"),
        ];
        let broken = rules.into_iter().filter(|(_, is_broken, _)| *is_broken);
        let errors: Map<_, _> = broken
            .map(|(field, _, text)| (field.to_owned(), json!([text])))
            .collect();
        if !errors.is_empty() {
            return Err(Value::Object(errors));
        }
        let referrer = text("referrer");
        Ok(Self {
            site: site.to_owned(),
            name: name.to_owned(),
            page,
            props: props(&body["props"]),
            address: address.to_owned(),
            agent: agent.to_owned(),
            // A referrer without a host is spam.
            unwanted: is_bot(agent) || (!referrer.is_empty() && host_and_page(referrer).0.is_empty()),
        })
    }
}

/// Whether a User-Agent is a bot's: the generic part of Plausible's list.
fn is_bot(agent: &str) -> bool {
    const ENDINGS: [&str; 9] = [
        "bot", "crawl", "crawler", "spider", "monitor", "checker", "fetcher", "scraper", "scanner",
    ];
    let agent = agent.to_ascii_lowercase();
    let mut words = agent.split(|c: char| !c.is_ascii_alphabetic());
    agent.contains("headlesschrome") || words.any(|word| ENDINGS.iter().any(|ending| word.ends_with(ending)))
}

/// Scalars as texts. Drops lists, objects and blanks.
fn props(props: &Value) -> Map<String, Value> {
    let as_text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    let pairs = props.as_object().into_iter().flatten();
    pairs
        .filter_map(|(key, value)| Some((key.clone(), as_text(value)?)))
        .filter(|(key, value)| !key.trim().is_empty() && !value.trim().is_empty())
        .take(PROPS_MAX)
        .map(|(key, value)| (key, Value::String(value)))
        .collect()
}

/// The host without its port, or an empty text, and the path, decoded once. Malformed escapes stay.
fn host_and_page(url: &str) -> (&str, String) {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.split(':').next().unwrap_or_default();
    let page = percent_decode_str(if path.is_empty() { "/" } else { path });
    (host, page.decode_utf8_lossy().trim_end().to_owned())
}
