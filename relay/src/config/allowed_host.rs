//! `admin.allowed_hosts`: host names of the admin listener, in addition to its own addresses.

use crate::host::Host;
use url::Url;

/// One entry of `admin.allowed_hosts`.
#[derive(Clone, Debug)]
pub struct AllowedHost(Host<'static>);

impl AllowedHost {
    /// Reads a host as browsers send it in the `Host` header, with or without a port.
    ///
    /// # Errors
    /// The problem, and a correct spelling.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains('*') || text.starts_with('.') {
            return Err(format!("{text:?} has a wildcard; list each host separately"));
        }
        match Host::parse(text) {
            Some(host) => Ok(Self(host.into_owned())),
            None => Err(match meant(text) {
                Some(meant) => {
                    format!("{text:?} is not the form in which browsers send a host; write {meant:?}")
                }
                None => format!("{text:?} is not a host; write one such as \"relay-admin.example.com\""),
            }),
        }
    }

    /// Whether a request may use this host. An entry without a port allows all ports.
    pub fn allows(&self, host: &Host<'_>) -> bool {
        match self.0.port() {
            Some(_) => self.0.is(host),
            None => self.0.has_name_of(host),
        }
    }
}

/// The host that an operator meant by a URL, a name with umlauts or an IPv6 address without brackets.
fn meant(text: &str) -> Option<String> {
    let url = match text.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("http://[{address}]"),
        Err(_) if text.contains("://") => text.to_owned(),
        Err(_) => format!("http://{text}"),
    };
    let url = Url::parse(&url).ok()?;
    let host = url.host_str()?;
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    Host::parse(&host).is_some().then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses_with_a_port_or_without() {
        for text in [
            "relay-admin.example.com",
            " Relay-Admin.example.com. ",
            "relay-admin.example.com:8443",
            "relay_admin",
            "10.0.0.5",
            "[2001:db8::5]:8081",
            "xn--mller-kva.example",
        ] {
            assert!(AllowedHost::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_setting_without_a_port_allows_all_of_them() {
        let check = |setting: &str, host: &str, want: bool| {
            let (allowed, host) = (AllowedHost::parse(setting).unwrap(), Host::parse(host).unwrap());
            assert_eq!(allowed.allows(&host), want, "{setting} {host:?}");
        };
        check("a.example", "A.example.:8443", true);
        check("a.example", "a.example", true);
        check("a.example", "b.a.example", false);
        check("a.example", "a.example.b", false);
        check("a.example:8443", "a.example:8443", true);
        check("a.example:8443", "a.example", false);
        check("a.example:443", "a.example", true);
        check("a.example:443", "a.example:8443", false);
        check("10.0.0.5", "10.0.0.5:8081", true);
        check("10.0.0.5", "10.0.0.6:8081", false);
    }

    #[test]
    fn another_spelling_is_refused_with_what_to_write() {
        let check = |text: &str, want: &str| {
            let why = AllowedHost::parse(text).map(drop).expect_err(text);
            assert!(why.contains(want), "{text}: {why}");
        };
        check("*", "list each host");
        check("*.example.com", "list each host");
        check(".example.com", "list each host");
        check(
            "https://relay-admin.example.com/",
            "write \"relay-admin.example.com\"",
        );
        check(
            "https://relay-admin.example.com:8443",
            "write \"relay-admin.example.com:8443\"",
        );
        check(
            "relay-admin.example.com/admin",
            "write \"relay-admin.example.com\"",
        );
        check("admin@relay.example.com", "write \"relay.example.com\"");
        check("m\u{fc}ller.example", "write \"xn--mller-kva.example\"");
        check("2001:db8::5", "write \"[2001:db8::5]\"");
        check("", "is not a host");
        check("a b", "is not a host");
        check("a:99999", "is not a host");
    }
}
