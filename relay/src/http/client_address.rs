//! Who is at the other end, seen through the proxies that are trusted.

use axum::http::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Most entries of `X-Forwarded-For` that are walked. A longer chain is not a chain of trusted proxies.
const HOPS_MAX: usize = 16;

/// The client's address: the peer, or, while that is a trusted proxy, the entry it added. Walks from
/// the right, because everything left of the first untrusted address is what the client made up.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let mut client = peer.to_canonical();
    let values: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    let mut hops = values
        .iter()
        .rev()
        .flat_map(|value| value.rsplit(','))
        .take(HOPS_MAX);
    while is_trusted(client) {
        let Some(next) = hops.next().and_then(parse) else {
            break;
        };
        client = next;
    }
    client
}

/// What counts as one client: an IPv4 address, or the /64 an IPv6 address is in, within which a client can
/// choose its addresses freely.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

/// An address, with or without port and brackets.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
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
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_what_trusted_proxies_added_is_believed() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "127.0.0.1/32"].map(|n| n.parse().unwrap()).into();
        let check = |peer: &str, forwarded: &[&'static str], want: &str| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", HeaderValue::from_static(value));
            }
            let got = client_address(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(got, want.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        };
        check("203.0.113.9", &[], "203.0.113.9");
        check("203.0.113.9", &["198.51.100.1"], "203.0.113.9");
        check("127.0.0.1", &[], "127.0.0.1");
        check("127.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("::ffff:127.0.0.1", &["198.51.100.1"], "198.51.100.1");
        check("127.0.0.1", &["192.0.2.66, 198.51.100.1"], "198.51.100.1");
        check(
            "127.0.0.1",
            &["192.0.2.66, 198.51.100.1, 10.1.1.1"],
            "198.51.100.1",
        );
        check("127.0.0.1", &["192.0.2.66", "198.51.100.1"], "198.51.100.1");
        check("127.0.0.1", &["198.51.100.1:4711"], "198.51.100.1");
        check("127.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7");
        check("127.0.0.1", &["[2001:db8::7]"], "2001:db8::7");
        check("127.0.0.1", &["198.51.100.1, unknown"], "127.0.0.1");
        check("127.0.0.1", &[""], "127.0.0.1");
    }
}
