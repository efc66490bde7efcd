//! Clients behind proxies: entries of proxies in either header, and forged ones.

use super::*;
use axum::http::HeaderValue;
use proptest::collection::vec;
use proptest::prelude::*;

fn trusted() -> Vec<IpNet> {
    ["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"]
        .map(|n| n.parse().unwrap())
        .into()
}

fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn found(peer: &str, headers: &HeaderMap) -> (String, Through) {
    let client = client(peer.parse().unwrap(), headers, &trusted());
    (client.address.to_string(), client.through)
}

#[test]
fn only_what_trusted_proxies_added_is_believed() {
    let check = |peer: &str, values: &[&str], want: &str, through: Through| {
        let got = found(peer, &headers(&X_FORWARDED_FOR, values));
        assert_eq!(got, (want.to_owned(), through), "{peer} {values:?}");
    };
    use Through::{LongerChain, Nothing, Proxies, SilentProxy, Unreadable};
    check("203.0.113.9", &[], "203.0.113.9", Nothing);
    check("203.0.113.9", &["198.51.100.1"], "203.0.113.9", Nothing);
    check("127.0.0.1", &[], "127.0.0.1", SilentProxy);
    check("127.0.0.1", &["198.51.100.1"], "198.51.100.1", Proxies);
    check("::ffff:127.0.0.1", &["198.51.100.1"], "198.51.100.1", Proxies);
    check(
        "127.0.0.1",
        &["192.0.2.66, 198.51.100.1"],
        "198.51.100.1",
        LongerChain,
    );
    check(
        "127.0.0.1",
        &["192.0.2.66, 198.51.100.1, 10.1.1.1"],
        "198.51.100.1",
        LongerChain,
    );
    check(
        "127.0.0.1",
        &["192.0.2.66", "198.51.100.1"],
        "198.51.100.1",
        LongerChain,
    );
    check("127.0.0.1", &["198.51.100.1, 10.1.1.1"], "198.51.100.1", Proxies);
    check("127.0.0.1", &["10.2.2.2, 10.1.1.1"], "10.2.2.2", Proxies);
    check("127.0.0.1", &["198.51.100.1:4711"], "198.51.100.1", Proxies);
    check("127.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7", Proxies);
    check("127.0.0.1", &["[2001:db8::7]"], "2001:db8::7", Proxies);
    check("127.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1", Proxies);
    check("127.0.0.1", &["198.51.100.1, unknown"], "127.0.0.1", Unreadable);
    check("127.0.0.1", &["198.51.100.1,"], "127.0.0.1", Unreadable);
    check("127.0.0.1", &[""], "127.0.0.1", Unreadable);
    // A client's part does not make the proxy's own entry unreadable.
    check(
        "127.0.0.1",
        &["\u{ff}\u{fe}, 198.51.100.1"],
        "198.51.100.1",
        LongerChain,
    );
    check(
        "127.0.0.1",
        &["\"open, 198.51.100.1"],
        "198.51.100.1",
        LongerChain,
    );
}

#[test]
fn forwarded_is_read_as_its_standard_says() {
    let check = |values: &[&str], want: &str, through: Through| {
        let got = found("127.0.0.1", &headers(&FORWARDED, values));
        assert_eq!(got, (want.to_owned(), through), "{values:?}");
    };
    use Through::{LongerChain, Proxies, Unreadable};
    check(&["for=198.51.100.1"], "198.51.100.1", Proxies);
    check(&["For=198.51.100.1"], "198.51.100.1", Proxies);
    check(&["FOR=\"198.51.100.1\""], "198.51.100.1", Proxies);
    check(&["for=\"198.51.100.1:4711\""], "198.51.100.1", Proxies);
    check(&["for=198.51.100.1:4711"], "198.51.100.1", Proxies);
    check(&["for=\"198.51.100.1:_http\""], "198.51.100.1", Proxies);
    check(&["for=\"[2001:db8::7]\""], "2001:db8::7", Proxies);
    check(&["for=\"[2001:DB8::7]:4711\""], "2001:db8::7", Proxies);
    check(&["for=\"[2001:db8::7]:_x\""], "2001:db8::7", Proxies);
    check(&["for=\"[::ffff:198.51.100.1]\""], "198.51.100.1", Proxies);
    check(&["for=\"198.51.10\\0.1\""], "198.51.100.1", Proxies);
    check(
        &["by=203.0.113.43;proto=https ; for=198.51.100.1 ;host=\"a;b,c\""],
        "198.51.100.1",
        Proxies,
    );
    check(&["for=192.0.2.43, for=198.51.100.1"], "198.51.100.1", LongerChain);
    check(
        &["for=192.0.2.43", "for=198.51.100.1"],
        "198.51.100.1",
        LongerChain,
    );
    check(
        &["for=198.51.100.1,for=10.0.0.7;by=10.0.0.8"],
        "198.51.100.1",
        Proxies,
    );
    check(&["for=198.51.100.1, for=\"[fd00::1]\""], "198.51.100.1", Proxies);
    // A quote or an escape that the client left open ends where the proxy's element begins.
    check(
        &["for=\"192.0.2.43, for=198.51.100.1"],
        "198.51.100.1",
        LongerChain,
    );
    check(
        &["for=\"192.0.2.43\\, for=\"198.51.100.1\""],
        "198.51.100.1",
        LongerChain,
    );
    check(&["\u{ff};\"\\\", for=198.51.100.1"], "198.51.100.1", LongerChain);
    for nothing in [
        "for=unknown",
        "for=_hidden",
        "for=\"_hidden:80\"",
        "for=",
        "for",
        "",
        "by=10.0.0.1",
        "proto=https",
        "for=198.51.100.1;for=198.51.100.1",
        "for=198.51.100.1;For=192.0.2.43",
        "for=\"198.51.100.1",
        "for=198.51.100.1\"",
        "for='198.51.100.1'",
        "for=198.51.100.1,",
        "for=198.51.100.1:port:port",
        "xfor=198.51.100.1",
        "for=proxy.internal",
    ] {
        check(&[nothing], "127.0.0.1", Unreadable);
    }
    check(
        &["for=192.0.2.43, for=unknown, for=10.0.0.7"],
        "10.0.0.7",
        Unreadable,
    );
    let direct = found("203.0.113.9", &headers(&FORWARDED, &["for=198.51.100.1"]));
    assert_eq!(direct, ("203.0.113.9".to_owned(), Through::Nothing));
}

#[test]
fn of_two_headers_the_list_counts_and_a_difference_is_seen() {
    let check = |listed: &str, forwarded: &str, want: &str, disputed: bool| {
        let mut both = headers(&X_FORWARDED_FOR, &[listed]);
        both.extend(headers(&FORWARDED, &[forwarded]));
        let client = client("127.0.0.1".parse().unwrap(), &both, &trusted());
        assert_eq!(
            (client.address.to_string().as_str(), client.disputed),
            (want, disputed),
            "{listed} {forwarded}"
        );
    };
    check("198.51.100.1", "for=198.51.100.1", "198.51.100.1", false);
    check(
        "198.51.100.1, 10.0.0.1",
        "for=198.51.100.1",
        "198.51.100.1",
        false,
    );
    check("198.51.100.1", "for=192.0.2.66", "198.51.100.1", true);
    check("unknown", "for=192.0.2.66", "127.0.0.1", true);
    check("198.51.100.1", "for=unknown", "198.51.100.1", true);
}

/// The value of a header as each proxy in turn extends it, after a forged part.
fn chain(made_up: &str, clients: &[IpAddr], write: impl Fn(&IpAddr) -> String) -> String {
    let added = clients.iter().map(write);
    let made_up = Some(made_up.to_owned()).filter(|text| !text.is_empty());
    made_up.into_iter().chain(added).collect::<Vec<_>>().join(", ")
}

fn element_of(address: &IpAddr, style: usize) -> String {
    let bare = match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    match (style % 5, address.is_ipv4()) {
        (0, true) => format!("for={bare}"),
        (1, _) => format!("for=\"{bare}:4711\""),
        (2, _) => format!("by=_proxy;For=\"{bare}\";proto=https"),
        (3, _) => format!("host=\"a,b;c\\\"d\";for=\"{bare}\""),
        _ => format!("FOR=\"{bare}:_p\" ; proto=http"),
    }
}

proptest! {
    #[test]
    fn whatever_a_client_makes_up_its_address_is_the_one_a_trusted_proxy_saw(
        made_up in "[ -~\u{80}-\u{ff}]{0,60}",
        client in any::<IpAddr>(),
        inner in vec(1_u8..=255, 0..5),
        styles in vec(any::<usize>(), 6),
        lines in any::<bool>(),
    ) {
        let client = client.to_canonical();
        prop_assume!(!trusted().iter().any(|net| net.contains(&client)));
        // The client, then each proxy as the next one saw it.
        let seen: Vec<IpAddr> = std::iter::once(client)
            .chain(inner.iter().map(|n| IpAddr::from([10, 0, 0, *n])))
            .collect();
        let listed = chain(&made_up, &seen, ToString::to_string);
        let mut style = styles.iter();
        let style = std::cell::RefCell::new(&mut style);
        let forwarded = chain(&made_up, &seen, |address| {
            element_of(address, style.borrow_mut().next().copied().unwrap_or_default())
        });
        for (name, value) in [(X_FORWARDED_FOR, listed), (FORWARDED, forwarded)] {
            // A proxy extends the client's line, or adds its own.
            let own = lines && !made_up.is_empty();
            let values: Vec<&str> = if own {
                vec![&made_up, &value[made_up.len() + 2..]]
            } else {
                vec![&value]
            };
            prop_assert_eq!(found("127.0.0.1", &headers(&name, &values)).0, client.to_string(), "{:?}", values);
        }
    }

    #[test]
    fn walking_is_total_and_an_untrusted_peer_is_the_client(
        bytes in vec(any::<u8>(), 0..200),
        peer in any::<IpAddr>(),
    ) {
        for name in [X_FORWARDED_FOR, FORWARDED] {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                headers.insert(name, value);
            }
            let _ = client("127.0.0.1".parse().unwrap(), &headers, &trusted());
            let direct = client(peer, &headers, &[]);
            prop_assert_eq!((direct.address, direct.through), (peer.to_canonical(), Through::Nothing));
        }
    }
}
