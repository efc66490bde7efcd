//! Observes how requests arrive: whether the relay sees its clients' addresses, and whether it refuses pages that it
//! should serve.
//!
//! A relay behind a proxy that it does not trust works without an error and counts all visitors as one. These
//! counters detect that. `doctor` reads them from the running relay, health shows them to admins, and each is logged
//! once.
//!
//! Memory is bounded, and no client address is stored: clients are counted in cells of a keyed hash. A peer's
//! address is kept only if it is private and the peer sent a forwarding header, which makes it a proxy. Only `doctor`
//! shows it; it is never logged. A few well-formed origins are kept, and never logged: they are easy to forge.

mod findings;
mod oddity;
mod origins;

use super::client_address::{Client, Through, address};
use crate::clock;
use crate::config::Public;
use crate::digest::cell_of;
use crate::http::server::ConnectionMetrics;
use crate::metrics::{self, Registry};
use axum::http::{HeaderMap, HeaderName};
pub use findings::Shown;
use oddity::Oddity;
use origins::Origins;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Requests after which all counters are halved, so that they reflect how requests arrive now.
const WINDOW: u32 = 4096;
/// Buckets for clients. Two clients may share one; nearly all of many clients do not.
const CELLS: usize = 256;
/// Fewest requests that allow the conclusion that nearly all come from one address.
const REQUESTS_MIN: u32 = 20;
/// Interval of that check, in requests.
const LOOK_EVERY: u32 = 16;
/// Most proxies that are stored. Further ones are only counted.
const PROXIES_MAX: usize = 8;

/// Headers in which proxies and content networks name a client, in alphabetical order.
const FORWARDING: [&str; 34] = [
    "ali-cdn-real-ip",
    "b-forwarded-for",
    "cdn-src-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "client-ip",
    "cloudfront-viewer-address",
    "do-connecting-ip",
    "eo-connecting-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded",
    "forwarded-for",
    "incap-client-ip",
    "proxy-client-ip",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-akamai-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-forwarded",
    "x-forwarded-for",
    "x-nf-client-connection-ip",
    "x-original-forwarded-for",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-ip",
    "x-vercel-forwarded-for",
];

/// Counters of how requests arrived lately.
#[derive(Debug)]
pub struct Arrivals {
    requests: AtomicU32,
    odd: [AtomicU32; Oddity::ALL.len()],
    /// One counter for each of [`FORWARDING`], and one for all other headers that hold an address.
    headers: [AtomicU32; FORWARDING.len() + 1],
    cells: [AtomicU32; CELLS],
    proxies: Mutex<Vec<(IpAddr, u32)>>,
    own_origins: Mutex<Origins>,
    origins: Mutex<Origins>,
    logged: [AtomicBool; Oddity::ALL.len()],
    metrics: Metrics,
    connections: ConnectionMetrics,
    seed: [u8; 16],
}

metrics::declare! {
    /// How requests arrive.
    struct Metrics {
        /// Requests that arrived in a way that hides visitors or keeps pages out; `doctor` says what to do.
        requests_odd: Counter["oddity"] = Oddity::ALL.map(|oddity| [oddity.name()]),
    }
}

impl Arrivals {
    /// Starts with all counters at zero.
    pub fn new(connections: ConnectionMetrics, registry: &mut Registry) -> Self {
        Self {
            requests: AtomicU32::new(0),
            odd: [const { AtomicU32::new(0) }; Oddity::ALL.len()],
            headers: [const { AtomicU32::new(0) }; FORWARDING.len() + 1],
            cells: [const { AtomicU32::new(0) }; CELLS],
            proxies: Mutex::default(),
            own_origins: Mutex::default(),
            origins: Mutex::default(),
            logged: [const { AtomicBool::new(false) }; Oddity::ALL.len()],
            metrics: Metrics::register(registry),
            connections,
            seed: clock::random(),
        }
    }

    /// Counts a request with events.
    pub(super) fn saw(&self, peer: IpAddr, client: Client, headers: &HeaderMap) {
        let requests = self.requests.fetch_add(1, Relaxed) + 1;
        let cell = cell_of(self.seed, &client.address, CELLS);
        self.cells[cell].fetch_add(1, Relaxed);
        if client.disputed {
            self.count(Oddity::HeadersDiffer);
        }
        match client.through {
            Through::Proxies => {}
            Through::LongerChain => self.count(Oddity::LongerChain),
            Through::Nothing => self.unused(peer, client, headers),
            Through::SilentProxy => {
                self.count(Oddity::SilentProxy);
                self.note_headers(client.address, headers);
            }
            Through::Unreadable => self.count(Oddity::UnreadableHeader),
        }
        if requests.is_multiple_of(LOOK_EVERY) && self.share_of_one_address().is_some() {
            self.say_once(Oddity::OneAddress);
        }
        if requests >= WINDOW {
            self.halve();
        }
    }

    /// Counts a page that was not allowed to send events or to read answers. `own` is whether the request claims that
    /// the page is on the relay's own origin.
    pub(super) fn refused(&self, origin: &[u8], own: bool) {
        let oddity = match own {
            true => Oddity::OwnOriginRefused,
            false => Oddity::OriginRefused,
        };
        self.odd[oddity as usize].fetch_add(1, Relaxed);
        self.metrics.requests_odd.with([oddity.name()]).inc();
        self.origins_of(own).add(origin);
        if !self.logged[oddity as usize].swap(true, Relaxed) {
            // The origin is only for the operator: logs are passed on, and strangers can forge origins.
            let says = oddity.says();
            tracing::warn!(
                "{says}; `feedback-relay doctor` lists them; add your own to the setting that it names"
            );
        }
    }

    /// The refused origins that requests claim to be the relay's own, or all others.
    fn origins_of(&self, own: bool) -> MutexGuard<'_, Origins> {
        let origins = if own { &self.own_origins } else { &self.origins };
        origins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request whose events name a site that is not configured.
    pub(super) fn unknown_site(&self) {
        self.count(Oddity::UnknownSite);
    }

    /// Counts a request that an untrusted peer forwards for another client.
    fn unused(&self, peer: IpAddr, client: Client, headers: &HeaderMap) {
        if !self.note_headers(client.address, headers) {
            return;
        }
        let peer = peer.to_canonical();
        if is_private(peer) {
            let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, count)) = proxies.iter_mut().find(|(known, _)| *known == peer) {
                *count = count.saturating_add(1);
            } else if proxies.len() < PROXIES_MAX {
                proxies.push((peer, 1));
            }
        }
        self.count(Oddity::UntrustedProxy);
    }

    /// Counts the headers that name a client other than the one used. Returns whether there are any.
    fn note_headers(&self, client: IpAddr, headers: &HeaderMap) -> bool {
        let mut any = false;
        for (name, value) in headers {
            let value = value.as_bytes().trim_ascii();
            let place = match FORWARDING.binary_search(&name.as_str()) {
                Ok(known) => known,
                Err(_) if holds_address(name, value) => FORWARDING.len(),
                Err(_) => continue,
            };
            if address(value) != Some(client) {
                self.headers[place].fetch_add(1, Relaxed);
                any = true;
            }
        }
        any
    }

    /// Counts an oddity, and logs it once it is no longer an exception.
    fn count(&self, oddity: Oddity) {
        let count = self.odd[oddity as usize].fetch_add(1, Relaxed) + 1;
        self.metrics.requests_odd.with([oddity.name()]).inc();
        if oddity.is_general(count, self.requests.load(Relaxed)) {
            self.say_once(oddity);
        }
    }

    fn say_once(&self, oddity: Oddity) {
        let logged = &self.logged[oddity as usize];
        if !logged.load(Relaxed) && !logged.swap(true, Relaxed) {
            let (says, advice) = (oddity.says(), oddity.advice());
            tracing::warn!(
                oddity = oddity.name(),
                "{says} (`feedback-relay doctor` shows more); {advice}"
            );
        }
    }

    /// The percentage of requests from the most frequent address, if it is nearly all.
    fn share_of_one_address(&self) -> Option<u32> {
        let requests: u64 = self.cells.iter().map(|cell| u64::from(cell.load(Relaxed))).sum();
        let most = self.cells.iter().map(|cell| cell.load(Relaxed)).max()?;
        let percent = u64::from(most) * 100 / requests.max(1);
        let nearly_all = requests >= u64::from(REQUESTS_MIN) && percent >= 90;
        nearly_all.then(|| u32::try_from(percent).unwrap_or(100))
    }

    fn halve(&self) {
        let all = self.odd.iter().chain(&self.headers).chain(&self.cells);
        for counter in all.chain([&self.requests]) {
            counter.store(counter.load(Relaxed) / 2, Relaxed);
        }
        let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, count) in proxies.iter_mut() {
            *count /= 2;
        }
        proxies.retain(|(_, count)| *count > 0);
        drop(proxies);
        self.origins_of(true).halve();
        self.origins_of(false).halve();
    }
}

/// Whether a header that is not known to name clients holds an address anyway. Headers with "host" in their names
/// hold a server's.
fn holds_address(name: &HeaderName, value: &[u8]) -> bool {
    let begins = value
        .first()
        .is_some_and(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'[' | b':'));
    let first = value.split(|byte| *byte == b',').next().unwrap_or_default();
    begins && !name.as_str().contains("host") && address(first.trim_ascii()).is_some()
}

/// An address of a machine or of a private network, which does not locate a person.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            // Shared address space (RFC 6598), used by clusters and private overlays.
            let is_shared = a == 100 && (64..128).contains(&b);
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
