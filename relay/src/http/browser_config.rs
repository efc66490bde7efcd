//! `GET /api/config`: the data a browser needs before its user has agreed to anything, and a page token for its page.

use crate::gate::source::Format;
use crate::http::cors;
use crate::http::door::Door;
use crate::http::problem::{Problem, unless_known};
use crate::http::server::Peer;
use crate::http::source;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use relay_event::{Outcome, wire};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

#[derive(Deserialize)]
pub(super) struct SiteQuery {
    pub(super) site: String,
}

/// Whether collection is on, and the plan that the user would agree to.
pub(super) async fn show(
    State(door): State<Arc<Door>>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<SiteQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let app = &door.app;
    let Query(query) = query.map_err(|_| Problem::invalid("Say which site: ?site=panel.example.com"))?;
    // As in events, a leading `www.` is ignored.
    let asked = wire::sites(&query.site);
    let site = asked.first().and_then(|site| app.switches.site(site));
    let site = site.ok_or(Outcome::UnknownSite)?;
    let plan = &site.plan;
    let categories: Vec<&str> = plan.categories.iter().map(|c| c.name.as_str()).collect();
    let (parts, _) = request.into_parts();
    let referer = parts
        .headers
        .get(header::REFERER)
        .and_then(|value| value.to_str().ok());
    let source = source::read(&parts, peer.address.ip(), &app.config, Format::Batch);
    let token = app.sources.first(site, &source, referer);
    let is_on = u8::from(site.is_on());
    // The token is part of the ETag, so that no browser keeps using an old one after a 304.
    let etag = format!(
        "\"{}-{is_on}-{}\"",
        plan.version,
        token.as_deref().unwrap_or_default()
    );
    let mut config = json!({ "enabled": is_on == 1, "plan": plan.version, "categories": categories });
    if let Some(token) = token {
        config["token"] = token.into();
    }
    let answer = unless_known(&parts.headers, &etag, || Json(config).into_response());
    cors::note_unknown(&door, peer, &parts.uri, &parts.headers);
    // Only the browser may cache it, and it must revalidate each time. CORS adds `Vary: origin`.
    Ok(([(header::CACHE_CONTROL, "private, no-cache")], answer).into_response())
}
