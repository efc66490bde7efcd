//! Tables of URLs: the reduced form, which of them are one page, and that the relay counts the same page.

use super::{Address, CAMPAIGN_KEYS, URL_BYTES_MAX, is_own_page, shortened};
use relay_event::{Plan, scrub::page};
use serde_json::json;

fn written(url: &str) -> String {
    Address::reduce(url).written()
}

#[test]
fn an_address_is_reduced_to_its_page() {
    let check = |name: &str, url: &str, expected: &str| assert_eq!(written(url), expected, "{name}: {url}");
    let same = |name: &str, url: &str| check(name, url, url);
    same("a path", "https://a.example/docs/intro");
    same("a slash at the end", "https://a.example/docs/");
    same("a port", "https://a.example:8443/docs");
    same("a hash route", "https://a.example/app/#/w/acme/tenants");
    same("an empty hash route", "https://a.example/#/");
    same("no path", "https://a.example");
    check(
        "a hashbang route",
        "https://a.example/#!/w/acme",
        "https://a.example/#/w/acme",
    );
    check(
        "a query",
        "https://a.example/docs?tab=1",
        "https://a.example/docs",
    );
    check(
        "an empty query",
        "https://a.example/docs?",
        "https://a.example/docs",
    );
    check(
        "two queries",
        "https://a.example/?a=1#/x?b=2",
        "https://a.example/#/x",
    );
    check(
        "an anchor",
        "https://a.example/docs#costs",
        "https://a.example/docs",
    );
    check(
        "an empty anchor",
        "https://a.example/docs#",
        "https://a.example/docs",
    );
    check(
        "a bang alone",
        "https://a.example/docs#!",
        "https://a.example/docs",
    );
    check(
        "a hashbang without a route",
        "https://a.example/docs#!costs",
        "https://a.example/docs",
    );
    check(
        "a text fragment",
        "https://a.example/docs#:~:text=secret",
        "https://a.example/docs",
    );
    check(
        "a text fragment behind an anchor",
        "https://a.example/docs#a:~:text=b",
        "https://a.example/docs",
    );
    check(
        "a text fragment behind a route",
        "https://a.example/#/x:~:text=b",
        "https://a.example/#/x",
    );
    check(
        "an anchor within a route",
        "https://a.example/#/x#costs",
        "https://a.example/#/x",
    );
    check(
        "a query without a path",
        "https://a.example?x=1#y",
        "https://a.example",
    );
    check(
        "matrix parameters",
        "https://a.example/a;x=1/b;y=2;z",
        "https://a.example/a/b",
    );
    check(
        "matrix parameters in a route",
        "https://a.example/#/a;x=1/b;y=2",
        "https://a.example/#/a/b",
    );
    check(
        "a session in the path",
        "https://a.example/app;jsessionid=A1",
        "https://a.example/app",
    );
    check(
        "user and password",
        "https://jane:pw@a.example/x",
        "https://a.example/x",
    );
    same("an at sign in the path", "https://a.example/@jane/x");
    same("escapes", "https://a.example/a%2Fb%20c/%");
    same("no web address", "about:blank");
    same("nothing", "");
}

#[test]
fn the_answer_of_an_identity_provider_stays_in_the_browser() {
    let check = |url: &str, expected: &str| {
        assert_eq!(written(url), expected, "{url}");
        let plain = Address::reduce(expected);
        assert!(
            Address::reduce(url).is_page_of(&plain),
            "{url} is no page of its own"
        );
    };
    check("https://a.example/#id_token=ey&state=s", "https://a.example/");
    check("https://a.example/?code=c&state=s", "https://a.example/");
    check(
        "https://a.example/?code=c&state=s#/home",
        "https://a.example/#/home",
    );
    check(
        "https://a.example/#/home&state=s&session_state=t&code=c",
        "https://a.example/#/home",
    );
    check(
        "https://a.example/#/home?code=c&state=s",
        "https://a.example/#/home",
    );
    check("https://a.example/#/&state=s&code=c", "https://a.example/#/");
    check("https://a.example/#/id_token=ey&state=s", "https://a.example/#/");
    check("https://a.example/#/access_token=ey/home", "https://a.example/#/");
    check(
        "https://a.example/#/login/session_state=s",
        "https://a.example/#/login/",
    );
    check(
        "https://a.example/#/error=denied&error_description=x",
        "https://a.example/#/",
    );
    check("https://a.example/#!/code=c", "https://a.example/#/");
    // Not every equals sign belongs to an identity provider's answer.
    check(
        "https://a.example/#/year=2026/costs",
        "https://a.example/#/year=2026/costs",
    );
}

#[test]
fn a_campaign_is_sent_and_no_other_part_of_a_query() {
    let check = |url: &str, expected: &str| assert_eq!(written(url), expected, "{url}");
    check(
        "https://a.example/?x=1&utm_source=news&y=2",
        "https://a.example/?utm_source=news",
    );
    check(
        "https://a.example/?ref=partner&utm_medium=mail#/x",
        "https://a.example/?ref=partner&utm_medium=mail#/x",
    );
    check(
        "https://a.example/#/x?utm_source=news&tab=1",
        "https://a.example/?utm_source=news#/x",
    );
    check(
        "https://a.example/#/x?tab=1#y?utm_source=news",
        "https://a.example/?utm_source=news#/x",
    );
    check(
        "https://a.example/#/tenants?source=azure&ref=main",
        "https://a.example/#/tenants",
    );
    check("https://a.example/#utm_source=news", "https://a.example/");
    check(
        "https://a.example/?utm_source=a&utm_source=b",
        "https://a.example/?utm_source=a",
    );
    check(
        "https://a.example/?utm_source=a#/x?utm_source=b",
        "https://a.example/?utm_source=a#/x",
    );
    check("https://a.example/?utm_source=", "https://a.example/");
    check("https://a.example/?utm_source", "https://a.example/");
    check(
        "https://a.example/?utm_source_x=1&gclid=1&utm_id=2",
        "https://a.example/",
    );
    let value = |bytes: usize| format!("https://a.example/?ref={}", "v".repeat(bytes));
    check(&value(180), &value(180));
    check(&value(181), "https://a.example/");
}

#[test]
fn what_a_router_takes_away_leaves_the_campaign() {
    let check = |first: &str, next: &str, expected: &str| {
        let mut address = Address::reduce(first);
        address.follow(Address::reduce(next));
        assert_eq!(address.written(), expected, "{first} {next}");
    };
    check(
        "https://a.example/?utm_source=news",
        "https://a.example/#/home",
        "https://a.example/?utm_source=news#/home",
    );
    check(
        "https://a.example/?utm_source=news",
        "https://a.example/?ref=b",
        "https://a.example/?ref=b",
    );
    check("https://a.example/", "https://a.example/x", "https://a.example/x");
}

#[test]
fn spellings_of_one_page_are_one_page() {
    let is_page = |one: &str, other: &str, expected: bool| {
        let found = Address::reduce(one).is_page_of(&Address::reduce(other));
        assert_eq!(found, expected, "{one} {other}");
    };
    let same = |one: &str, other: &str| is_page(one, other, true);
    let other = |one: &str, two: &str| is_page(one, two, false);
    same("https://a/", "https://a/");
    same("https://a/", "https://a/?x=1");
    same("https://a/?x=1", "https://a/?x=2");
    same("https://a/", "https://a/#");
    same("https://a/", "https://a/#/");
    same("https://a/", "https://a/#!/");
    same("https://a/", "https://a/#costs");
    same("https://a/docs#costs", "https://a/docs#prices");
    same("https://a/docs", "https://a/docs/");
    same("https://a//docs", "https://a/docs");
    same("https://a/#/p", "https://a/#!/p");
    same("https://a/#/p", "https://a/#/p/");
    same("https://a/#/p", "https://a/#/p?tab=1");
    same("https://a/#/p", "https://a/#/p#costs");
    same("https://a/#/p;tab=1", "https://a/#/p;tab=2");
    same("https://a/?x#/p", "https://a/#/p");
    same("https://a/caf%c3%a9", "https://a/caf%C3%A9");
    same("https://a/%7Ejane", "https://a/~jane");
    same("https://a/#/a|b", "https://a/#/a%7Cb");
    other("https://a/p?x=1", "https://a/q?x=1");
    other("https://a/#/p?x", "https://a/#/q?x");
    other("https://a/", "https://a/#/p");
    other("https://a/p", "https://a/#/p");
    other("https://a/p#/q", "https://a/#/p/q");
    other("https://a/", "https://b/");
    other("https://a/", "https://a:8443/");
    other("https://a/a%2Fb", "https://a/a/b");
    other("https://a/100%", "https://a/100");
    other("https://a/Docs", "https://a/docs");
}

#[test]
fn a_long_address_keeps_its_page() {
    let long = |bytes: usize| "x".repeat(bytes);
    let check = |name: &str, url: &str, expected: &str| {
        let found = written(url);
        assert!(found.len() <= URL_BYTES_MAX, "{name}: {} bytes", found.len());
        assert_eq!(found, expected, "{name}");
    };
    check(
        "a SAML answer",
        &format!("https://a/?SAMLResponse={}#/home", long(5000)),
        "https://a/#/home",
    );
    check(
        "a state in the hash",
        &format!("https://a/#/home?state={}", long(5000)),
        "https://a/#/home",
    );
    check(
        "a token as fragment",
        &format!("https://a/x#id_token={}", long(5000)),
        "https://a/x",
    );
    check(
        "a ticket in the path",
        &format!("https://a/sso/{}/home#/w/acme", long(5000)),
        &format!("https://a/sso/{}/home#/w/acme", long(200)),
    );
    check(
        "a ticket in the route",
        &format!("https://a/#/invite/{}/accept", long(5000)),
        &format!("https://a/#/invite/{}/accept", long(200)),
    );
    let deep = format!("/{}", long(99)).repeat(40);
    let found = written(&format!("https://a{deep}?utm_source=news#{deep}"));
    assert_eq!(found.len(), URL_BYTES_MAX, "the campaign has no room");
    assert!(found.ends_with(&deep[..1000]) && found.starts_with("https://a/x"));
    let (one, two) = (
        format!("https://a/{}1", long(5000)),
        format!("https://a/{}2", long(5000)),
    );
    assert!(
        !Address::reduce(&one).is_page_of(&Address::reduce(&two)),
        "they differ where they were cut"
    );
}

#[test]
fn the_relay_counts_a_reduced_address_as_the_same_page() {
    let routes = [
        "/",
        "/home",
        "/w/:workspace",
        "/w/:workspace/tenants",
        "/docs/:page",
    ];
    let plan = json!({
        "version": 1, "categories": [], "events": [], "routes": routes, "unmatched": "scrub", "campaigns": true,
    });
    let plan: Plan = serde_json::from_value(plan).expect("a plan");
    for url in [
        "https://a.example/",
        "https://a.example/home/",
        "https://a.example/#/w/acme/tenants?token=1",
        "https://a.example/app/#!/w/acme;tab=1/tenants",
        "https://a.example/app/#/",
        "https://a.example/docs/intro#chapter-2",
        "https://a.example/docs/intro?utm_source=newsletter&x=1#chapter-2",
        "https://a.example/?source=google&utm_campaign=spring_2026#/w/acme",
        "https://a.example/settings//users/jane",
        "https://a.example/w/caf%C3%A9",
        "https://jane@a.example:8443/home",
        "https://a.example",
    ] {
        assert_eq!(page(&written(url), &plan), page(url, &plan), "{url}");
    }
    // These used to become separate pages, or hid one.
    for (url, expected) in [
        ("https://a.example/#/w/acme&state=s&code=c", "/w/:workspace"),
        ("https://a.example/#/home#costs", "/home"),
        ("https://a.example/#/id_token=ey", "/"),
    ] {
        assert_eq!(page(&written(url), &plan), expected, "{url}");
    }
}

#[test]
fn the_campaign_keys_are_those_of_the_relay() {
    assert_eq!(CAMPAIGN_KEYS, relay_event::shape::CAMPAIGN_KEYS);
}

#[test]
fn a_page_of_the_same_host_is_an_own_page() {
    let check = |referrer: &str, expected: bool| {
        assert_eq!(
            is_own_page(referrer, "https://panel.example.com:8443/x"),
            expected,
            "{referrer}"
        );
    };
    check("https://panel.example.com:8443/", true);
    check("https://panel.example.com/", true);
    check("http://panel.example.com", true);
    check("https://www.panel.example.com/a?b#c", true);
    check("https://PANEL.example.com/", true);
    check("https://jane@panel.example.com/", true);
    check("https://panel.example.com?x", true);
    check("https://example.com/", false);
    check("https://login.example.com/", false);
    check("https://panel.example.com.evil.example/", false);
    check("https://evil.example/panel.example.com", false);
    check("https://evil.example\\@panel.example.com/", false);
    check("https://wwwpanel.example.com/", false);
    check("android-app://com.example/", false);
    check("file:///home/jane", false);
    check("nonsense", false);
    check("", false);
    let v6 = |referrer: &str| is_own_page(referrer, "http://[::1]:8080/");
    assert!(v6("http://[::1]/") && v6("http://[::1]:9/x"));
    assert!(!v6("http://[::2]:8080/"));
    assert!(
        is_own_page("https://a.example/", "https://www.a.example/x"),
        "www of the page"
    );
    assert!(!is_own_page("file:///x", "file:///x"), "no host at all");
}

#[test]
fn shortening_never_splits_a_character() {
    for (text, max, expected) in [
        ("abc", 5, "abc"),
        ("abc", 2, "ab"),
        ("aü", 2, "a"),
        ("🙂", 3, ""),
        ("", 0, ""),
    ] {
        assert_eq!(shortened(text, max), expected);
    }
}
