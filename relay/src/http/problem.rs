//! The one place where a refusal becomes a response: RFC 9457 problem details.
//!
//! A problem says what is wrong and what to do; never what was sent.

use crate::host::BadHost;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use relay_event::{Malformed, Outcome};
use serde_json::json;
use std::time::Duration;

/// A refusal on its way out.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    retry_after_s: Option<u64>,
    plan: Option<u32>,
    asks_for_basic_auth: bool,
    page_token: Option<String>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            kind,
            title,
            detail: detail.into(),
            retry_after_s: None,
            plan: None,
            asks_for_basic_auth: false,
            page_token: None,
        }
    }

    /// With the plan version that consent has to be for.
    pub(super) fn plan(mut self, version: Option<u32>) -> Self {
        self.plan = version;
        self
    }

    /// With a page token that is valid now, for the page to send its events again.
    pub(super) fn page_token(mut self, token: Option<String>) -> Self {
        self.page_token = token;
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds.max(1));
        self
    }

    /// With a `Retry-After` in whole seconds: not before the wait is over.
    pub(crate) fn retry_in(self, wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1000);
        self.retry_after(u64::try_from(seconds).unwrap_or(u64::MAX))
    }

    /// With the header by which a client learns that basic auth is wanted.
    pub(super) fn basic_auth(mut self) -> Self {
        self.asks_for_basic_auth = true;
        self
    }

    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "Not found",
            "There is nothing here.",
        )
    }

    pub(super) fn head_too_large() -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head_too_large",
            "Headers too large",
            "The request's headers are larger than 80 KiB. Cookies are not needed here.",
        )
    }

    /// A request that does not name exactly one host.
    pub(super) fn bad_host(why: BadHost) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "host", "Invalid host", why.to_string())
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method",
            "Method not allowed",
            "This route takes another method; see the Allow header.",
        )
    }

    /// A body or query that is not what the route takes; `detail` says what it takes.
    pub(crate) fn invalid(detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", "Malformed", detail)
    }

    /// A body that could not be read as an event.
    pub(super) fn malformed(why: &Malformed) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            Outcome::Malformed.reason(),
            "Malformed",
            format!("{why}."),
        )
    }

    /// How an event ended, where that is no success.
    pub(crate) fn of(outcome: Outcome) -> Self {
        use Outcome as O;
        let (status, title, detail, retry) = match outcome {
            O::TooLarge => (
                413,
                "Too large",
                "The body is larger than `public.body_bytes_max` allows. Send smaller batches.",
                None,
            ),
            O::UnsupportedType => (
                415,
                "Unsupported media type",
                "Send text/plain or application/json, as it is or with Content-Encoding gzip.",
                None,
            ),
            O::Incomplete => (
                408,
                "Incomplete",
                "The body did not arrive whole within `public.body_timeout_s`, or nearly nothing of it came for 5 seconds.",
                None,
            ),
            O::LimitedClient => (
                429,
                "Too many requests",
                "More requests from this address than `public.rate_per_client` allows. Come back later.",
                Some(1),
            ),
            O::LimitedEvents => (
                429,
                "Too many events",
                "More events from this address than `budget.events_per_client` allows. Come back later.",
                Some(1),
            ),
            O::LimitedVisitors => (
                429,
                "Too many visitors",
                "More new visitors from this address than `budget.new_visitors_per_client` allows. Come back later.",
                Some(1),
            ),
            O::Suspicious => (
                403,
                "Suspicious",
                "No browser sends such a request, and `budget.suspicious` drops what none sends.",
                None,
            ),
            O::LimitedSite => (
                429,
                "Too many events",
                "More events of this site than `public.rate_per_site` allows. Come back later.",
                Some(1),
            ),
            O::SlowBody => (
                503,
                "Too slow",
                "Too many requests wait for their bodies, and this body was among the slowest. Send it again.",
                Some(1),
            ),
            O::UnknownSite => (
                403,
                "Unknown site",
                "No site of this domain is configured; it must be exactly the one in [[site]].",
                None,
            ),
            O::WrongOrigin => (
                403,
                "Wrong origin",
                "Pages of this origin may not send events for the site; `origins` in [[site]] lists those that may.",
                None,
            ),
            O::NoOrigin => (
                403,
                "No origin",
                "Browsers send `Origin` with every POST. A program that is no browser needs a token: [[tool]] in the \
                 configuration, and `Authorization: Bearer` in its requests.",
                None,
            ),
            O::FetchMetadata => (
                403,
                "Not from a page of the site",
                "`Sec-Fetch-Site` and `Sec-Fetch-Mode` say that a form, another site or the browser's user sent this.",
                None,
            ),
            O::PageToken => (
                403,
                "Page token",
                "Send `token` of this answer or of /api/config in the batch. It is valid for pages of one origin and \
                 one site, for an hour or two, until the relay restarts.",
                None,
            ),
            O::ToolToken => (
                403,
                "Unknown tool",
                "The bearer token is not one of a [[tool]] in the configuration, or that tool may not send for this site.",
                None,
            ),
            O::TrackersClosed => (
                403,
                "Trackers closed",
                "This relay takes no events in Plausible's format from pages; `public.trackers` opens the route.",
                None,
            ),
            O::OperatorLock => (403, "Disabled", "The operator has locked collection.", None),
            O::SwitchedOff => (
                403,
                "Disabled",
                "Collection is switched off for this site. Ask again when the configuration changes.",
                None,
            ),
            O::PrivacySignal => (
                403,
                "Privacy signal",
                "The browser sends Global Privacy Control or Do Not Track, and the user has not opted in in person.",
                None,
            ),
            O::NoConsent => (
                403,
                "No consent",
                "Send the user's consent: `consent` in a batch; for Plausible's format the plan's version, as \
                 `?consent=` or in the path, as /plan/1/api/event.",
                None,
            ),
            O::ConsentOutdated => (
                403,
                "Consent outdated",
                "The consent is for another version of the tracking plan than `plan`. Ask the user again.",
                None,
            ),
            O::CategoryRefused => (
                403,
                "Category refused",
                "The consent leaves out this event's category.",
                None,
            ),
            O::Bot => (403, "Bot", "Events of bots are not counted.", None),
            O::UnknownEvent => (
                400,
                "Unknown event",
                "The tracking plan does not list an event of this name.",
                None,
            ),
            O::EngagementLeftOut | O::NameLeftOut => (
                403,
                "Left out",
                "The server behind `upstream.url` cannot count this event, so `upstream.profile` leaves it out.",
                None,
            ),
            O::MissingProp => (
                400,
                "Missing property",
                "A property that the tracking plan requires is missing or has a value it does not allow.",
                None,
            ),
            O::Unsafe | O::Unwanted => (400, "Refused", "The privacy policy refused the event.", None),
            O::PolicyUnavailable => (
                503,
                "Policy unavailable",
                "The scrubbing policy is out of service, so no events are taken. Come back later.",
                Some(60),
            ),
            O::PolicyTrap | O::PolicyTimeout | O::Widened | O::Leak => (
                400,
                "Dropped",
                "The privacy policy failed on this event, so it was dropped.",
                None,
            ),
            O::SpoolFull => (
                503,
                "Spool full",
                "Too many events are waiting for delivery. Come back later.",
                Some(60),
            ),
            O::SpoolFullSite => (
                503,
                "Site full",
                "Too many events of this site are waiting for delivery. Come back later.",
                Some(60),
            ),
            O::SpoolUnavailable => (
                503,
                "Spool unavailable",
                "Events cannot be stored right now. Come back later.",
                Some(5),
            ),
            O::Overloaded => (
                503,
                "Overloaded",
                "Too much is going on right now. Come back later.",
                Some(1),
            ),
            O::Malformed => (
                400,
                "Malformed",
                "The body could not be unpacked: it has to be one whole gzip member, as content-encoding says.",
                None,
            ),
            _ => (400, "Refused", "The event was refused.", None),
        };
        let problem = Self::new(
            StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
            outcome.reason(),
            title,
            detail,
        );
        Self {
            retry_after_s: retry,
            ..problem
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("urn:feedback-relay:problem:{}", self.kind),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(version) = self.plan {
            body["plan"] = version.into();
        }
        if let Some(token) = self.page_token {
            body["token"] = token.into();
        }
        let mut response = (self.status, body.to_string()).into_response();
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

/// An error's text as a sentence for a person.
pub(super) fn sentence(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
        .unwrap_or_default()
}
