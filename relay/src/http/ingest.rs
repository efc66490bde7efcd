//! The two routes events come in by: Plausible's own format, and the module's batch.

use crate::app::App;
use crate::corridor::{self, Ending, Walk};
use crate::gate::Signals;
use crate::http::body::{self, Encoding};
use crate::http::client_address::client_address;
use crate::http::problem::Problem;
use crate::http::serve::Peer;
use crate::http::share::Share;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use relay_event::wire::{self, Batch};
use relay_event::{Consent, DayValues, Malformed, Outcome};
use serde::Deserialize;
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// Where events in Plausible's format come in.
pub(super) const PLAUSIBLE: &str = "/api/event";
/// Where the module's batches come in. The name is one that no public filter list blocks, unlike the next.
pub(super) const BATCH: &str = "/api/notes";
/// The same for senders that are not browsers. Filter lists block beacons to exactly this path.
pub(super) const BATCH_OF_TOOLS: &str = "/api/events";

/// Headers of an answer with those of HTTP itself, so that the map need not grow.
const HEADERS: usize = 8;

/// Consent as a page states it in the address of Plausible's endpoint.
#[derive(Deserialize)]
pub(super) struct ConsentQuery {
    consent: Option<String>,
}

/// `POST /api/event`: one event in Plausible's format, so that its trackers work unmodified.
pub(super) async fn plausible(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    let consent = Query::<ConsentQuery>::try_from_uri(request.uri())
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
            visitor: DayValues::default(),
            events: vec![Ok(event)],
        })
    };
    match take(app, peer, request, read).await {
        Ok(Walk::Events(endings)) => match endings.into_iter().next() {
            Some(Ending::Ended(_, Some(why))) => Problem::malformed(&why).into_response(),
            // A repeated event is stored already. What the profile leaves out is no mistake of the tracker's.
            Some(
                Ending::Stored
                | Ending::Ended(Outcome::Duplicate | Outcome::EngagementLeftOut | Outcome::NameLeftOut, _),
            ) => accepted("text/plain; charset=utf-8", "ok"),
            Some(Ending::Ended(outcome, None)) => Problem::of(outcome).into_response(),
            None => Problem::of(Outcome::Lost).into_response(),
        },
        Ok(Walk::Refused(outcome)) => Problem::of(outcome).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// `POST /api/notes`: a batch of the module, events each with a random id.
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
    let mut stored = 0;
    for (i, ending) in endings.iter().enumerate() {
        match ending {
            Ending::Stored | Ending::Ended(Outcome::Duplicate, _) => stored += 1,
            Ending::Ended(_, Some(why)) => {
                dropped.push(json!({ "i": i, "reason": "invalid", "detail": why.to_string() }))
            }
            Ending::Ended(outcome, None) => dropped.push(json!({ "i": i, "reason": outcome.reason() })),
        }
    }
    let answer = json!({ "accepted": stored, "dropped": dropped });
    accepted("application/json", answer.to_string())
}

/// 202, with room for the headers that every answer carries.
fn accepted(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = StatusCode::ACCEPTED;
    let headers = answer.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// Reads a request within its limits and sends it down the corridor. What is refused before its body is
/// read costs as little as it can: size, rate, room, type, in this order.
async fn take(
    app: Arc<App>,
    peer: std::net::SocketAddr,
    request: Request,
    read: impl FnOnce(&[u8]) -> Result<Batch, Malformed>,
) -> Result<Walk, Problem> {
    let (parts, body) = request.into_parts();
    let limits = &app.config.public;
    let client = client_address(peer.ip(), &parts.headers, &limits.trusted_proxies);
    let admitted = admit(&app, client, &parts.headers);
    let (room, share, encoding) = match admitted {
        Ok(admitted) => admitted,
        Err(problem) => {
            body::throw_away(body);
            return Err(problem);
        }
    };
    let body = body::read(body, encoding, limits)
        .await
        .map_err(|outcome| refuse(&app, outcome))?;
    drop(share);
    let batch = read(&body).map_err(|why| {
        corridor::refuse_unread(&app, Outcome::Malformed);
        Problem::malformed(&why)
    })?;
    if let Some(site) = app.switches.site(&batch.site)
        && let Err(wait) = app.rates.take_events(&site.domain, batch.events.len())
    {
        corridor::refuse(&app, batch.events.len(), Outcome::LimitedSite);
        return Err(Problem::of(Outcome::LimitedSite).retry_after(whole_seconds(wait)));
    }
    let Some(place) = app.admission.begin(Instant::now()) else {
        corridor::refuse(&app, batch.events.len(), Outcome::Overloaded);
        return Err(Problem::of(Outcome::Overloaded));
    };
    let header = |name: HeaderName| {
        let value = parts.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let says = |name: &str| {
        let value = parts.headers.get(name);
        value.is_some_and(|v| v.as_bytes().trim_ascii() == b"1")
    };
    let signals = Signals {
        client,
        user_agent: header(header::USER_AGENT).unwrap_or_default(),
        origin: header(header::ORIGIN),
        privacy_signal: says("sec-gpc") || says("dnt"),
    };
    // A task of its own: a browser that goes away must not leave its events half way. Its room is kept until they
    // are stored; the place before the disk is free already when they are on it.
    let walking = Arc::clone(&app);
    let walk = tokio::spawn(async move {
        let on_disk = move || place.stored(Instant::now());
        let walked = corridor::walk(&walking, &signals, batch, on_disk).await;
        drop(room);
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

/// What can be said of a request by its head alone.
fn admit(
    app: &App,
    client: IpAddr,
    headers: &HeaderMap,
) -> Result<(OwnedSemaphorePermit, Share, Encoding), Problem> {
    if body::is_announced_too_large(headers, &app.config.public) {
        return Err(refuse(app, Outcome::TooLarge));
    }
    if let Err(wait) = app.rates.take_request(client) {
        return Err(refuse(app, Outcome::LimitedClient).retry_after(whole_seconds(wait)));
    }
    let room = match Arc::clone(&app.room).try_acquire_owned() {
        Ok(room) if !app.stop.is_cancelled() && !app.admission.is_full(Instant::now()) => room,
        _ => return Err(refuse(app, Outcome::Overloaded)),
    };
    let Some(share) = app.shares.take(client) else {
        return Err(refuse(app, Outcome::LimitedClient).retry_after(1));
    };
    match Encoding::of(headers) {
        Some(encoding) if is_supported(headers) => Ok((room, share, encoding)),
        _ => Err(refuse(app, Outcome::UnsupportedType)),
    }
}

/// Counts a request that is refused before it became events.
fn refuse(app: &App, outcome: Outcome) -> Problem {
    corridor::refuse_unread(app, outcome);
    Problem::of(outcome)
}

/// A wait as Retry-After says it: never too short, never nothing.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Text or JSON, as trackers send it.
fn is_supported(headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()) else {
        return false;
    };
    let essence = media_type.split(';').next().unwrap_or("").trim();
    ["text/plain", "application/json"]
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_too_short() {
        let check = |ms, want| assert_eq!(whole_seconds(Duration::from_millis(ms)), want, "{ms} ms");
        check(1, 1);
        check(999, 1);
        check(1000, 1);
        check(1001, 2);
        check(59_999, 60);
    }
}
