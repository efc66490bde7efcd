//! Plausible's side of the corridor: the outgoing request, and the interpretation of its answer.
//!
//! The request is built from an empty header map and known fields only; no part of the browser's request is forwarded
//! (contract g.1 to g.3).

use crate::clock::Timestamp;
use crate::config::{Profile, Upstream};
use crate::forward::breaker::Signal;
use crate::guard::Scrubbed;
use crate::metrics;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use axum::http::{Method, Request, StatusCode, Uri};
use bytes::{BufMut, Bytes, BytesMut};
use relay_event::event::SCROLL_DEPTH_UNKNOWN;
use relay_event::event::Value;
use relay_event::{Outcome, Revenue};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

/// Headers of a request with those of HTTP itself, so that the map need not grow.
const HEADERS: usize = 6;
/// The path of Plausible's events API.
pub const PATH: &str = "/api/event";

metrics::label! {
    /// The result of a request.
    pub enum Reply {
        /// Plausible took the event.
        Accepted = "accepted",
        /// Plausible answered 202 and threw the event away.
        Dropped = "dropped",
        /// Plausible called the event invalid.
        Invalid = "invalid",
        /// Plausible cannot now.
        Retry = "retry",
        /// Not an answer of Plausible's events API.
        Misconfigured = "misconfigured",
        /// The same, but the status reports success: the event was probably accepted.
        Unclear = "unclear",
        /// The request did not get there.
        Unreachable = "unreachable",
        /// It was sent, and there was no answer.
        Unknown = "unknown",
    }
}

/// Whether Plausible is reachable, by the last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reachability {
    /// Nothing was sent yet.
    Unknown,
    /// Plausible answered.
    Up,
    /// Plausible did not answer, or said that it cannot.
    Down,
    /// An answer that a retry cannot fix: a wrong address, a redirect, a login.
    Misconfigured,
    /// A server answered an event with a 2xx other than Plausible's 202: it has probably accepted the event.
    Unclear,
}

impl Reply {
    /// Whether Plausible is reachable, by this reply.
    pub(super) fn reachability(self) -> Reachability {
        match self {
            Self::Accepted | Self::Dropped | Self::Invalid => Reachability::Up,
            Self::Retry | Self::Unreachable | Self::Unknown => Reachability::Down,
            Self::Misconfigured => Reachability::Misconfigured,
            Self::Unclear => Reachability::Unclear,
        }
    }
}

/// Whether an event is settled after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Settled(Outcome),
    /// It has to be sent again, not before this time if there is one.
    Retry(Option<Duration>),
}

/// The body, with Plausible's long names, which it reads in all relevant places (contract g.12).
#[derive(Serialize)]
struct Body<'s> {
    name: &'s str,
    url: String,
    domain: &'s str,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<&'s str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    props: BTreeMap<&'s str, &'s Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interactive: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sd: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revenue: Option<Revenue>,
}

/// The body of the request for an event, as this kind of server reads it.
pub fn document(profile: Profile, scrubbed: &Scrubbed) -> impl Serialize {
    let engagement = scrubbed.engagement();
    let props = match profile.keeps_props() {
        true => scrubbed.props(),
        false => &[],
    };
    Body {
        name: scrubbed.name(),
        // The site's own domain, whatever host the page had: Plausible's visitor hash reads it (b.4).
        url: format!("https://{}{}", scrubbed.site(), scrubbed.page()),
        domain: scrubbed.site(),
        referrer: scrubbed.referrer(),
        props: props.iter().map(|(k, v)| (k.as_str(), v)).collect(),
        interactive: (!scrubbed.interactive()).then_some(false),
        e: engagement.map(|e| e.ms),
        sd: engagement
            .map(|e| e.scroll_depth)
            .filter(|sd| *sd != SCROLL_DEPTH_UNKNOWN),
        revenue: scrubbed.revenue(),
    }
}

/// The headers of the request for an event, all of them but what HTTP itself needs.
pub fn headers(address_header: &HeaderName, scrubbed: &Scrubbed) -> HeaderMap {
    let mut headers = headers_of(address_header, scrubbed.visitor());
    if let Some(agent) = scrubbed.user_agent().and_then(|agent| agent.parse().ok()) {
        headers.insert(USER_AGENT, agent);
    }
    headers
}

fn headers_of(address_header: &HeaderName, visitor: Ipv6Addr) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(address) = HeaderValue::try_from(visitor.to_string()) {
        headers.insert(address_header.clone(), address);
    }
    headers
}

/// Makes requests. The parts that are the same in all of them are made once.
#[derive(Debug)]
pub(super) struct Requests {
    event: Uri,
    health: Option<Uri>,
    address_header: HeaderName,
    profile: Profile,
}

impl Requests {
    /// For the configured upstream. `None` for an address that the configuration does not let through.
    pub(super) fn new(upstream: &Upstream) -> Option<Self> {
        let base: Uri = upstream.url.parse().ok()?;
        let prefix = base.path().trim_end_matches('/');
        let uri = |path: &str| format!("{prefix}{path}").parse().ok();
        Some(Self {
            event: uri(PATH)?,
            health: match &upstream.health_path {
                Some(path) => Some(uri(path)?),
                None => None,
            },
            address_header: upstream.address_header.clone(),
            profile: upstream.profile,
        })
    }

    /// The request for an event, its body written into a buffer that is used again and again.
    pub(super) fn event(&self, scrubbed: &Scrubbed, buffer: &mut BytesMut) -> Request<Bytes> {
        // Texts and numbers always serialise, and memory takes them.
        let _ = serde_json::to_writer(buffer.writer(), &document(self.profile, scrubbed));
        self.post(buffer.split().freeze(), headers(&self.address_header, scrubbed))
    }

    /// The request for an event of a site's first page that no page sent.
    pub(super) fn test_event(&self, site: &str, name: &str, visitor: Ipv6Addr) -> Request<Bytes> {
        let url = format!("https://{site}/");
        let body = json!({ "name": name, "url": url, "domain": site, "interactive": false });
        self.post(
            Bytes::from(body.to_string()),
            headers_of(&self.address_header, visitor),
        )
    }

    fn post(&self, body: Bytes, headers: HeaderMap) -> Request<Bytes> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.event.clone();
        *request.headers_mut() = headers;
        request
    }

    /// The health probe, if the upstream has one.
    pub(super) fn health(&self) -> Option<Request<Bytes>> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = self.health.clone()?;
        request
            .headers_mut()
            .insert(ACCEPT, HeaderValue::from_static("*/*"));
        Some(request)
    }
}

/// Reads a status and its headers (contract c.1, c.2).
pub(super) fn read(status: StatusCode, headers: &HeaderMap) -> Reply {
    let dropped = headers
        .get("x-plausible-dropped")
        .is_some_and(|v| v.as_bytes() != b"0");
    match status.as_u16() {
        202 if dropped => Reply::Dropped,
        202 => Reply::Accepted,
        // The event itself is at fault, if the answer is Plausible's; a retry would get the same answer. Plausible has
        // no other refusal of an event within its limits: 413, 422 and 431 come from a gateway.
        400 => Reply::Invalid,
        408 | 429 | 500..=599 => Reply::Retry,
        // A worker, a gateway or a login page. Each repetition of the event may be counted again.
        200..=299 => Reply::Unclear,
        // A wrong address, a redirect, a login: fixing the configuration saves the events.
        _ => Reply::Misconfigured,
    }
}

/// Judges a status and its headers for the event.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> (Verdict, Reply) {
    let reply = read(status, headers);
    let verdict = match reply {
        Reply::Accepted => Verdict::Settled(Outcome::Delivered),
        Reply::Dropped => Verdict::Settled(Outcome::DroppedByPlausible),
        Reply::Invalid => Verdict::Settled(Outcome::InvalidForPlausible),
        Reply::Unclear => Verdict::Settled(Outcome::Unclear),
        Reply::Retry | Reply::Misconfigured | Reply::Unreachable | Reply::Unknown => {
            Verdict::Retry(retry_after(headers, now))
        }
    };
    (verdict, reply)
}

/// Reads `Retry-After`, in seconds or as a date. A date is compared with this machine's clock; a date in the past has
/// no effect.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| Some(Timestamp::from_http_date(text)?.since(now)))
}

/// Judges the answer to a health probe, with its metric label. A server that does not know the path has no health
/// endpoint, such as Vince; then an event may be tried.
pub(super) fn judge_health(
    status: StatusCode,
    headers: &HeaderMap,
    now: Timestamp,
) -> (Signal, &'static str) {
    match read(status, headers) {
        _ if status.is_success() => (Signal::Success, "ok"),
        Reply::Retry => (Signal::Failure(retry_after(headers, now)), "failed"),
        _ => (Signal::Success, "no_endpoint"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wed, 21 Oct 2026 07:28:00 GMT.
    const NOW: Timestamp = Timestamp(1_792_567_680_000);

    #[test]
    fn an_answer_settles_the_event_or_asks_for_another_try() {
        let check = |status: u16, header: Option<(&'static str, &'static str)>, verdict, result| {
            let mut headers = HeaderMap::new();
            if let Some((name, value)) = header {
                headers.insert(name, HeaderValue::from_static(value));
            }
            assert_eq!(
                judge(StatusCode::from_u16(status).unwrap(), &headers, NOW),
                (verdict, result),
                "{status}"
            );
        };
        use Verdict::{Retry, Settled};
        check(202, None, Settled(Outcome::Delivered), Reply::Accepted);
        for taken in [200, 201, 203, 204, 206, 299] {
            check(taken, None, Settled(Outcome::Unclear), Reply::Unclear);
        }
        // A page that was not Plausible's, whatever headers it has.
        let dropped = Some(("x-plausible-dropped", "1"));
        check(200, dropped, Settled(Outcome::Unclear), Reply::Unclear);
        check(
            202,
            Some(("x-plausible-dropped", "1")),
            Settled(Outcome::DroppedByPlausible),
            Reply::Dropped,
        );
        check(
            202,
            Some(("x-plausible-dropped", "0")),
            Settled(Outcome::Delivered),
            Reply::Accepted,
        );
        check(400, None, Settled(Outcome::InvalidForPlausible), Reply::Invalid);
        for gateway in [413, 422, 431] {
            check(gateway, None, Retry(None), Reply::Misconfigured);
        }
        check(301, None, Retry(None), Reply::Misconfigured);
        check(401, None, Retry(None), Reply::Misconfigured);
        check(404, None, Retry(None), Reply::Misconfigured);
        check(
            429,
            Some(("retry-after", "7")),
            Retry(Some(Duration::from_secs(7))),
            Reply::Retry,
        );
        let check_wait = |text, want: Option<u64>| {
            check(
                503,
                Some(("retry-after", text)),
                Retry(want.map(Duration::from_secs)),
                Reply::Retry,
            );
        };
        check_wait(" 7 ", Some(7));
        check_wait("Wed, 21 Oct 2026 07:30:05 GMT", Some(125));
        check_wait("Wed, 21 Oct 2026 07:27:00 GMT", Some(0));
        check_wait("soon", None);
        check_wait("-7", None);
        check_wait("99999999999999999999", None);
        check(500, None, Retry(None), Reply::Retry);
    }
}
