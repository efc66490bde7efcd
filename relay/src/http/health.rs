//! Health in the shape Spring's actuator has, which operators' tools know.
//!
//! Liveness says the process answers and its writer is there. Readiness says it can take events: it looks at the spool and the
//! policy, never at Plausible, because the spool takes over while Plausible is away. The root looks at
//! everything, so it can be 503 while both groups are 200.

mod components;

use crate::app::App;
use crate::http::admin::session;
use crate::http::problem::Problem;
use crate::http::scrape::Scrapes;
use crate::http::serve::Peer;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use components::components;
use serde_json::{Value, json};
use std::sync::Arc;

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

/// `GET /actuator/health` on the admin listener: with details for admins with a session, and for the user and password
/// of `[metrics]`. The details name every site.
pub(super) async fn of_admins(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Extension(scrapes): Extension<Arc<Scrapes>>,
    headers: HeaderMap,
) -> Response {
    let with_details = if headers.contains_key(header::AUTHORIZATION) {
        if let Err(problem) = scrapes.authorise(&app, peer, &headers) {
            return problem.into_response();
        }
        true
    } else {
        session::of(&app, &headers).await.is_some()
    };
    root(&components(&app).await, with_details)
}

/// `GET /actuator/health/liveness`. Waits for nothing.
pub(super) async fn liveness(State(app): State<Arc<App>>) -> Response {
    let alive = if app.spool.is_alive() {
        Status::Up
    } else {
        Status::Down
    };
    let shown = json!({ "livenessState": { "status": alive.name() } });
    answer(alive, &shown, (alive == Status::Down).then_some("writer gone"))
}

/// `GET /actuator/health/readiness`, and `/liveness` where it has no route of its own.
pub(super) async fn group(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    match name.as_str() {
        "liveness" => liveness(State(app)).await,
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
const READINESS: [&str; 5] = ["db", "spool", "policy", "diskSpace", "switch"];

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
