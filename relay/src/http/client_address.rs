//! Determines the client of a request through the trusted proxies.
//!
//! `X-Forwarded-For` and `Forwarded` (RFC 7239) are both walked from the right, because everything left of the first
//! untrusted address comes from the client. If a request has both, `X-Forwarded-For` counts: nearly every proxy
//! writes it, and many pass on a `Forwarded` that the client sent. Reading the latter would let clients choose their
//! addresses.

mod forwarded;

use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Most entries of a header that are walked. Trusted proxies do not form a longer chain.
const HOPS_MAX: usize = 16;

/// A client, and how its address was determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client {
    /// Its address, as far as it is known.
    pub(super) address: IpAddr,
    pub(super) through: Through,
    /// Whether `X-Forwarded-For` and `Forwarded` name two different clients.
    pub(super) disputed: bool,
}

/// The path between a client and the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Through {
    /// A direct connection, or an untrusted proxy.
    Nothing,
    /// Trusted proxies that name the client.
    Proxies,
    /// Trusted proxies, but their header has more entries than they account for. Either the client forged them, or a
    /// proxy in front of them is not trusted.
    LongerChain,
    /// A trusted proxy that sent neither header: only its own address is known.
    SilentProxy,
    /// A trusted proxy whose header holds no address in the client's place.
    Unreadable,
}

/// Determines the client: the peer, or, while that is a trusted proxy, the entry it added.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Client {
    let walk = Walk {
        peer: peer.to_canonical(),
        trusted,
    };
    if !walk.is_trusted(walk.peer) {
        return Client::new(walk.peer, Through::Nothing);
    }
    let listed = headers
        .contains_key(X_FORWARDED_FOR)
        .then(|| walk.along(x_forwarded_for(headers)));
    let forwarded = headers
        .contains_key(FORWARDED)
        .then(|| walk.along(forwarded::hops(headers)));
    match (listed, forwarded) {
        (None, None) => Client::new(walk.peer, Through::SilentProxy),
        (Some(client), None) | (None, Some(client)) => client,
        (Some(client), Some(other)) => Client {
            disputed: client.address != other.address,
            ..client
        },
    }
}

impl Client {
    fn new(address: IpAddr, through: Through) -> Self {
        Self {
            address,
            through,
            disputed: false,
        }
    }
}

struct Walk<'t> {
    peer: IpAddr,
    trusted: &'t [IpNet],
}

impl Walk<'_> {
    fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&address))
    }

    /// Walks the entries of a header, the last one first. An entry that names no address ends the walk: then the last
    /// known proxy is the client.
    fn along(&self, hops: impl Iterator<Item = Option<IpAddr>>) -> Client {
        let mut hops = hops.take(HOPS_MAX);
        let mut client = self.peer;
        while self.is_trusted(client) {
            match hops.next() {
                Some(Some(next)) => client = next,
                Some(None) => return Client::new(client, Through::Unreadable),
                // A client within the trusted networks, or a chain with too many proxies.
                None => return Client::new(client, Through::Proxies),
            }
        }
        match hops.next() {
            Some(_) => Client::new(client, Through::LongerChain),
            None => Client::new(client, Through::Proxies),
        }
    }
}

/// The entries of `X-Forwarded-For`, the last one first.
fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .rev()
        .flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','))
        .map(|entry| address(entry.trim_ascii()))
}

/// An address, with or without port and brackets.
pub(super) fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare
        .parse()
        .or_else(|_| text.parse::<SocketAddr>().map(|s| s.ip()))
        .ok()?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests;
