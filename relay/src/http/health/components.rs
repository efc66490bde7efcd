//! The components of health.

use super::{Component, Status};
use crate::app::App;
use crate::clock::Timestamp;
use crate::finding::Grade;
use crate::forward::sites::status::SiteStatus;
use crate::forward::their_clock;
use crate::forward::{DispatchStatus, Reachability, breaker};
use crate::http::arrivals::Shown;
use crate::http::door::Door;
use crate::http::failed_logins;
use crate::spool::Share;
use crate::switch::Recorded;
use relay_event::Outcome;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Free disk space below which the relay is out of service, in bytes: Spring's default.
const DISK_FREE_MIN: u64 = 10 * 1024 * 1024;

/// All components.
pub(super) async fn components(door: &Door) -> Vec<Component> {
    let app = &door.app;
    let error = app.spool.write_error().await.map(|error| error.as_str());
    let mut components = vec![
        database(error),
        spool(app, error),
        plausible(app),
        dashboard(app),
        policy(app),
        disk_space(app),
        switch(app),
        front_door(door),
    ];
    components.extend(tls(door));
    components
}

impl Component {
    fn new(name: &'static str, status: Status, reason: Option<&'static str>, mut details: Value) -> Self {
        if let Some(reason) = reason {
            details["reason"] = reason.into();
        }
        Self {
            name,
            status,
            reason,
            details,
        }
    }
}

fn database(error: Option<&'static str>) -> Component {
    let status = match error {
        None => Status::Up,
        Some(_) => Status::Down,
    };
    let result = i32::from(error.is_none());
    let details = json!({ "database": "SQLite", "result": result, "validationQuery": "UPDATE heartbeat" });
    Component::new("db", status, error, details)
}

fn spool(app: &App, error: Option<&'static str>) -> Component {
    let counts = app.ledger.counts();
    let limit = app.config.spool.bytes_max as u64;
    // The last bytes are rarely used: an event that does not fit is refused.
    let is_full = counts.spool_bytes >= limit - limit / 100;
    let (status, reason) = match error {
        Some(_) => (Status::Down, error),
        None if is_full => (Status::OutOfService, Some("spool full")),
        None => (Status::Up, None),
    };
    let oldest_age = (counts.spool_oldest_ms > 0)
        .then(|| app.clock.now().since(Timestamp(counts.spool_oldest_ms)).as_secs());
    let details = json!({
        "events": counts.spooled,
        "bytes": counts.spool_bytes,
        "limit": limit,
        "oldestAgeSeconds": oldest_age,
        "quarantined": app.spool.metrics.spool_quarantined.get(),
        "sites": spool_of_sites(app),
    });
    Component::new("spool", status, reason, details)
}

/// Each site's share of the spool. A full share is no reason to redirect the events of other sites, so it does not
/// worsen the status, unlike a full spool.
fn spool_of_sites(app: &App) -> BTreeMap<String, Value> {
    let shown = |share: Share| {
        let shown = json!({ "bytes": share.bytes, "limit": share.bytes_max, "full": share.is_full });
        (share.site, shown)
    };
    app.spool.shares().into_iter().map(shown).collect()
}

/// The certificates, if a listener has one. A failed reload is a warning: the previous certificate stays in use. An
/// expired certificate locks browsers out.
fn tls(door: &Door) -> Option<Component> {
    let now = door.app.clock.now();
    let (mut expired, mut is_stale) = (false, false);
    let mut details = serde_json::Map::new();
    for tls in door.tls.iter() {
        let (pair, error) = (tls.current(), tls.last_error());
        expired |= pair.is_expired(now);
        is_stale |= error.is_some();
        let shown = json!({ "expiresInDays": pair.days_left(now), "failedReload": error });
        details.insert(tls.listener().to_owned(), shown);
    }
    let status = match (expired, is_stale) {
        (true, _) => Status::OutOfService,
        (false, true) => Status::Unknown,
        (false, false) => Status::Up,
    };
    (!details.is_empty()).then(|| Component::new("tls", status, None, details.into()))
}

/// The delivery state of a site that is on.
#[derive(Serialize)]
struct Site {
    #[serde(skip)]
    is_held: bool,
    #[serde(flatten)]
    words: SiteStatus,
}

/// The sites that are on. The others deliver nothing.
fn sites(app: &App) -> BTreeMap<String, Site> {
    let on = app.switches.sites().filter(|site| site.is_on());
    let shown = on.map(|site| {
        let shown = app.sites.shown(&site.domain).unwrap_or_default();
        let is_held = shown.record.state().is_refused();
        let words = SiteStatus::of(&site.domain, &shown, true);
        (site.domain.clone(), Site { is_held, words })
    });
    shown.collect()
}

/// The state of delivery. Sends no request to Plausible.
fn plausible(app: &App) -> Component {
    let dispatch = app.dispatcher.status();
    let counts = app.ledger.counts();
    let sites = sites(app);
    let is_any_held = sites.values().any(|site| site.is_held);
    let has_mismatch = app.dispatcher.mismatch().is_some();
    let (status, why) = delivery(&dispatch, has_mismatch, is_any_held);
    // A warning: the previous content stays in use.
    let status = match (status, app.upstream.last_error()) {
        (Status::Up, Some(_)) => Status::Unknown,
        _ => status,
    };
    let details = json!({
        "why": why,
        "cause": dispatch.cause.as_ref().map(|cause| json!({
            "name": cause.name(),
            "says": cause.to_string(),
            "advice": cause.advice(),
        })),
        "failedReload": app.upstream.last_error(),
        "way": app.config.upstream.way.to_string(),
        "lastAddress": app.upstream.http().peer(),
        "breaker": dispatch.breaker.name(),
        "retryInSeconds": dispatch.retry_in.map(|wait| wait.as_secs()),
        "failuresInARow": dispatch.failures_in_a_row,
        "requestsInFlight": dispatch.in_flight,
        "requestsLimit": dispatch.limit,
        "delivered": counts.ended(Outcome::Delivered),
        "droppedByPlausible": counts.ended(Outcome::DroppedByPlausible),
        "selfTest": app.dispatcher.self_test(),
        "clock": match app.dispatcher.their_clock.ahead_s() {
            None => json!("not checked: no answer has had a Date header yet"),
            Some(ahead) => json!({ "aheadSeconds": ahead, "says": their_clock::words(ahead).0 }),
        },
        "sites": sites,
    });
    Component::new("plausible", status, None, details)
}

/// Whether delivery works, and why.
fn delivery(dispatch: &DispatchStatus, has_mismatch: bool, is_any_held: bool) -> (Status, &'static str) {
    use Reachability::{Down, Misconfigured, Unclear, Unknown, Up};
    use breaker::State::{Closed, HalfOpen, Open};
    match (dispatch.reachability, dispatch.breaker) {
        (Up | Unknown, _) if has_mismatch => (
            Status::OutOfService,
            "the server does not read the visitor's address from the header that the relay sends: see `selfTest`",
        ),
        (Misconfigured, _) => (
            Status::OutOfService,
            "the answers are not Plausible's: check `upstream.url`",
        ),
        (Unclear, _) => (
            Status::OutOfService,
            "an event was answered with a 2xx that is not Plausible's 202: it may have been counted and is not \
             resent; nothing more is sent until Plausible answers the self-test; check `upstream.url`",
        ),
        (Up | Unknown, Closed | HalfOpen) if is_any_held => (
            Status::OutOfService,
            "Plausible answers, and drops the events of a site: `sites` names it; its events wait in the spool",
        ),
        (Unknown, HalfOpen) => (
            Status::Unknown,
            "waiting events are sent once Plausible reports that it is healthy",
        ),
        (_, Open | HalfOpen) => (
            Status::OutOfService,
            "Plausible is unavailable: nothing is sent until it answers again; events wait in the spool",
        ),
        (Down, Closed) => (
            Status::OutOfService,
            "the last request failed; events wait in the spool",
        ),
        (Up, Closed) => (Status::Up, "the last request was answered"),
        (Unknown, Closed) => (Status::Unknown, "nothing has been sent yet"),
    }
}

/// Whether the dashboard shows the delivered events. Sends no request to Plausible.
fn dashboard(app: &App) -> Component {
    let sites = app.dashboard.sites();
    let is_missing = sites.values().any(|site| site.is_missing);
    let is_checked = !sites.is_empty() && sites.values().all(|site| site.checked_at.is_some());
    let (status, why) = match (is_missing, is_checked) {
        (true, _) => (
            Status::OutOfService,
            "the dashboard shows fewer events than were delivered",
        ),
        (false, true) => (Status::Up, "the dashboard shows every event that was delivered"),
        (false, false) => (Status::Unknown, "not checked for every site"),
    };
    Component::new("dashboard", status, None, json!({ "why": why, "sites": sites }))
}

/// The policy in use. A failed reload is a warning: the previous policy stays in use. So is a built-in policy that
/// replaced a failed one.
fn policy(app: &App) -> Component {
    let plans: BTreeMap<&str, u32> = app
        .switches
        .sites()
        .map(|site| (site.domain.as_str(), site.plan.version))
        .collect();
    let (in_use, error) = (app.policy.current(), app.policy.last_error());
    let (status, reason) = match (&in_use.instead_of, &error) {
        _ if in_use.status.is_failing() => (Status::OutOfService, Some("policy failing")),
        (Some(_), _) => (Status::Unknown, Some("policy failing, built-in took over")),
        (None, Some(_)) => (Status::Unknown, None),
        (None, None) => (Status::Up, None),
    };
    let details = json!({
            "plans": plans,
            "sha256": in_use.identity.sha256,
            "source": in_use.identity.source,
            "since": in_use.since.rfc3339(),
            "failedReload": error,
            "failure": in_use.failure(),
            "insteadOf": in_use.instead_of.as_ref().map(|failed| &failed.sha256),
    });
    Component::new("policy", status, reason, details)
}

/// Whether it is recorded which sites are off. If not, a restart would switch such a site on: events should be
/// redirected, and the relay must not be restarted.
fn switch(app: &App) -> Component {
    let unrecorded: BTreeMap<&str, &str> = app
        .switches
        .sites()
        .filter(|site| site.recorded() != Recorded::Database)
        .map(|site| (site.domain.as_str(), site.recorded().as_str()))
        .collect();
    let worst = app.switches.sites().map(|site| site.recorded()).max();
    let (status, reason) = match worst.unwrap_or(Recorded::Database) {
        Recorded::Database => (Status::Up, None),
        Recorded::Tombstone => (Status::Unknown, Some("switch in a tombstone file only")),
        Recorded::Nowhere => (Status::OutOfService, Some("switch not recorded")),
    };
    Component::new("switch", status, reason, json!({ "unrecorded": unrecorded }))
}

/// How requests and logins arrive. Oddities are a warning: events are accepted regardless.
fn front_door(door: &Door) -> Component {
    let app = &door.app;
    let mut findings = door.arrivals.findings(&app.config.public, Shown::Admin);
    let fine = findings.iter().any(|finding| finding.grade == Grade::Ok);
    let minor = findings
        .iter()
        .all(|finding| finding.advice.is_some() && finding.grade < Grade::Warning);
    let logins = failed_logins::finding(app.accounts.failed_logins());
    let is_guessed_at = logins.grade == Grade::Warning;
    findings.extend(is_guessed_at.then_some(logins));
    let status = match (fine || minor) && !is_guessed_at {
        true => Status::Up,
        false => Status::Unknown,
    };
    let details = json!({ "findings": findings, "suspicious": suspicious(app) });
    Component::new("frontDoor", status, None, details)
}

/// Events of each site that do not look like a browser's, by reason.
fn suspicious(app: &App) -> BTreeMap<&str, BTreeMap<&'static str, u64>> {
    let sites = app.switches.sites().map(|site| site.domain.as_str());
    sites
        .map(|site| (site, app.counters.suspicious_of(site)))
        .collect()
}

fn disk_space(app: &App) -> Component {
    let Ok(disk) = rustix::fs::statvfs(&app.config.data_dir) else {
        return Component::new("diskSpace", Status::Unknown, None, json!({}));
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let total = disk.f_blocks.saturating_mul(disk.f_frsize);
    let (status, reason) = match free < DISK_FREE_MIN {
        true => (Status::Down, Some("disk space low")),
        false => (Status::Up, None),
    };
    let details = json!({ "total": total, "free": free, "threshold": DISK_FREE_MIN });
    Component::new("diskSpace", status, reason, details)
}
