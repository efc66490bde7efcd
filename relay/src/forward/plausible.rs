//! Plausible's side of the corridor: the request that leaves, and what its answer means.
//!
//! The request is built from an empty header map and known fields only; nothing a browser sent is
//! passed on (contract g.1 to g.3).

use crate::config::Upstream;
use crate::guard::Scrubbed;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use relay_event::Outcome;
use relay_event::event::SCROLL_DEPTH_UNKNOWN;
use relay_event::event::Value;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// The path of Plausible's events API.
pub const PATH: &str = "/api/event";

/// The values of the metric label `result`.
pub const RESULTS: [&str; 6] = [
    "accepted",
    "dropped",
    "invalid",
    "retry",
    "misconfigured",
    "unreachable",
];

/// Most bytes of an answer that are read, so that the connection can be used again. Plausible answers
/// two bytes; a longer body costs the connection.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What becomes of an event after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Settled(Outcome),
    /// It has to be sent again, not before this time where one is given.
    Retry(Option<Duration>),
}

/// The body, by Plausible's long names, which it reads where it matters (contract g.12).
#[derive(Serialize)]
struct Body<'s> {
    name: &'s str,
    url: String,
    domain: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<Cow<'s, str>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    props: BTreeMap<&'s str, &'s Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interactive: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sd: Option<u8>,
}

/// The body of the request for an event, in bytes.
pub fn body(scrubbed: &Scrubbed) -> Vec<u8> {
    // Texts and numbers always serialise.
    serde_json::to_vec(&document(scrubbed)).unwrap_or_default()
}

/// The body of the request for an event.
pub fn document(scrubbed: &Scrubbed) -> impl Serialize {
    let engagement = scrubbed.engagement();
    Body {
        name: scrubbed.name(),
        // The site's own domain, whatever host the page had: Plausible's visitor hash reads it (b.4).
        url: format!("https://{}{}", scrubbed.site(), scrubbed.page()),
        domain: scrubbed.site(),
        referrer: scrubbed.referrer().map(|from| match from.starts_with('/') {
            true => Cow::Owned(format!("https://{}{from}", scrubbed.site())),
            false => Cow::Borrowed(from),
        }),
        props: scrubbed.props().iter().map(|(k, v)| (k.as_str(), v)).collect(),
        interactive: (!scrubbed.interactive()).then_some(false),
        e: engagement.map(|e| e.ms),
        sd: engagement
            .map(|e| e.scroll_depth)
            .filter(|sd| *sd != SCROLL_DEPTH_UNKNOWN),
    }
}

/// The headers of the request for an event, all of them but what HTTP itself needs.
pub fn headers(address_header: &HeaderName, scrubbed: &Scrubbed) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(address) = scrubbed.visitor().to_string().parse() {
        headers.insert(address_header.clone(), address);
    }
    if let Some(agent) = scrubbed.user_agent().and_then(|agent| agent.parse().ok()) {
        headers.insert(USER_AGENT, agent);
    }
    headers
}

/// The request for an event.
pub(super) fn request(
    client: &reqwest::Client,
    upstream: &Upstream,
    scrubbed: &Scrubbed,
) -> reqwest::RequestBuilder {
    client
        .post(format!("{}{PATH}", upstream.url))
        .headers(headers(&upstream.address_header, scrubbed))
        .body(body(scrubbed))
}

/// Reads an answer: the verdict, and the metric label.
pub(super) async fn read(mut response: reqwest::Response) -> (Verdict, &'static str) {
    let judged = judge(response.status(), response.headers());
    let mut left = ANSWER_BYTES_MAX;
    while let Ok(Some(chunk)) = response.chunk().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => break,
        }
    }
    judged
}

/// What a status and its headers mean (contract c.1, c.2).
fn judge(status: StatusCode, headers: &HeaderMap) -> (Verdict, &'static str) {
    let retry_after = || {
        headers
            .get(RETRY_AFTER)?
            .to_str()
            .ok()?
            .trim()
            .parse()
            .ok()
            .map(Duration::from_secs)
    };
    let dropped = headers
        .get("x-plausible-dropped")
        .is_some_and(|v| v.as_bytes() != b"0");
    match status.as_u16() {
        202 if dropped => (Verdict::Settled(Outcome::DroppedByPlausible), "dropped"),
        202 => (Verdict::Settled(Outcome::Delivered), "accepted"),
        // The event itself is at fault; the same again would be answered the same.
        400 | 413 | 422 | 431 => (Verdict::Settled(Outcome::InvalidForPlausible), "invalid"),
        408 | 429 | 500..=599 => (Verdict::Retry(retry_after()), "retry"),
        // A wrong address, a redirect, a login page that says 200: mending the configuration saves the events.
        _ => (Verdict::Retry(retry_after()), "misconfigured"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_settles_the_event_or_asks_for_another_try() {
        let check = |status: u16, header: Option<(&'static str, &'static str)>, verdict, result| {
            let mut headers = HeaderMap::new();
            if let Some((name, value)) = header {
                headers.insert(name, HeaderValue::from_static(value));
            }
            assert_eq!(
                judge(StatusCode::from_u16(status).unwrap(), &headers),
                (verdict, result),
                "{status}"
            );
        };
        use Verdict::{Retry, Settled};
        check(202, None, Settled(Outcome::Delivered), "accepted");
        check(200, None, Retry(None), "misconfigured");
        check(204, None, Retry(None), "misconfigured");
        check(
            202,
            Some(("x-plausible-dropped", "1")),
            Settled(Outcome::DroppedByPlausible),
            "dropped",
        );
        check(
            202,
            Some(("x-plausible-dropped", "0")),
            Settled(Outcome::Delivered),
            "accepted",
        );
        check(400, None, Settled(Outcome::InvalidForPlausible), "invalid");
        check(413, None, Settled(Outcome::InvalidForPlausible), "invalid");
        check(301, None, Retry(None), "misconfigured");
        check(401, None, Retry(None), "misconfigured");
        check(404, None, Retry(None), "misconfigured");
        check(
            429,
            Some(("retry-after", "7")),
            Retry(Some(Duration::from_secs(7))),
            "retry",
        );
        check(
            503,
            Some(("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")),
            Retry(None),
            "retry",
        );
        check(500, None, Retry(None), "retry");
    }
}
