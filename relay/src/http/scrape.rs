//! `GET /metrics`, behind basic auth.

use crate::app::App;
use crate::http::problem::Problem;
use crate::metrics;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

/// The text Prometheus scrapes.
pub(super) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if let Err(problem) = authorise(&app, &headers) {
        return problem.into_response();
    }
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        app.metrics.text(),
    )
        .into_response()
}

/// Whether a request carries the user and password of `[metrics]`; else the refusal. The one place that compares them.
/// The password is a machine's, compared in constant time; it is not an account's, which would cost an Argon2 hash
/// per scrape.
pub(super) fn authorise(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(password) = &app.config.metrics.password else {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "no_password",
            "No password configured",
            "Set `metrics.password`, `metrics.password_file` or FEEDBACK_RELAY_METRICS_PASSWORD.",
        ));
    };
    let right = credentials(headers)
        .is_some_and(|(user, guess)| user == app.config.metrics.username && password.is(&guess));
    if right {
        return Ok(());
    }
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "login",
        "Login needed",
        "Use basic auth with the user and password of [metrics].",
    );
    Err(problem.basic_auth())
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    let decoded = scheme
        .eq_ignore_ascii_case("basic")
        .then(|| STANDARD.decode(encoded.trim()))?
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':')
        .map(|(user, password)| (user.to_owned(), password.to_owned()))
}
