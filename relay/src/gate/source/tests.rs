use super::*;
use Outcome::{FetchMetadata, NoOrigin, WrongOrigin};

/// A site whose pages are on two origins, one of them with its own port.
fn origins() -> Vec<String> {
    ["https://panel.example.com", "http://127.0.0.1:8600"]
        .map(str::to_owned)
        .into()
}

const PANEL: &str = "https://panel.example.com";
const LOCAL: &str = "http://127.0.0.1:8600";

/// A header as a row spells it: "" is missing, "!" is sent twice.
fn once(text: &str) -> Once<'_> {
    match text {
        "" => Once::Absent,
        "!" => Once::Unclear,
        text => Once::Value(text),
    }
}

fn source<'r>(origin: &'r str, site: &'r str, mode: &'r str, host: &'r str) -> Source<'r> {
    Source {
        origin: once(origin),
        fetch_site: once(site),
        fetch_mode: once(mode),
        hosts: host.split(' ').filter(|host| !host.is_empty()).collect(),
        ..Source::default()
    }
}

#[test]
fn the_truth_table_of_origins() {
    let check = |sent: &str, site: &str, mode: &str, host: &str, want: Result<&str, Outcome>| {
        let source = source(sent, site, mode, host);
        let origins = origins();
        let found = origin(&source, &origins, true).map(Option::unwrap_or_default);
        assert_eq!(found, want, "{sent:?} {site:?} {mode:?} {host:?}");
    };
    let ours = "panel.example.com";
    let relay = "relay.internal:8080";
    //    Origin  Sec-Fetch-Site  Sec-Fetch-Mode  Host
    // A page of the site on the relay's own origin, with and without the headers of newer browsers.
    check(PANEL, "same-origin", "cors", ours, Ok(PANEL));
    check(PANEL, "same-origin", "no-cors", ours, Ok(PANEL));
    check(PANEL, "same-origin", "same-origin", ours, Ok(PANEL));
    check(PANEL, "", "", ours, Ok(PANEL));
    check(PANEL, "same-origin", "cors", relay, Ok(PANEL));
    check(
        "HTTPS://Panel.Example.com",
        "same-origin",
        "cors",
        ours,
        Ok(PANEL),
    );
    check(LOCAL, "same-origin", "cors", "127.0.0.1:8600", Ok(LOCAL));
    // The relay on its own origin.
    check(PANEL, "same-site", "cors", "stats.example.com", Ok(PANEL));
    check(PANEL, "cross-site", "cors", "relay.example.net", Ok(PANEL));
    check(LOCAL, "same-site", "cors", "127.0.0.1:8080", Ok(LOCAL));
    check(PANEL, "cross-site", "no-cors", "", Ok(PANEL));
    // Another origin, whatever the other headers are.
    for site in ["", "same-origin", "same-site", "cross-site"] {
        check("https://evil.example", site, "cors", ours, Err(WrongOrigin));
        check(
            "https://panel.example.com.evil.example",
            site,
            "cors",
            ours,
            Err(WrongOrigin),
        );
        check("http://panel.example.com", site, "cors", ours, Err(WrongOrigin));
        check(
            "https://panel.example.com:8443",
            site,
            "cors",
            ours,
            Err(WrongOrigin),
        );
        check("https://panel.example.com/", site, "cors", ours, Err(WrongOrigin));
        check("https://panel.example.com.", site, "cors", ours, Err(WrongOrigin));
        check(
            "https://panel.example.com, https://evil.example",
            site,
            "cors",
            ours,
            Err(WrongOrigin),
        );
        check(
            "https://panel.example.com,https://panel.example.com",
            site,
            "cors",
            ours,
            Err(WrongOrigin),
        );
        check("panel.example.com", site, "cors", ours, Err(WrongOrigin));
        check("!", site, "cors", ours, Err(WrongOrigin));
        check("NULL", site, "cors", ours, Err(WrongOrigin));
    }
    // No origin: programs that are not browsers.
    check("", "", "", ours, Err(NoOrigin));
    check("", "", "", "", Err(NoOrigin));
    check("", "", "cors", ours, Err(NoOrigin));
    check("", "cross-site", "no-cors", ours, Err(NoOrigin));
    check("", "same-site", "no-cors", ours, Err(NoOrigin));
    check("", "same-origin", "no-cors", relay, Err(NoOrigin));
    check("", "same-origin", "no-cors", "", Err(NoOrigin));
    check("", "same-origin", "no-cors", "evil.example", Err(NoOrigin));
    // A hidden origin; the browser says that it is the relay's own, which is the site's.
    check("", "same-origin", "no-cors", ours, Ok(PANEL));
    check("null", "same-origin", "no-cors", ours, Ok(PANEL));
    check("null", "same-origin", "cors", "Panel.Example.com:443", Ok(PANEL));
    check("null", "same-origin", "no-cors", "127.0.0.1:8600", Ok(LOCAL));
    check(
        "null",
        "same-origin",
        "no-cors",
        "relay.internal:8080 panel.example.com",
        Ok(PANEL),
    );
    check("null", "same-origin", "no-cors", relay, Err(WrongOrigin));
    check(
        "null",
        "same-origin",
        "no-cors",
        "panel.example.com:8443",
        Err(WrongOrigin),
    );
    // Sandboxed frames and files.
    check("null", "cross-site", "cors", ours, Err(WrongOrigin));
    check("null", "same-site", "cors", ours, Err(WrongOrigin));
    check("null", "", "", ours, Err(WrongOrigin));
    // Forms, frames and typed addresses.
    for sent in [PANEL, "", "null", "https://evil.example"] {
        check(sent, "cross-site", "navigate", ours, Err(FetchMetadata));
        check(sent, "same-origin", "navigate", ours, Err(FetchMetadata));
        check(sent, "none", "navigate", ours, Err(FetchMetadata));
        check(sent, "none", "cors", ours, Err(FetchMetadata));
        check(sent, "same-origin", "websocket", ours, Err(FetchMetadata));
        check(sent, "same-origin", "!", ours, Err(FetchMetadata));
        check(sent, "!", "cors", ours, Err(FetchMetadata));
        check(sent, "same-origin, cross-site", "cors", ours, Err(FetchMetadata));
        check(sent, "Same-Origin", "cors", ours, Err(FetchMetadata));
        check(sent, "?1", "cors", ours, Err(FetchMetadata));
    }
    // An origin that is the relay's own, and a browser that says it is not.
    check(PANEL, "cross-site", "cors", ours, Err(FetchMetadata));
    check(PANEL, "none", "cors", ours, Err(FetchMetadata));
    // The relay on another port of the page's host, behind a proxy that passes on the host with and without the port.
    check(PANEL, "same-site", "cors", ours, Ok(PANEL));
    check(PANEL, "same-site", "cors", "panel.example.com:443", Ok(PANEL));
    check(PANEL, "same-site", "cors", "panel.example.com:8445", Ok(PANEL));
    check(PANEL, "same-site", "navigate", ours, Err(FetchMetadata));
    check("", "same-site", "cors", ours, Err(NoOrigin));
    check(
        PANEL,
        "cross-site",
        "cors",
        "panel.example.com:443",
        Err(FetchMetadata),
    );
    check(
        PANEL,
        "cross-site",
        "cors",
        "relay.internal PANEL.example.com",
        Err(FetchMetadata),
    );
    check(LOCAL, "cross-site", "cors", "127.0.0.1:8600", Err(FetchMetadata));
}

#[test]
fn without_require_origin_only_a_request_that_says_nothing_passes() {
    let check = |sent: &str, site: &str, want: Result<Option<&str>, Outcome>| {
        let source = source(sent, site, "", "panel.example.com");
        let origins = origins();
        assert_eq!(origin(&source, &origins, false), want, "{sent:?} {site:?}");
    };
    check("", "", Ok(None));
    check(PANEL, "", Ok(Some(PANEL)));
    check("", "same-origin", Ok(Some(PANEL)));
    check("", "cross-site", Err(NoOrigin));
    check("null", "", Err(WrongOrigin));
    check("!", "", Err(WrongOrigin));
    check("https://evil.example", "", Err(WrongOrigin));
}

#[test]
fn a_plain_http_host_does_not_say_its_scheme() {
    // A page by http, whose events go to the same host by https: browsers call that cross-site.
    let origins = ["http://panel.example.com".to_owned()];
    let source = source(
        "http://panel.example.com",
        "cross-site",
        "cors",
        "panel.example.com",
    );
    assert_eq!(
        origin(&source, &origins, true),
        Ok(Some("http://panel.example.com"))
    );
    let check =
        |origin: &str, host: &str, want: bool| assert_eq!(is_at(origin, host), want, "{origin} {host}");
    check("https://[2001:db8::7]", "[2001:db8::7]", true);
    check("https://[2001:db8::7]", "[2001:db8::7]:443", true);
    check("https://[2001:db8::7]:8443", "[2001:db8::7]:8443", true);
    check("https://[2001:db8::7]:8443", "[2001:db8::7]", false);
    check("http://[::1]:80", "[::1]:80", true);
    check("http://[::1]", "[::1]", false);
    check("https://panel.example.com", "", false);
    check("", "", false);
}
