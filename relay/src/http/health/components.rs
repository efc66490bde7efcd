//! What health looks at, one component each.

use super::{Component, Status};
use crate::app::App;
use crate::clock::Moment;
use crate::forward::self_test::Grade;
use crate::forward::sites::words::Words;
use crate::forward::their_clock;
use crate::forward::{Reach, breaker};
use crate::http::arrivals::Shown;
use crate::http::failed_logins;
use crate::spool::Share;
use crate::switch::Kept;
use relay_event::Outcome;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Free disk space below which the relay calls itself out of service, in bytes: Spring's own default.
const DISK_FREE_MIN: u64 = 10 * 1024 * 1024;

/// All of them.
pub(super) async fn components(app: &App) -> Vec<Component> {
    let trouble = app.spool.trouble().await.map(|trouble| trouble.word());
    let writable = trouble.is_none();
    let counts = app.metrics.ledger.counts();
    let limit = app.config.spool.bytes_max as u64;
    let db = if writable { Status::Up } else { Status::Down };
    // The last bytes are hardly ever used up: an event that does not fit any more is refused.
    let full = counts.spool_bytes >= limit - limit / 100;
    let (spool, spool_reason) = match writable {
        false => (Status::Down, trouble),
        true if full => (Status::OutOfService, Some("spool full")),
        true => (Status::Up, None),
    };
    let oldest_age =
        (counts.spool_oldest_ms > 0).then(|| app.clock.now().since(Moment(counts.spool_oldest_ms)).as_secs());
    let mut components = vec![
        Component {
            name: "db",
            status: db,
            reason: trouble,
            details: with_reason(
                json!({ "database": "SQLite", "result": i32::from(writable), "validationQuery": "UPDATE heartbeat" }),
                trouble,
            ),
        },
        Component {
            name: "spool",
            status: spool,
            reason: spool_reason,
            details: with_reason(
                json!({
                    "events": counts.spooled,
                    "bytes": counts.spool_bytes,
                    "limit": limit,
                    "oldestAgeSeconds": oldest_age,
                    "quarantined": app.metrics.quarantined.get(),
                    "sites": spool_of_sites(app),
                }),
                spool_reason,
            ),
        },
        plausible(app),
        dashboard(app),
        policy(app),
        disk_space(app),
        switch(app),
        front_door(app),
    ];
    components.extend(tls(app));
    components
}

/// Each site's part of the spool. One that is full is no reason to send the others' events elsewhere, so it makes nothing
/// worse than a full spool would.
fn spool_of_sites(app: &App) -> BTreeMap<String, Value> {
    let shown = |share: Share| {
        let shown = json!({ "bytes": share.bytes, "limit": share.bytes_max, "full": share.is_full });
        (share.site, shown)
    };
    app.spool.shares().into_iter().map(shown).collect()
}

/// The certificates, where a listener has one. A reload that failed is a warning: the certificate before
/// goes on serving. One that has expired keeps browsers out.
fn tls(app: &App) -> Option<Component> {
    let now = app.clock.now();
    let (mut expired, mut troubled) = (false, false);
    let mut details = serde_json::Map::new();
    for tls in app.tls.iter() {
        let (pair, trouble) = (tls.current(), tls.trouble());
        expired |= pair.is_expired(now);
        troubled |= trouble.is_some();
        let shown = json!({ "expiresInDays": pair.days_left(now), "failedReload": trouble });
        details.insert(tls.listener().to_owned(), shown);
    }
    let status = match (expired, troubled) {
        (true, _) => Status::OutOfService,
        (false, true) => Status::Unknown,
        (false, false) => Status::Up,
    };
    (!details.is_empty()).then_some(Component {
        name: "tls",
        status,
        reason: None,
        details: Value::Object(details),
    })
}

fn with_reason(mut details: Value, reason: Option<&'static str>) -> Value {
    if let Some(reason) = reason {
        details["reason"] = reason.into();
    }
    details
}

/// A site that is on, as Plausible takes its events.
#[derive(Serialize)]
struct Site {
    #[serde(skip)]
    is_held: bool,
    #[serde(flatten)]
    words: Words,
}

/// The sites that are on. Nothing leaves for the others.
fn sites(app: &App) -> BTreeMap<String, Site> {
    let on = app.switches.sites().filter(|site| site.is_on());
    let shown = on.map(|site| {
        let shown = app.sites.shown(&site.domain).unwrap_or_default();
        let is_held = shown.record.standing().is_refused();
        let words = Words::of(&site.domain, &shown, true);
        (site.domain.clone(), Site { is_held, words })
    });
    shown.collect()
}

/// How delivery stands. Nothing is asked of Plausible for this.
fn plausible(app: &App) -> Component {
    let standing = app.traffic.standing();
    let counts = app.metrics.ledger.counts();
    let mismatch = app.traffic.mismatch();
    let sites = sites(app);
    let (status, why) = match (standing.reach, standing.breaker) {
        (Reach::Up | Reach::Unknown, _) if mismatch.is_some() => (
            Status::OutOfService,
            "the server does not read the visitor's address where the relay sends it: see `selfTest`",
        ),
        (Reach::Misconfigured, _) => (
            Status::OutOfService,
            "the answers are not Plausible's: check `upstream.url`",
        ),
        (Reach::Unclear, _) => (
            Status::OutOfService,
            "an event was answered with a 2xx that is not Plausible's 202: it may have been counted and is not repeated; nothing more is sent until the self-test is answered as Plausible answers it; check `upstream.url`",
        ),
        (Reach::Up | Reach::Unknown, breaker::State::Closed | breaker::State::HalfOpen)
            if sites.values().any(|site| site.is_held) =>
        {
            (
                Status::OutOfService,
                "Plausible answers, and drops the events of a site: `sites` names it; its events wait in the spool",
            )
        }
        (Reach::Unknown, breaker::State::HalfOpen) => (
            Status::Unknown,
            "what waited is sent once Plausible has answered that it is well",
        ),
        (_, breaker::State::Open | breaker::State::HalfOpen) => (
            Status::OutOfService,
            "Plausible is away: nothing is sent until it answers again; events wait in the spool",
        ),
        (Reach::Down, breaker::State::Closed) => (
            Status::OutOfService,
            "the last request failed; events wait in the spool",
        ),
        (Reach::Up, breaker::State::Closed) => (Status::Up, "the last request was answered"),
        (Reach::Unknown, breaker::State::Closed) => (Status::Unknown, "nothing was sent yet"),
    };
    // A warning: the content before stays in use.
    let status = match (status, app.upstream.trouble()) {
        (Status::Up, Some(_)) => Status::Unknown,
        _ => status,
    };
    Component {
        name: "plausible",
        status,
        reason: None,
        details: json!({
            "why": why,
            "cause": standing.cause.as_ref().map(|cause| json!({
                "name": cause.name(),
                "says": cause.to_string(),
                "advice": cause.advice(),
            })),
            "failedReload": app.upstream.trouble(),
            "way": app.config.upstream.way.to_string(),
            "lastAddress": app.upstream.http().peer(),
            "breaker": standing.breaker.name(),
            "retryInSeconds": standing.retry_in.map(|wait| wait.as_secs()),
            "failuresInARow": standing.failures_in_a_row,
            "requestsUnderWay": standing.under_way,
            "requestsLimit": standing.limit,
            "delivered": counts.ended(Outcome::Delivered),
            "droppedByPlausible": counts.ended(Outcome::DroppedByPlausible),
            "selfTest": app.traffic.self_test(),
            "clock": match app.metrics.their_clock.ahead_s() {
                None => json!("not checked: no answer had a date yet"),
                Some(ahead) => json!({ "aheadSeconds": ahead, "says": their_clock::words(ahead).0 }),
            },
            "sites": sites,
        }),
    }
}

/// Whether the dashboard shows what was delivered. Nothing is asked of Plausible for this.
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
    Component {
        name: "dashboard",
        status,
        reason: None,
        details: json!({ "why": why, "sites": sites }),
    }
}

/// The policy in use. A reload that failed is a warning: the policy before goes on serving. So is a built-in
/// policy that took over from one that failed.
fn policy(app: &App) -> Component {
    let plans: BTreeMap<&str, u32> = app
        .switches
        .sites()
        .map(|site| (site.domain.as_str(), site.plan.version))
        .collect();
    let (in_use, trouble) = (app.policy.current(), app.policy.trouble());
    let (status, reason) = match (&in_use.instead_of, &trouble) {
        _ if in_use.standing.is_failing() => (Status::OutOfService, Some("policy failing")),
        (Some(_), _) => (Status::Unknown, Some("policy failing, built-in took over")),
        (None, Some(_)) => (Status::Unknown, None),
        (None, None) => (Status::Up, None),
    };
    let details = json!({
            "plans": plans,
            "sha256": in_use.identity.sha256,
            "source": in_use.identity.source,
            "since": in_use.since.rfc3339(),
            "failedReload": trouble,
            "failure": in_use.failure(),
            "insteadOf": in_use.instead_of.as_ref().map(|failed| &failed.sha256),
    });
    Component {
        name: "policy",
        status,
        reason,
        details: with_reason(details, reason),
    }
}

/// Whether it is on record which sites are off. Where nothing says so, a restart would find one on: events
/// should go elsewhere, and nobody should restart this relay.
fn switch(app: &App) -> Component {
    let unrecorded: BTreeMap<&str, &str> = app
        .switches
        .sites()
        .filter(|site| site.kept() != Kept::Database)
        .map(|site| (site.domain.as_str(), site.kept().name()))
        .collect();
    let worst = app.switches.sites().map(|site| site.kept()).max();
    let (status, reason) = match worst.unwrap_or(Kept::Database) {
        Kept::Database => (Status::Up, None),
        Kept::Marker => (Status::Unknown, Some("switch in a marker only")),
        Kept::Nowhere => (Status::OutOfService, Some("switch not recorded")),
    };
    Component {
        name: "switch",
        status,
        reason,
        details: with_reason(json!({ "unrecorded": unrecorded }), reason),
    }
}

/// How requests and logins arrive. What is odd about that is a warning: events are taken all the same.
fn front_door(app: &App) -> Component {
    let mut findings = app.arrivals.findings(&app.config.public, Shown::Admin);
    let fine = findings.iter().any(|finding| finding.grade == Grade::Ok);
    let minor = findings
        .iter()
        .all(|finding| finding.advice.is_some() && finding.grade < Grade::Warning);
    let logins = failed_logins::finding(app.accounts.failed_logins());
    let is_guessed_at = logins.grade == Grade::Warning;
    findings.extend(is_guessed_at.then_some(logins));
    Component {
        name: "frontDoor",
        status: if (fine || minor) && !is_guessed_at {
            Status::Up
        } else {
            Status::Unknown
        },
        reason: None,
        details: json!({ "findings": findings, "suspicious": suspicious(app) }),
    }
}

/// How many events of each site do not look like a browser's, by reason.
fn suspicious(app: &App) -> BTreeMap<&str, BTreeMap<&'static str, u64>> {
    let sites = app.switches.sites().map(|site| site.domain.as_str());
    sites
        .map(|site| (site, app.metrics.suspicious.of(site)))
        .collect()
}

fn disk_space(app: &App) -> Component {
    match rustix::fs::statvfs(&app.config.data_dir) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let total = disk.f_blocks.saturating_mul(disk.f_frsize);
            let low = free < DISK_FREE_MIN;
            let reason = low.then_some("disk space low");
            Component {
                name: "diskSpace",
                status: if low { Status::Down } else { Status::Up },
                reason,
                details: with_reason(
                    json!({ "total": total, "free": free, "threshold": DISK_FREE_MIN }),
                    reason,
                ),
            }
        }
        Err(_) => Component {
            name: "diskSpace",
            status: Status::Unknown,
            reason: None,
            details: json!({}),
        },
    }
}
