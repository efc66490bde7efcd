//! Health in the shape Spring's actuator has, which operators' tools know.
//!
//! Liveness says the process answers and its writer is there. Readiness says it can take events: it looks at the spool and the
//! policy, never at Plausible, because the spool takes over while Plausible is away. The root looks at
//! everything, so it can be 503 while both groups are 200.

use crate::app::App;
use crate::forward::{Reach, breaker};
use crate::http::problem::Problem;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use relay_event::Outcome;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Free disk space below which the relay calls itself out of service, in bytes: Spring's own default.
const DISK_FREE_MIN: u64 = 10 * 1024 * 1024;

/// Statuses from worst to best, as Spring aggregates them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    Down,
    OutOfService,
    Up,
    Unknown,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Down => "DOWN",
            Self::OutOfService => "OUT_OF_SERVICE",
            Self::Up => "UP",
            Self::Unknown => "UNKNOWN",
        }
    }

    fn code(self) -> StatusCode {
        match self {
            Self::Down | Self::OutOfService => StatusCode::SERVICE_UNAVAILABLE,
            Self::Up | Self::Unknown => StatusCode::OK,
        }
    }
}

struct Component {
    name: &'static str,
    status: Status,
    /// Why it is not up: a word or two of a closed list, which anybody may read.
    reason: Option<&'static str>,
    details: Value,
}

/// `GET /actuator/health` on the public listener: statuses, no details.
pub(super) async fn public(State(app): State<Arc<App>>) -> Response {
    root(&components(&app).await, false)
}

/// `GET /actuator/health` on the admin listener: with details.
pub(super) async fn detailed(State(app): State<Arc<App>>) -> Response {
    root(&components(&app).await, true)
}

/// `GET /actuator/health/liveness` and `/readiness`.
pub(super) async fn group(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    match name.as_str() {
        "liveness" => {
            let alive = if app.spool.is_alive() {
                Status::Up
            } else {
                Status::Down
            };
            let shown = json!({ "livenessState": { "status": alive.name() } });
            answer(alive, &shown, (alive == Status::Down).then_some("writer gone"))
        }
        "readiness" => {
            let all = components(&app).await;
            let ready: Vec<_> = all.iter().filter(|c| READINESS.contains(&c.name)).collect();
            let stopping = if app.stop.is_cancelled() {
                Status::OutOfService
            } else {
                Status::Up
            };
            let worst = ready
                .iter()
                .map(|c| c.status)
                .min()
                .unwrap_or(Status::Up)
                .min(stopping);
            let mut shown: serde_json::Map<_, _> = ready
                .iter()
                .map(|c| (c.name.to_owned(), json!({ "status": c.status.name() })))
                .collect();
            shown.insert("readinessState".into(), json!({ "status": stopping.name() }));
            let reason = match stopping {
                Status::OutOfService => Some("stopping"),
                _ => ready.iter().find_map(|c| c.reason),
            };
            answer(worst, &Value::Object(shown), reason)
        }
        _ => Problem::not_found().into_response(),
    }
}

/// The components readiness looks at.
const READINESS: [&str; 4] = ["db", "spool", "policy", "diskSpace"];

fn root(components: &[Component], with_details: bool) -> Response {
    // Unknown does not make anything better or worse.
    let known = components
        .iter()
        .map(|c| c.status)
        .filter(|s| *s != Status::Unknown);
    let worst = known.min().unwrap_or(Status::Unknown);
    let shown: serde_json::Map<_, _> = components
        .iter()
        .map(|c| {
            let mut shown = json!({ "status": c.status.name() });
            if with_details {
                shown["details"] = c.details.clone();
            }
            (c.name.to_owned(), shown)
        })
        .collect();
    let body = json!({ "status": worst.name(), "components": shown, "groups": ["liveness", "readiness"] });
    (worst.code(), Json(body)).into_response()
}

fn answer(status: Status, components: &Value, reason: Option<&'static str>) -> Response {
    let mut body = json!({ "status": status.name(), "components": components });
    if let Some(reason) = reason {
        body["reason"] = reason.into();
    }
    (status.code(), Json(body)).into_response()
}

async fn components(app: &App) -> Vec<Component> {
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
    let oldest_age = (counts.spool_oldest_ms > 0).then(|| {
        app.clock
            .now()
            .since(crate::clock::Moment(counts.spool_oldest_ms))
            .as_secs()
    });
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
                }),
                spool_reason,
            ),
        },
        plausible(app),
        policy(app),
        disk_space(app),
    ];
    components.extend(tls(app));
    components
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

/// How delivery stands. Nothing is asked of Plausible for this.
fn plausible(app: &App) -> Component {
    let standing = app.traffic.standing();
    let counts = app.metrics.ledger.counts();
    let (status, why) = match (standing.reach, standing.breaker) {
        (Reach::Misconfigured, _) => (
            Status::OutOfService,
            "the answers are not Plausible's: check `upstream.url`",
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
    Component {
        name: "plausible",
        status,
        reason: None,
        details: json!({
            "why": why,
            "breaker": standing.breaker.name(),
            "retryInSeconds": standing.retry_in.map(|wait| wait.as_secs()),
            "failuresInARow": standing.failures_in_a_row,
            "requestsUnderWay": standing.under_way,
            "requestsLimit": standing.limit,
            "delivered": counts.ended(Outcome::Delivered),
            "droppedByPlausible": counts.ended(Outcome::DroppedByPlausible),
            "selfTest": app.traffic.self_test(),
        }),
    }
}

/// The policy in use. A reload that failed is a warning: the policy before goes on serving.
fn policy(app: &App) -> Component {
    let plans: BTreeMap<&str, u32> = app
        .switches
        .sites()
        .map(|site| (site.domain.as_str(), site.plan.version))
        .collect();
    let (in_use, trouble) = (app.policy.current(), app.policy.trouble());
    let status = match trouble {
        None => Status::Up,
        Some(_) => Status::Unknown,
    };
    Component {
        name: "policy",
        status,
        reason: None,
        details: json!({
            "plans": plans,
            "sha256": in_use.identity.sha256,
            "source": in_use.identity.source,
            "since": in_use.since.rfc3339(),
            "failedReload": trouble,
        }),
    }
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
