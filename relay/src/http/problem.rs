//! The one file that chooses a response's status.
//!
//! A refusal becomes problem details (RFC 9457): they say what is wrong and what to do, but never repeat the request.
//! This file maps each [`Outcome`] to a response, and each other [`Kind`] of refusal to its status. The functions at
//! the end build the other responses that are not a plain 200.

use crate::corridor::{Hint, Refused};
use crate::host::BadHost;
use axum::Json;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use relay_event::{Malformed, Outcome};
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use std::time::Duration;

/// A kind of problem: the status, the last part of the problem's `type`, and a title.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind(StatusCode, &'static str, &'static str);

/// Declares the kinds: a constant's name, the status, the last part of `type`, and the title.
macro_rules! kinds {
    ($($kind:ident => $status:ident, $name:literal, $title:literal;)+) => {
        impl Kind {
            $(pub(super) const $kind: Self = Self(StatusCode::$status, $name, $title);)+
        }
    };
}

kinds! {
    BODY_TOO_LARGE => PAYLOAD_TOO_LARGE, "too_large", "Too large";
    DATABASE => SERVICE_UNAVAILABLE, "unavailable", "Database unavailable";
    HEAD_TOO_LARGE => REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", "Headers too large";
    HOST => BAD_REQUEST, "host", "Invalid host";
    INVALID => BAD_REQUEST, "invalid", "Malformed";
    LOCKED => CONFLICT, "operator_lock", "The switch was not set";
    LOGIN_FAILED => UNAUTHORIZED, "login", "Login failed";
    LOGIN_NEEDED => UNAUTHORIZED, "login", "Login needed";
    LOGIN_THROTTLED => TOO_MANY_REQUESTS, "login", "Too many wrong passwords";
    METHOD => METHOD_NOT_ALLOWED, "method", "Method not allowed";
    NO_PASSWORD => FORBIDDEN, "no_password", "No password configured";
    NOT_BUILT => NOT_FOUND, "not_built", "Not built in";
    NOT_FOUND => NOT_FOUND, "not_found", "Not found";
    ORIGIN => FORBIDDEN, "origin", "Wrong origin";
    OVERLOADED => SERVICE_UNAVAILABLE, "overloaded", "Overloaded";
    REVOKED => UNAUTHORIZED, "login", "The switch was not set";
    SITE => NOT_FOUND, "unknown_site", "Unknown site";
    TOMBSTONE => CONFLICT, "tombstone", "The switch was not set";
    TOO_SLOW => REQUEST_TIMEOUT, "timeout", "Too slow";
    UNKNOWN_HOST => MISDIRECTED_REQUEST, "unknown_host", "Unknown host";
    UNRECORDED => SERVICE_UNAVAILABLE, "unavailable", "The switch was not recorded";
}

/// Declares the response to each outcome: its status, the seconds until the sender may retry, a title, and a detail.
/// The match is exhaustive, so that every new outcome needs a response.
macro_rules! answers {
    ($($($outcome:ident)|+ => $status:ident $(retry $seconds:literal)?, $title:literal, $detail:literal;)+) => {
        const fn answer_to(outcome: Outcome) -> (StatusCode, Option<u64>, &'static str, &'static str) {
            match outcome {
                $($(Outcome::$outcome)|+ => (StatusCode::$status, seconds!($($seconds)?), $title, $detail),)+
            }
        }
    };
}

macro_rules! seconds {
    () => {
        None
    };
    ($seconds:literal) => {
        Some($seconds)
    };
}

answers! {
    Malformed => BAD_REQUEST, "Malformed",
        "This route does not accept a body of this form. With `Content-Encoding: gzip` it must be one whole gzip member.";
    TooLarge => PAYLOAD_TOO_LARGE, "Too large",
        "The body is larger than `public.body_bytes_max` allows. Send smaller batches.";
    UnsupportedType => UNSUPPORTED_MEDIA_TYPE, "Unsupported media type",
        "Send text/plain or application/json, uncompressed or with `Content-Encoding: gzip`.";
    Incomplete => REQUEST_TIMEOUT, "Incomplete",
        "The body did not arrive within `public.body_timeout_s`, or almost nothing of it arrived for 5 seconds. \
         Send it again.";

    LimitedClient => TOO_MANY_REQUESTS retry 1, "Too many requests",
        "This address sends more requests than `public.rate_per_client` allows. Retry later; see `Retry-After`.";
    LimitedEvents => TOO_MANY_REQUESTS retry 1, "Too many events",
        "This address sends more events than `budget.events_per_client` allows. Retry later; see `Retry-After`.";
    LimitedVisitors => TOO_MANY_REQUESTS retry 1, "Too many visitors",
        "More new visitors come from this address than `budget.new_visitors_per_client` allows. Retry later; \
         see `Retry-After`.";
    LimitedSite => TOO_MANY_REQUESTS retry 1, "Too many events",
        "This site sends more events than `public.rate_per_site` allows. Retry later; see `Retry-After`.";
    SlowBody => SERVICE_UNAVAILABLE retry 1, "Too slow",
        "Too many requests wait for their bodies, and this body was among the slowest. Send it again.";

    UnknownSite => FORBIDDEN, "Unknown site",
        "No site with this domain is configured. It must be exactly the `domain` of a [[site]].";
    WrongOrigin => FORBIDDEN, "Wrong origin",
        "Pages of this origin must not send events for the site. `origins` in [[site]] lists the origins that may.";
    Suspicious => FORBIDDEN, "Suspicious",
        "No browser sends such a request, and `budget.suspicious` is set to drop those.";
    NoOrigin => FORBIDDEN, "No origin",
        "The request has no `Origin`, which browsers send with every POST. A program that is not a browser needs a \
         token: configure a [[tool]] and send `Authorization: Bearer`.";
    FetchMetadata => FORBIDDEN, "Not from a page of the site",
        "`Sec-Fetch-Site` and `Sec-Fetch-Mode` show that a form, another site or the browser's user sent the request.";
    PageToken => FORBIDDEN, "Page token",
        "The page token is missing or not valid. Send `token` of this answer or of /api/config in the batch. A token \
         is valid for pages of one origin and one site, for one to two hours, until the relay restarts.";
    ToolToken => FORBIDDEN, "Unknown tool",
        "The bearer token belongs to no [[tool]] in the configuration, or that tool must not send for this site.";
    TrackersClosed => FORBIDDEN, "Trackers closed",
        "This relay does not accept events in Plausible's format from pages. `public.trackers` opens the route.";
    OperatorLock => FORBIDDEN, "Disabled",
        "The operator has locked collection (`operator_lock`).";
    SwitchedOff => FORBIDDEN, "Disabled",
        "Collection is switched off for this site. /api/config reports when it is on again.";
    PrivacySignal => FORBIDDEN, "Privacy signal",
        "The browser sends Global Privacy Control or Do Not Track, and the user has not opted in in person.";
    NoConsent => FORBIDDEN, "No consent",
        "Send the user's consent: `consent` in a batch; for Plausible's format the plan's version, as `?consent=` or \
         in the path, as in /plan/1/api/event.";
    ConsentOutdated => FORBIDDEN, "Consent outdated",
        "The consent is for another version of the tracking plan than `plan`. Ask the user again.";
    CategoryRefused => FORBIDDEN, "Category refused",
        "The user's consent leaves out this event's category.";
    UnknownEvent => BAD_REQUEST, "Unknown event",
        "The tracking plan lists no event of this name.";
    Bot => FORBIDDEN, "Bot",
        "The User-Agent is a bot's, and events of bots are not counted.";
    EngagementLeftOut | NameLeftOut => FORBIDDEN, "Left out",
        "The server behind `upstream.url` cannot count this event, so `upstream.profile` leaves it out.";

    MissingProp => BAD_REQUEST, "Missing property",
        "A property that the tracking plan requires is missing or has a value that the plan does not allow.";
    Unsafe | Unwanted => BAD_REQUEST, "Refused",
        "The privacy policy refused the event.";
    PolicyTrap | PolicyTimeout | Widened | Leak => INTERNAL_SERVER_ERROR, "Policy failed",
        "The privacy policy failed on this event, so the relay dropped it. The fault is the policy's, not the \
         event's: report it to the relay's operator. Sending the event again does not help.";
    PolicyUnavailable => SERVICE_UNAVAILABLE retry 60, "Policy unavailable",
        "The privacy policy is out of service, so no events are accepted. Retry later; see `Retry-After`.";
    SpoolFull => SERVICE_UNAVAILABLE retry 60, "Spool full",
        "Too many events wait for delivery. Retry later; see `Retry-After`.";
    SpoolFullSite => SERVICE_UNAVAILABLE retry 60, "Site full",
        "Too many events of this site wait for delivery. Retry later; see `Retry-After`.";
    SpoolUnavailable => SERVICE_UNAVAILABLE retry 5, "Spool unavailable",
        "The relay cannot write events to its disk. Retry later; see `Retry-After`.";
    Overloaded => SERVICE_UNAVAILABLE retry 1, "Overloaded",
        "The relay is stopping, or has more requests in progress than it can handle. Retry later; see `Retry-After`.";

    // No request gets one of these as its response: a duplicate counts as accepted, and the others occur after the
    // response. If one gets here, the relay has lost track of the event.
    Lost | Duplicate | Delivered | DroppedByPlausible | InvalidForPlausible | Unanswered | Unclear | Corrupt | Newer
        | Expired | EngagementExpired | Purged => INTERNAL_SERVER_ERROR, "Internal error",
        "The relay failed on this request. That is a defect of the relay: report it to its operator.";
}

/// A refusal to be sent.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    retry_after_s: Option<u64>,
    plan: Option<u32>,
    page_token: Option<String>,
    asks_for_basic_auth: bool,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            retry_after_s: None,
            plan: None,
            page_token: None,
            asks_for_basic_auth: false,
        }
    }

    /// Adds a valid page token, with which the page can send its events again.
    pub(super) fn page_token(mut self, token: Option<String>) -> Self {
        self.page_token = token;
        self
    }

    /// Adds a `Retry-After` in whole seconds, at least 1, rounded up.
    pub(super) fn retry_in(mut self, wait: Duration) -> Self {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        self.retry_after_s = Some(seconds.max(1));
        self
    }

    /// Adds the header that asks a client for basic auth.
    pub(super) fn basic_auth(mut self) -> Self {
        self.asks_for_basic_auth = true;
        self
    }

    pub(super) fn not_found() -> Self {
        Self::new(Kind::NOT_FOUND, "This listener serves nothing at this path.")
    }

    pub(super) fn head_too_large() -> Self {
        let detail = "The request's headers are larger than 80 KiB. Cookies are not needed here.";
        Self::new(Kind::HEAD_TOO_LARGE, detail)
    }

    /// A request that does not name exactly one valid host.
    pub(super) fn bad_host(why: BadHost) -> Self {
        Self::new(Kind::HOST, why.to_string())
    }

    pub(super) fn method_not_allowed() -> Self {
        let detail = "This route does not accept this method; see `Allow`.";
        Self::new(Kind::METHOD, detail)
    }

    /// A body or query that the route does not accept; `detail` says what it accepts.
    pub(crate) fn invalid(detail: &'static str) -> Self {
        Self::new(Kind::INVALID, detail)
    }

    /// The database cannot be read or written.
    pub(crate) fn no_database() -> Self {
        let detail = "The relay cannot use its database right now. Retry later; see `Retry-After`.";
        Self::new(Kind::DATABASE, detail).retry_in(Duration::from_secs(5))
    }
}

/// The outcome of an event, if it is not a success.
impl From<Outcome> for Problem {
    fn from(outcome: Outcome) -> Self {
        let (status, retry_after_s, title, detail) = answer_to(outcome);
        Self {
            retry_after_s,
            ..Self::new(Kind(status, outcome.name(), title), detail)
        }
    }
}

/// A body that could not be read as an event.
impl From<Malformed> for Problem {
    fn from(why: Malformed) -> Self {
        Self::new(Kind::INVALID, format!("{why}."))
    }
}

/// A request that was refused as a whole.
impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let problem = Self::from(refused.outcome);
        match refused.hint {
            Some(Hint::RetryIn(wait)) => problem.retry_in(wait),
            Some(Hint::Plan(version)) => Self {
                plan: Some(version),
                ..problem
            },
            None => problem,
        }
    }
}

/// The body of a refusal (RFC 9457).
#[derive(Serialize)]
struct Document<'a> {
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<u32>,
    status: u16,
    title: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(rename = "type")]
    kind: String,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Kind(status, name, title) = self.kind;
        let document = Document {
            detail: &self.detail,
            plan: self.plan,
            status: status.as_u16(),
            title,
            token: self.page_token.as_deref(),
            kind: format!("urn:feedback-relay:problem:{name}"),
        };
        // A struct of texts and numbers always serialises.
        let body = serde_json::to_string(&document).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.asks_for_basic_auth {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"metrics\""),
            );
        }
        response
    }
}

/// An error's text as a sentence for people.
pub(super) fn sentence(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
        .unwrap_or_default()
}

/// 202: the events of a request were accepted; the body gives the result of each.
pub(super) fn accepted(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = StatusCode::ACCEPTED;
    let headers = answer.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// Capacity for the headers of a response and those of HTTP itself, so that the map need not grow.
const HEADERS: usize = 8;

/// 400, as bytes, for a client that speaks plain HTTP to a listener with TLS.
pub(super) const SPEAK_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 39\r\n\
    connection: close\r\n\r\nThis listener speaks TLS: use https://\n";

/// 304 if the browser has the version of `etag`, otherwise the whole response. Both carry the tag.
pub(super) fn unless_known(request: &HeaderMap, etag: &str, whole: impl FnOnce() -> Response) -> Response {
    let known = request.get(IF_NONE_MATCH);
    let mut answer = match known.is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => whole(),
    };
    if let Ok(etag) = HeaderValue::from_str(etag) {
        answer.headers_mut().insert(ETAG, etag);
    }
    answer
}

/// Health: 200, or 503 if a component does not work.
pub(super) fn health(works: bool, body: &Value) -> Response {
    let status = match works {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests;
