//! `GET /privacy`: what is collected and what is not, for the users who are asked. Made from the site's plan.

use crate::app::App;
use crate::config::Config;
use crate::http::browser_config::SiteQuery;
use crate::http::problem::Problem;
use crate::plan::page;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// How long a browser may show the page without asking again, in seconds. A plan changes with a restart of
/// the relay, so a user may read the one before for that long.
const MAX_AGE_S: u32 = 300;

/// Every site's page, made once: the plans do not change while the relay runs.
#[derive(Debug)]
pub struct Pages {
    by_site: BTreeMap<String, Arc<Page>>,
    policy: String,
}

#[derive(Debug)]
struct Page {
    html: Bytes,
    etag: String,
}

impl Pages {
    /// Makes the pages of all sites.
    pub fn new(config: &Config) -> Self {
        let page = |plan: &relay_event::Plan| {
            let html = page::html(plan, &config.privacy);
            let mut etag = String::from("\"");
            for byte in Sha256::digest(&html).iter().take(16) {
                let _ = write!(etag, "{byte:02x}");
            }
            etag.push('"');
            Arc::new(Page {
                html: html.into(),
                etag,
            })
        };
        let mut by_site = BTreeMap::new();
        for plan in config.plans.iter() {
            let page = page(plan);
            for site in config.sites.iter().filter(|site| site.plan.is(plan)) {
                by_site.insert(site.domain.clone(), Arc::clone(&page));
            }
        }
        Self {
            by_site,
            policy: page::content_security_policy(),
        }
    }

    /// The page of a site. Without a name, that of the only one there is.
    fn of(&self, site: Option<&str>) -> Option<&Page> {
        match site {
            Some(site) => self.by_site.get(site),
            None if self.by_site.len() == 1 => self.by_site.values().next(),
            None => None,
        }
        .map(|page| &**page)
    }
}

pub(super) async fn show(
    State(app): State<Arc<App>>,
    query: Result<Query<SiteQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let site = query.ok().map(|Query(query)| query.site);
    let Some(page) = app.privacy.of(site.as_deref()) else {
        // The sites are not listed: who else uses the relay is nobody's business.
        return Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_site",
            "No such page",
            "Say which site is meant, by its domain exactly as in [[site]]: /privacy?site=panel.example.com",
        )
        .into_response();
    };
    let common = [
        (header::ETAG, page.etag.clone()),
        (header::CACHE_CONTROL, format!("public, max-age={MAX_AGE_S}")),
        (header::CONTENT_SECURITY_POLICY, app.privacy.policy.clone()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    let unchanged = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|v| v.as_bytes() == page.etag.as_bytes());
    if unchanged {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (common, html, page.html.clone()).into_response()
}
