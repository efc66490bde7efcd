//! The two HTTP listeners: their routes, and the order of their layers, written once.
//!
//! The public one is for browsers, behind the customer's web server; the admin one is for people and monitoring. They
//! share only the routes for health and version.

mod admin;
pub mod admission;
pub mod arrivals;
pub mod assets;
mod body;
mod browser_config;
mod client_address;
mod cors;
pub mod door;
pub(crate) mod failed_logins;
mod health;
mod ingest;
pub mod metrics;
mod places;
pub mod privacy;
pub(crate) mod problem;
mod scrapes;
pub mod server;
mod source;
pub(crate) mod switch;

use crate::version;
use admin::same_origin::SameOrigin;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, options, post, put};
use axum::{Json, Router};
use door::Door;
use places::Places;
use problem::Problem;
use server::{Peer, Service};
use std::sync::Arc;
use tower::ServiceBuilder;
use tower_http::set_header::SetResponseHeaderLayer;

const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Largest body on the admin listener, in bytes. Above it: 413.
const ADMIN_BODY_BYTES_MAX: usize = 8 * 1024;

/// The listener for browsers.
pub fn public(door: &Arc<Door>) -> Service {
    let (door, routes) = (Arc::clone(door), public_routes(door));
    Service::by(move |peer, request| {
        let direct = ingest::Direct::of(&door.app.config.public.base_path, &request);
        let to = direct.ok_or_else(|| routes.clone());
        answer_public(Arc::clone(&door), to, peer, request)
    })
}

/// Answers a request at the public listener, directly or by its routes, and adds the headers of every response.
async fn answer_public(
    door: Arc<Door>,
    to: Result<ingest::Direct, Router>,
    peer: Peer,
    request: Request,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut answer = match to {
        Ok(direct) => direct.answer(Arc::clone(&door), peer, request).await,
        Err(routes) => server::route(routes, peer, request).await,
    };
    let headers = answer.headers_mut();
    cors::allow(&door.app.switches, origin, headers);
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    answer
}

/// The routes for browsers. They answer at the root and below the base path, so that it does not matter whether the web
/// server in front strips the path.
fn public_routes(door: &Arc<Door>) -> Router {
    let pages = Arc::new(privacy::Pages::new(&door.app.config));
    let preflight = options(cors::preflight);
    let tracker = preflight.clone().post(ingest::plausible);
    let batch = preflight.clone().post(ingest::batch);
    let routes = Router::new()
        .route(ingest::PLAUSIBLE, tracker.clone())
        .route(ingest::PLAUSIBLE_WITH_PLAN, tracker)
        .route(ingest::BATCH, batch.clone())
        .route(ingest::BATCH_OF_TOOLS, batch)
        .route("/api/config", preflight.get(browser_config::show))
        .route("/privacy", get(privacy::show).with_state(pages))
        .route("/snippet.js", get(assets::browser))
        .route("/client.js", get(assets::browser))
        .route("/client_bg.wasm", get(assets::browser))
        .route("/version", get(show_version))
        .route("/actuator/health", get(health::public))
        .route("/actuator/health/{group}", get(health::group));
    let mounted = match door.app.config.public.base_path.as_str() {
        "" => routes,
        base => routes.clone().nest(base, routes),
    };
    mounted
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .with_state(Arc::clone(door))
}

/// The listener for admins and monitoring. A request passes the layers from top to bottom. The headers prevent other
/// pages from embedding, opening or reading a response.
pub fn admin(door: &Arc<Door>) -> Service {
    let same_origin = SameOrigin::new(&door.app.config.admin, door.tls.admin.is_some());
    let service = ServiceBuilder::new()
        .layer(always(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(unless_set(header::CACHE_CONTROL, "no-store"))
        .layer(always(CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"))
        .layer(always(CROSS_ORIGIN_OPENER_POLICY, "same-origin"))
        .layer(always(header::X_FRAME_OPTIONS, "DENY"))
        .layer(always(header::REFERRER_POLICY, "no-referrer"))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::CONTENT_SECURITY_POLICY,
            policy_of_answers,
        ))
        .layer(from_fn_with_state(Arc::new(same_origin), SameOrigin::check))
        .layer(from_fn(admin::in_time))
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES_MAX))
        .service(admin_routes(door));
    Service::new(service)
}

/// The routes for admins and monitoring. Each kind of route has its own places; see [`places`].
fn admin_routes(door: &Arc<Door>) -> Router {
    // Without readiness, which waits for the disk.
    let alive = Router::new()
        .route("/version", get(show_version))
        .route("/actuator/health/liveness", get(health::liveness));
    let ready = Router::new().route("/actuator/health/{group}", get(health::group));
    let details = Router::new().route("/actuator/health", get(health::of_admins));
    let metrics = Router::new().route("/metrics", get(metrics::metrics));
    let switch = Router::new().route("/admin/api/sites/{site}/switch", put(admin::set_switch));
    let pages = Router::new()
        .route("/admin/api/logout", post(admin::logout))
        .route("/admin/api/status", get(admin::status))
        .fallback(get(assets::admin));
    // Logins need no place here: bodies that do not arrive and passwords that wait to be hashed have their own
    // limits.
    let login = Router::new().route("/admin/api/login", post(admin::login::login));
    [alive, ready, details, metrics, switch, pages]
        .into_iter()
        .map(|kind| kind.layer(from_fn_with_state(Arc::new(Places::default()), Places::enter)))
        .fold(login, Router::merge)
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .with_state(Arc::clone(door))
}

/// A header of every response.
fn always(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}

/// A header of every response for which no route has chosen another value.
fn unless_set(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

/// The content security policy of responses other than pages. Browsers update stored responses with the headers of a
/// 304, and a stored page must keep its own policy.
fn policy_of_answers(answer: &Response) -> Option<HeaderValue> {
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    (answer.status() != StatusCode::NOT_MODIFIED).then_some(policy)
}

async fn show_version() -> Json<serde_json::Value> {
    Json(
        serde_json::json!({ "package": version::PACKAGE, "git": version::COMMIT, "branch": version::BRANCH }),
    )
}
