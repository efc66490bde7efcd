//! `GET /privacy`: the notice of what is collected and what is not, for users who are asked for consent. Generated
//! from the site's plan.

use crate::config::Config;
use crate::digest::sha256;
use crate::http::browser_config::SiteQuery;
use crate::http::problem::{Kind, Problem, unless_known};
use crate::notice::page;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long a browser may show the page without revalidation, in seconds. A plan changes only with a restart of the
/// relay, so a user may see the previous plan for that long.
const MAX_AGE_S: u32 = 300;

/// Every site's page, rendered once: the plans do not change while the relay runs.
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
    /// Renders the pages of all sites.
    pub fn new(config: &Config) -> Self {
        let page = |plan: &relay_event::Plan| {
            let html = page::html(plan, &config.privacy);
            let etag = format!("\"{:.32}\"", sha256(html.as_bytes()));
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

    /// The page of a site. Without a name, the page of the only site, if there is one.
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
    State(pages): State<Arc<Pages>>,
    query: Result<Query<SiteQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let site = query.ok().map(|Query(query)| query.site);
    let page = pages.of(site.as_deref()).ok_or_else(|| {
        // The response does not list the sites: which sites use the relay is not public.
        Problem::new(
            Kind::SITE,
            "Say which site is meant, by its domain exactly as in [[site]]: /privacy?site=panel.example.com",
        )
    })?;
    let common = [
        (header::CACHE_CONTROL, format!("public, max-age={MAX_AGE_S}")),
        (header::CONTENT_SECURITY_POLICY, pages.policy.clone()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    let whole = || {
        let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
        (html, page.html.clone()).into_response()
    };
    Ok((common, unless_known(&headers, &page.etag, whole)).into_response())
}
