//! `[public]`, `[admin]` and `[metrics]`: who listens where, and the limits at the front door.

use crate::config::network::{self, network};
use crate::config::{AllowedHost, Env, Rate, Secret, TlsFiles};
use crate::document::Section;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// The listener browsers reach, usually behind the customer's own web server.
#[derive(Clone, Debug)]
pub struct Public {
    /// The address to bind; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The path at which the routes are mounted besides the root, as `/feedback`. Empty for none.
    pub base_path: String,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Largest body, in bytes. Above it: 413.
    pub body_bytes_max: usize,
    /// Longest wait for a whole body. Above it: 408.
    pub body_timeout: Duration,
    /// Most open connections. Above it the one that was silent longest is closed for a new one. The operating
    /// system's limit on open files may lower it; the log says so then.
    pub connections_max: usize,
    /// Most open connections of one address (IPv6: of one /64) that is not a trusted proxy, and never more than a
    /// quarter of what may be open. Above it the one of its own that was silent longest is closed for a new one. 0 is
    /// no limit.
    pub connections_per_client_max: usize,
    /// Most requests taken in at once. Above it: 503 with Retry-After.
    pub requests_max: usize,
    /// How soon after its last byte a request should be answered. While answers take longer, fewer requests
    /// are worked on at once, and the others get 503 with Retry-After.
    pub answer_within: Duration,
    /// Requests of one client (IPv6: one /64). Above it: 429 with Retry-After.
    pub rate_per_client: Rate,
    /// Events of one site. Above it: 429 with Retry-After.
    pub rate_per_site: Rate,
    /// Whether events need the `Origin` of one of the site's pages, or a tool's token.
    pub require_origin: bool,
    /// Whether batches need a page token besides, which pages get with the configuration.
    pub require_page_token: bool,
    /// Whether pages may send events in Plausible's format, which has no page token. Tools always may.
    pub trackers: bool,
    /// The certificate; plain HTTP without one.
    pub tls: Option<TlsFiles>,
}

impl Public {
    pub(super) fn read(section: &Section<'_>, folder: &Path) -> Self {
        Self {
            listen: address(section, 8080),
            base_path: base_path(section),
            trusted_proxies: trusted_proxies(section),
            body_bytes_max: size(section, "body_bytes_max", 1024..=1024 * 1024, 64 * 1024),
            body_timeout: seconds(section, "body_timeout_s", 1..=300, 10),
            connections_max: size(section, "connections_max", 1..=1_000_000, 16_384),
            connections_per_client_max: size(section, "connections_per_client_max", 0..=1_000_000, 4096),
            requests_max: size(section, "requests_max", 1..=100_000, 1024),
            answer_within: milliseconds(section, "answer_within_ms", 10..=60_000, 500),
            rate_per_client: Rate::read(section, "rate_per_client", Rate::per_second(500, 5_000)),
            rate_per_site: Rate::read(section, "rate_per_site", Rate::per_second(5_000, 50_000)),
            require_origin: section.boolean("require_origin").unwrap_or(true),
            require_page_token: section.boolean("require_page_token").unwrap_or(true),
            trackers: section.boolean("trackers").unwrap_or(true),
            tls: TlsFiles::read(section, folder),
        }
    }
}

/// The listener of admins and monitoring.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The address to bind; loopback unless the operator says otherwise.
    pub listen: SocketAddr,
    /// Hosts to which the listener answers besides its own addresses.
    pub allowed_hosts: Vec<AllowedHost>,
    /// Proxies whose `X-Forwarded-For` is believed when logins are throttled.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a login lasts without use.
    pub session: Duration,
    /// How long a login lasts at most, however much it is used.
    pub session_max: Duration,
    /// The certificate; plain HTTP without one.
    pub tls: Option<TlsFiles>,
}

impl Admin {
    pub(super) fn read(section: &Section<'_>, folder: &Path) -> Self {
        Self {
            listen: address(section, 8081),
            allowed_hosts: section
                .list(
                    "allowed_hosts",
                    "hosts such as \"relay-admin.example.com\"",
                    AllowedHost::parse,
                )
                .unwrap_or_default(),
            trusted_proxies: trusted_proxies(section),
            session: seconds(section, "session_s", 60..=86_400, 1800),
            session_max: seconds(section, "session_max_s", 60..=604_800, 43_200),
            tls: TlsFiles::read(section, folder),
        }
    }
}

/// Who may read `/metrics`.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The user of basic auth.
    pub username: String,
    /// The password of basic auth. Without one nobody may read the metrics.
    pub password: Option<Secret>,
}

impl Metrics {
    pub(super) fn read(section: &Section<'_>, folder: &Path, env: Env<'_>) -> Self {
        Self {
            username: section
                .parsed(
                    "username",
                    "a name without a colon, at which basic auth splits",
                    |text| (!text.is_empty() && !text.contains(':')).then(|| text.to_owned()),
                )
                .unwrap_or_else(|| "prometheus".into()),
            password: Secret::read(
                section,
                "password",
                folder,
                "FEEDBACK_RELAY_METRICS_PASSWORD",
                env,
            ),
        }
    }
}

fn address(section: &Section<'_>, port: u16) -> SocketAddr {
    section
        .parsed("listen", "an address and port such as \"127.0.0.1:8080\"", |t| {
            t.parse().ok()
        })
        .unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
}

fn trusted_proxies(section: &Section<'_>) -> Vec<IpNet> {
    section
        .list("trusted_proxies", "networks such as \"10.0.0.0/8\"", network)
        .unwrap_or_default()
}

fn base_path(section: &Section<'_>) -> String {
    let default = || "/feedback".to_owned();
    let Some(text) = section.text("base_path") else {
        return default();
    };
    network::base_path(&text).unwrap_or_else(|why| {
        section.mistake("base_path", why);
        default()
    })
}

/// A size that fits a `usize` because its range does.
pub(super) fn size(
    section: &Section<'_>,
    key: &str,
    range: std::ops::RangeInclusive<i64>,
    default: usize,
) -> usize {
    section
        .integer(key, range)
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(default)
}

/// A duration in whole seconds.
pub(super) fn seconds(
    section: &Section<'_>,
    key: &str,
    range: std::ops::RangeInclusive<i64>,
    default: u64,
) -> Duration {
    Duration::from_secs(
        section
            .integer(key, range)
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(default),
    )
}

/// A duration in whole milliseconds.
pub(super) fn milliseconds(
    section: &Section<'_>,
    key: &str,
    range: std::ops::RangeInclusive<i64>,
    default: u64,
) -> Duration {
    Duration::from_millis(
        section
            .integer(key, range)
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(default),
    )
}
