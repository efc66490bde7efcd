//! Reads the source that a request's head declares. `gate::source` checks it.

use crate::config::Config;
use crate::gate::source::{Bearer, Format, Once, Source};
use crate::host::Host;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Uri, header};
use std::net::IpAddr;
use std::sync::Arc;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Most hosts of a request that are examined. Further ones belong to proxies before the first.
const HOSTS_MAX: usize = 4;

/// The source that a request with events in this format declares, without the page token in its body.
pub(super) fn read<'r>(parts: &'r Parts, peer: IpAddr, config: &Config, format: Format) -> Source<'r> {
    let headers = &parts.headers;
    Source {
        origin: once(headers, &header::ORIGIN),
        fetch_site: once(headers, &FETCH_SITE),
        fetch_mode: once(headers, &FETCH_MODE),
        hosts: hosts(&parts.uri, headers, is_proxy(peer, config)),
        bearer: bearer(headers, config),
        format,
        page_token: None,
    }
}

/// Whether a request claims that its page is on the relay's own origin: `Sec-Fetch-Site` says so, and the host is the
/// page's. Ports are not compared, since many proxies drop them. Such a request is easy to forge.
pub(super) fn is_own(uri: &Uri, headers: &HeaderMap, peer: IpAddr, config: &Config) -> bool {
    let (Once::Value(origin), Once::Value(site)) =
        (once(headers, &header::ORIGIN), once(headers, &FETCH_SITE))
    else {
        return false;
    };
    let page = origin.split_once("://").and_then(|(_, page)| Host::parse(page));
    let Some(page) = page.filter(|_| site == "same-origin") else {
        return false;
    };
    hosts(uri, headers, is_proxy(peer, config))
        .iter()
        .any(|host| Host::parse(host).is_some_and(|host| host.has_name_of(&page)))
}

fn is_proxy(peer: IpAddr, config: &Config) -> bool {
    let peer = peer.to_canonical();
    let mut trusted = config.public.trusted_proxies.iter();
    trusted.any(|net| net.contains(&peer))
}

/// Whether a request carries a privacy signal: Global Privacy Control or Do Not Track. Proxies join repeated headers
/// with commas, so one `1` among the values is enough.
pub(super) fn is_private(headers: &HeaderMap) -> bool {
    ["sec-gpc", "dnt"].iter().any(|name| {
        let values = headers.get_all(*name).iter();
        let mut items = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        // Parameters follow after a semicolon.
        items.any(|item| {
            item.split(|byte| *byte == b';')
                .next()
                .is_some_and(|item| item.trim_ascii() == b"1")
        })
    })
}

/// A header that must not be repeated.
fn once<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Once<'r> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Once::Absent,
        (Some(value), None) => match value.to_str() {
            Ok(text) => Once::Value(text.trim()),
            Err(_) => Once::Unclear,
        },
        (Some(_), Some(_)) => Once::Unclear,
    }
}

/// The hosts under which the browser may have reached the relay.
fn hosts<'r>(uri: &'r Uri, headers: &'r HeaderMap, is_proxy: bool) -> Vec<&'r str> {
    // HTTP/2 carries the host in `:authority`.
    let authority = uri.authority().map(Authority::as_str);
    let own = headers.get_all(header::HOST).iter();
    let forwarded = is_proxy.then(|| headers.get_all(X_FORWARDED_HOST).iter());
    let listed = own.chain(forwarded.into_iter().flatten());
    let listed = listed.filter_map(|value| value.to_str().ok());
    let listed = listed.flat_map(|value| value.split(',')).map(str::trim);
    authority.into_iter().chain(listed).take(HOSTS_MAX).collect()
}

/// The tool that a request's bearer token belongs to. Two `Authorization` headers count as none.
fn bearer(headers: &HeaderMap, config: &Config) -> Bearer {
    let Once::Value(credentials) = once(headers, &header::AUTHORIZATION) else {
        return Bearer::Absent;
    };
    let Some((scheme, token)) = credentials.split_once(' ') else {
        return Bearer::Absent;
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Bearer::Absent;
    }
    match config.tools.with_token(token.trim()) {
        Some(tool) => Bearer::Tool(Arc::clone(tool)),
        None => Bearer::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn any_one_among_the_values_is_a_privacy_signal() {
        let check = |headers: &[(&str, &str)], want: bool| {
            assert_eq!(is_private(&parts("/", headers).headers), want, "{headers:?}");
        };
        for name in ["sec-gpc", "Sec-GPC", "dnt", "DNT"] {
            let one = |value: &'static str, want| check(&[(name, value)], want);
            one("1", true);
            one(" 1 ", true);
            one("1, 1", true);
            one("1,1", true);
            one("0, 1", true);
            one("1, 0", true);
            one(",1", true);
            one("1,", true);
            one("\t1\t,", true);
            one("1;x=y", true);
            one("0", false);
            one("", false);
            one(",", false);
            one("11", false);
            one("10, 01", false);
            one("null", false);
            one("unset;1", false);
            check(&[(name, "0"), (name, "1")], true);
            check(&[(name, "1"), (name, "0")], true);
            check(&[(name, "0"), (name, "0, 1")], true);
            check(&[(name, "0"), (name, "0")], false);
        }
        check(&[("dnt", "1"), ("sec-gpc", "0")], true);
        check(&[("dnt", "0"), ("sec-gpc", "1")], true);
        check(&[("x-dnt", "1")], false);
    }

    #[test]
    fn a_header_that_comes_twice_is_unclear() {
        let check = |headers: &[(&str, &str)], want: Once<'_>| {
            let parts = parts("/", headers);
            let found = once(&parts.headers, &header::ORIGIN);
            assert_eq!(found, want, "{headers:?}");
        };
        check(&[], Once::Absent);
        check(&[("origin", "a")], Once::Value("a"));
        check(&[("origin", " a ")], Once::Value("a"));
        check(&[("origin", "")], Once::Value(""));
        check(&[("origin", "a"), ("Origin", "a")], Once::Unclear);
        check(&[("origin", "a"), ("origin", "b")], Once::Unclear);
        check(&[("origin", "é")], Once::Unclear);
    }

    #[test]
    fn the_host_is_that_of_the_request_and_of_trusted_proxies() {
        let check = |uri: &str, headers: &[(&str, &str)], is_proxy: bool, want: &[&str]| {
            let parts = parts(uri, headers);
            let found = hosts(&parts.uri, &parts.headers, is_proxy);
            assert_eq!(found, want, "{uri} {headers:?}");
        };
        let forwarded = [("host", "a:1"), ("x-forwarded-host", "b, c")];
        check("/", &[], true, &[]);
        check("/", &forwarded[..1], true, &["a:1"]);
        check("/", &forwarded, true, &["a:1", "b", "c"]);
        check("/", &forwarded, false, &["a:1"]);
        check("https://h2.example/", &[], false, &["h2.example"]);
        let many = [("host", "a"), ("x-forwarded-host", "b,c,d,e,f,g")];
        check("/", &many, true, &["a", "b", "c", "d"]);
    }

    #[test]
    fn a_page_is_on_the_relays_own_origin_only_if_browser_and_host_say_so() {
        let text = "[public]\ntrusted_proxies = [\"127.0.0.1\"]\n[upstream]\nurl = \"http://127.0.0.1:9\"\n[[site]]\ndomain = \"a.example\"\n";
        let config = Config::parse("relay.toml", text, std::path::Path::new(""), &|_| None).unwrap();
        let check = |peer: &str, origin: &str, site: &str, host: &str, forwarded: &str, want: bool| {
            let headers = [
                ("origin", origin),
                ("sec-fetch-site", site),
                ("host", host),
                ("x-forwarded-host", forwarded),
            ];
            let parts = parts("/", &headers);
            let found = is_own(&parts.uri, &parts.headers, peer.parse().unwrap(), &config);
            assert_eq!(found, want, "{peer} {headers:?}");
        };
        let (page, proxy, stranger) = ("https://b.example:8443", "127.0.0.1", "198.51.100.7");
        check(stranger, page, "same-origin", "b.example:8443", "", true);
        check(stranger, page, "same-origin", "B.example", "", true);
        check(stranger, page, "same-origin", "login.example", "", false);
        check(stranger, page, "same-origin", "", "", false);
        check(stranger, page, "same-site", "b.example", "", false);
        check(stranger, page, "", "b.example", "", false);
        check(stranger, "null", "same-origin", "b.example", "", false);
        check(proxy, page, "same-origin", "relay:8080", "b.example", true);
        check(stranger, page, "same-origin", "relay:8080", "b.example", false);
        check(stranger, "http://[::1]:80", "same-origin", "[::1]", "", true);
        check(stranger, "http://[::1]", "same-origin", "[::2]", "", false);
    }
}
