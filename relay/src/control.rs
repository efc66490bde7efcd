//! The control socket: how `feedback-relay switch`, `spool` and `doctor` talk to a running relay.
//!
//! A Unix socket in the data folder that only its owner can use: whoever may read the database may turn
//! the switch. A switch turned this way is as linearizable as one turned on the admin page.

use crate::app::{App, StartError};
use crate::clock::Moment;
use crate::forward::self_test::Finding;
use crate::http::arrivals::Shown;
use crate::http::failed_logins;
use crate::http::problem::Problem;
use crate::http::turn::{self, Standing, Turn};
use crate::running::Running;
use crate::spool::Purge;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path as UrlPath, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use relay_event::Outcome;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::UnixListener;

/// Longest path of a Unix socket, in bytes (`sun_path` in unix(7)).
const PATH_BYTES_MAX: usize = 107;

/// Where the socket of a data folder is.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// Binds the socket. One left behind by a relay that was killed is replaced; the folder's lock has
/// proved that no relay uses it.
///
/// # Errors
/// When it cannot be bound.
pub fn listen(data_dir: &Path) -> Result<UnixListener, StartError> {
    let path = path(data_dir);
    let failed = |error| StartError::Listen(path.display().to_string(), error);
    if path.as_os_str().len() > PATH_BYTES_MAX {
        let text = format!("its path is longer than {PATH_BYTES_MAX} bytes; choose a shorter `data_dir`");
        return Err(failed(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            text,
        )));
    }
    forget(data_dir);
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Removes the socket.
pub fn forget(data_dir: &Path) {
    // Usually it is there or not there; anything else shows when binding.
    let _ = std::fs::remove_file(path(data_dir));
}

/// Serves the socket until the relay stops.
pub async fn run(listener: UnixListener, app: Arc<App>) {
    let stop = app.stop.clone();
    let router = Router::new()
        .route("/sites", get(sites))
        .route("/arrivals", get(arrivals))
        .route("/sites/{site}/switch", put(turn_site))
        .route("/running", get(running))
        .route("/spool/purge", post(purge_spool))
        .route("/spool/replay", post(replay_spool))
        .with_state(app);
    // An error here would be the operating system's; the relay goes on without the socket.
    let _ = axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
}

async fn sites(State(app): State<Arc<App>>) -> Json<Vec<Standing>> {
    Json(Standing::of_all(&app))
}

/// How requests and logins arrive, for `doctor`.
async fn arrivals(State(app): State<Arc<App>>) -> Json<Vec<Finding>> {
    let mut findings = app.arrivals.findings(&app.config.public, Shown::Operator);
    findings.push(failed_logins::finding(app.accounts.failed_logins()));
    Json(findings)
}

async fn running(State(app): State<Arc<App>>) -> Json<Running> {
    Json(Running::of(&app))
}

async fn turn_site(
    State(app): State<Arc<App>>,
    UrlPath(site): UrlPath<String>,
    turn: Result<Json<Turn>, JsonRejection>,
) -> Response {
    turn::turn(&app, &site, turn, "cli").await
}

/// The body of a purge: which events, as [`Purge`] has it.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PurgeOrder {
    pub(crate) site: Option<String>,
    /// In milliseconds since 1970.
    pub(crate) before: Option<i64>,
    pub(crate) quarantine: bool,
}

impl From<PurgeOrder> for Purge {
    fn from(order: PurgeOrder) -> Self {
        Self {
            site: order.site,
            before: order.before.map(Moment),
            quarantine: order.quarantine,
        }
    }
}

async fn purge_spool(
    State(app): State<Arc<App>>,
    order: Result<Json<PurgeOrder>, JsonRejection>,
) -> Response {
    let Ok(Json(order)) = order else {
        let problem =
            Problem::invalid("Send {\"site\": …, \"before\": …, \"quarantine\": …} as application/json.");
        return problem.into_response();
    };
    match app.spool.purge(order.into()).await {
        Ok(removed) => {
            tracing::info!(
                purged = removed.events,
                quarantined = removed.quarantined,
                "events were purged on an operator's word"
            );
            Json(json!({ "purged": removed.events, "quarantined": removed.quarantined })).into_response()
        }
        Err(_) => Problem::of(Outcome::SpoolUnavailable).into_response(),
    }
}

async fn replay_spool(State(app): State<Arc<App>>) -> Response {
    match app.spool.replay().await {
        Ok(replayed) => Json(replayed).into_response(),
        Err(_) => Problem::of(Outcome::SpoolUnavailable).into_response(),
    }
}
