//! The two routes that receive events: Plausible's own format, and the module's batches.

mod plausible;

use crate::corridor::{self, Endings, Hint, Refused, Walked};
use crate::gate::Signals;
use crate::gate::source::{Format, Source};
use crate::http::body::{self, Encoding, Sender};
use crate::http::client_address::client;
use crate::http::door::Door;
use crate::http::problem::{self, Problem};
use crate::http::server::Peer;
use crate::http::source;
use crate::suspicion::{Head, Suspicion};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, header};
use axum::response::{IntoResponse, Response};
pub(super) use plausible::plausible;
use relay_event::wire::{self, Batch};
use relay_event::{Malformed, Outcome};
use serde::Serialize;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// The route for events in Plausible's format.
pub(super) const PLAUSIBLE: &str = "/api/event";
/// The same, with the version of the plan that the user agreed to, for a tracker that cannot add a query.
pub(super) const PLAUSIBLE_WITH_PLAN: &str = "/plan/{version}/api/event";
/// The route for the module's batches. No public filter list blocks this name, unlike the next.
pub(super) const BATCH: &str = "/api/notes";
/// The same for senders that are not browsers. Filter lists block beacons to exactly this path.
pub(super) const BATCH_OF_TOOLS: &str = "/api/events";

/// A route of events at its plain path. Nearly all requests are for one of these, so they skip the router, which costs
/// 9 000 instructions and ten allocations (ADR 0028).
#[derive(Clone, Copy, Debug)]
pub(super) enum Direct {
    Plausible,
    Batch,
}

impl Direct {
    /// The route that a request is for, with or without the base path; `None` leaves it to the router.
    pub(super) fn of(base: &str, request: &Request) -> Option<Self> {
        let path = request.uri().path();
        match path.strip_prefix(base).unwrap_or(path) {
            _ if request.method() != Method::POST => None,
            PLAUSIBLE => Some(Self::Plausible),
            BATCH | BATCH_OF_TOOLS => Some(Self::Batch),
            _ => None,
        }
    }

    pub(super) async fn answer(self, door: Arc<Door>, peer: Peer, request: Request) -> Response {
        let answer = match self {
            Self::Plausible => plausible(State(door), Extension(peer), request).await,
            Self::Batch => batch(State(door), Extension(peer), request).await,
        };
        answer.into_response()
    }
}

/// `POST /api/notes`: a batch of the module. Each event has a random id.
pub(super) async fn batch(
    State(door): State<Arc<Door>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Problem> {
    let mut malformed = Vec::new();
    let read = |body: &[u8]| {
        let batch = wire::parse_batch(body)?;
        let events = batch.events.iter().enumerate();
        malformed.extend(events.filter_map(|(place, event)| Some((place, event.as_ref().err()?.clone()))));
        Ok(vec![batch])
    };
    let Taken { walks, page_token } = take(door, peer, request, Format::Batch, read).await?;
    let mut endings = Endings::new();
    for walk in walks {
        match walk {
            Ok(ended) => endings.extend(ended),
            Err(refused) => {
                let token = page_token.filter(|_| refused.outcome == Outcome::PageToken);
                return Err(Problem::from(refused).page_token(token));
            }
        }
    }
    answer(&endings, &malformed, page_token)
}

/// 202 with the dropped events and reasons, in the order of the batch; `malformed` holds the malformed events and
/// their errors.
///
/// # Errors
/// 503 if an event could not be stored or scrubbed for now, so that the sender retries with the same ids and stored
/// events are not stored twice.
fn answer(
    endings: &[Result<(), Outcome>],
    malformed: &[(usize, Malformed)],
    page_token: Option<String>,
) -> Result<Response, Problem> {
    let mut dropped = Vec::new();
    for (place, ending) in endings.iter().enumerate() {
        match ending {
            Ok(()) | Err(Outcome::Duplicate) => {}
            Err(outcome) if outcome.is_temporary() => return Err(Problem::from(*outcome)),
            Err(outcome) => {
                let why = malformed.iter().find(|(at, _)| *at == place);
                dropped.push(Dropped {
                    detail: why.map(|(_, why)| why.to_string()),
                    i: place,
                    reason: outcome.name(),
                });
            }
        }
    }
    let answer = Accepted {
        accepted: endings.len() - dropped.len(),
        dropped,
        token: page_token,
    };
    // A struct of texts and numbers always serialises.
    let body = serde_json::to_string(&answer).unwrap_or_default();
    Ok(problem::accepted("application/json", body))
}

/// The body of the answer to a batch.
#[derive(Serialize)]
struct Accepted {
    accepted: usize,
    dropped: Vec<Dropped>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// An event that was dropped, by its place in the batch.
#[derive(Serialize)]
struct Dropped {
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    i: usize,
    reason: &'static str,
}

/// The result of a request that was read.
struct Taken {
    /// The result of each of its batches; there is one unless an event lists several sites.
    walks: Vec<Walked>,
    /// A page token for the page, if it needs a new one.
    page_token: Option<String>,
}

/// Reads a request within its limits and sends its batches down the corridor; there is one unless an event lists
/// several sites. It takes a place once its body has arrived.
async fn take(
    door: Arc<Door>,
    peer: Peer,
    request: Request,
    format: Format,
    read: impl FnOnce(&[u8]) -> Result<Vec<Batch>, Malformed>,
) -> Result<Taken, Problem> {
    let (parts, body) = request.into_parts();
    let app = &door.app;
    let peer = peer.address.ip();
    let client = client(peer, &parts.headers, &app.config.public.trusted_proxies);
    door.arrivals.saw(peer, client, &parts.headers);
    let body = receive(&door, client.address, &parts.headers, body).await?;
    let mut batches = read(&body).map_err(|why| {
        app.ledger.refuse(1, Outcome::Malformed);
        Problem::from(why)
    })?;
    let Some(place) = door.admission.begin() else {
        for batch in &batches {
            app.ledger.refuse(batch.events.len(), Outcome::Overloaded);
        }
        return Err(Outcome::Overloaded.into());
    };
    let mut source = source::read(&parts, peer, &app.config, format);
    // Only trackers send several batches, and they have no page token.
    source.page_token = batches.first_mut().and_then(|batch| batch.page_token.take());
    let site = batches.first().and_then(|batch| app.switches.site(&batch.site));
    let page_token = site.and_then(|site| app.sources.renew(site, &source));
    let signals = signals(client.address, &parts.headers, source);
    // Not `async`: events must not stop halfway if the browser disconnects.
    let walks = corridor::walk(app, &signals, batches, place);
    let walks = walks.await.map_err(|_| Outcome::Lost)?;
    note_refused(&door, &walks, &parts, peer);
    Ok(Taken { walks, page_token })
}

/// Reads and decompresses the body of a request. The checks on the head come first, so that a refusal is cheap: size,
/// rate, load, type, in this order.
async fn receive(door: &Door, client: IpAddr, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let app = &door.app;
    let encoding = match admit(door, client, headers) {
        Ok(encoding) => encoding,
        Err(refused) => {
            body::throw_away(body);
            app.ledger.refuse(1, refused.outcome);
            return Err(refused.into());
        }
    };
    let sender = Sender {
        client,
        headers,
        slow: &door.slow_bodies,
    };
    let body = body::read(body, encoding, &app.config.public, &sender).await;
    body.map_err(|outcome| {
        app.ledger.refuse(1, outcome);
        outcome.into()
    })
}

/// The data that the gate examines besides the body.
fn signals<'r>(client: IpAddr, headers: &'r HeaderMap, source: Source<'r>) -> Signals<'r> {
    let header = |name: HeaderName| {
        let value = headers.get(name)?.as_bytes();
        // `from_utf8_lossy` reads byte by byte.
        let text = str::from_utf8(value).map(Cow::Borrowed);
        Some(text.unwrap_or_else(|_| String::from_utf8_lossy(value)))
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

/// Counts the site or the page's origin of a request that was refused for it.
fn note_refused(door: &Door, walks: &[Walked], parts: &Parts, peer: IpAddr) {
    let refused_as = |outcome| {
        let mut refused = walks.iter().filter_map(|walk| walk.as_ref().err());
        refused.any(|refused| refused.outcome == outcome)
    };
    if refused_as(Outcome::WrongOrigin)
        && let Some(origin) = parts.headers.get(header::ORIGIN)
    {
        let own = source::is_own(&parts.uri, &parts.headers, peer, &door.app.config);
        door.arrivals.refused(origin.as_bytes(), own);
    }
    if refused_as(Outcome::UnknownSite) {
        door.arrivals.unknown_site();
    }
}

/// Checks a request by its head alone.
fn admit(door: &Door, client: IpAddr, headers: &HeaderMap) -> Result<Encoding, Refused> {
    let app = &door.app;
    if body::is_announced_too_large(headers, &app.config.public) {
        return Err(Outcome::TooLarge.into());
    }
    door.rates.take_request(client).map_err(|wait| Refused {
        outcome: Outcome::LimitedClient,
        hint: Some(Hint::RetryIn(wait)),
    })?;
    if app.stop.is_cancelled() || door.admission.is_full() {
        return Err(Outcome::Overloaded.into());
    }
    match Encoding::of(headers) {
        Some(encoding) if is_supported(headers) => Ok(encoding),
        _ => Err(Outcome::UnsupportedType.into()),
    }
}

/// Whether the type is text or JSON, as trackers send it.
fn is_supported(headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()) else {
        return false;
    };
    let essence = media_type.split(';').next().unwrap_or("").trim();
    ["text/plain", "application/json"]
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
}
