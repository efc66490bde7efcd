//! CORS: pages of the configured origins may read every response, including refusals.
//!
//! Usually the relay is on the page's own origin, so CORS does not apply.

use crate::http::door::Door;
use crate::http::server::Peer;
use crate::http::source;
use crate::switch::Switches;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::NoContent;
use std::sync::Arc;

/// Adds the headers to a response to a page of a configured origin.
pub(super) fn allow(switches: &Switches, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin.filter(|origin| is_configured(switches, origin)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("retry-after"),
        );
    }
}

/// Answers a preflight. [`allow`] decides which origins may continue.
pub(super) async fn preflight(
    State(door): State<Arc<Door>>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
) -> ([(HeaderName, &'static str); 3], NoContent) {
    note_unknown(&door, peer, &uri, &headers);
    let allowed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "content-type, content-encoding",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "3600"),
    ];
    (allowed, NoContent)
}

/// Counts an origin that is not configured: its pages cannot read the response, so they never send an event. Only
/// routes that pages need for that call this; on any other route an origin says nothing about the configuration.
pub(super) fn note_unknown(door: &Door, peer: Peer, uri: &Uri, headers: &HeaderMap) {
    if let Some(origin) = headers.get(header::ORIGIN)
        && !is_configured(&door.app.switches, origin)
    {
        let own = source::is_own(uri, headers, peer.address.ip(), &door.app.config);
        door.arrivals.refused(origin.as_bytes(), own);
    }
}

/// Whether pages of this origin may read responses.
fn is_configured(switches: &Switches, origin: &HeaderValue) -> bool {
    origin.to_str().is_ok_and(|origin| {
        switches
            .sites()
            .any(|site| site.origins.iter().any(|o| o.eq_ignore_ascii_case(origin)))
    })
}
