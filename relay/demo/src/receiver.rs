//! A stand-in for Plausible: for the demo, for tests and for a first look before a real Plausible is there.
//!
//! It accepts the events that a relay sends, not those of a tracker in a browser, and follows Plausible's rules on which events are valid, which are dropped
//! and how visitors are counted. It keeps them in memory and shows them on a live page. It is not an analytics server:
//! no disk, no accounts, no history.

mod event;
mod stats;

use super::serve;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use event::Event;
use serde_json::{Value, json};
use stats::Stats;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;

/// Headers that carry the visitor's address, in Plausible's order. Only the first entry of a header counts.
const ADDRESS_HEADERS: [&str; 4] = [
    "x-plausible-ip",
    "cf-connecting-ip",
    "b-forwarded-for",
    "x-forwarded-for",
];

/// The known sites and the statistics.
#[derive(Debug)]
pub struct Receiver {
    /// Empty means every site.
    sites: Vec<String>,
    now_ms: fn() -> i64,
    stats: Mutex<Stats>,
}

impl Receiver {
    /// Creates a receiver that accepts these sites, or every site if the list is empty. `now_ms` reads the clock, in
    /// milliseconds since 1970.
    pub fn new(sites: Vec<String>, now_ms: fn() -> i64) -> Self {
        Self {
            sites,
            now_ms,
            stats: Mutex::default(),
        }
    }

    fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, site: &str) -> bool {
        self.sites.is_empty() || self.sites.iter().any(|known| known == site)
    }
}

/// Serves a receiver until `stop`. `pages` serves the files of its live page.
///
/// # Errors
/// If the listener fails.
pub async fn run(
    listener: TcpListener,
    receiver: Receiver,
    pages: MethodRouter,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve(listener, router(receiver).fallback(pages), stop).await
}

fn router(receiver: Receiver) -> Router {
    let health = Json(json!({ "postgres": "ok", "clickhouse": "ok", "sites_cache": "ok", "sessions": "ok" }));
    Router::new()
        .route("/api/event", post(take))
        .route("/api/health", get(health.clone()))
        .route("/api/system/health/ready", get(health))
        .route("/api/system/health/live", get(Json(json!({ "ok": true }))))
        .route("/stats", get(stats))
        .route("/received", get(received))
        .with_state(Arc::new(receiver))
}

/// `POST /api/event`.
async fn take(
    State(receiver): State<Arc<Receiver>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let address = ADDRESS_HEADERS
        .iter()
        .find_map(|name| text(name)?.split(',').next())
        .map_or_else(|| peer.ip().to_string(), |address| address.trim().to_owned());
    // Plausible Cloud's load balancer answers with the address that it would use, and counts nothing.
    if text("x-debug-request") == Some("true") {
        return Json(json!({ "ip": address })).into_response();
    }
    let agent = text("user-agent").unwrap_or_default();
    let event = match Event::parse(&body, &address, agent) {
        Ok(event) => event,
        Err(errors) => return (StatusCode::BAD_REQUEST, Json(json!({ "errors": errors }))).into_response(),
    };
    let mut stats = receiver.stats();
    stats.keep_request(&headers, &body);
    match stats.count(&event, receiver.knows(&event.site), (receiver.now_ms)()) {
        true => (StatusCode::ACCEPTED, "ok").into_response(),
        false => (StatusCode::ACCEPTED, [("x-plausible-dropped", "1")], "ok").into_response(),
    }
}

/// Handler of `GET /stats`: the statistics that the page shows.
async fn stats(State(receiver): State<Arc<Receiver>>) -> Json<Value> {
    Json(receiver.stats().shown())
}

/// The latest valid requests, headers and body, oldest first. For tests and `cargo xtask demo --check`.
async fn received(State(receiver): State<Arc<Receiver>>) -> Json<Value> {
    Json(receiver.stats().requests())
}

#[cfg(test)]
mod tests;
