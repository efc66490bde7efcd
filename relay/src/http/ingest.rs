//! The two routes events come in by: Plausible's own format, and the module's batch.

use crate::app::App;
use crate::corridor::{self, Ending, Walk};
use crate::gate::Signals;
use crate::http::client_address::client_address;
use crate::http::problem::Problem;
use crate::http::serve::Peer;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use relay_event::wire::{self, Batch};
use relay_event::{Consent, Malformed, Outcome};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of a body that is too large that are read and thrown away.
const DRAIN_BYTES_MAX: usize = 1024 * 1024;
/// Longest time that is spent on it.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Consent as a page states it in the address of Plausible's endpoint.
#[derive(Deserialize)]
pub(super) struct ConsentQuery {
    consent: Option<String>,
}

/// `POST /api/event`: one event in Plausible's format, so that its trackers work unmodified.
pub(super) async fn plausible(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    query: Result<Query<ConsentQuery>, QueryRejection>,
    request: Request,
) -> Response {
    let consent = query
        .ok()
        .and_then(|Query(query)| query.consent?.parse().ok())
        .map(|plan| Consent {
            plan,
            categories: None,
            in_person: false,
        });
    let read = |body: &[u8]| {
        let event = wire::parse_plausible(body)?;
        Ok(Batch {
            site: event.site.clone(),
            consent,
            events: vec![Ok(event)],
        })
    };
    match take(app, peer, request, read).await {
        Ok(Walk::Events(endings)) => match endings.into_iter().next() {
            Some(Ending::Ended(_, Some(why))) => Problem::malformed(&why).into_response(),
            // A repeated event is stored already.
            Some(Ending::Stored | Ending::Ended(Outcome::Duplicate, _)) => {
                (StatusCode::ACCEPTED, "ok").into_response()
            }
            Some(Ending::Ended(outcome, None)) => Problem::of(outcome).into_response(),
            None => Problem::of(Outcome::Lost).into_response(),
        },
        Ok(Walk::Refused(outcome)) => Problem::of(outcome).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// `POST /api/events`: a batch of the module, events each with a random id.
pub(super) async fn batch(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    match take(app, peer, request, wire::parse_batch).await {
        Ok(Walk::Events(endings)) => answer(&endings),
        Ok(Walk::Refused(outcome)) => Problem::of(outcome).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// 202 with what was dropped and why; 503 when something could not be stored, so that the sender comes
/// back with the same ids and what was stored already is not stored twice.
fn answer(endings: &[Ending]) -> Response {
    let unstored = endings.iter().find_map(|ending| match ending {
        Ending::Ended(outcome, _) if outcome.label() == Outcome::SpoolFull.label() => Some(*outcome),
        _ => None,
    });
    if let Some(outcome) = unstored {
        return Problem::of(outcome).into_response();
    }
    let mut dropped = Vec::new();
    let mut accepted = 0;
    for (i, ending) in endings.iter().enumerate() {
        match ending {
            Ending::Stored | Ending::Ended(Outcome::Duplicate, _) => accepted += 1,
            Ending::Ended(_, Some(why)) => {
                dropped.push(json!({ "i": i, "reason": "invalid", "detail": why.to_string() }))
            }
            Ending::Ended(outcome, None) => dropped.push(json!({ "i": i, "reason": outcome.reason() })),
        }
    }
    (
        StatusCode::ACCEPTED,
        Json(json!({ "accepted": accepted, "dropped": dropped })),
    )
        .into_response()
}

/// Reads a request within its limits and sends it down the corridor.
async fn take(
    app: Arc<App>,
    peer: std::net::SocketAddr,
    request: Request,
    read: impl FnOnce(&[u8]) -> Result<Batch, Malformed>,
) -> Result<Walk, Problem> {
    let (parts, body) = request.into_parts();
    let refuse = |outcome| {
        corridor::refuse_unread(&app, outcome);
        Problem::of(outcome)
    };
    // Too much work at once is refused before a body is read. The place is kept until the events are
    // stored, even when the sender has gone by then.
    let place = match Arc::clone(&app.room).try_acquire_owned() {
        Ok(place) if !app.stop.is_cancelled() => place,
        _ => return Err(refuse(Outcome::Overloaded)),
    };
    if !is_supported(&parts.headers) {
        return Err(refuse(Outcome::UnsupportedType));
    }
    let body = read_body(&app, body).await.map_err(refuse)?;
    let batch = read(&body).map_err(|why| {
        corridor::refuse_unread(&app, Outcome::Malformed);
        Problem::malformed(&why)
    })?;
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
    };
    let signals = Signals {
        client: client_address(peer.ip(), &parts.headers, &app.config.public.trusted_proxies),
        user_agent: header("user-agent").unwrap_or_default(),
        origin: header("origin"),
        privacy_signal: ["sec-gpc", "dnt"]
            .iter()
            .any(|name| header(name).is_some_and(|v| v.trim() == "1")),
    };
    // A task of its own: a browser that goes away must not leave its events half way.
    let walking = Arc::clone(&app);
    let walk = tokio::spawn(async move {
        let walked = corridor::walk(&walking, &signals, batch).await;
        drop(place);
        walked
    });
    walk.await.map_err(|_| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "lost",
            "Internal error",
            "The relay failed on this request.",
        )
    })
}

/// Text or JSON, as trackers send it. Compressed bodies are refused: Plausible takes none either.
fn is_supported(headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()) else {
        return false;
    };
    let essence = media_type
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    let plain = headers
        .get(header::CONTENT_ENCODING)
        .is_none_or(|v| v.as_bytes() == b"identity");
    plain && (essence == "text/plain" || essence == "application/json")
}

async fn read_body(app: &App, mut body: Body) -> Result<Bytes, Outcome> {
    let limits = &app.config.public;
    let limited = Limited::new(&mut body, limits.body_bytes_max);
    match tokio::time::timeout(limits.body_timeout, limited.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => {
            // Whoever has sent more by then sees a broken connection, as before any server.
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, drain(body)).await;
            Err(Outcome::TooLarge)
        }
        Ok(Err(_)) | Err(_) => Err(Outcome::Incomplete),
    }
}

/// Reads what is left of a body and throws it away. A connection that is closed on unread bytes is
/// reset, and the sender would see that instead of the answer, and try again for ever.
async fn drain(mut body: Body) {
    let mut left = DRAIN_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            return;
        }
    }
}
