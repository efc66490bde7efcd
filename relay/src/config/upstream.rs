//! `[upstream]`: the Plausible that events go to.

use crate::config::listen::{seconds, size};
use crate::document::Section;
use axum::http::{HeaderName, Uri};
use std::time::Duration;

/// Where events go, and how.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The server's address without a path, as `https://plausible.example.com`.
    pub url: String,
    /// The header that carries the visitor's pseudonymous address: `x-plausible-ip` for a Plausible of
    /// one's own, `x-forwarded-for` for Plausible Cloud, `x-vince-ip` for Vince (contract b.6).
    pub address_header: HeaderName,
    /// Most requests under way at once, at most [`crate::spool::BUCKETS`]. Events of one visitor are
    /// never two of them.
    pub concurrency: usize,
    /// Longest wait for one answer.
    pub timeout: Duration,
}

impl Upstream {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let address_header = section
            .parsed(
                "address_header",
                "a header name such as \"x-plausible-ip\"",
                |t| t.to_ascii_lowercase().parse().ok(),
            )
            .unwrap_or(HeaderName::from_static("x-plausible-ip"));
        let concurrency = size(section, "concurrency", 1..=i64::from(crate::spool::BUCKETS), 8);
        let timeout = seconds(section, "timeout_s", 1..=300, 10);
        if !section.has("url") {
            section.mistake(
                "url",
                "is missing: the address of Plausible, such as \"https://plausible.example.com\"",
            );
            return None;
        }
        let url = section.parsed(
            "url",
            "an http or https address such as \"https://plausible.example.com\"",
            url,
        )?;
        Some(Self {
            url,
            address_header,
            concurrency,
            timeout,
        })
    }
}

fn url(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let ok = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.authority().is_some_and(|a| !a.as_str().contains('@'))
        && uri.query().is_none();
    ok.then(|| text.trim_end_matches('/').to_owned())
}
