//! The two HTTP listeners: their routes, and the order of their layers, written once.
//!
//! The public one is for browsers, behind the customer's web server; the admin one is for people and
//! monitoring and shares no route with it but health and version.

mod admin;
pub mod arrivals;
pub mod assets;
mod body;
mod browser_config;
mod client_address;
mod cors;
pub(crate) mod failed_logins;
mod health;
mod ingest;
mod places;
pub mod privacy;
pub(crate) mod problem;
mod public;
pub mod rate;
mod scrape;
pub mod serve;
pub mod shed;
pub mod slow_bodies;
mod source;
pub mod tls;
pub(crate) mod turn;

use crate::app::App;
use crate::version;
pub use admin::door::Door as AdminDoor;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use places::{Bodies, Room};
use problem::Problem;
pub use public::Public;
use scrape::Scrapes;
use std::sync::Arc;

/// What browsers reach, as [`Public`] hands it on. The routes answer at the root and below the base path, so
/// that it does not matter whether the web server in front strips the path.
fn public_router(app: &Arc<App>) -> Router {
    let routes = Router::new()
        .route(
            ingest::PLAUSIBLE,
            post(ingest::plausible).options(cors::preflight),
        )
        .route(
            "/plan/{version}/api/event",
            post(ingest::plausible).options(cors::preflight),
        )
        .route(ingest::BATCH, post(ingest::batch).options(cors::preflight))
        .route(
            ingest::BATCH_OF_TOOLS,
            post(ingest::batch).options(cors::preflight),
        )
        .route(
            browser_config::ROUTE,
            get(browser_config::show).options(cors::preflight),
        )
        .route("/privacy", get(privacy::show))
        .route("/snippet.js", get(assets::browser))
        .route("/client.js", get(assets::browser))
        .route("/client_bg.wasm", get(assets::browser))
        .route("/version", get(show_version))
        .route("/actuator/health", get(health::public))
        .route("/actuator/health/{group}", get(health::group));
    let mounted = match app.config.public.base_path.as_str() {
        "" => routes,
        base => routes.clone().nest(base, routes),
    };
    mounted
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .with_state(Arc::clone(app))
}

/// What admins and monitoring reach.
pub fn admin(app: &Arc<App>) -> AdminDoor {
    let config = &app.config.admin;
    AdminDoor::new(
        config.listen.ip(),
        &config.allowed_hosts,
        app.tls.admin.is_some(),
        admin_router(app),
    )
}

/// The routes. Each kind of route has places of its own; see [`places`].
fn admin_router(app: &Arc<App>) -> Router {
    // Apart from readiness, which waits for the disk.
    let alive = Router::new()
        .route("/version", get(show_version))
        .route("/actuator/health/liveness", get(health::liveness));
    let ready = Router::new().route("/actuator/health/{group}", get(health::group));
    let details = Router::new().route("/actuator/health", get(health::of_admins));
    let metrics = Router::new().route("/metrics", get(scrape::metrics));
    let switch = Router::new().route("/admin/api/sites/{site}/switch", put(admin::turn));
    let pages = Router::new()
        .route("/admin/api/logout", post(admin::logout))
        .route("/admin/api/status", get(admin::status))
        .fallback(get(assets::admin));
    // In no room: bodies that do not arrive and passwords that wait to be hashed have limits of their own.
    let login = Router::new()
        .route("/admin/api/login", post(admin::login::login))
        .layer(Extension(Arc::new(Bodies::default())));
    [alive, ready, details, metrics, switch, pages]
        .into_iter()
        .map(|kind| kind.layer(from_fn_with_state(Arc::new(Room::default()), Room::enter)))
        .fold(login, Router::merge)
        .layer(Extension(Arc::new(Scrapes::new(&app.clock))))
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(axum::extract::DefaultBodyLimit::max(ADMIN_BODY_BYTES_MAX))
        .layer(from_fn(admin::in_time))
        .with_state(Arc::clone(app))
}

/// Largest body on the admin listener, in bytes. Above it: 413.
const ADMIN_BODY_BYTES_MAX: usize = 8 * 1024;

async fn show_version() -> Json<serde_json::Value> {
    Json(
        serde_json::json!({ "package": version::PACKAGE, "git": version::COMMIT, "branch": version::BRANCH }),
    )
}

/// What every answer carries.
fn carried_by_all(headers: &mut HeaderMap) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}
