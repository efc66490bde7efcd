//! Switches over HTTP, for the admin page and the control socket alike.

use crate::app::App;
use crate::forward::sites::words::Words;
use crate::http::problem::{Problem, sentence};
use crate::switch::{Change, Kept, Site, TurnError, Turner};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// The body of a turn of a switch.
#[derive(Deserialize)]
pub(crate) struct Turn {
    on: bool,
}

/// How a site's switch stands.
#[derive(Deserialize, Serialize)]
pub(crate) struct Standing {
    pub(crate) site: String,
    pub(crate) on: bool,
    pub(crate) locked: bool,
    pub(crate) changed_at: Option<String>,
    pub(crate) changed_by: Option<String>,
    /// Where that is written down.
    pub(crate) recorded: Kept,
    /// Whether Plausible accepts its events.
    pub(crate) plausible: Words,
}

impl Standing {
    pub(crate) fn new(
        site: &str,
        on: bool,
        locked: bool,
        change: Option<Change>,
        recorded: Kept,
        plausible: Words,
    ) -> Self {
        Self {
            site: site.to_owned(),
            on,
            locked,
            changed_at: change.as_ref().map(|change| change.at.rfc3339()),
            changed_by: change.map(|change| change.by),
            recorded,
            plausible,
        }
    }

    /// Of all sites.
    pub(crate) fn of_all(app: &App) -> Vec<Self> {
        let of = |site: &Arc<Site>| {
            let (on, locked) = (site.is_on(), site.operator_lock);
            let shown = app.sites.shown(&site.domain).unwrap_or_default();
            let plausible = Words::of(&site.domain, &shown, on);
            Self::new(&site.domain, on, locked, site.changed(), site.kept(), plausible)
        };
        app.switches.sites().map(of).collect()
    }
}

/// Turns a switch for whoever may, and says how many waiting events were purged.
pub(crate) async fn turn(
    app: &App,
    site: &str,
    turn: Result<Json<Turn>, JsonRejection>,
    by: impl Into<Turner>,
) -> Response {
    let Ok(Json(Turn { on })) = turn else {
        return Problem::invalid("Send {\"on\": true} or {\"on\": false} as application/json.")
            .into_response();
    };
    match app.switches.turn(site, on, by).await {
        Ok(purged) => Json(json!({ "site": site, "on": on, "purged": purged })).into_response(),
        Err(error) => {
            let (status, kind) = match &error {
                TurnError::UnknownSite(_) => (StatusCode::NOT_FOUND, "unknown_site"),
                TurnError::Revoked => (StatusCode::UNAUTHORIZED, "login"),
                TurnError::Locked => (StatusCode::CONFLICT, "operator_lock"),
                TurnError::Marked(_) => (StatusCode::CONFLICT, "marker"),
                TurnError::Unrecorded { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            };
            let problem = Problem::new(status, kind, title(&error), sentence(&error));
            match error {
                TurnError::Unrecorded { .. } => problem.retry_after(5).into_response(),
                _ => problem.into_response(),
            }
        }
    }
}

fn title(error: &TurnError) -> &'static str {
    match error {
        TurnError::UnknownSite(_) | TurnError::Locked | TurnError::Marked(_) | TurnError::Revoked => {
            "The switch was not turned"
        }
        // Turning off has happened as far as this relay goes.
        TurnError::Unrecorded { .. } => "The switch was not recorded",
    }
}
