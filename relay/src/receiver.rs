//! A receiver that speaks Plausible's events API: for the demo, for tests and for a first look before
//! a real Plausible is there.
//!
//! It follows the contract in what an event is, what is dropped and how visitors are told apart, keeps
//! what arrives in memory, and shows it on a small live page. It is no analytics server: no disk, no
//! accounts, no history.

mod event;
mod memory;

use crate::http::assets;
use crate::http::serve::{Front, Peer};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use event::Received;
use memory::Memory;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Largest body, in bytes, as in Plausible for text (contract a.2). Above it: 400.
const BODY_BYTES_MAX: usize = 1_000_000;
/// Most connections. Above it new ones wait.
const CONNECTIONS_MAX: usize = 1024;

/// A receiver's memory and what it takes.
#[derive(Debug, Default)]
pub struct Receiver {
    /// Sites it knows. Empty means every site.
    sites: Vec<String>,
    memory: Mutex<Memory>,
}

impl Receiver {
    /// A receiver that knows these sites, or every site when there are none.
    pub fn new(sites: Vec<String>) -> Self {
        Self {
            sites,
            memory: Mutex::default(),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves a receiver until `stop`.
pub async fn run(listener: TcpListener, receiver: Arc<Receiver>, stop: CancellationToken) {
    Front::plain(listener, router(receiver), CONNECTIONS_MAX)
        .run(stop)
        .await;
}

/// The receiver's routes.
pub fn router(receiver: Arc<Receiver>) -> Router {
    Router::new()
        .route(
            "/api/event",
            post(take)
                .options(preflight)
                .fallback(|| async { StatusCode::NOT_FOUND }),
        )
        .route("/api/health", get(health))
        .route("/api/system/health/ready", get(health))
        .route(
            "/api/system/health/live",
            get(|| async { Json(json!({ "ok": true })) }),
        )
        .route("/stats", get(stats))
        .route("/received", get(received))
        .fallback(get(page))
        .with_state(receiver)
}

/// `POST /api/event`.
async fn take(
    State(receiver): State<Arc<Receiver>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    request: Request<Body>,
) -> Response {
    let Ok(body) = to_bytes(request.into_body(), BODY_BYTES_MAX).await else {
        return errors(&json!({ "request": ["Unable to read request body"] }));
    };
    if !headers.contains_key(header::CONTENT_TYPE) {
        return errors(
            &json!({ "url": ["is required"], "domain": ["can't be blank"], "event_name": ["can't be blank"] }),
        );
    }
    let body: Value = match serde_json::from_slice(&body) {
        Ok(body @ Value::Object(_)) => body,
        _ => return errors(&json!({ "request": ["Unable to parse request body as JSON"] })),
    };
    let address = visitor_address(&headers, peer.ip());
    // As Plausible Cloud's load balancer does: the address it would use, and nothing is counted.
    if headers
        .get("x-debug-request")
        .is_some_and(|value| value == "true")
    {
        return (StatusCode::OK, Json(json!({ "ip": address }))).into_response();
    }
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    match Received::parse(&body, &address, agent) {
        Err(wrong) => errors(&wrong),
        Ok(events) => {
            let dropped = receiver.memory().take(events, &receiver.sites, &headers, &body);
            let mut response = (StatusCode::ACCEPTED, "ok").into_response();
            let out = response.headers_mut();
            out.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            if dropped > 0 {
                out.insert("x-plausible-dropped", dropped.into());
            }
            response
        }
    }
}

fn errors(errors: &Value) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "errors": errors }))).into_response()
}

async fn preflight() -> (StatusCode, [(header::HeaderName, &'static str); 4]) {
    let allow = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, "1728000"),
    ];
    (StatusCode::NO_CONTENT, allow)
}

/// The visitor's address, by Plausible's order of headers (contract b.1). A text; nothing is parsed.
fn visitor_address(headers: &HeaderMap, peer: IpAddr) -> String {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .filter(|v| !v.is_empty())
    };
    let first = |list: &str| list.split(',').next().unwrap_or("").trim().to_owned();
    header("x-plausible-ip")
        .or_else(|| header("cf-connecting-ip"))
        .map(str::to_owned)
        .or_else(|| header("b-forwarded-for").map(first))
        .or_else(|| header("x-forwarded-for").map(first))
        .unwrap_or_else(|| peer.to_string())
}

async fn health() -> Json<Value> {
    Json(json!({ "postgres": "ok", "clickhouse": "ok", "sites_cache": "ok", "sessions": "ok" }))
}

/// What the page shows.
async fn stats(State(receiver): State<Arc<Receiver>>) -> Json<Value> {
    Json(receiver.memory().stats())
}

/// The latest requests as they arrived: headers and body. What tests look at.
async fn received(State(receiver): State<Arc<Receiver>>) -> Json<Value> {
    Json(receiver.memory().requests())
}

async fn page(uri: Uri, headers: HeaderMap) -> Response {
    assets::page("receiver", &uri, &headers)
}

#[cfg(test)]
mod tests;
