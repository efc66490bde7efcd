//! `[upstream]`: the Plausible server that receives the events.

mod files;
mod proxy;

pub use files::{FileError, Loaded, UpstreamFiles};
pub use proxy::{Direct, Proxy, ProxySource, Way};

use crate::config::plans::Plans;
use crate::config::toml::Table;
use crate::config::{Env, Profile, Secret, name};
use axum::http::{HeaderName, Uri};
use relay_event::Outcome;
use std::path::Path;
use std::time::Duration;

/// Largest `upstream.concurrency`: visitors are spread over this many buckets, and each bucket has one request in
/// flight.
pub const CONCURRENCY_MAX: u8 = 64;

/// The upstream server and how to reach it.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The server's address, for example `https://plausible.example.com`; with a path if a proxy serves it below one.
    pub url: String,
    /// The kind of server at that address.
    pub profile: Profile,
    /// The header that carries the visitor's pseudonymous address: the profile's, unless overridden.
    pub address_header: HeaderName,
    /// Maximum number of connections with requests in flight, at most [`CONCURRENCY_MAX`]. The actual number follows
    /// Plausible's response times. Each visitor has at most one event on its way.
    pub concurrency: usize,
    /// Timeout of one answer.
    pub timeout: Duration,
    /// Certificates to trust, headers to send, a client certificate.
    pub files: UpstreamFiles,
    /// The route to the server: direct, or through a proxy.
    pub way: Way,
    /// The path of the health check while Plausible is down: the profile's, unless overridden. `None`: the relay
    /// tries an event instead.
    pub health_path: Option<String>,
    /// Whether to send an event again if its answer never came.
    pub delivery: Delivery,
    /// Waiting time after which an event is marked as late.
    pub late_after: Duration,
    /// Access to the server's own counts.
    pub stats: Option<Stats>,
    /// A site for test events only, so that they do not count on a real site.
    pub test_site: Option<String>,
}

/// Access to the Stats API of the server that events go to.
#[derive(Clone, Debug)]
pub struct Stats {
    /// The API key.
    pub key: Secret,
    /// How often the relay compares the counts with its own.
    pub every: Duration,
}

/// The guarantee for an event whose answer never came: Plausible may have counted it, and has no key that identifies
/// a repetition (contract c.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The relay resends it: Plausible counts each event at least once.
    AtLeastOnce,
    /// The relay drops it: Plausible counts each event at most once.
    AtMostOnce,
}

impl Upstream {
    pub(super) fn read(section: &Table<'_>, folder: &Path, plans: &Plans, env: Env<'_>) -> Option<Self> {
        let profile = section
            .choice("profile", &Profile::ALL.map(|profile| (profile.name(), profile)))
            .unwrap_or_default();
        check_names(section, profile, plans);
        let url = section.parsed(
            "url",
            "an http or https address such as \"https://plausible.example.com\"",
            url,
        );
        section.require(
            "url",
            "the address of Plausible, such as \"https://plausible.example.com\"",
        );
        let deliveries = [
            ("at_least_once", Delivery::AtLeastOnce),
            ("at_most_once", Delivery::AtMostOnce),
        ];
        Some(Self {
            profile,
            address_header: section
                .parsed("address_header", ADDRESS_HEADER, address_header)
                .unwrap_or_else(|| profile.address_header()),
            concurrency: section
                .integer("concurrency", 1..=usize::from(CONCURRENCY_MAX))
                .unwrap_or(32),
            timeout: section.seconds("timeout_s", 1..=300, 10),
            files: UpstreamFiles::read(section, folder),
            way: Way::read(section, env, url.as_deref().unwrap_or_default()),
            health_path: section
                .parsed(
                    "health_path",
                    "a path such as \"/api/health\", or empty",
                    health_path,
                )
                .unwrap_or_else(|| Some(profile.health_path().into())),
            delivery: section
                .choice("delivery", &deliveries)
                .unwrap_or(Delivery::AtLeastOnce),
            late_after: section.seconds("late_after_s", 1..=30 * 86_400, 300),
            stats: Stats::read(section, folder, env),
            test_site: name::read_domain(section, "test_site"),
            // Last, so that a missing address does not hide mistakes in the other keys.
            url: url?,
        })
    }
}

impl Stats {
    fn read(section: &Table<'_>, folder: &Path, env: Env<'_>) -> Option<Self> {
        let every = section.seconds("stats_interval_s", 1..=86_400, 600);
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

/// A plan must not list an event that the server always refuses.
fn check_names(section: &Table<'_>, profile: Profile, plans: &Plans) {
    let events = plans.iter().flat_map(|plan| &plan.events);
    let mut too_long = events.filter(|event| profile.leaves_out(&event.name) == Some(Outcome::NameLeftOut));
    if let Some(event) = too_long.next() {
        section.mistake(
            "profile",
            format!(
                "accepts event names of up to 120 bytes, but a plan lists one of {} bytes",
                event.name.len()
            ),
        );
    }
}

const ADDRESS_HEADER: &str =
    "a header name such as \"x-plausible-ip\" that neither HTTP nor the relay itself uses";

fn address_header(text: &str) -> Option<HeaderName> {
    let name = text.to_ascii_lowercase().parse().ok();
    name.filter(files::may_carry_an_address)
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
