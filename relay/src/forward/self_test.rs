//! Checks, without counting anything, whether a server is healthy, which server it is, and whether it reads the
//! pseudonymous address from where the relay sends it.
//!
//! Nothing sent here is counted: a health probe, and an event whose name exceeds the limit of every server
//! (`identify.rs`). A finding claims only what an answer showed; everything else is "not checked". This cannot reveal
//! whether the site is known: Plausible answers 202 to an unknown one as well, and reports that it dropped the event.
//! Only [`count_an_event`] shows it.

mod recognise;
mod together;

pub(super) use recognise::recognise;
pub(super) use together::takes_together;

use super::identify::{Answer, VISITOR, identify};
use super::plausible::{self, Reply, Requests};
use super::transport::{Cause, Connection};
use crate::config::{Profile, Upstream};
use crate::finding::Finding;
use axum::http::header::{DATE, HeaderValue};
use axum::http::{Request, Response};
use bytes::Bytes;
use serde_json::{Map, Value};

/// Plausible takes names of 120 characters (contract a.3). One more is refused.
const NAME_CHARS_MAX: usize = 120;
/// The name of the one event that counts.
pub const TEST_EVENT: &str = "Relay Test";

const CHECK_URL: &str = "check `upstream.url`, and any proxy between the relay and Plausible";
pub(super) const HOW_TO_CHECK: &str =
    "`doctor --send-test-event` checks it with a Stats API key: see `stats_key_file` under [upstream]";

/// The result of a self-test.
#[derive(Debug, Default)]
pub struct Report {
    /// All findings.
    pub findings: Vec<Finding>,
    /// The server's time, as it wrote it.
    pub date: Option<String>,
    /// Whether a known server answered.
    pub is_known: bool,
    /// Why the server that answers counts all visitors as one, if it does.
    pub mismatch: Option<String>,
}

/// Sends the requests, and reports the findings.
pub async fn run(connection: &mut impl Connection, upstream: &Upstream, site: &str) -> Report {
    let mut report = Report::default();
    let Some(requests) = Requests::new(upstream) else {
        return report;
    };
    if let Some(request) = requests.health() {
        let answer = connection.send(request).await;
        report.findings.push(health(upstream.profile, answer));
    }
    match connection.send(question(&requests, site, true)).await {
        Err(cause) => report.findings.push(unanswered(EVENTS_API, &cause)),
        Ok(answer) => {
            let date = answer.headers().get(DATE);
            report.date = date.and_then(|date| Some(date.to_str().ok()?.to_owned()));
            judge(&mut report, upstream, &answer);
        }
    }
    report
}

const EVENTS_API: &str = "Plausible's events API";
const ADDRESS: &str = "visitors";

/// Judges this configuration by the server that answers.
fn judge(report: &mut Report, upstream: &Upstream, answer: &Response<Bytes>) {
    match identify(answer) {
        Answer::Refused(server) => refused(report, upstream, server),
        Answer::SeesAddress { is_ours } => sees_address(report, upstream, is_ours),
        Answer::TakesAnything => {
            let says = "not checked: it accepts an event that Plausible refuses, so it may be another server";
            report
                .findings
                .push(Finding::warning(EVENTS_API, says).advise(CHECK_URL));
        }
        Answer::Unwell(_) | Answer::OtherJson(_) | Answer::Other(_) => {
            report.findings.push(strange(EVENTS_API, &upstream.url, answer));
        }
    }
}

/// A known server refused the event. It does not say which address it saw.
fn refused(report: &mut Report, upstream: &Upstream, server: Profile) {
    let (profile, header, name) = (upstream.profile, &upstream.address_header, server.server());
    report.is_known = true;
    let answers = format!("{name} answers");
    report.findings.push(match profile == server {
        true => Finding::ok(EVENTS_API, answers),
        false => mismatch(profile, server, &answers),
    });
    if server.reads(header) {
        let says = format!(
            "not checked: {name} reads {header}, but does not report whether the relay's value arrived"
        );
        report
            .findings
            .push(Finding::note(ADDRESS, says).advise(HOW_TO_CHECK));
        return;
    }
    let advice = match profile == server {
        true => server.header_line(),
        false => server.line(),
    };
    let says = format!("{name} does not read {header}: all visitors count as one");
    all_count_as_one(report, says, advice);
}

/// The server said which address it saw, as the load balancer of Plausible Cloud does.
fn sees_address(report: &mut Report, upstream: &Upstream, is_ours: bool) {
    const CLOUD: Profile = Profile::PlausibleCloud;
    report.is_known = true;
    let answers = "Plausible answers";
    report.findings.push(match upstream.profile {
        Profile::Vince => mismatch(Profile::Vince, CLOUD, answers),
        Profile::PlausibleCe | CLOUD => Finding::ok(EVENTS_API, answers),
    });
    if is_ours {
        let says = "the server sees the pseudonymous address";
        report.findings.push(Finding::ok(ADDRESS, says));
        return;
    }
    let header = &upstream.address_header;
    let advice = if CLOUD.reads(header) {
        "a proxy between the relay and Plausible replaces the header: configure it to pass the header unchanged".to_owned()
    } else if upstream.profile == CLOUD {
        CLOUD.header_line()
    } else {
        CLOUD.line()
    };
    let says = format!(
        "the server does not see the address that the relay sends in {header}: all visitors count as one"
    );
    all_count_as_one(report, says, advice);
}

fn all_count_as_one(report: &mut Report, says: String, advice: String) {
    report.mismatch = Some(says.clone());
    report.findings.push(Finding::wrong(ADDRESS, says).advise(advice));
}

/// Another server answers than `upstream.profile` says.
fn mismatch(profile: Profile, server: Profile, answers: &str) -> Finding {
    let says = format!("{answers}, but `upstream.profile` is \"{}\"", profile.name());
    Finding::warning(EVENTS_API, says).advise(server.line())
}

/// Sends one event that counts, named [`TEST_EVENT`], and reports whether Plausible kept it.
pub async fn count_an_event(connection: &mut impl Connection, upstream: &Upstream, site: &str) -> Finding {
    let Some(requests) = Requests::new(upstream) else {
        return Finding::wrong("test event", "`upstream.url` is not a valid URL");
    };
    let request = requests.test_event(site, TEST_EVENT, VISITOR);
    let answer = connection.send(request).await;
    counted(format!("test event of {site}"), upstream, answer)
}

/// The finding about an event that counts, by its answer.
pub(super) fn counted(what: String, upstream: &Upstream, answer: Result<Response<Bytes>, Cause>) -> Finding {
    match answer {
        Err(cause) => unanswered(&what, &cause),
        Ok(answer) => match plausible::read(answer.status(), answer.headers()) {
            Reply::Accepted => {
                Finding::ok(what, "Plausible accepted it and did not report it as dropped")
            }
            Reply::Dropped => Finding::wrong(what, "Plausible answered 202 and dropped it").advise(
                "add the site in Plausible under exactly this domain; check that its shields do not block the relay",
            ),
            _ => strange(&what, &upstream.url, &answer),
        },
    }
}

/// The request that counts nowhere: an event with a name that is too long, so that it is answered 400.
/// `asks_for_address` has Plausible Cloud answer which address it would use instead.
fn question(requests: &Requests, site: &str, asks_for_address: bool) -> Request<Bytes> {
    let name = "x".repeat(NAME_CHARS_MAX + 1);
    let mut request = requests.test_event(site, &name, VISITOR);
    if asks_for_address {
        let asked = HeaderValue::from_static("true");
        request.headers_mut().insert("x-debug-request", asked);
    }
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
        (_, Reply::Retry) => Finding::wrong(what, format!("it reports that it is unhealthy ({status})"))
            .advise("check Plausible's own logs: its databases must be running"),
        (Profile::Vince, _) => Finding::note(
            what,
            "not checked: Vince does not report its health, but it answers",
        ),
        _ if status.is_success() && reports_well(answer.body()) => {
            Finding::ok(what, "it reports that it is healthy")
        }
        _ => Finding::note(
            what,
            format!("not checked: `upstream.health_path` does not report Plausible's health ({status})"),
        )
        .advise("set `upstream.health_path` to Plausible's health endpoint, or to \"\" to skip this check"),
    }
}

/// Whether a body is what Plausible's health endpoints answer: a JSON object in which all is `"ok"` or `true`.
fn reports_well(body: &[u8]) -> bool {
    let parts: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
    let is_well = |part: &Value| *part == "ok" || *part == true;
    parts.is_some_and(|parts| !parts.is_empty() && parts.values().all(is_well))
}

fn unanswered(what: &str, cause: &Cause) -> Finding {
    Finding::wrong(what, cause.to_string()).advise(cause.advice())
}

fn strange(what: &str, url: &str, answer: &Response<Bytes>) -> Finding {
    if let Some(cause) = Cause::of_answer(url, answer) {
        return unanswered(what, &cause);
    }
    let status = answer.status();
    let says = format!("the answer does not come from Plausible's events API ({status})");
    Finding::wrong(what, says).advise(CHECK_URL)
}

#[cfg(test)]
mod tests;
