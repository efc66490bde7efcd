//! `GET /api/config`: what a browser may know before anybody agreed to anything.

use crate::app::App;
use crate::http::problem::Problem;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use relay_event::{Outcome, wire};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

#[derive(Deserialize)]
pub(super) struct SiteQuery {
    pub(super) site: String,
}

/// Whether collection is on, and what the user would agree to.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    query: Result<Query<SiteQuery>, QueryRejection>,
    headers: HeaderMap,
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
    let config = json!({ "enabled": site.is_on(), "plan": plan.version, "categories": categories });
    let etag = format!("\"{}-{}\"", plan.version, u8::from(site.is_on()));
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|v| v.as_bytes() == etag.as_bytes())
    {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    (
        [
            (header::ETAG, etag),
            (header::CACHE_CONTROL, "no-cache".to_owned()),
        ],
        Json(config),
    )
        .into_response()
}
