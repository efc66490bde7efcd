//! One request to the events API, read by Plausible's rules (contract a.3, a.4, c.1).

use serde_json::{Map, Value, json};

/// One event for one site.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) site: String,
    pub(super) name: String,
    pub(super) page: String,
    pub(super) host: String,
    pub(super) props: Map<String, Value>,
    pub(super) address: String,
    pub(super) agent: String,
    /// Whether the referrer is one Plausible takes for spam: a text without a host (contract c.2).
    pub(super) spam: bool,
}

impl Received {
    /// Reads a request: one event per listed site, or the map of errors for a 400.
    pub(super) fn parse(body: &Value, address: &str, agent: &str) -> Result<Vec<Self>, Value> {
        let first = |short: &str, long: &str| match &body[short] {
            Value::Null | Value::Bool(false) => &body[long],
            found => found,
        };
        let mut errors = Map::new();
        let mut wrong = |field: &str, text: &str| {
            errors.insert(field.to_owned(), json!([text]));
        };
        let name = match first("n", "name") {
            Value::String(name) if name.trim().is_empty() => Err("can't be blank"),
            Value::String(name) if name.chars().count() > 120 => Err("should be at most 120 character(s)"),
            Value::String(name) => Ok(name.clone()),
            Value::Number(n) if n.is_i64() => Ok(n.to_string()),
            Value::Null => Err("can't be blank"),
            _ => Err("is invalid"),
        };
        let name = name.unwrap_or_else(|text| {
            wrong("event_name", text);
            String::new()
        });
        let url = match first("u", "url") {
            Value::Null => Err("is required"),
            Value::String(url) if url.to_ascii_lowercase().starts_with("data:") => {
                Err("scheme is not allowed")
            }
            Value::String(url) if url.len() <= 2000 => Ok(url.clone()),
            _ => Err("must be a valid url"),
        };
        let url = url.unwrap_or_else(|text| {
            wrong("url", text);
            String::new()
        });
        let (host, path) = host_and_path(&url, hash_mode(body));
        let sites: Vec<String> = match first("d", "domain") {
            Value::String(list) => list
                .split(',')
                .map(|s| s.trim().trim_start_matches("www.").to_owned())
                .collect(),
            _ => vec![host.clone()],
        };
        if sites.iter().any(String::is_empty) {
            wrong("domain", "can't be blank");
        }
        let props = props(body);
        if props
            .iter()
            .any(|(key, value)| key.len() > 300 || value.as_str().is_some_and(|v| v.len() > 2000))
        {
            wrong(
                "props",
                "keys should have at most 300 bytes and values 2000 bytes",
            );
        }
        if name == "engagement" && whole(&body["sd"]).is_none() && whole(&body["e"]).is_none() {
            wrong("event_name", "engagement needs an integer sd or e");
        }
        let spam = matches!(first("r", "referrer"), Value::String(r) if !r.is_empty() && host_and_path(r, false).0.is_empty());
        if !errors.is_empty() {
            return Err(Value::Object(errors));
        }
        let event = |site| Self {
            site,
            name: name.clone(),
            page: path.clone(),
            host: host.clone(),
            props: props.clone(),
            address: address.to_owned(),
            agent: agent.to_owned(),
            spam,
        };
        Ok(sites.into_iter().map(event).collect())
    }

    /// Whether Plausible's bot list would drop the agent (contract b.3).
    pub(super) fn is_bot(&self) -> bool {
        const ENDINGS: [&str; 10] = [
            "bot", "crawl", "crawler", "spider", "monitor", "checker", "fetcher", "scraper", "scanner",
            "uptime",
        ];
        let agent = self.agent.to_ascii_lowercase();
        let words = agent.split(|c: char| !c.is_ascii_alphabetic());
        agent.contains("headlesschrome") || words.into_iter().any(|w| ENDINGS.iter().any(|e| w.ends_with(e)))
    }
}

fn hash_mode(body: &Value) -> bool {
    let flag = if body["h"].is_null() {
        &body["hashMode"]
    } else {
        &body["h"]
    };
    flag == 1 || flag == "1"
}

fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// Scalars as text, at most 30, lists, objects and blanks left out.
fn props(body: &Value) -> Map<String, Value> {
    let found = ["m", "meta", "p", "props"]
        .into_iter()
        .map(|key| &body[key])
        .find(|v| !v.is_null());
    let parsed = match found {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(other) => other.clone(),
        None => Value::Null,
    };
    let as_text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    let pairs = parsed.as_object().into_iter().flatten();
    pairs
        .filter_map(|(key, value)| Some((key.clone(), as_text(value)?)))
        .filter(|(key, value)| !key.trim().is_empty() && !value.trim().is_empty())
        .take(30)
        .map(|(key, value)| (key, Value::String(value)))
        .collect()
}

/// Host without port and `www.`, and the page: the path, decoded once, with the fragment in hash mode.
fn host_and_path(url: &str, hash_mode: bool) -> (String, String) {
    let Some((_, rest)) = url.split_once("://") else {
        return (String::new(), String::new());
    };
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let rest = rest.split('?').next().unwrap_or("");
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let host = authority.rsplit('@').next().unwrap_or("");
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    let mut page = percent_decode(path).trim_end().to_owned();
    if hash_mode {
        page = format!("{page}#{}", percent_decode(fragment));
    }
    (host.trim_start_matches("www.").to_owned(), page)
}

/// Malformed escapes stay as they are.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = text
            .get(i + 1..i + 3)
            .filter(|_| bytes[i] == b'%')
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        out.push(hex.unwrap_or(bytes[i]));
        i += if hex.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}
