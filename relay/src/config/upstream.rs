//! `[upstream]`: the Plausible that events go to.

mod files;
mod proxy;

pub use files::{FileError, Loaded, UpstreamFiles};
pub use proxy::{Direct, Proxy, Source, Way};

use crate::config::listen::{seconds, size};
use crate::config::plans::Plans;
use crate::config::{Env, Profile, Secret, name};
use crate::document::Section;
use axum::http::{HeaderName, Uri};
use relay_event::Outcome;
use std::path::Path;
use std::time::Duration;

/// Where events go, and how.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The server's address, as `https://plausible.example.com`; with a path where a proxy puts it below one.
    pub url: String,
    /// The kind of server at that address.
    pub profile: Profile,
    /// The header that carries the visitor's pseudonymous address: the profile's, unless another is set.
    pub address_header: HeaderName,
    /// Most requests under way at once, at most [`crate::spool::BUCKETS`]. How many there are follows how
    /// fast Plausible answers. Events of one visitor are never two of them.
    pub concurrency: usize,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Certificates to trust, headers to send, a client certificate.
    pub files: UpstreamFiles,
    /// The way there: straight, or through a proxy.
    pub way: Way,
    /// What to ask whether Plausible is well, while it is away: the profile's path, unless another is set.
    /// `None`: an event is tried instead.
    pub health_path: Option<String>,
    /// What becomes of an event that was sent without an answer.
    pub when_unknown: WhenUnknown,
    /// How long an event may wait before it is marked as late.
    pub late_after: Duration,
    /// Access to the server's own counts.
    pub stats: Option<Stats>,
    /// A site for test events alone, so that they do not count on a site of users.
    pub test_site: Option<String>,
}

/// Access to the Stats API of the server that events go to.
#[derive(Clone, Debug)]
pub struct Stats {
    /// The API key.
    pub key: Secret,
    /// How often the counts are compared with the relay's own.
    pub every: Duration,
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
    pub(super) fn read(section: &Section<'_>, folder: &Path, plans: &Plans, env: Env<'_>) -> Option<Self> {
        let profile = section
            .parsed(
                "profile",
                "\"plausible-ce\", \"plausible-cloud\" or \"vince\"",
                Profile::parse,
            )
            .unwrap_or_default();
        check_names(section, profile, plans);
        let stats = Stats::read(section, folder, env);
        let test_site = section.text("test_site").and_then(|text| {
            name::domain(&text)
                .map_err(|why| section.mistake("test_site", format!("is wrong: {why}")))
                .ok()
        });
        let address_header = section
            .parsed(
                "address_header",
                "a header name such as \"x-plausible-ip\", and none that HTTP or the relay itself uses",
                |t| {
                    t.to_ascii_lowercase()
                        .parse()
                        .ok()
                        .filter(files::may_carry_an_address)
                },
            )
            .unwrap_or_else(|| profile.address_header());
        let concurrency = size(section, "concurrency", 1..=i64::from(crate::spool::BUCKETS), 32);
        let timeout = seconds(section, "timeout_s", 1..=300, 10);
        let late_after = seconds(section, "late_after_s", 1..=30 * 86_400, 300);
        let health_path = section
            .parsed(
                "health_path",
                "a path such as \"/api/health\", or empty",
                health_path,
            )
            .unwrap_or_else(|| Some(profile.health_path().into()));
        let when_unknown = section
            .parsed("when_unknown", "\"retry\" or \"drop\"", |text| match text {
                "retry" => Some(WhenUnknown::Retry),
                "drop" => Some(WhenUnknown::Drop),
                _ => None,
            })
            .unwrap_or(WhenUnknown::Retry);
        let files = UpstreamFiles::read(section, folder);
        let url = section.parsed(
            "url",
            "an http or https address such as \"https://plausible.example.com\"",
            url,
        );
        // Before a missing address ends it, so that `proxy` is known as a setting.
        let way = Way::read(section, env, url.as_deref().unwrap_or_default());
        if !section.has("url") {
            section.mistake(
                "url",
                "is missing: the address of Plausible, such as \"https://plausible.example.com\"",
            );
        }
        let url = url?;
        Some(Self {
            url,
            profile,
            address_header,
            concurrency,
            timeout,
            files,
            way,
            health_path,
            when_unknown,
            late_after,
            stats,
            test_site,
        })
    }
}

impl Stats {
    fn read(section: &Section<'_>, folder: &Path, env: Env<'_>) -> Option<Self> {
        let every = seconds(section, "stats_every_s", 1..=86_400, 600);
        let key = Secret::read(section, "stats_key", folder, "FEEDBACK_RELAY_STATS_KEY", env)?;
        if key.header("Bearer ").is_none() {
            section.mistake(
                "stats_key",
                "must be one line of visible characters, as Plausible shows a new API key",
            );
            return None;
        }
        Some(Self { key, every })
    }
}

/// A plan must not list an event that the server refuses each time.
fn check_names(section: &Section<'_>, profile: Profile, plans: &Plans) {
    let events = plans.iter().flat_map(|plan| &plan.events);
    let mut too_long = events.filter(|event| profile.leaves_out(&event.name) == Some(Outcome::NameLeftOut));
    if let Some(event) = too_long.next() {
        section.mistake(
            "profile",
            format!(
                "is a server that takes event names of up to 120 bytes, and a plan lists one of {}",
                event.name.len()
            ),
        );
    }
}

fn url(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let ok = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.authority().is_some_and(|a| !a.as_str().contains('@'))
        && proxy::has_good_port(&uri)
        && uri.query().is_none()
        && !text.contains('#')
        && !uri.path().trim_end_matches('/').ends_with("/api/event")
        && !uri.path().ends_with(".js");
    ok.then(|| text.trim_end_matches('/').to_owned())
}

fn health_path(text: &str) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    (text.starts_with('/') && text.chars().all(plain)).then(|| Some(text.to_owned()))
}
