use super::*;

#[test]
fn a_proxys_address_is_read_and_its_credentials_are_never_shown() {
    let check = |text: &str, want: Option<(&str, Option<&str>)>| {
        let got = parse(text);
        let shown = got.as_ref().map(|proxy| {
            let credentials = proxy.authorization.as_ref().map(|value| {
                let text = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
                String::from_utf8(BASE64_STANDARD.decode(text).unwrap()).unwrap()
            });
            (proxy.to_string(), credentials)
        });
        let want = want.map(|(shown, credentials)| (shown.to_owned(), credentials.map(str::to_owned)));
        assert_eq!(shown, want, "{text}");
        assert!(!format!("{got:?}").contains("secret"), "{got:?}");
        assert!(got.is_none_or(|proxy| proxy.authorization.is_none_or(|value| value.is_sensitive())));
    };
    check(
        "http://proxy.example.com:3128",
        Some(("http://proxy.example.com:3128", None)),
    );
    check(
        "http://proxy.example.com:3128/",
        Some(("http://proxy.example.com:3128", None)),
    );
    check(
        "proxy.example.com:3128",
        Some(("http://proxy.example.com:3128", None)),
    );
    check("proxy.example.com", Some(("http://proxy.example.com:80", None)));
    check(
        "HTTPS://proxy.example.com",
        Some(("https://proxy.example.com:443", None)),
    );
    check("http://10.0.0.1:8080", Some(("http://10.0.0.1:8080", None)));
    check(
        "http://[2001:db8::1]:8080",
        Some(("http://[2001:db8::1]:8080", None)),
    );
    check(
        "http://user:secret@proxy:1",
        Some(("http://proxy:1", Some("user:secret"))),
    );
    check(
        "user:secret@proxy:1",
        Some(("http://proxy:1", Some("user:secret"))),
    );
    check(
        "http://user:se%3Acr%40et@proxy:1",
        Some(("http://proxy:1", Some("user:se:cr@et"))),
    );
    check(
        "http://user:secret@1@proxy:1",
        Some(("http://proxy:1", Some("user:secret@1"))),
    );
    check(
        "http://DOMAIN%5Cuser:secret@proxy:1",
        Some(("http://proxy:1", Some("DOMAIN\\user:secret"))),
    );
    check("http://user@proxy:1", Some(("http://proxy:1", Some("user:"))));
    check("", None);
    check("http://", None);
    check("http://:3128", None);
    check("socks5://proxy:1080", None);
    check("ftp://proxy", None);
    check("http://proxy:70000", None);
    check("http://proxy:1/path", None);
    check("http://proxy:1?secret", None);
    check("http://user:%zz@proxy:1", None);
    check("http://pro xy:1", None);
}

#[test]
fn no_proxy_exempts_by_name_address_block_and_port() {
    let check = |entry: &str, host: &str, port: u16, want: bool| {
        assert_eq!(exempts(entry, host, port), want, "{entry} {host}:{port}");
    };
    check("*", "plausible.example.com", 443, true);
    check("*:443", "plausible.example.com", 443, true);
    check("*:80", "plausible.example.com", 443, false);
    for entry in [
        "example.com",
        ".example.com",
        "*.example.com",
        "EXAMPLE.com",
        "example.com.",
    ] {
        check(entry, "plausible.example.com", 443, true);
        check(entry, "a.b.example.com", 443, true);
        check(entry, "example.com", 443, true);
        check(entry, "notexample.com", 443, false);
        check(entry, "example.com.evil", 443, false);
        check(entry, "com", 443, false);
    }
    check("example.com:443", "plausible.example.com", 443, true);
    check("example.com:8443", "plausible.example.com", 443, false);
    check("com", "plausible.example.com", 443, true);
    check("10.0.0.1", "10.0.0.1", 443, true);
    check("10.0.0.1", "10.0.0.10", 443, false);
    check("10.0.0.1:443", "10.0.0.1", 443, true);
    check("10.0.0.1:80", "10.0.0.1", 443, false);
    check("10.0.0.0/8", "10.9.8.7", 443, true);
    check("10.0.0.0/8", "11.0.0.1", 443, false);
    check("10.0.0.0/8", "ten.example.com", 443, false);
    check("2001:db8::1", "2001:db8::1", 443, true);
    check("[2001:db8::1]", "2001:db8::1", 443, true);
    check("[2001:db8::1]:443", "2001:db8::1", 443, true);
    check("[2001:db8::1]:80", "2001:db8::1", 443, false);
    check("2001:db8::/32", "2001:db8::9", 443, true);
    check("0.0.1", "10.0.0.1", 443, false);
    check("", "example.com", 443, false);
    check(".", "example.com", 443, false);
    check("*.", "example.com", 443, false);
}

#[test]
fn the_environment_is_asked_as_other_programs_ask_it() {
    const HOST: &str = "https://plausible.example.com";
    let check = |url: &str, variables: &[(&str, &str)], want: Result<&str, &str>| {
        let env = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let got = Way::of_environment(&env, url).map(|way| way.to_string());
        match want {
            Ok(want) => assert!(
                got.as_ref().is_ok_and(|got| got.contains(want)),
                "{variables:?}: {got:?}"
            ),
            Err(want) => assert_eq!(got, Err(want), "{variables:?}"),
        }
    };
    check(HOST, &[], Ok("neither `upstream.proxy` nor a variable"));
    check(
        HOST,
        &[("HTTPS_PROXY", "http://u:secret@p:1")],
        Ok("the proxy http://p:1, from HTTPS_PROXY"),
    );
    check(HOST, &[("https_proxy", "http://p:1")], Ok("from https_proxy"));
    // Of two spellings, the lower-case one wins, as in curl.
    check(
        HOST,
        &[("HTTPS_PROXY", "http://a:1"), ("https_proxy", "http://b:1")],
        Ok("http://b:1"),
    );
    check(
        HOST,
        &[("https_proxy", ""), ("HTTPS_PROXY", "http://a:1")],
        Ok("http://a:1"),
    );
    // Each scheme has its own variable.
    check(
        HOST,
        &[("HTTP_PROXY", "http://p:1")],
        Ok("neither `upstream.proxy` nor a variable"),
    );
    check(
        "http://plausible.example.com",
        &[("HTTP_PROXY", "http://p:1")],
        Ok("from HTTP_PROXY"),
    );
    check(
        "http://plausible.example.com",
        &[("HTTPS_PROXY", "http://p:1")],
        Ok("neither"),
    );
    let proxy = ("HTTPS_PROXY", "http://p:1");
    check(
        HOST,
        &[proxy, ("NO_PROXY", "a.example,example.com")],
        Ok("the entry \"example.com\" of NO_PROXY exempts the host"),
    );
    check(
        HOST,
        &[proxy, ("no_proxy", "*")],
        Ok("the entry \"*\" of NO_PROXY"),
    );
    check(
        HOST,
        &[proxy, ("NO_PROXY", "localhost, .example.com:443")],
        Ok("the entry \".example.com:443\" of NO_PROXY"),
    );
    check(HOST, &[proxy, ("NO_PROXY", "other.example")], Ok("the proxy"));
    check(
        "https://plausible.example.com:8443",
        &[proxy, ("NO_PROXY", "example.com:443")],
        Ok("the proxy"),
    );
    check(
        "https://10.1.2.3",
        &[proxy, ("NO_PROXY", "10.0.0.0/8")],
        Ok("the entry \"10.0.0.0/8\" of NO_PROXY"),
    );
    // The environment's proxy never applies to this machine.
    for url in [
        "https://localhost",
        "https://127.0.0.1:1",
        "https://[::1]:1",
        "https://a.localhost",
    ] {
        check(url, &[proxy], Ok("the host is this machine"));
    }
    // An invalid proxy must not mean "no proxy".
    check(HOST, &[("HTTPS_PROXY", "socks5://p:1")], Err("HTTPS_PROXY"));
    check(HOST, &[("https_proxy", "http://p:99999")], Err("https_proxy"));
    check(
        HOST,
        &[("https_proxy", "socks5://p:1"), ("no_proxy", "*")],
        Ok("no proxy"),
    );
}
