//! `[upstream]`: the Plausible that events go to.

use crate::config::listen::{seconds, size};
use crate::document::Section;
use axum::http::{HeaderName, Uri};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use std::time::Duration;

/// Most certificates that `ca_file` may hold; a whole system's bundle has a few hundred. More is a mistake.
const CERTIFICATES_MAX: usize = 1000;

/// Where events go, and how.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The server's address, as `https://plausible.example.com`; with a path where a proxy puts it below one.
    pub url: String,
    /// The header that carries the visitor's pseudonymous address: `x-plausible-ip` for a Plausible of
    /// one's own, `x-forwarded-for` for Plausible Cloud, `x-vince-ip` for Vince (contract b.6).
    pub address_header: HeaderName,
    /// Most requests under way at once, at most [`crate::spool::BUCKETS`]. How many there are follows how
    /// fast Plausible answers. Events of one visitor are never two of them.
    pub concurrency: usize,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// The certificates that sign the server's. Empty: those that the system trusts.
    pub ca: Vec<CertificateDer<'static>>,
    /// What to ask whether Plausible is well, while it is away. `None`: an event is tried instead.
    pub health_path: Option<String>,
    /// What becomes of an event that was sent without an answer.
    pub when_unknown: WhenUnknown,
    /// How long an event may wait before it is marked as late.
    pub late_after: Duration,
}

/// What becomes of an event that was sent and whose answer never came: Plausible may have counted it, and
/// it knows no key that would tell it that the same event comes again (contract c.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnknown {
    /// It is sent again: each event counts at least once.
    Retry,
    /// It is given up: each event counts at most once.
    Drop,
}

impl Upstream {
    pub(super) fn read(section: &Section<'_>, folder: &Path) -> Option<Self> {
        let address_header = section
            .parsed(
                "address_header",
                "a header name such as \"x-plausible-ip\"",
                |t| t.to_ascii_lowercase().parse().ok(),
            )
            .unwrap_or(HeaderName::from_static("x-plausible-ip"));
        let concurrency = size(section, "concurrency", 1..=i64::from(crate::spool::BUCKETS), 32);
        let timeout = seconds(section, "timeout_s", 1..=300, 10);
        let late_after = seconds(section, "late_after_s", 1..=30 * 86_400, 300);
        let health_path = section
            .parsed(
                "health_path",
                "a path such as \"/api/health\", or empty",
                health_path,
            )
            .unwrap_or_else(|| Some("/api/health".into()));
        let when_unknown = section
            .parsed("when_unknown", "\"retry\" or \"drop\"", |text| match text {
                "retry" => Some(WhenUnknown::Retry),
                "drop" => Some(WhenUnknown::Drop),
                _ => None,
            })
            .unwrap_or(WhenUnknown::Retry);
        let ca = section.text("ca_file").map_or_else(Vec::new, |file| {
            certificates(&folder.join(file)).unwrap_or_else(|what| {
                section.mistake("ca_file", what);
                Vec::new()
            })
        });
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
            ca,
            health_path,
            when_unknown,
            late_after,
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

fn health_path(text: &str) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (text.starts_with('/') && text.chars().all(plain)).then(|| Some(text.to_owned()))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .and_then(|certificates| certificates.take(CERTIFICATES_MAX + 1).collect());
    match found {
        Ok(found) if (1..=CERTIFICATES_MAX).contains(&found.len()) => Ok(found),
        Ok(found) => Err(format!(
            "{} holds {} certificates; it has to hold 1 to {CERTIFICATES_MAX} in PEM",
            file.display(),
            found.len()
        )),
        Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
    }
}
