//! Health in the format of Spring's actuator, which operators' tools support.
//!
//! Liveness checks that the process answers and its writer runs. Readiness checks that the relay can accept events:
//! it examines the spool and the policy, but not Plausible, because the spool buffers events while Plausible is
//! unreachable. The root examines everything, so it can be 503 while both groups are 200.

mod components;

use crate::http::admin::session;
use crate::http::door::Door;
use crate::http::problem::{self, Problem};
use crate::http::server::Peer;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
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

    /// Whether this status means that the relay works.
    fn works(self) -> bool {
        match self {
            Self::Down | Self::OutOfService => false,
            Self::Up | Self::Unknown => true,
        }
    }
}

struct Component {
    name: &'static str,
    status: Status,
    /// Why it is not up: a few words from a closed list. They are public.
    reason: Option<&'static str>,
    details: Value,
}

/// `GET /actuator/health` on the public listener: statuses, no details.
pub(super) async fn public(State(door): State<Arc<Door>>) -> Response {
    root(&components(&door).await, false)
}

/// `GET /actuator/health` on the admin listener: with details for admins with a session, and for the user and
/// password of `[metrics]`. The details name every site.
pub(super) async fn of_admins(
    State(door): State<Arc<Door>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let with_details = if headers.contains_key(header::AUTHORIZATION) {
        door.scrapes.authorise(&door.app, peer, &headers)?;
        true
    } else {
        session::of(&door, &headers).await.is_some()
    };
    Ok(root(&components(&door).await, with_details))
}

/// `GET /actuator/health/liveness`. It never blocks.
pub(super) async fn liveness(State(door): State<Arc<Door>>) -> Response {
    let alive = if door.app.spool.is_alive() {
        Status::Up
    } else {
        Status::Down
    };
    let shown = json!({ "livenessState": { "status": alive.name() } });
    answer(alive, &shown, (alive == Status::Down).then_some("writer gone"))
}

/// `GET /actuator/health/readiness`, and `/liveness` if that has no route of its own.
pub(super) async fn group(
    State(door): State<Arc<Door>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    match name.as_str() {
        "liveness" => Ok(liveness(State(door)).await),
        "readiness" => {
            let all = components(&door).await;
            let ready: Vec<_> = all.iter().filter(|c| READINESS.contains(&c.name)).collect();
            let stopping = if door.app.stop.is_cancelled() {
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
            Ok(answer(worst, &Value::Object(shown), reason))
        }
        _ => Err(Problem::not_found()),
    }
}

/// The components that readiness examines.
const READINESS: [&str; 5] = ["db", "spool", "policy", "diskSpace", "switch"];

fn root(components: &[Component], with_details: bool) -> Response {
    // Unknown components do not affect the result.
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
    problem::health(worst.works(), &body)
}

fn answer(status: Status, components: &Value, reason: Option<&'static str>) -> Response {
    let mut body = json!({ "status": status.name(), "components": components });
    if let Some(reason) = reason {
        body["reason"] = reason.into();
    }
    problem::health(status.works(), &body)
}
