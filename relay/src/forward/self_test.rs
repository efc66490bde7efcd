//! Asks a Plausible, without counting anything, whether it is well, speaks the events API, and sees the
//! pseudonymous address.
//!
//! What it sends counts nowhere: a health probe, and an event whose name is longer than Plausible takes, so
//! that it is answered 400 (contract c.1). With `X-Debug-Request`, Plausible Cloud answers instead which
//! address it would use (contract b.2). Whether Plausible knows the site cannot be asked that way: it
//! answers 202 to an unknown one as well and says that it threw the event away. Only [`count_an_event`] tells.

use super::plausible::{self, Reply, Requests};
use super::transport::{Connection, Failure};
use crate::config::Upstream;
use axum::http::header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use std::borrow::Cow;

/// Plausible takes names of 120 characters (contract a.3). One more is refused.
const NAME_CHARS_MAX: usize = 120;
/// The visitor of what is sent here: an address like those that the relay makes, of nobody.
pub const VISITOR: &str = "2001:db8::5e1f:7e57";
/// The name of the one event that counts.
pub const TEST_EVENT: &str = "Relay Test";

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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

/// Asks, and tells what was seen, with the time the other side has, as it wrote it.
pub async fn ask(
    connection: &mut impl Connection,
    upstream: &Upstream,
    site: &str,
) -> (Vec<Finding>, Option<String>) {
    let Some(requests) = Requests::new(upstream) else {
        return (vec![], None);
    };
    let mut findings = Vec::new();
    if let Some(request) = requests.health() {
        findings.push(health(connection.send(request).await));
    }
    let name = "x".repeat(NAME_CHARS_MAX + 1);
    let mut request = event(&requests, upstream, site, &name);
    request
        .headers_mut()
        .insert("x-debug-request", HeaderValue::from_static("true"));
    let answer = connection.send(request).await;
    let date = answer.as_ref().ok().and_then(|answer| {
        let date = answer.headers().get(DATE)?;
        Some(date.to_str().ok()?.to_owned())
    });
    findings.push(events_api(answer));
    (findings, date)
}

/// Sends one event that counts, named [`TEST_EVENT`], and tells whether Plausible kept it.
pub async fn count_an_event(connection: &mut impl Connection, upstream: &Upstream, site: &str) -> Finding {
    let Some(requests) = Requests::new(upstream) else {
        return Finding::new("test event", Grade::Wrong, "`upstream.url` is no address");
    };
    let what = format!("test event of {site}");
    match connection.send(event(&requests, upstream, site, TEST_EVENT)).await {
        Err(failure) => unanswered(&what, failure),
        Ok(answer) => match plausible::read(answer.status(), answer.headers()) {
            Reply::Accepted => Finding::new(what, Grade::Ok, "Plausible took it and knows the site"),
            Reply::Dropped => Finding::new(what, Grade::Wrong, "Plausible answered 202 and threw it away")
                .advise("does the site exist there, under exactly this domain? Do its shields keep the relay out?"),
            _ => strange(&what, answer.status()),
        },
    }
}

fn event(requests: &Requests, upstream: &Upstream, site: &str, name: &str) -> Request<Bytes> {
    let body =
        json!({ "name": name, "url": format!("https://{site}/"), "domain": site, "interactive": false });
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let address: HeaderName = upstream.address_header.clone();
    headers.insert(address, HeaderValue::from_static(VISITOR));
    let mut request = Request::new(Bytes::from(body.to_string()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = requests.event_uri();
    *request.headers_mut() = headers;
    request
}

fn health(answer: Result<Response<Bytes>, Failure>) -> Finding {
    let what = "Plausible's health";
    match answer {
        Err(failure) => unanswered(what, failure),
        Ok(answer) if answer.status().is_success() => {
            Finding::new(what, Grade::Ok, "it says that it is well")
        }
        Ok(answer) => match (
            answer.status().as_u16(),
            plausible::read(answer.status(), answer.headers()),
        ) {
            (status, Reply::Retry) => Finding::new(
                what,
                Grade::Wrong,
                format!("it says that it is not well ({status})"),
            )
            .advise("look at Plausible's own logs: its databases have to be up"),
            (status, _) => Finding::new(
                what,
                Grade::Note,
                format!("nothing answers that there ({status})"),
            )
            .advise("`upstream.health_path` says where to ask; empty for nowhere"),
        },
    }
}

fn events_api(answer: Result<Response<Bytes>, Failure>) -> Finding {
    let what = "Plausible's events API";
    let answer = match answer {
        Err(failure) => return unanswered(what, failure),
        Ok(answer) => answer,
    };
    let is_json_object =
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(answer.body()).is_ok();
    let names = |address: &str| String::from_utf8_lossy(answer.body()).contains(address);
    match answer.status().as_u16() {
        400 if is_json_object => Finding::new(
            what,
            Grade::Ok,
            "it answers; which address it sees and whether it knows the site only an event that counts can tell",
        ),
        200 if names(VISITOR) => Finding::new(what, Grade::Ok, "it answers and sees the pseudonymous address"),
        200 if !names("<") => Finding::new(what, Grade::Wrong, "it answers, but sees another address than the relay sends").advise(
            "set `upstream.address_header`: x-forwarded-for for Plausible Cloud, x-plausible-ip for one of your own; or a proxy in between replaces it",
        ),
        202 => Finding::new(what, Grade::Note, "it takes what Plausible refuses, so nothing more can be told"),
        _ => strange(what, answer.status()),
    }
}

fn unanswered(what: &str, failure: Failure) -> Finding {
    let advice = match failure {
        Failure::Tls => "`upstream.ca_file` names the CA of a certificate that the system does not know",
        _ => CHECK_URL,
    };
    Finding::new(what, Grade::Wrong, failure.explain()).advise(advice)
}

fn strange(what: &str, status: StatusCode) -> Finding {
    let says = format!("what answers is not Plausible's events API ({status})");
    Finding::new(what, Grade::Wrong, says).advise(CHECK_URL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_is_told_apart() {
        let check = |status: u16, body: &'static str, health_grade: Grade, api_grade: Grade| {
            let answer = || {
                let answer = Response::builder()
                    .status(status)
                    .body(Bytes::from_static(body.as_bytes()));
                Ok(answer.unwrap())
            };
            assert_eq!(health(answer()).grade, health_grade, "{status} {body}");
            assert_eq!(events_api(answer()).grade, api_grade, "{status} {body}");
        };
        use Grade::{Note, Ok as Fine, Wrong};
        check(
            400,
            r#"{"errors":{"event_name":["should be at most 120 character(s)"]}}"#,
            Note,
            Fine,
        );
        check(400, "<h1>Bad Request</h1>", Note, Wrong);
        check(200, r#"{"ip":"2001:db8::5e1f:7e57"}"#, Fine, Fine);
        check(200, "192.0.2.1", Fine, Wrong);
        check(200, "<html>a login</html>", Fine, Wrong);
        check(202, "ok", Fine, Note);
        check(404, "", Note, Wrong);
        check(500, "", Wrong, Wrong);
        check(301, "", Note, Wrong);
        for failure in [Failure::Unreachable, Failure::Tls, Failure::TimedOut] {
            assert_eq!(health(Err(failure)).grade, Wrong);
            assert!(events_api(Err(failure)).advice.is_some());
        }
    }
}
