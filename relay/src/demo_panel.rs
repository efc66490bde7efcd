//! The demo panel: a page in meshPanel's manner, and a web server that passes `/feedback` on to the
//! relay, as a customer's own would.

use crate::http::assets;
use crate::http::serve::{Front, Peer};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Extension, Json, Router};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Largest body passed on, in bytes. The relay has the last word; this only bounds our memory.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most connections. Above it new ones wait.
const CONNECTIONS_MAX: usize = 256;
/// Longest wait for the relay.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where the parts of the demo are.
#[derive(Clone, Debug)]
pub struct Places {
    /// The site the page belongs to.
    pub site: String,
    /// The relay's public listener.
    pub relay: String,
    /// The receiver's page, when there is one.
    pub receiver: Option<String>,
    /// The relay's admin page.
    pub admin: Option<String>,
}

#[derive(Debug)]
struct Panel {
    places: Places,
    client: reqwest::Client,
}

/// Serves the demo panel until `stop`.
///
/// # Errors
/// When the client for the relay cannot be made.
pub async fn run(
    listener: TcpListener,
    places: Places,
    stop: CancellationToken,
) -> Result<(), reqwest::Error> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .build()?;
    let panel = Arc::new(Panel { places, client });
    let router = Router::new()
        .route("/demo.json", get(describe))
        .route("/feedback/{*rest}", any(pass_on))
        .fallback(get(page))
        .with_state(panel);
    Front::plain(listener, router, CONNECTIONS_MAX).run(stop).await;
    Ok(())
}

async fn describe(State(panel): State<Arc<Panel>>) -> Json<serde_json::Value> {
    let places = &panel.places;
    Json(json!({ "site": places.site, "receiver": places.receiver, "admin": places.admin }))
}

async fn page(uri: Uri, headers: HeaderMap) -> Response {
    assets::page("demo", &uri, &headers)
}

/// Headers that belong to one connection and not to the request (RFC 9110, section 7.6.1), and those
/// the client sets itself.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
];

/// Passes a request on to the relay and adds the client's address and the host, as nginx's `proxy_pass` would.
async fn pass_on(
    State(panel): State<Arc<Panel>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let target = format!("{}{}", panel.places.relay, parts.uri);
    let mut headers = parts.headers;
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert("x-forwarded-host", host);
    }
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(name)));
    if let Ok(address) = peer.ip().to_string().parse() {
        headers.append("x-forwarded-for", address);
    }
    match panel
        .client
        .request(parts.method, target)
        .headers(headers)
        .body(body)
        .send()
        .await
    {
        Ok(answer) => {
            let mut headers = answer.headers().clone();
            HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(name)));
            let status = answer.status();
            match answer.bytes().await {
                Ok(bytes) => (status, headers, Body::from(bytes)).into_response(),
                Err(_) => StatusCode::BAD_GATEWAY.into_response(),
            }
        }
        Err(_) => (StatusCode::BAD_GATEWAY, "the relay does not answer").into_response(),
    }
}
