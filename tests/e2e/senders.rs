//! Allowed senders: pages of the site with their browser's headers, page tokens, and tools.

use feedback_relay::clock::{Clock, Timestamp};
use feedback_tests::{MiniPlausible, ORIGIN, Post, Relay, SITE, Setup, load, pageview, raw};
use serde_json::{Value, json};

/// A second origin of the site, and its other site.
const PARTNER: &str = "https://partner.example.net";
const SHOP: &str = "shop.example.com";
const TOOL: &str = "0123456789abcdef0123456789abcdef";
const HOUR_MS: i64 = 60 * 60 * 1000;

/// Both sites on, page tokens required as they are by default, and two tools.
fn setup(upstream: &str) -> Setup {
    Setup::new(upstream)
        .with_a_small_policy()
        .without("public", "require_page_token")
        .with("", "tool = [")
        .with("", &format!("  {{ name = \"smoke\", token = \"{TOOL}\" }},"))
        .with(
            "",
            &format!("  {{ name = \"shop-only\", token = \"{TOOL}{TOOL}\", sites = [\"{SHOP}\"] }},"),
        )
        .with("", "]")
        .with_site(&format!(
            "domain = \"{SHOP}\"\norigins = [\"https://{SHOP}\", \"{ORIGIN}\"]"
        ))
}

async fn start(setup: Setup) -> Relay {
    let relay = setup.start_on().await;
    relay.app().switches.set(SHOP, true, "test").await.unwrap();
    relay
}

/// The configuration that a page receives.
async fn config(relay: &Relay, site: &str, headers: &[(&str, &str)]) -> feedback_tests::Sent {
    let mut request = relay
        .client
        .get(format!("{}/api/config?site={site}", relay.public));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    feedback_tests::Sent::read(request.send().await.unwrap())
        .await
        .unwrap()
}

async fn token(relay: &Relay, site: &str, origin: &str) -> String {
    let config = config(relay, site, &[("origin", origin)]).await.json();
    config["token"].as_str().unwrap().to_owned()
}

/// A batch with these members besides site, consent and an event.
fn batch(site: &str, members: &str) -> Post {
    let event = load(1);
    let consent = json!({ "plan": 3 });
    Post::batch(&[]).body(format!(
        "{{\"site\":\"{site}\",{members}\"consent\":{consent},\"events\":[{event}]}}"
    ))
}

fn signed(token: &str) -> Post {
    batch(SITE, &format!("\"token\":{},", json!(token)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_needs_the_token_of_its_site_and_origin() {
    let plausible = MiniPlausible::start().await;
    let relay = start(setup(&plausible.url())).await;
    let other = start(setup(&plausible.url())).await;
    let ours = token(&relay, SITE, ORIGIN).await;
    let of_shop = token(&relay, SHOP, ORIGIN).await;
    let of_origin = token(&relay, SHOP, &format!("https://{SHOP}")).await;
    let of_process = token(&other, SITE, ORIGIN).await;
    other.stop().await;
    let mut expected = 0;
    let mut check = async |what: &str, post: Post, want: &str| {
        let sent = relay.send(&post).await;
        assert_eq!(sent.problem(), want, "{what}: {sent:?}");
        assert_eq!(sent.status, if want.is_empty() { 202 } else { 403 }, "{what}");
        let fresh = sent.json()["token"].as_str().map(str::to_owned);
        assert_eq!(fresh.is_some(), want == "page_token", "{what}: {sent:?}");
        if want == "page_token" {
            assert_eq!(
                sent.header("access-control-allow-origin"),
                post_origin(&post),
                "{what}"
            );
        }
        expected += usize::from(want.is_empty());
    };
    check("its own", signed(&ours), "").await;
    check("none", batch(SITE, ""), "page_token").await;
    for odd in ["null", "7", "[]", "{}", "\"\"", "true"] {
        check(odd, batch(SITE, &format!("\"token\":{odd},")), "page_token").await;
    }
    check("another site's", signed(&of_shop), "page_token").await;
    check("another process's", signed(&of_process), "page_token").await;
    check("cut off", signed(&ours[..27]), "page_token").await;
    check("too long", signed(&"A".repeat(10_000)), "page_token").await;
    check("two in one", signed(&format!("{ours},{ours}")), "page_token").await;
    let two =
        |first: &str, second: &str| batch(SITE, &format!("\"token\":\"{first}\",\"token\":\"{second}\","));
    check("two, of which the first counts", two(&ours, "x"), "").await;
    check("two, the first not right", two("x", &ours), "page_token").await;
    let shop =
        |token: &str, origin: &str| batch(SHOP, &format!("\"token\":\"{token}\",")).with("origin", origin);
    let shop_origin = format!("https://{SHOP}");
    check(
        "of the site's other origin",
        shop(&of_shop, &shop_origin),
        "page_token",
    )
    .await;
    check(
        "of the site's other origin",
        shop(&of_origin, ORIGIN),
        "page_token",
    )
    .await;
    check("of its own origin", shop(&of_origin, &shop_origin), "").await;
    check("from nowhere", signed(&ours).without("origin"), "no_origin").await;
    check(
        "from elsewhere",
        signed(&ours).with("origin", "https://evil.example"),
        "origin",
    )
    .await;
    check(
        "from two places",
        signed(&ours).with("origin", &format!("{ORIGIN}, {ORIGIN}")),
        "origin",
    )
    .await;
    check("at the tools' route", signed(&ours).path("/api/events"), "").await;
    check(
        "none at the tools' route",
        batch(SITE, "").path("/api/events"),
        "page_token",
    )
    .await;
    relay.drained().await;
    assert_eq!(plausible.count(), expected);
    relay.stop().await;
}

fn post_origin(post: &Post) -> String {
    post.header("origin").unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_issued_to_pages_that_may_send_and_renewed_by_answers() {
    let plausible = MiniPlausible::start().await;
    let start_at = Timestamp(1_767_225_600_000);
    let clock = Clock::standing_at(start_at);
    let relay = start(setup(&plausible.url()).with_clock(&clock)).await;
    let check = async |what: &str, headers: &[(&str, &str)], want: bool| {
        let sent = config(&relay, SITE, headers).await;
        assert_eq!(sent.json()["token"].is_string(), want, "{what}: {sent:?}");
        assert_eq!(sent.header("cache-control"), "private, no-cache", "{what}");
        assert_eq!(sent.header("vary"), "origin", "{what}");
    };
    let referer = format!("{ORIGIN}/tenants?x");
    check(
        "a page on another origin than the relay",
        &[("origin", ORIGIN)],
        true,
    )
    .await;
    let own = [("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")];
    check("a page on the relay's own origin", &own, true).await;
    check("a page of an older browser", &[("referer", &*referer)], true).await;
    let host = [("host", SITE), own[0]];
    check("a page at a host that the proxy passes on", &host, true).await;
    check("a program that asks nothing in particular", &[], false).await;
    check("a foreign page", &[("origin", "https://evil.example")], false).await;
    check(
        "a page whose name begins alike",
        &[("referer", &format!("{ORIGIN}.evil.example/"))],
        false,
    )
    .await;
    check(
        "the address bar",
        &[
            ("host", SITE),
            ("sec-fetch-site", "none"),
            ("sec-fetch-mode", "navigate"),
        ],
        false,
    )
    .await;
    check(
        "a foreign page's image",
        &[("referer", &*referer), ("sec-fetch-site", "cross-site")],
        false,
    )
    .await;

    let first = config(&relay, SITE, &[("origin", ORIGIN)]).await;
    let again = config(
        &relay,
        SITE,
        &[("origin", ORIGIN), ("if-none-match", first.header("etag"))],
    )
    .await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));
    for alike in [&[("referer", &*referer)], &host[..]] {
        let same = config(&relay, SITE, alike).await;
        assert_eq!(same.text, first.text, "the same for everybody on that origin");
    }
    let of_own = config(&relay, SITE, &own).await.json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let sent = relay.send(&signed(&of_own)).await;
    assert_eq!(
        sent.problem(),
        "page_token",
        "not from a page on another origin than the relay"
    );
    let sent = relay
        .send(&signed(&of_own).with("sec-fetch-site", "same-origin"))
        .await;
    assert_eq!(sent.status, 202);
    let old = first.json()["token"].as_str().unwrap().to_owned();
    assert!(relay.send(&signed(&old)).await.json().get("token").is_none());

    clock.set(Timestamp(start_at.0 + HOUR_MS));
    let later = config(
        &relay,
        SITE,
        &[("origin", ORIGIN), ("if-none-match", first.header("etag"))],
    )
    .await;
    assert_eq!(later.status, 200, "an old token is not frozen by a 304");
    let new = later.json()["token"].clone();
    let sent = relay.send(&signed(&old)).await;
    assert_eq!(
        (sent.status, &sent.json()["token"]),
        (202, &new),
        "renewed while it is valid"
    );
    clock.jump(Timestamp(start_at.0 - 1000 * HOUR_MS));
    assert_eq!(
        relay.send(&signed(&old)).await.status,
        202,
        "a clock that is set invalidates nothing"
    );

    clock.set(Timestamp(clock.now().0 + HOUR_MS));
    let sent = relay.send(&signed(&old)).await;
    assert_eq!((sent.status, sent.problem().as_str()), (403, "page_token"));
    let fresh = sent.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(relay.send(&signed(&fresh)).await.status, 202);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_sends_by_its_token_and_is_counted_by_name() {
    let plausible = MiniPlausible::start().await;
    let relay = start(setup(&plausible.url()).with("public", "trackers = false")).await;
    let plain = |site: &str| batch(site, "").without("origin");
    let check = async |what: &str, post: Post, authorization: &str, want: &str| {
        let sent = relay.send(&post.with("authorization", authorization)).await;
        assert_eq!(sent.problem(), want, "{what}: {sent:?}");
        assert!(!sent.text.contains(TOOL), "{what}");
    };
    let bearer = format!("Bearer {TOOL}");
    check("its token", plain(SITE), &bearer, "").await;
    check("for another site", plain(SHOP), &bearer, "").await;
    check("by another spelling", plain(SITE), &format!("bearer  {TOOL}"), "").await;
    check(
        "at the tools' route",
        plain(SITE).path("/api/events"),
        &bearer,
        "",
    )
    .await;
    let tracker = Post::plausible(&json!({ "n": "pageview", "u": format!("{ORIGIN}/"), "d": SITE }));
    check(
        "in Plausible's format",
        tracker.clone().without("origin"),
        &bearer,
        "",
    )
    .await;
    check("a page in Plausible's format", tracker, "", "trackers_closed").await;
    let second = format!("Bearer {TOOL}{TOOL}");
    check("a tool of that site", plain(SHOP), &second, "").await;
    check("a tool of another site", plain(SITE), &second, "tool_token").await;
    check("no token", plain(SITE), "", "no_origin").await;
    check("an unknown token", plain(SITE), "Bearer 0123", "tool_token").await;
    check("another case", plain(SITE), &bearer.to_uppercase(), "tool_token").await;
    check(
        "another scheme",
        plain(SITE),
        &format!("Basic {TOOL}"),
        "no_origin",
    )
    .await;
    let ours = token(&relay, SITE, ORIGIN).await;
    check(
        "a page behind a gateway with tokens of its own",
        signed(&ours),
        "Bearer eyJ0.x.y",
        "",
    )
    .await;
    check(
        "the same without a page token",
        batch(SITE, ""),
        "Bearer eyJ0.x.y",
        "page_token",
    )
    .await;
    let body = json!({ "site": SITE, "consent": { "plan": 3 }, "events": [pageview(&format!("{ORIGIN}/"))] })
        .to_string();
    let twice = format!(
        "POST /api/notes HTTP/1.1\r\nhost: relay\r\nauthorization: {bearer}\r\nauthorization: {bearer}\r\n\
         content-type: text/plain\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = raw(&relay.public, twice.as_bytes(), false).await;
    assert!(
        answer.starts_with("HTTP/1.1 403") && answer.contains("no_origin"),
        "{answer}"
    );
    let metrics = relay.stop().await;
    assert_eq!(metrics.count("tool_events_total{tool=\"smoke\"}"), 5);
    assert_eq!(metrics.count("tool_events_total{tool=\"shop-only\"}"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_browser_says_must_agree() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url())
        .with_a_small_policy()
        .with_site(&format!("domain = \"{SHOP}\"\norigins = [\"{PARTNER}\"]"))
        .start_on()
        .await;
    let event = |n: usize| {
        Post::plausible(&json!({ "n": "Load", "u": format!("{ORIGIN}/"), "d": SITE, "p": { "n": n } }))
    };
    let routes = [
        event(1),
        event(2).path("/plan/3/api/event"),
        Post::batch(&[load(3)]),
        Post::batch(&[load(4)]).path("/api/events"),
    ];
    let check = async |headers: &[(&str, &str)], want: &str| {
        for post in &routes {
            let post = headers
                .iter()
                .fold(post.clone().without("origin"), |post, (name, value)| {
                    post.with(name, value)
                });
            let sent = relay.send(&post).await;
            assert_eq!(sent.problem(), want, "{headers:?}: {sent:?}");
        }
    };
    let origin = ("origin", ORIGIN);
    let (same, cross) = (
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "cross-site"),
    );
    check(&[], "no_origin").await;
    check(&[cross], "no_origin").await;
    check(&[same], "no_origin").await;
    check(&[same, ("host", SITE)], "").await;
    check(&[same, ("x-forwarded-host", SITE)], "").await;
    check(&[("origin", "null"), same, ("host", SITE)], "").await;
    check(&[("origin", "null"), cross, ("host", SITE)], "origin").await;
    check(&[("origin", PARTNER)], "origin").await;
    check(&[origin, cross], "").await;
    check(&[origin, cross, ("host", SITE)], "fetch_metadata").await;
    check(&[origin, same, ("sec-fetch-mode", "navigate")], "fetch_metadata").await;
    check(&[origin, ("sec-fetch-site", "none")], "fetch_metadata").await;
    let metrics = relay.stop().await;
    assert_eq!(metrics.ended("denied", "no_origin"), 12);
    assert_eq!(metrics.ended("denied", "fetch_metadata"), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_value_of_a_privacy_header_that_is_1_is_a_signal_on_every_route() {
    let relay = start(setup("http://127.0.0.1:9")).await;
    let ours = token(&relay, SITE, ORIGIN).await;
    let event = json!({ "n": "Load", "u": format!("{ORIGIN}/"), "d": SITE, "p": { "n": 1 } });
    let unasked: Value = json!({ "site": SITE, "token": ours, "events": [load(1)] });
    let routes = [
        ("/api/event?consent=3", event.to_string()),
        ("/plan/3/api/event", event.to_string()),
        ("/api/notes", unasked.to_string()),
        ("/api/events", unasked.to_string()),
    ];
    let mut refused = 0;
    for (path, body) in &routes {
        for lines in [
            "Sec-GPC: 1",
            "Sec-GPC: 1, 1",
            "Sec-GPC: 1\r\nSec-GPC: 1",
            "Sec-GPC: 0\r\nSec-GPC: 1",
            "Sec-GPC: 1\r\nSec-GPC: 0",
            "sec-gpc: 0 ,\t1",
            "DNT: 1, 1",
            "DNT: 0\r\ndnt: 1",
            "Sec-GPC: 0\r\nDNT: 1",
        ] {
            let post = format!(
                "POST {path} HTTP/1.1\r\nhost: relay\r\norigin: {ORIGIN}\r\ncontent-type: text/plain\r\nconnection: close\r\n\
                 {lines}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = raw(&relay.public, post.as_bytes(), false).await;
            assert!(
                answer.contains("problem:privacy_signal"),
                "{path} {lines}: {answer}"
            );
            refused += 1;
        }
    }
    assert_eq!(relay.stop().await.ended("denied", "privacy_signal"), refused);
}
