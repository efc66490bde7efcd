//! `GET /metrics`, behind basic auth.

use crate::app::App;
use crate::http::problem::Problem;
use crate::metrics;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

/// The text Prometheus scrapes. The password is a machine's, compared in constant time; it is not an
/// account's, which would cost an Argon2 hash per scrape.
pub(super) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let Some(password) = &app.config.metrics.password else {
        return Problem::new(
            StatusCode::FORBIDDEN,
            "no_password",
            "No password configured",
            "Set `metrics.password`, `metrics.password_file` or FEEDBACK_RELAY_METRICS_PASSWORD.",
        )
        .into_response();
    };
    let right = credentials(&headers)
        .is_some_and(|(user, guess)| user == app.config.metrics.username && password.is(&guess));
    if !right {
        let mut response = Problem::new(
            StatusCode::UNAUTHORIZED,
            "login",
            "Login needed",
            "Use basic auth with the user and password of [metrics].",
        )
        .into_response();
        response.headers_mut().insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"metrics\""),
        );
        return response;
    }
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        app.metrics.text(),
    )
        .into_response()
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
