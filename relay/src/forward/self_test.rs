//! Asks a server, without counting anything, whether it is well, which server it is, and whether it reads the
//! pseudonymous address where the relay sends it.
//!
//! Nothing sent here is counted: a health probe, and an event whose name is longer than any server takes
//! (`identify.rs`). A finding claims only what an answer showed; everything else is "not checked". Whether the site
//! is known cannot be asked that way: Plausible answers 202 to an unknown one as well, and says that it dropped
//! the event. Only [`count_an_event`] shows it.

mod recognise;

pub(super) use recognise::recognise;

use super::identify::{Answer, identify};
use super::plausible::{self, Reply, Requests};
use super::transport::{Cause, Connection};
use crate::config::{Profile, Upstream};
use axum::http::header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, Request, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::borrow::Cow;

/// Plausible takes names of 120 characters (contract a.3). One more is refused.
const NAME_CHARS_MAX: usize = 120;
/// The visitor of the self-test's events: an address like those that the relay makes, of no real visitor.
pub const VISITOR: &str = "2001:db8::5e1f:7e57";
/// The name of the one event that counts.
pub const TEST_EVENT: &str = "Relay Test";

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// How it is.
    pub grade: Grade,
    /// What was seen.
    pub says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<Cow<'static, str>>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It works, but not as it should.
    Warning,
    /// It does not work.
    Wrong,
}

impl Finding {
    /// As it should be, or worth knowing.
    pub fn new(what: impl Into<String>, grade: Grade, says: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            grade,
            says: says.into(),
            advice: None,
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn advise(self, advice: impl Into<Cow<'static, str>>) -> Self {
        Self {
            advice: Some(advice.into()),
            ..self
        }
    }
}

const CHECK_URL: &str = "check `upstream.url`, and what stands between the relay and Plausible";
pub(super) const HOW_TO_CHECK: &str =
    "`doctor --send-test-event` checks it with a Stats API key: see `stats_key_file` under [upstream]";

/// The result of a self-test.
#[derive(Debug, Default)]
pub struct Asked {
    /// All findings.
    pub findings: Vec<Finding>,
    /// The server's time, as it wrote it.
    pub date: Option<String>,
    /// Whether a known server answered.
    pub is_known: bool,
    /// Why the server that answers counts all visitors as one, if it does.
    pub mismatch: Option<String>,
}

/// Asks, and reports what the answers showed.
pub async fn ask(connection: &mut impl Connection, upstream: &Upstream, site: &str) -> Asked {
    let mut asked = Asked::default();
    let Some(requests) = Requests::new(upstream) else {
        return asked;
    };
    if let Some(request) = requests.health() {
        asked
            .findings
            .push(health(upstream.profile, connection.send(request).await));
    }
    match connection.send(question(&requests, upstream, site, true)).await {
        Err(cause) => asked.findings.push(unanswered(EVENTS_API, &cause)),
        Ok(answer) => {
            let date = answer.headers().get(DATE);
            asked.date = date.and_then(|date| Some(date.to_str().ok()?.to_owned()));
            judge(&mut asked, upstream, &answer);
        }
    }
    asked
}

const EVENTS_API: &str = "Plausible's events API";
const ADDRESS: &str = "visitors";

/// Judges this configuration by the server that answers.
fn judge(asked: &mut Asked, upstream: &Upstream, answer: &Response<Bytes>) {
    match identify(answer) {
        Answer::Refused(server) => refused(asked, upstream, server),
        Answer::SeesAddress { is_ours } => sees_address(asked, upstream, is_ours),
        Answer::TakesAnything => asked.findings.push(
            Finding::new(
                EVENTS_API,
                Grade::Warning,
                "not checked: it accepts an event that Plausible refuses, so it may be another server",
            )
            .advise(CHECK_URL),
        ),
        Answer::Unwell(_) | Answer::OtherJson(_) | Answer::Other(_) => {
            asked.findings.push(strange(EVENTS_API, &upstream.url, answer));
        }
    }
}

/// A known server refused the event. It does not say which address it saw.
fn refused(asked: &mut Asked, upstream: &Upstream, server: Profile) {
    let (profile, header) = (upstream.profile, &upstream.address_header);
    let name = server.server();
    asked.is_known = true;
    let matches = profile == server;
    asked.findings.push(match matches {
        true => Finding::new(EVENTS_API, Grade::Ok, format!("{name} answers")),
        false => mismatch(profile, server, &format!("{name} answers")),
    });
    if server.reads(header) {
        asked.findings.push(
            Finding::new(
                ADDRESS,
                Grade::Note,
                format!(
                    "not checked: {name} reads {header}, and does not say whether the relay's value reaches it"
                ),
            )
            .advise(HOW_TO_CHECK),
        );
        return;
    }
    let says = format!("{name} does not read {header}: all visitors count as one");
    asked.mismatch = Some(says.clone());
    let advice = if matches {
        server.header_line()
    } else {
        server.line()
    };
    asked
        .findings
        .push(Finding::new(ADDRESS, Grade::Wrong, says).advise(advice));
}

/// The server said which address it saw, as the load balancer of Plausible Cloud does.
fn sees_address(asked: &mut Asked, upstream: &Upstream, is_ours: bool) {
    const CLOUD: Profile = Profile::PlausibleCloud;
    asked.is_known = true;
    let answers = "Plausible answers";
    asked.findings.push(match upstream.profile {
        Profile::Vince => mismatch(Profile::Vince, CLOUD, answers),
        Profile::PlausibleCe | CLOUD => Finding::new(EVENTS_API, Grade::Ok, answers),
    });
    if is_ours {
        let says = "the server sees the pseudonymous address";
        asked.findings.push(Finding::new(ADDRESS, Grade::Ok, says));
        return;
    }
    let says = format!(
        "the server sees another address than the relay sends in {}: all visitors count as one",
        upstream.address_header
    );
    asked.mismatch = Some(says.clone());
    let advice = if CLOUD.reads(&upstream.address_header) {
        "a proxy between the relay and Plausible replaces the header: let it pass unchanged"
    } else if upstream.profile == CLOUD {
        CLOUD.header_line()
    } else {
        CLOUD.line()
    };
    asked
        .findings
        .push(Finding::new(ADDRESS, Grade::Wrong, says).advise(advice));
}

/// Another server answers than `upstream.profile` says.
fn mismatch(profile: Profile, server: Profile, answers: &str) -> Finding {
    let says = format!("{answers}, and `upstream.profile` is \"{}\"", profile.name());
    Finding::new(EVENTS_API, Grade::Warning, says).advise(server.line())
}

/// Sends one event that counts, named [`TEST_EVENT`], and reports whether Plausible kept it.
pub async fn count_an_event(connection: &mut impl Connection, upstream: &Upstream, site: &str) -> Finding {
    let Some(requests) = Requests::new(upstream) else {
        return Finding::new("test event", Grade::Wrong, "`upstream.url` is no address");
    };
    let what = format!("test event of {site}");
    let request = event(&requests, upstream, site, TEST_EVENT, VISITOR);
    counted(what, upstream, connection.send(request).await)
}

/// The finding about an event that counts, by its answer.
pub(super) fn counted(what: String, upstream: &Upstream, answer: Result<Response<Bytes>, Cause>) -> Finding {
    match answer {
        Err(cause) => unanswered(&what, &cause),
        Ok(answer) => match plausible::read(answer.status(), answer.headers()) {
            Reply::Accepted => Finding::new(
                what,
                Grade::Ok,
                "Plausible accepted it, and does not say that it dropped it",
            ),
            Reply::Dropped => Finding::new(what, Grade::Wrong, "Plausible answered 202 and dropped it").advise(
                "add the site there under exactly this domain; check that its shields let the relay through",
            ),
            _ => strange(&what, &upstream.url, &answer),
        },
    }
}

/// The request that counts nowhere: an event with a name that is too long, so that it is answered 400.
/// `asks_for_address` has Plausible Cloud answer which address it would use instead.
fn question(requests: &Requests, upstream: &Upstream, site: &str, asks_for_address: bool) -> Request<Bytes> {
    let name = "x".repeat(NAME_CHARS_MAX + 1);
    let mut request = event(requests, upstream, site, &name, VISITOR);
    if asks_for_address {
        request
            .headers_mut()
            .insert("x-debug-request", HeaderValue::from_static("true"));
    }
    request
}

/// An event of the site's first page, from a visitor of this pseudonymous address.
pub(super) fn event(
    requests: &Requests,
    upstream: &Upstream,
    site: &str,
    name: &str,
    visitor: &str,
) -> Request<Bytes> {
    let body =
        json!({ "name": name, "url": format!("https://{site}/"), "domain": site, "interactive": false });
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let address: HeaderName = upstream.address_header.clone();
    if let Ok(visitor) = HeaderValue::from_str(visitor) {
        headers.insert(address, visitor);
    }
    let mut request = Request::new(Bytes::from(body.to_string()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = requests.event_uri();
    *request.headers_mut() = headers;
    request
}

fn health(profile: Profile, answer: Result<Response<Bytes>, Cause>) -> Finding {
    let what = "Plausible's health";
    let answer = match answer {
        Err(cause) => return unanswered(what, &cause),
        Ok(answer) => answer,
    };
    let status = answer.status();
    match (profile, plausible::read(status, answer.headers())) {
        (_, Reply::Retry) => Finding::new(
            what,
            Grade::Wrong,
            format!("it says that it is not well ({status})"),
        )
        .advise("look at Plausible's own logs: its databases have to be up"),
        (Profile::Vince, _) => Finding::new(
            what,
            Grade::Note,
            "not checked: Vince does not report its health; it answers",
        ),
        (_, _) if status.is_success() && reports_well(answer.body()) => {
            Finding::new(what, Grade::Ok, "it says that it is well")
        }
        (_, _) => Finding::new(
            what,
            Grade::Note,
            format!("not checked: nothing reports Plausible's health there ({status})"),
        )
        .advise("`upstream.health_path` says where to ask; empty for nowhere"),
    }
}

/// Whether a body is what Plausible's health endpoints answer: a JSON object in which all is `"ok"` or `true`.
fn reports_well(body: &[u8]) -> bool {
    let parts: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(body).ok();
    parts.is_some_and(|parts| {
        !parts.is_empty()
            && parts
                .values()
                .all(|part| *part == "ok" || *part == serde_json::Value::Bool(true))
    })
}

fn unanswered(what: &str, cause: &Cause) -> Finding {
    Finding::new(what, Grade::Wrong, cause.to_string()).advise(cause.advice())
}

fn strange(what: &str, url: &str, answer: &Response<Bytes>) -> Finding {
    match Cause::of_answer(url, answer) {
        Some(cause) => unanswered(what, &cause),
        None => {
            let says = format!(
                "the answer is not that of Plausible's events API ({})",
                answer.status()
            );
            Finding::new(what, Grade::Wrong, says).advise(CHECK_URL)
        }
    }
}

#[cfg(test)]
mod tests;
