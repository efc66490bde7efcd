//! The host in a request, an `Origin` or a setting: a name or an address, with or without a port.

use axum::http::{Request, Version, header};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest name, in bytes, as in DNS. A longer name is invalid.
const NAME_BYTES_MAX: usize = 253;
/// The ports that browsers omit from an address.
const DEFAULT_PORTS: [u16; 2] = [80, 443];

/// A host, normalised for comparison: names ignore case and a final dot, and an IPv4 address equals its IPv6-mapped
/// form.
#[derive(Clone, Debug)]
pub struct Host<'a> {
    name: Name<'a>,
    port: Option<u16>,
}

#[derive(Clone, Debug)]
enum Name<'a> {
    Address(IpAddr),
    /// Without the final dot.
    Dns(Cow<'a, str>),
}

/// Why a request's host is not reliable (RFC 9112, section 3.2; RFC 9113, section 8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHost {
    /// It is missing, and this version of HTTP requires one.
    #[error("The request has no Host header. Send exactly one.")]
    Missing,
    /// There is more than one.
    #[error("The request has more than one Host header. Send exactly one.")]
    Several,
    /// It is not a valid host.
    #[error("The request's Host is not a host name or address with an optional port.")]
    Invalid,
    /// The request line or `:authority` differs from the header.
    #[error("The request's Host header differs from the host of its target.")]
    Different,
}

impl<'a> Host<'a> {
    /// Parses `name`, `name:port`, `192.0.2.1:port` or `[2001:db8::1]:port`.
    ///
    /// A DNS name has letters, digits, `-`, `_` and dots. RFC 3986 allows more characters, among them userinfo, but
    /// no client connects to such a name.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                let address: Ipv6Addr = address.parse().ok()?;
                let port = match rest {
                    "" => None,
                    _ => Some(rest.strip_prefix(':')?),
                };
                (Name::Address(IpAddr::V6(address).to_canonical()), port)
            }
            None => {
                let (name, port) = match text.split_once(':') {
                    Some((name, port)) => (name, Some(port)),
                    None => (text, None),
                };
                (Name::parse(name)?, port)
            }
        };
        let port = match port.unwrap_or_default() {
            "" => None,
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
            _ => return None,
        };
        Some(Self { name, port })
    }

    /// The host of a request, from its target or its Host header. `None` in HTTP/1.0 without one.
    ///
    /// # Errors
    /// If there is no host, more than one, or an invalid one.
    pub fn of<B>(request: &'a Request<B>) -> Result<Option<Self>, BadHost> {
        let mut headers = request.headers().get_all(header::HOST).iter();
        let header = headers.next();
        if headers.next().is_some() {
            return Err(BadHost::Several);
        }
        let parse = |text| Self::parse(text).ok_or(BadHost::Invalid);
        let target = request.uri().authority();
        let target = target.map(|target| parse(target.as_str())).transpose()?;
        let header = header.map(|header| parse(header.to_str().unwrap_or_default()));
        match (target, header.transpose()?, request.version()) {
            (Some(target), Some(header), _) if !target.is(&header) => Err(BadHost::Different),
            (None, None, Version::HTTP_09 | Version::HTTP_10) => Ok(None),
            (_, None, Version::HTTP_11) | (None, None, _) => Err(BadHost::Missing),
            (target, header, _) => Ok(target.or(header)),
        }
    }

    /// Copies the host, for a setting that outlives its text.
    pub fn into_owned(self) -> Host<'static> {
        let name = match self.name {
            Name::Address(address) => Name::Address(address),
            Name::Dns(name) => Name::Dns(Cow::Owned(name.into_owned())),
        };
        Host {
            name,
            port: self.port,
        }
    }

    /// The address, if the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self.name {
            Name::Address(address) => Some(address),
            Name::Dns(_) => None,
        }
    }

    /// Whether this is the local machine, by a name or address that no DNS server can redirect.
    pub fn is_localhost(&self) -> bool {
        match &self.name {
            Name::Address(address) => [
                IpAddr::from(Ipv4Addr::LOCALHOST),
                IpAddr::from(Ipv6Addr::LOCALHOST),
            ]
            .contains(address),
            Name::Dns(name) => name.eq_ignore_ascii_case("localhost"),
        }
    }

    /// The port, if there is one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether both have the same name, regardless of the ports.
    pub fn has_name_of(&self, other: &Host<'_>) -> bool {
        match (&self.name, &other.name) {
            (Name::Address(one), Name::Address(other)) => one == other,
            (Name::Dns(one), Name::Dns(other)) => one.eq_ignore_ascii_case(other),
            _ => false,
        }
    }

    /// Whether both are the same. A host without a port matches the default port of either scheme.
    pub fn is(&self, other: &Host<'_>) -> bool {
        let same_port = match (self.port, other.port) {
            (Some(port), None) | (None, Some(port)) => DEFAULT_PORTS.contains(&port),
            (one, other) => one == other,
        };
        same_port && self.has_name_of(other)
    }
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        let label = |label: &str| !label.is_empty() && label.bytes().all(plain);
        (name.len() <= NAME_BYTES_MAX && name.split('.').all(label)).then_some(Self::Dns(Cow::Borrowed(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, target: &str, hosts: &[&str]) -> Request<()> {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        let same = |one: &str, other: &str, want: bool| {
            let (one, other) = (Host::parse(one).expect(one), Host::parse(other).expect(other));
            assert_eq!(one.is(&other), want, "{one:?} {other:?}");
            assert_eq!(other.is(&one), want, "{other:?} {one:?}");
        };
        same("relay.example.com", "RELAY.Example.COM.", true);
        same("relay.example.com:8081", "relay.example.com:8081", true);
        same("relay.example.com:8081", "relay.example.com:8082", false);
        same("relay.example.com:8081", "relay.example.com", false);
        same("relay.example.com:443", "relay.example.com", true);
        same("relay.example.com:80", "relay.example.com:", true);
        same("relay.example.com", "relay.example.com.evil.example", false);
        same("relay.example.com", "evil.relay.example.com", false);
        same("127.0.0.1:1", "[::ffff:127.0.0.1]:1", true);
        same("[2001:DB8:0::1]", "[2001:db8::1]", true);
        same("127.0.0.1", "[::1]", false);
        same("my_relay", "my-relay", false);
    }

    #[test]
    fn anything_else_is_no_host() {
        for text in [
            "",
            ".",
            ":8081",
            "a b",
            " a",
            "a\t",
            "a..b",
            ".a",
            "a..",
            "user@a",
            "user:password@a",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a,b",
            "a, b",
            "*.a",
            "%61",
            "a:b",
            "a:+1",
            "a:-1",
            "a:65536",
            "a:1:2",
            "a:1 ",
            "http://a",
            "::1",
            "[::1",
            "[::1]1",
            "[::1]:x",
            "[::1]]",
            "[127.0.0.1]",
            "[fe80::1%25eth0]",
            "[v1.a]",
            "m\u{fc}ller.example",
            "a\0b",
        ] {
            assert!(Host::parse(text).is_none(), "{text:?}");
        }
        assert!(Host::parse(&"a".repeat(253)).is_some());
        assert!(Host::parse(&"a".repeat(254)).is_none());
    }

    #[test]
    fn only_names_and_addresses_of_this_machine_itself_are_localhost() {
        let check =
            |text: &str, want| assert_eq!(Host::parse(text).expect(text).is_localhost(), want, "{text}");
        for text in [
            "localhost",
            "LOCALHOST.",
            "localhost:1",
            "127.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]:8",
        ] {
            check(text, true);
        }
        for text in [
            "evil.localhost",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0.0.0.0",
            "0",
            "[::]",
            "localhost1",
        ] {
            check(text, false);
        }
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        use BadHost::{Different, Invalid, Missing, Several};
        let check = |version, target: &str, hosts: &[&str], want: Result<Option<&str>, BadHost>| {
            let request = request(version, target, hosts);
            let found = Host::of(&request);
            let same = match (&found, &want) {
                (Ok(Some(found)), Ok(Some(want))) => found.is(&Host::parse(want).unwrap()),
                (Ok(None), Ok(None)) => true,
                (Err(found), Err(want)) => found == want,
                _ => false,
            };
            assert!(same, "{version:?} {target} {hosts:?}: {found:?}, not {want:?}");
        };
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            check(version, "/", &["a"], Ok(Some("a")));
            check(version, "/", &["a", "a"], Err(Several));
            check(version, "/", &["a", "b"], Err(Several));
            check(version, "/", &[""], Err(Invalid));
            check(version, "/", &["user@a"], Err(Invalid));
            check(version, "/", &["a b"], Err(Invalid));
            check(version, "http://a:8081/", &["a:8081"], Ok(Some("a:8081")));
            check(version, "https://a/", &["a:443"], Ok(Some("a")));
            check(version, "http://a/", &["b"], Err(Different));
            check(version, "http://a:1/", &["a:2"], Err(Different));
            check(version, "http://user@a/", &["a"], Err(Invalid));
            check(version, "http://a/", &["a", "a"], Err(Several));
        }
        check(Version::HTTP_10, "/", &[], Ok(None));
        check(Version::HTTP_11, "/", &[], Err(Missing));
        check(Version::HTTP_2, "/", &[], Err(Missing));
        check(Version::HTTP_10, "http://a/", &[], Ok(Some("a")));
        check(Version::HTTP_11, "http://a/", &[], Err(Missing));
        check(Version::HTTP_2, "http://a/", &[], Ok(Some("a")));
        check(Version::HTTP_11, "*", &["a"], Ok(Some("a")));
    }
}
