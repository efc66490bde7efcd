//! `GET /api/config`: what a browser may know before its user agreed to anything, and a page token for its page.

use crate::app::App;
use crate::gate::source::Format;
use crate::http::problem::Problem;
use crate::http::serve::Peer;
use crate::http::source;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use relay_event::{Outcome, wire};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Where browsers ask for it.
pub(super) const ROUTE: &str = "/api/config";

#[derive(Deserialize)]
pub(super) struct SiteQuery {
    pub(super) site: String,
}

/// Whether collection is on, and what the user would agree to.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(Peer(peer)): Extension<Peer>,
    query: Result<Query<SiteQuery>, QueryRejection>,
    request: Request,
) -> Response {
    let Ok(Query(query)) = query else {
        return Problem::invalid("Say which site: ?site=panel.example.com").into_response();
    };
    // As in events, a leading `www.` is left out.
    let asked = wire::sites(&query.site);
    let Some(site) = asked.first().and_then(|site| app.switches.site(site)) else {
        return Problem::of(Outcome::UnknownSite).into_response();
    };
    let plan = &site.plan;
    let categories: Vec<&str> = plan.categories.iter().map(|c| c.name.as_str()).collect();
    let (parts, _) = request.into_parts();
    let referer = parts
        .headers
        .get(header::REFERER)
        .and_then(|value| value.to_str().ok());
    let source = source::read(&parts, peer.ip(), &app.config, Format::Batch);
    let token = app.sources.first(site, &source, referer);
    let is_on = u8::from(site.is_on());
    // The token is part of the version, so that no browser goes on with an old one after a 304.
    let etag = format!(
        "\"{}-{is_on}-{}\"",
        plan.version,
        token.as_deref().unwrap_or_default()
    );
    let mut config = json!({ "enabled": is_on == 1, "plan": plan.version, "categories": categories });
    if let Some(token) = token {
        config["token"] = token.into();
    }
    let mut answer = match is_known(&parts.headers, &etag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Json(config).into_response(),
    };
    let headers = answer.headers_mut();
    if let Ok(etag) = HeaderValue::try_from(etag) {
        headers.insert(header::ETAG, etag);
    }
    // Kept by the browser alone, and asked for again each time. CORS adds `Vary: origin`.
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    answer
}

/// Whether the browser has this version already.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let known = headers.get(header::IF_NONE_MATCH);
    known.is_some_and(|known| known.as_bytes() == etag.as_bytes())
}
