//! `[public]`, `[admin]` and `[metrics]`: the listeners, and the limits on incoming requests.

use crate::config::network::{self, network};
use crate::config::toml::Table;
use crate::config::{AllowedHost, Env, Rate, Secret, TlsFiles};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// The listener for browsers, usually behind the customer's own web server.
#[derive(Clone, Debug)]
pub struct Public {
    /// The address to bind; port 0 selects a free one.
    pub listen: SocketAddr,
    /// The path under which the routes are mounted in addition to the root, for example `/feedback`. Empty for none.
    pub base_path: String,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// Largest body, in bytes. Above it: 413.
    pub body_bytes_max: usize,
    /// Timeout of a whole body. Above it: 408.
    pub body_timeout: Duration,
    /// Maximum number of open connections. At the limit a new connection closes the longest-idle one. The operating
    /// system's limit on open files may lower it; the log then says so.
    pub connections_max: usize,
    /// Maximum number of open connections of one address (IPv6: of one /64) that is not a trusted proxy; never more
    /// than a quarter of all. At the limit a new connection closes this client's longest-idle one. 0 means no limit.
    pub connections_per_client_max: usize,
    /// Maximum number of requests whose events are on their way to the disk. Above it: 503 with Retry-After.
    pub requests_max: usize,
    /// Requests per client (IPv6: per /64). Above it: 429 with Retry-After.
    pub rate_per_client: Rate,
    /// Events per site. Above it: 429 with Retry-After.
    pub rate_per_site: Rate,
    /// Whether events need the `Origin` of one of the site's pages, or a tool's token.
    pub require_origin: bool,
    /// Whether batches also need a page token, which pages get with their configuration.
    pub require_page_token: bool,
    /// Whether pages may send events in Plausible's format, which has no page token. Tools always may.
    pub trackers: bool,
    /// The certificate; plain HTTP without one.
    pub tls: Option<TlsFiles>,
}

impl Public {
    pub(super) fn read(section: &Table<'_>, folder: &Path) -> Self {
        Self {
            listen: address(section, 8080),
            base_path: base_path(section),
            trusted_proxies: trusted_proxies(section),
            body_bytes_max: section
                .integer("body_bytes_max", 1024..=1024 * 1024)
                .unwrap_or(64 * 1024),
            body_timeout: section.seconds("body_timeout_s", 1..=300, 10),
            connections_max: section
                .integer("connections_max", 1..=1_000_000)
                .unwrap_or(16_384),
            connections_per_client_max: section
                .integer("connections_per_client_max", 0..=1_000_000)
                .unwrap_or(4096),
            requests_max: section.integer("requests_max", 1..=100_000).unwrap_or(1024),
            rate_per_client: Rate::read(section, "rate_per_client", Rate::per_second(500, 5_000)),
            rate_per_site: Rate::read(section, "rate_per_site", Rate::per_second(5_000, 50_000)),
            require_origin: section.boolean("require_origin").unwrap_or(true),
            require_page_token: section.boolean("require_page_token").unwrap_or(true),
            trackers: section.boolean("trackers").unwrap_or(true),
            tls: TlsFiles::read(section, folder),
        }
    }
}

/// The listener for admins and monitoring.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The address to bind; loopback by default.
    pub listen: SocketAddr,
    /// Hosts that the listener accepts in addition to its own addresses.
    pub allowed_hosts: Vec<AllowedHost>,
    /// Proxies whose `X-Forwarded-For` is trusted when logins are throttled.
    pub trusted_proxies: Vec<IpNet>,
    /// Idle timeout of a login.
    pub session: Duration,
    /// Maximum lifetime of a login, even if it is in use.
    pub session_max: Duration,
    /// The certificate; plain HTTP without one.
    pub tls: Option<TlsFiles>,
}

impl Admin {
    pub(super) fn read(section: &Table<'_>, folder: &Path) -> Self {
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
            session: section.seconds("session_s", 60..=86_400, 1800),
            session_max: section.seconds("session_max_s", 60..=604_800, 43_200),
            tls: TlsFiles::read(section, folder),
        }
    }
}

/// Access to `/metrics`.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The user of basic auth.
    pub username: String,
    /// The password of basic auth. Without one, access to the metrics is off.
    pub password: Option<Secret>,
}

impl Metrics {
    pub(super) fn read(section: &Table<'_>, folder: &Path, env: Env<'_>) -> Self {
        Self {
            username: section
                .parsed(
                    "username",
                    "a name without a colon, because basic auth splits at it",
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

fn address(section: &Table<'_>, port: u16) -> SocketAddr {
    section
        .parsed("listen", "an address and port such as \"127.0.0.1:8080\"", |t| {
            t.parse().ok()
        })
        .unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
}

fn trusted_proxies(section: &Table<'_>) -> Vec<IpNet> {
    section
        .list("trusted_proxies", "networks such as \"10.0.0.0/8\"", network)
        .unwrap_or_default()
}

fn base_path(section: &Table<'_>) -> String {
    let default = || "/feedback".to_owned();
    let Some(text) = section.text("base_path") else {
        return default();
    };
    network::base_path(&text).unwrap_or_else(|why| {
        section.mistake("base_path", why);
        default()
    })
}
