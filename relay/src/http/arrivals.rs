//! How requests arrive: whether the relay sees its clients, and whether pages are kept out that should not be.
//!
//! A relay behind a proxy it does not trust works without a complaint and counts all visitors as one. These counters
//! notice that. `doctor` reads them from the running relay, health shows them to admins, and each is logged once.
//!
//! Bounded and without clients' addresses: clients are counted in buckets of a keyed hash. The address of a peer is
//! kept only if the peer sent a forwarding header, which makes it a proxy, and only if it is a private one. It is shown
//! by `doctor` alone and never logged. Origins are kept if they are well-formed, a few of them, and never logged: anybody
//! can make them up.

mod findings;
mod origins;

use super::client_address::{Client, Through, address};
use super::rate::place_of;
use crate::clock;
use crate::config::Public;
use crate::metrics::door::{ConnectionMetrics, DoorMetrics, Oddity};
use axum::http::{HeaderMap, HeaderName};
pub use findings::Shown;
use origins::Origins;
use prometheus_client::metrics::counter::Counter;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Requests after which everything is halved, so that what is shown is how requests arrive now.
const WINDOW: u32 = 4096;
/// Buckets for clients. Two clients may share one; that nearly all of many share one does not happen.
const BUCKETS: usize = 256;
/// Fewest requests from which it can be said that nearly all come from one address.
const REQUESTS_MIN: u32 = 20;
/// How often, in requests, it is looked whether they do.
const LOOK_EVERY: u32 = 16;
/// Proxies that are remembered. Further ones are only counted.
const PROXIES_MAX: usize = 8;

/// Headers in which proxies and content networks name a client, in order of the alphabet.
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

/// How requests arrived lately.
#[derive(Debug)]
pub struct Arrivals {
    requests: AtomicU32,
    odd: [AtomicU32; Oddity::ALL.len()],
    /// One for each of [`FORWARDING`], and one for all others that hold an address.
    headers: [AtomicU32; FORWARDING.len() + 1],
    buckets: [AtomicU32; BUCKETS],
    proxies: Mutex<Vec<(IpAddr, u32)>>,
    own_origins: Mutex<Origins>,
    origins: Mutex<Origins>,
    logged: [AtomicBool; Oddity::ALL.len()],
    metrics: [Counter; Oddity::ALL.len()],
    connections: ConnectionMetrics,
    seed: [u8; 16],
}

impl Arrivals {
    /// Nothing has arrived yet.
    pub fn new(metrics: &DoorMetrics) -> Self {
        Self {
            requests: AtomicU32::new(0),
            odd: [const { AtomicU32::new(0) }; Oddity::ALL.len()],
            headers: [const { AtomicU32::new(0) }; FORWARDING.len() + 1],
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
            proxies: Mutex::default(),
            own_origins: Mutex::default(),
            origins: Mutex::default(),
            logged: [const { AtomicBool::new(false) }; Oddity::ALL.len()],
            metrics: metrics.odd.clone(),
            connections: metrics.connections("public"),
            seed: clock::random(),
        }
    }

    /// Takes a request with events into account.
    pub(super) fn saw(&self, peer: IpAddr, client: Client, headers: &HeaderMap) {
        let requests = self.requests.fetch_add(1, Relaxed) + 1;
        let bucket = place_of(self.seed, &client.address, BUCKETS);
        self.buckets[bucket].fetch_add(1, Relaxed);
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

    /// Takes a page into account that may not send events, or not read answers. `own` is whether the request says that
    /// the page is on the relay's own origin.
    pub(super) fn refused(&self, origin: &[u8], own: bool) {
        let oddity = match own {
            true => Oddity::OwnOriginRefused,
            false => Oddity::OriginRefused,
        };
        self.odd[oddity as usize].fetch_add(1, Relaxed);
        self.metrics[oddity as usize].inc();
        self.origins_of(own).add(origin);
        if !self.logged[oddity as usize].swap(true, Relaxed) {
            // Whose page that is only the operator may see: a log travels, and strangers can make origins up.
            let says = oddity.says();
            tracing::warn!("{says}; `feedback-relay doctor` names them: add there those that are yours");
        }
    }

    /// The refused origins that requests call the relay's own, or all others.
    fn origins_of(&self, own: bool) -> MutexGuard<'_, Origins> {
        let origins = if own { &self.own_origins } else { &self.origins };
        origins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request into account whose events name a site that is not configured.
    pub(super) fn unknown_site(&self) {
        self.count(Oddity::UnknownSite);
    }

    /// A request from a peer that is not trusted and yet forwards for another client.
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

    /// Counts the headers that name another client than the one taken; says whether there are any.
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

    /// Counts an oddity, and logs it once it is no exception.
    fn count(&self, oddity: Oddity) {
        let count = self.odd[oddity as usize].fetch_add(1, Relaxed) + 1;
        self.metrics[oddity as usize].inc();
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

    /// How many of 100 requests come from the address that most come from, if that is nearly all.
    fn share_of_one_address(&self) -> Option<u32> {
        let requests: u64 = self
            .buckets
            .iter()
            .map(|bucket| u64::from(bucket.load(Relaxed)))
            .sum();
        let most = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).max()?;
        let percent = u64::from(most) * 100 / requests.max(1);
        let nearly_all = requests >= u64::from(REQUESTS_MIN) && percent >= 90;
        nearly_all.then(|| u32::try_from(percent).unwrap_or(100))
    }

    fn halve(&self) {
        let all = self.odd.iter().chain(&self.headers).chain(&self.buckets);
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

/// Whether a header that is not known to name clients holds an address all the same. Those with "host" in their names
/// hold that of a server.
fn holds_address(name: &HeaderName, value: &[u8]) -> bool {
    let begins = value
        .first()
        .is_some_and(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'[' | b':'));
    let first = value.split(|byte| *byte == b',').next().unwrap_or_default();
    begins && !name.as_str().contains("host") && address(first.trim_ascii()).is_some()
}

/// An address of a machine or a network of one's own, which says nothing about where a person is.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            // Shared address space (RFC 6598), which clusters and private overlays use.
            let is_shared = a == 100 && (64..128).contains(&b);
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
