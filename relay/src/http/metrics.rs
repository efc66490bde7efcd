//! `GET /metrics`, behind basic auth.

use crate::http::door::Door;
use crate::http::problem::Problem;
use crate::http::server::Peer;
use crate::metrics::CONTENT_TYPE;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use std::sync::Arc;

/// The text that Prometheus scrapes.
pub(super) async fn metrics(
    State(door): State<Arc<Door>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    door.scrapes.authorise(&door.app, peer, &headers)?;
    let text = door.metrics.text();
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text))
}
