//! CORS: pages of the configured origins may read every answer, refusals included.
//!
//! Usually the relay is on the page's own origin and none of this matters.

use crate::app::App;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

/// Adds the headers to an answer to a page of this origin.
pub(super) fn allow(app: &App, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin.filter(|origin| is_configured(app, origin)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("retry-after"),
        );
    }
}

/// Answers a preflight. Which origin may go on is said by [`allow`].
pub(super) async fn preflight() -> (StatusCode, HeaderMap) {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("content-type, content-encoding"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    (StatusCode::NO_CONTENT, headers)
}

/// Whether pages of this origin may read answers.
pub(super) fn is_configured(app: &App, origin: &HeaderValue) -> bool {
    origin.to_str().is_ok_and(|origin| {
        app.switches
            .sites()
            .any(|site| site.origins.iter().any(|o| o.eq_ignore_ascii_case(origin)))
    })
}
