//! The two routes events come in by: Plausible's own format, and the module's batch.

mod plausible;

use crate::app::App;
use crate::corridor::{self, Ending, Walk};
use crate::gate::Signals;
use crate::gate::source::{Format, Source};
use crate::http::body::{self, Encoding, Sender};
use crate::http::client_address::client;
use crate::http::problem::Problem;
use crate::http::serve::Peer;
use crate::http::shed::Place;
use crate::http::source;
use crate::suspicion::{Head, Suspicion};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
pub(super) use plausible::{plan_in, plausible};
use relay_event::wire::{self, Batch};
use relay_event::{Malformed, Outcome};
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where events in Plausible's format come in.
pub(super) const PLAUSIBLE: &str = "/api/event";
/// Where the module's batches come in. The name is one that no public filter list blocks, unlike the next.
pub(super) const BATCH: &str = "/api/notes";
/// The same for senders that are not browsers. Filter lists block beacons to exactly this path.
pub(super) const BATCH_OF_TOOLS: &str = "/api/events";

/// Headers of an answer with those of HTTP itself, so that the map need not grow.
const HEADERS: usize = 8;

/// `POST /api/notes`: a batch of the module, events each with a random id.
pub(super) async fn batch(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    let read = |body: &[u8]| Ok(vec![wire::parse_batch(body)?]);
    let taken = match take(app, peer, request, Format::Batch, read).await {
        Ok(taken) => taken,
        Err(problem) => return problem.into_response(),
    };
    match taken.walks.first() {
        Some(Walk::Events(endings)) => answer(endings, taken.page_token),
        Some(Walk::Refused { outcome, plan, wait }) => {
            let token = taken.page_token.filter(|_| *outcome == Outcome::PageToken);
            refused(*outcome, *plan, *wait).page_token(token).into_response()
        }
        None => Problem::of(Outcome::Lost).into_response(),
    }
}

/// 202 with what was dropped and why; 503 when something could not be stored or scrubbed for now, so that the
/// sender comes back with the same ids and what was stored already is not stored twice.
fn answer(endings: &[Ending], page_token: Option<String>) -> Response {
    if let Some(outcome) = endings.iter().find_map(Ending::for_now) {
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
    let mut answer = json!({ "accepted": stored, "dropped": dropped });
    if let Some(token) = page_token {
        answer["token"] = token.into();
    }
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

/// What became of a request that was read.
struct Taken {
    /// Of each of its batches, which is one unless an event lists several sites.
    walks: Vec<Walk>,
    /// A page token for the page, if it needs a newer one.
    page_token: Option<String>,
}

/// A batch that was refused as a whole.
fn refused(outcome: Outcome, plan: Option<u32>, wait: Option<Duration>) -> Problem {
    let problem = Problem::of(outcome).plan(plan);
    match wait {
        Some(wait) => problem.retry_after(whole_seconds(wait)),
        None => problem,
    }
}

/// Reads a request within its limits and sends it down the corridor: each of its batches, which is one unless an event
/// lists several sites. A request refused before its body is read costs as little as it can: size, rate, load, type, in
/// this order. It takes a place when its body has arrived.
async fn take(
    app: Arc<App>,
    peer: SocketAddr,
    request: Request,
    format: Format,
    read: impl FnOnce(&[u8]) -> Result<Vec<Batch>, Malformed>,
) -> Result<Taken, Problem> {
    let (parts, body) = request.into_parts();
    let limits = &app.config.public;
    let client = client(peer.ip(), &parts.headers, &limits.trusted_proxies);
    app.arrivals.saw(peer.ip(), client, &parts.headers);
    let admitted = admit(&app, client.address, &parts.headers);
    let encoding = match admitted {
        Ok(encoding) => encoding,
        Err(problem) => {
            body::throw_away(body);
            return Err(problem);
        }
    };
    let sender = Sender {
        client: client.address,
        headers: &parts.headers,
        slow: &app.slow_bodies,
    };
    let body = body::read(body, encoding, limits, &sender)
        .await
        .map_err(|outcome| refuse(&app, outcome))?;
    let batches = read(&body).map_err(|why| {
        corridor::refuse_unread(&app, Outcome::Malformed);
        Problem::malformed(&why)
    })?;
    let room = Arc::clone(&app.room).try_acquire_owned().ok();
    let Some((room, place)) = room.zip(app.admission.begin(Instant::now())) else {
        for batch in &batches {
            corridor::refuse(&app, batch.events.len(), Outcome::Overloaded);
        }
        return Err(Problem::of(Outcome::Overloaded));
    };
    let mut source = source::read(&parts, peer.ip(), &app.config, format);
    let mut page_token = None;
    if let Some(batch) = batches.first() {
        source.page_token.clone_from(&batch.page_token);
        let site = app.switches.site(&batch.site);
        page_token = site.and_then(|site| app.sources.renew(site, &source));
    }
    let signals = signals(client.address, &parts.headers, source);
    // A task of its own: a browser that goes away must not leave its events half way. Its room is kept until they
    // are stored; the place before the disk is free already when they are on it.
    let walking = Arc::clone(&app);
    let walk = tokio::spawn(async move {
        let walks = walk_each(&walking, &signals, batches, place).await;
        drop(room);
        walks
    });
    let walks = walk.await.map_err(|_| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "lost",
            "Internal error",
            "The relay failed on this request.",
        )
    })?;
    note_refused_origin(&app, &walks, &parts, peer.ip());
    if walks.iter().any(|walk| refused_as(walk, Outcome::UnknownSite)) {
        app.arrivals.unknown_site();
    }
    Ok(Taken { walks, page_token })
}

/// Walks one batch after the other. The place goes with the first that can be stored: how long that takes is what the
/// admission measures.
async fn walk_each(app: &App, signals: &Signals, batches: Vec<Batch>, place: Place) -> Vec<Walk> {
    let mut place = Some(place);
    let mut walks = Vec::with_capacity(batches.len());
    for batch in batches {
        let place = app.switches.site(&batch.site).and_then(|_| place.take());
        let on_disk = move || {
            if let Some(place) = place {
                place.stored(Instant::now());
            }
        };
        walks.push(corridor::walk(app, signals, batch, on_disk).await);
    }
    walks
}

/// What the gate looks at besides the body.
fn signals(client: IpAddr, headers: &HeaderMap, source: Source) -> Signals {
    let header = |name: HeaderName| {
        let value = headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let user_agent = header(header::USER_AGENT).unwrap_or_default();
    let origin = header(header::ORIGIN);
    let suspicion = Suspicion::of(Head {
        user_agent: &user_agent,
        origin: origin.as_deref(),
        has_fetch_site: headers.contains_key("sec-fetch-site"),
        has_client_hint: headers.contains_key("sec-ch-ua"),
    });
    Signals {
        client,
        user_agent,
        source,
        suspicion,
        privacy_signal: source::is_private(headers),
    }
}

/// Whether a walk was refused as a whole, and as this.
fn refused_as(walk: &Walk, outcome: Outcome) -> bool {
    matches!(walk, Walk::Refused { outcome: refused, .. } if *refused == outcome)
}

/// Notes a page's origin if a site refused it.
fn note_refused_origin(app: &App, walks: &[Walk], parts: &Parts, peer: IpAddr) {
    if walks.iter().any(|walk| refused_as(walk, Outcome::WrongOrigin))
        && let Some(origin) = parts.headers.get(header::ORIGIN)
    {
        let own = source::is_own(&parts.uri, &parts.headers, peer, &app.config);
        app.arrivals.refused(origin.as_bytes(), own);
    }
}

/// What can be said of a request by its head alone.
fn admit(app: &App, client: IpAddr, headers: &HeaderMap) -> Result<Encoding, Problem> {
    if body::is_announced_too_large(headers, &app.config.public) {
        return Err(refuse(app, Outcome::TooLarge));
    }
    if let Err(wait) = app.rates.take_request(client) {
        return Err(refuse(app, Outcome::LimitedClient).retry_after(whole_seconds(wait)));
    }
    if app.stop.is_cancelled() || app.admission.is_full(Instant::now()) {
        return Err(refuse(app, Outcome::Overloaded));
    }
    match Encoding::of(headers) {
        Some(encoding) if is_supported(headers) => Ok(encoding),
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
