//! The two wire formats, Plausible's own and the module's batch, read tolerantly but within limits.
//!
//! Errors name the field and its rule, never its value.

use crate::address::Address;
use crate::consent::Consent;
use crate::day_values::DayValues;
use crate::event::{
    ADDRESS_BYTES_MAX, BATCH_EVENTS_MAX, ENGAGEMENT, ENGAGEMENT_MS_MAX, Engagement, Event, EventId,
    KEY_BYTES_MAX, NAME_CHARS_MAX, PROPS_MAX, Prop, SCROLL_DEPTH_UNKNOWN, VALUE_BYTES_MAX, Value,
};
use crate::json::{Json, Object};
use crate::revenue::Revenue;
use frame::Frame;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::ops::Range;

mod frame;

/// Why a body is not an event. The text is safe to send back and to log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or not of the right shape.
    #[error("the body is not the JSON that this route accepts, see line {line}, column {column}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// The batch has more events than allowed, or none.
    #[error("a batch must hold 1 to {BATCH_EVENTS_MAX} events")]
    BatchSize,
    /// One field of an event breaks its rule.
    #[error("`{field}` {rule}")]
    Field {
        /// The field, by its long name.
        field: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
}

const fn field(field: &'static str, rule: &'static str) -> Malformed {
    Malformed::Field { field, rule }
}

impl Malformed {
    /// Keeps the position and discards serde's text, which may quote the body.
    fn json(error: &serde_json::Error) -> Self {
        Self::Json {
            line: error.line(),
            column: error.column(),
        }
    }

    /// Like [`Self::json`], for an error in the part of a body that starts at an offset.
    fn json_from(body: &[u8], start: usize, error: &serde_json::Error) -> Self {
        let (before, before_column) = position(body, start);
        let first = error.line() <= 1;
        Self::Json {
            line: before + error.line().max(1) - 1,
            column: error.column() + if first { before_column - 1 } else { 0 },
        }
    }

    /// The body is unreadable from this offset on.
    fn at(body: &[u8], offset: usize) -> Self {
        let (line, column) = position(body, offset);
        Self::Json { line, column }
    }
}

/// Line and column of an offset, both from 1.
fn position(body: &[u8], offset: usize) -> (usize, usize) {
    let before = &body[..offset.min(body.len())];
    let line = before.split(|b| *b == b'\n').next_back().unwrap_or_default();
    let lines = before.iter().filter(|b| **b == b'\n').count();
    (lines + 1, line.len() + 1)
}

/// A batch from the browser module. Each event is read separately: a broken one does not affect the others.
pub struct Batch {
    /// The site all events belong to.
    pub site: String,
    /// The user's consent, when one was sent.
    pub consent: Option<Consent>,
    /// The visitor's random values. A malformed value is `None`.
    pub visitor: DayValues,
    /// The page token, not yet checked. `None` if it is not text.
    pub page_token: Option<String>,
    /// The events in order, each read or refused.
    pub events: Vec<Result<Event, Malformed>>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batch(hidden)")
    }
}

/// Most sites of one event, and most bytes of their list. Beyond it the event is malformed.
pub const SITES_MAX: usize = 32;
/// See [`SITES_MAX`].
pub const SITES_BYTES_MAX: usize = SITES_MAX * 256;

/// The sites of an event in Plausible's format: [`Event::site`] may list several, separated by commas. As in Plausible,
/// a leading `www.` is dropped; a site that is listed twice counts once.
pub fn sites(listed: &str) -> Vec<&str> {
    let mut sites = Vec::with_capacity(1);
    for site in listed.split(',') {
        let site = site.trim();
        let site = site.strip_prefix("www.").unwrap_or(site);
        if !sites.contains(&site) {
            sites.push(site);
        }
    }
    sites
}

/// Reads one event in Plausible's format, long and short keys (contract a.2, a.3). Its site may be a list, see
/// [`sites`].
///
/// # Errors
/// If Plausible would answer 400, so that the sender gets the error here.
pub fn parse_plausible(body: &[u8]) -> Result<Event, Malformed> {
    let mut object: Object = serde_json::from_slice(body).map_err(|e| Malformed::json(&e))?;
    let name = match object.take_first(&["n", "name"]) {
        Some(Json::Text(text)) => name(text)?,
        // Accepts a number as text, for the event 404.
        Some(Json::Integer(n)) => n.to_string(),
        _ => return Err(field("name", "is required and must be text")),
    };
    let url = address(object.take_text(&["u", "url"]))?;
    let host = || Address::parse(&url).map(|page| page.host.to_owned());
    let site = object
        .take_text(&["d", "domain"])
        .or_else(host)
        .ok_or(field("domain", "is required when the url has no host"))?;
    let site = match site.contains(',') {
        true if site.len() > SITES_BYTES_MAX || site.split(',').count() > SITES_MAX => {
            return Err(field("domain", "must list at most 32 sites"));
        }
        true => site,
        false => site_name(&site)?,
    };
    let referrer = object.take_text(&["r", "referrer"]).and_then(referrer);
    let interactive = !object.says_false(&["i", "interactive"]);
    let engagement = engagement(&name, &mut object, "e", "sd")?;
    let props = match object.take_first(&["m", "meta", "p", "props"]) {
        Some(Json::Object(pairs)) => read_props(pairs)?,
        // Properties may come as text that holds a JSON object. Any other text means none.
        Some(Json::Text(text)) => match serde_json::from_str(&text) {
            Ok(pairs) => read_props(pairs)?,
            Err(_) => Vec::new(),
        },
        _ => Vec::new(),
    };
    // Here the long key comes first (contract a.3).
    let revenue = object.take_first(&["revenue", "$"]).map(Revenue::of);
    Ok(Event {
        id: None,
        name,
        site,
        url,
        referrer,
        props,
        interactive,
        engagement,
        revenue,
    })
}

/// Reads the module's batch. Each event is parsed separately, so that none can affect the others.
///
/// # Errors
/// If the batch as a whole is unreadable. A single unreadable event is an `Err` within the batch.
pub fn parse_batch(body: &[u8]) -> Result<Batch, Malformed> {
    let frame = Frame::split(body).map_err(|at| Malformed::at(body, at))?;
    if frame.events.is_empty() || frame.events.len() > BATCH_EVENTS_MAX {
        return Err(Malformed::BatchSize);
    }
    let site: String = part(body, frame.site.ok_or(Malformed::at(body, body.len()))?)?;
    let site = site_name(&site)?;
    let consent: Option<RawConsent> = match frame.consent {
        Some(consent) => part(body, consent)?,
        None => None,
    };
    let event = |range| part(body, range).and_then(|json| read_event(json, &site));
    let events = frame.events.into_iter().map(event).collect();
    let consent = consent.map(|consent| Consent {
        plan: consent.plan,
        categories: consent.categories,
        in_person: true,
    });
    let [today, before] = frame.visitor.map(|range| {
        let text: String = part(body, range?).ok()?;
        DayValues::parse(&text)
    });
    let page_token = frame.token.and_then(|range| part(body, range).ok());
    Ok(Batch {
        site,
        consent,
        page_token,
        visitor: DayValues { today, before },
        events,
    })
}

/// Parses one part of a body on its own.
fn part<T: DeserializeOwned>(body: &[u8], range: Range<usize>) -> Result<T, Malformed> {
    let start = range.start;
    serde_json::from_slice(&body[range]).map_err(|error| Malformed::json_from(body, start, &error))
}

#[derive(Deserialize)]
struct RawConsent {
    plan: u32,
    categories: Option<Vec<String>>,
}

/// Reads one event of a batch.
fn read_event(json: Json, site: &str) -> Result<Event, Malformed> {
    let Json::Object(mut object) = json else {
        return Err(field("event", "must be an object"));
    };
    let mut text = |key| object.take_text(&[key]);
    let id = text("id").and_then(|id| EventId::parse(&id));
    let id = id.ok_or(field(
        "id",
        "is required: 32 random lower-case hexadecimal digits",
    ))?;
    let name = name(text("name").ok_or(field("name", "is required and must be text"))?)?;
    let url = address(text("url"))?;
    let referrer = text("referrer").and_then(referrer);
    let interactive = !object.says_false(&["interactive"]);
    let engagement = engagement(&name, &mut object, "engagement_ms", "scroll_depth")?;
    let props = match object.take_first(&["props"]) {
        Some(Json::Object(pairs)) => read_props(pairs)?,
        _ => Vec::new(),
    };
    let revenue = object.take_first(&["revenue"]).map(Revenue::of);
    Ok(Event {
        id: Some(id),
        name,
        site: site.to_owned(),
        url,
        referrer,
        props,
        interactive,
        engagement,
        revenue,
    })
}

fn name(text: String) -> Result<String, Malformed> {
    if text.trim().is_empty() {
        return Err(field("name", "can't be blank"));
    }
    if text.chars().count() > NAME_CHARS_MAX {
        return Err(field("name", "must have at most 120 characters"));
    }
    Ok(text)
}

fn address(text: Option<String>) -> Result<String, Malformed> {
    let text = text.ok_or(field("url", "is required and must be text"))?;
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(field("url", "must have at most 8192 bytes"));
    }
    if Address::parse(&text).is_none() {
        return Err(field("url", "must be a full http or https address"));
    }
    Ok(text)
}

/// One site, without a leading `www.`, as in Plausible.
fn site_name(text: &str) -> Result<String, Malformed> {
    let site = text.trim();
    let site = site.strip_prefix("www.").unwrap_or(site);
    if site.is_empty() || site.len() > 253 {
        return Err(field("domain", "must be a site's domain"));
    }
    Ok(site.to_owned())
}

/// Drops a referrer that is too long; Plausible never rejects an event because of it.
fn referrer(text: String) -> Option<String> {
    (!text.is_empty() && text.len() <= ADDRESS_BYTES_MAX).then_some(text)
}

/// Reads the two numbers of an engagement by Plausible's rules; at least one of them must be usable. Other events have
/// none.
fn engagement(
    name: &str,
    event: &mut Object,
    ms: &str,
    depth: &str,
) -> Result<Option<Engagement>, Malformed> {
    if name != ENGAGEMENT {
        return Ok(None);
    }
    let ms = event
        .take_whole_number(ms)
        .and_then(|ms| u64::try_from(ms).ok())
        .filter(|ms| *ms <= ENGAGEMENT_MS_MAX);
    let scroll_depth = event
        .take_whole_number(depth)
        .filter(|depth| *depth >= 0)
        .map(|depth| u8::try_from(depth.min(100)).unwrap_or(100));
    if ms.is_none() && scroll_depth.is_none() {
        return Err(field(
            "engagement",
            "needs a whole number of milliseconds or a scroll depth",
        ));
    }
    Ok(Some(Engagement {
        ms: ms.unwrap_or(0),
        scroll_depth: scroll_depth.unwrap_or(SCROLL_DEPTH_UNKNOWN),
    }))
}

/// Keeps the properties that Plausible would keep: scalars that are not blank. Drops a key or text over the limit, for
/// which Plausible would reject the whole event.
fn read_props(pairs: Object) -> Result<Vec<Prop>, Malformed> {
    let pairs = pairs.into_pairs();
    if pairs.len() > PROPS_MAX {
        return Err(field("props", "must have at most 100 entries"));
    }
    let keep = |(key, json): (String, Json)| {
        let value = match json {
            Json::Boolean(b) => Value::Boolean(b),
            Json::Integer(n) => Value::Integer(n),
            Json::Decimal(n) => Value::Decimal(n),
            Json::Text(text) if text.len() <= VALUE_BYTES_MAX && !text.trim().is_empty() => Value::Text(text),
            Json::Text(_) | Json::Null | Json::List | Json::Object(_) => return None,
        };
        let usable = key.len() <= KEY_BYTES_MAX && !key.trim().is_empty();
        usable.then_some(Prop { key, value })
    };
    Ok(pairs.into_iter().filter_map(keep).collect())
}

#[cfg(test)]
mod tests;
