//! Turning a switch over HTTP, for the admin page and the control socket alike.

use crate::app::App;
use crate::http::problem::{Problem, sentence};
use crate::switch::TurnError;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

/// The body of a turn of a switch.
#[derive(Deserialize)]
pub(crate) struct Turn {
    on: bool,
}

/// Turns a switch for whoever may, and says how many waiting events were purged.
pub(crate) async fn turn(
    app: &App,
    site: &str,
    turn: Result<Json<Turn>, JsonRejection>,
    by: &str,
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
        TurnError::UnknownSite(_) | TurnError::Locked | TurnError::Marked(_) => "The switch was not turned",
        // Turning off has happened as far as this relay goes.
        TurnError::Unrecorded { .. } => "The switch was not recorded",
    }
}
