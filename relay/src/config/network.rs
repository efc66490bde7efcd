//! Networks and paths, in the form in which they are compared with requests: `trusted_proxies` and `base_path`.

use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, SocketAddr};

/// Prefix length of IPv4-mapped IPv6 addresses.
const MAPPED_PREFIX: u8 = 96;

/// A proxy's address or network. An IPv4-mapped one is stored as IPv4, as peer addresses are.
///
/// # Errors
/// The problem, and a correct spelling.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let net = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(net), _) => unmapped(net),
        (_, Ok(address)) => IpNet::from(address.to_canonical()),
        _ => return Err(misspelt(text)),
    };
    let address = net.addr();
    if net.trunc() != net {
        let whole = IpNet::from(address);
        return Err(format!(
            "{text:?} is an address within a network; write \"{}\" for the network, or \"{}\" for the address",
            net.trunc(),
            whole.addr()
        ));
    }
    if address.is_unspecified() && net.prefix_len() == net.max_prefix_len() {
        return Err(format!(
            "{text:?} cannot be the address of a proxy; write the address it connects from"
        ));
    }
    Ok(net)
}

fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let v4 = v6
        .addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(MAPPED_PREFIX));
    match v4.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()) {
        Some(v4) => v4.into(),
        None => net,
    }
}

fn misspelt(text: &str) -> String {
    let bare = text
        .trim_start_matches('[')
        .split(['%', ']'])
        .next()
        .unwrap_or_default();
    let address = text
        .parse::<SocketAddr>()
        .map(|socket| socket.ip())
        .or_else(|_| bare.parse());
    match address {
        Ok(address) => format!(
            "{text:?} is more than an address; write \"{}\"",
            address.to_canonical()
        ),
        Err(_) => format!("{text:?} is neither a network nor an address; names are not looked up"),
    }
}

/// A path below which the routes are mounted: empty, or with a leading and without a trailing slash.
///
/// # Errors
/// The problem, and a correct spelling.
pub(super) fn base_path(text: &str) -> Result<String, String> {
    const WRITE: &str = "write a path such as \"/feedback\", or \"\" for none";
    let path = text.trim().trim_end_matches('/');
    if path.is_empty() {
        return Ok(String::new());
    }
    let bare = path.strip_prefix('/').unwrap_or(path);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !bare.chars().all(plain) {
        return Err(format!(
            "has a character other than letters, digits and -_./; {WRITE}"
        ));
    }
    // Browsers remove these segments before they send a path.
    if bare.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!(
            "has an empty or dot segment, which browsers do not send; {WRITE}"
        ));
    }
    Ok(format!("/{bare}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_kept_as_peers_are_compared_with_them() {
        let check = |text: &str, want: &str| {
            assert_eq!(
                network(text).map(|net| net.to_string()).as_deref(),
                Ok(want),
                "{text}"
            );
        };
        check("10.0.0.0/8", "10.0.0.0/8");
        check(" 10.0.0.1 ", "10.0.0.1/32");
        check("10.0.0.1/32", "10.0.0.1/32");
        check("0.0.0.0/0", "0.0.0.0/0");
        check("::1", "::1/128");
        check("2001:DB8::/32", "2001:db8::/32");
        check("::ffff:10.0.0.1", "10.0.0.1/32");
        check("::ffff:10.0.0.0/104", "10.0.0.0/8");
        check("::ffff:0:0/96", "0.0.0.0/0");
        check("::/0", "::/0");
    }

    #[test]
    fn a_network_that_no_peer_is_in_is_refused_with_what_to_write() {
        let check = |text: &str, want: &str| {
            let why = network(text).expect_err(text);
            assert!(why.contains(want), "{text}: {why}");
        };
        check(
            "10.1.2.3/8",
            "write \"10.0.0.0/8\" for the network, or \"10.1.2.3\" for the address",
        );
        check("2001:db8::7/64", "write \"2001:db8::/64\" for the network");
        check("::ffff:10.1.2.3/104", "write \"10.0.0.0/8\" for the network");
        check("0.0.0.0", "cannot be the address of a proxy");
        check("::", "cannot be the address of a proxy");
        check("10.0.0.1:8080", "write \"10.0.0.1\"");
        check("[::1]", "write \"::1\"");
        check("[::1]:8080", "write \"::1\"");
        check("fe80::1%eth0", "write \"fe80::1\"");
        for text in [
            "localhost",
            "proxy.internal",
            "10.0.0.*",
            "10.0.0.1-9",
            "10.0.0.0/255.0.0.0",
            "10/8",
            "",
            "10.0.0.0/33",
        ] {
            check(text, "neither a network nor an address");
        }
    }

    #[test]
    fn a_base_path_has_one_slash_before_it_and_none_behind() {
        let check = |text: &str, want: &str| assert_eq!(base_path(text).as_deref(), Ok(want), "{text}");
        check("/feedback", "/feedback");
        check("/feedback/", "/feedback");
        check("feedback", "/feedback");
        check("feedback//", "/feedback");
        check("/a/b.c/D_e-f", "/a/b.c/D_e-f");
        check("", "");
        check("/", "");
        check(" /feedback ", "/feedback");
        let refused = |text: &str, want: &str| {
            let why = base_path(text).expect_err(text);
            assert!(why.contains(want), "{text}: {why}");
        };
        refused("https://panel.example.com/feedback", "has a character");
        refused("/feed back", "has a character");
        refused("/feedback?x", "has a character");
        refused("/feedback/*", "has a character");
        refused("/rückmeldung", "has a character");
        refused("/r%C3%BC", "has a character");
        refused("//feedback", "has an empty or dot segment");
        refused("/a//b", "has an empty or dot segment");
        refused("/a/../b", "has an empty or dot segment");
        refused("/./a", "has an empty or dot segment");
    }
}
