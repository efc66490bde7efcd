//! The control socket: how `feedback-relay switch`, `spool` and `doctor` talk to a running relay.
//!
//! A Unix socket in the data folder, accessible to its owner only: a user who can read the database can set the
//! switch. A switch set this way is as linearizable as on the admin page.

use crate::finding::Finding;
use crate::http::arrivals::Shown;
use crate::http::door::Door;
use crate::http::failed_logins;
use crate::http::problem::Problem;
use crate::http::switch::{self, SetSwitch, SwitchStatus};
use crate::running::Running;
use crate::spool::{Purge, Removed, Replayed};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path as UrlPath, State};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::UnixListener;

/// Longest path of a Unix socket, in bytes (`sun_path` in unix(7)).
const PATH_BYTES_MAX: usize = 107;

/// The path of a data folder's socket.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// Binds the socket. Replaces one left behind by a relay that was killed; holding the folder's lock proves that no
/// relay uses it.
///
/// # Errors
/// If it cannot be bound.
pub fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    let path = path(data_dir);
    if path.as_os_str().len() > PATH_BYTES_MAX {
        let text = format!("its path is longer than {PATH_BYTES_MAX} bytes; choose a shorter `data_dir`");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    forget(data_dir);
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Removes the socket.
pub fn forget(data_dir: &Path) {
    // A missing socket is expected; any other error shows when binding.
    let _ = std::fs::remove_file(path(data_dir));
}

/// Serves the socket until the relay stops.
pub async fn run(listener: UnixListener, door: Arc<Door>) {
    let stop = door.app.stop.clone();
    let router = Router::new()
        .route("/sites", get(sites))
        .route("/arrivals", get(arrivals))
        .route("/sites/{site}/switch", put(set_switch))
        .route("/running", get(running))
        .route("/spool/purge", post(purge_spool))
        .route("/spool/replay", post(replay_spool))
        .with_state(door);
    // The operating system's error, if any; the relay continues without the socket.
    let _ = axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
}

async fn sites(State(door): State<Arc<Door>>) -> Json<Vec<SwitchStatus>> {
    Json(SwitchStatus::of_all(&door.app))
}

/// How requests and logins arrive, for `doctor`.
async fn arrivals(State(door): State<Arc<Door>>) -> Json<Vec<Finding>> {
    let mut findings = door.arrivals.findings(&door.app.config.public, Shown::Operator);
    findings.push(failed_logins::finding(door.app.accounts.failed_logins()));
    Json(findings)
}

async fn running(State(door): State<Arc<Door>>) -> Json<Running> {
    Json(Running::of(&door))
}

async fn set_switch(
    State(door): State<Arc<Door>>,
    UrlPath(site): UrlPath<String>,
    body: Result<Json<SetSwitch>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    switch::set(&door.app, &site, body, "cli").await
}

async fn purge_spool(
    State(door): State<Arc<Door>>,
    order: Result<Json<Purge>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let detail = "Send {\"site\": …, \"before\": …, \"quarantine\": …} as application/json.";
    let Json(order) = order.map_err(|_| Problem::invalid(detail))?;
    let purged = door.app.spool.purge(order).await;
    let Removed {
        events, quarantined, ..
    } = purged.map_err(|_| Problem::no_database())?;
    tracing::info!(purged = events, quarantined, "an operator purged events");
    Ok(Json(json!({ "purged": events, "quarantined": quarantined })))
}

async fn replay_spool(State(door): State<Arc<Door>>) -> Result<Json<Replayed>, Problem> {
    let replayed = door.app.spool.replay().await;
    Ok(Json(replayed.map_err(|_| Problem::no_database())?))
}
