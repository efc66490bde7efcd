//! How requests arrive: doctor, health and one log line report proxies that hide visitors, and pages that are refused.

use crate::EXE;
use feedback_tests::{ChildRelay, MiniPlausible, ORIGIN, Post, SITE, Setup, load, raw};
use serde_json::{Value, json};

/// A relay in its own process, as operators run it, that trusts these proxies.
async fn relay(upstream: &str, trusted: &str) -> (Setup, ChildRelay) {
    let setup = Setup::new(upstream)
        .with_a_small_policy()
        .without("public", "trusted_proxies")
        .with("public", &format!("trusted_proxies = {trusted}"))
        .switched_on(EXE)
        .await;
    let relay = setup.spawn(EXE).await;
    (setup, relay)
}

/// Doctor's findings about the front door, one per line: grade, finding, advice.
async fn doctor(setup: &Setup) -> String {
    let done = setup.command(EXE, &["doctor", "--json"], "").await;
    let findings: Vec<Value> = serde_json::from_str(&done.out).unwrap_or_else(|_| panic!("{done:?}"));
    let line = |finding: &Value| {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        format!("{} {} | {}\n", text("grade"), text("says"), text("advice"))
    };
    findings
        .iter()
        .filter(|finding| finding["what"] == "front door")
        .map(line)
        .collect()
}

async fn health(relay: &ChildRelay) -> Value {
    relay.health().await.json()["components"]["frontDoor"].clone()
}

async fn send(relay: &ChildRelay, n: usize, post: impl Fn(usize) -> Post) {
    for n in 0..n {
        relay.try_send(&post(n)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_not_trusted_is_named_with_the_line_to_write() {
    let plausible = MiniPlausible::start().await;
    for (header, value) in [
        ("x-forwarded-for", "198.51.100.7"),
        ("forwarded", "for=198.51.100.7"),
        ("x-real-ip", "198.51.100.7"),
        ("cf-connecting-ip", "198.51.100.7"),
    ] {
        let (setup, relay) = relay(&plausible.url(), "[\"10.0.0.0/8\"]").await;
        assert!(doctor(&setup).await.starts_with("note not checked: no request"));
        assert_eq!(health(&relay).await["status"], "UNKNOWN");
        send(&relay, 5, |n| Post::batch(&[load(n)]).with(header, value)).await;
        let said = doctor(&setup).await;
        assert!(
            said.contains("warning 5 of the last 5 requests: a peer that is not in"),
            "{said}"
        );
        assert!(said.contains(&format!("(unused headers: {header})")), "{said}");
        assert!(
            said.contains("trusted_proxies = [\"10.0.0.0/8\", \"127.0.0.1\"]"),
            "{said}"
        );
        let health = health(&relay).await;
        assert_eq!(health["status"], "UNKNOWN");
        let text = health.to_string();
        assert!(
            text.contains("public.trusted_proxies") && !text.contains("127.0.0.1"),
            "{text}"
        );
        let log = relay.log();
        assert_eq!(log.matches("a peer that is not in").count(), 1, "{log}");
        for text in [said, text, log] {
            assert!(!text.contains("198.51.100"), "{text}");
        }
        let odd = "requests_odd_total{oddity=\"untrusted_proxy\"}";
        assert_eq!(relay.metrics().await.count(odd), 5);
        relay.stop().await;
        assert!(doctor(&setup).await.contains("not checked: no relay answers"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_that_hide_their_clients_are_named() {
    let plausible = MiniPlausible::start().await;
    let check = async |headers: &[(&str, &str)], requests: usize, want: &str| {
        let (setup, relay) = relay(&plausible.url(), "[\"127.0.0.1\"]").await;
        send(&relay, requests, |n| {
            headers
                .iter()
                .fold(Post::batch(&[load(n)]), |post, (name, value)| {
                    post.with(name, &value.replace("{n}", &(n + 1).to_string()))
                })
        })
        .await;
        let (said, log) = (doctor(&setup).await, relay.log());
        assert!(said.contains(want), "{headers:?}: {said}");
        let what = want.split(": ").last().unwrap();
        let logged = usize::from(!want.starts_with("ok"));
        assert_eq!(log.matches(what).count(), logged, "{headers:?}: {log}");
        relay.stop().await;
    };
    check(
        &[("x-forwarded-for", "198.51.100.{n}")],
        20,
        "ok each of the last 20 requests carried a client address, and not all the same one",
    )
    .await;
    check(
        &[("forwarded", "For=\"198.51.100.{n}:80\";by=_p")],
        20,
        "ok each of the last 20 requests carried a client address, and not all the same one",
    )
    .await;
    check(
        &[],
        3,
        "warning 3 of the last 3 requests: a trusted proxy sends neither",
    )
    .await;
    check(
        &[("true-client-ip", "198.51.100.{n}")],
        3,
        "warning 3 of the last 3 requests: a trusted proxy sends neither",
    )
    .await;
    check(
        &[("x-forwarded-for", "unknown")],
        3,
        "warning 3 of the last 3 requests: the forwarding header of a trusted proxy names no",
    )
    .await;
    check(
        &[("x-forwarded-for", "198.51.100.7")],
        32,
        "warning 100 % of the last 32 requests: nearly all requests come from one address",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_from_a_trusted_proxy_separates_visitors() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let visitors = [
        "for=198.51.100.1",
        "for=\"[2001:db8:1::7]:4711\"",
        "for=192.0.2.66, for=198.51.100.2",
    ];
    for (n, forwarded) in visitors.into_iter().enumerate() {
        for again in 0..2 {
            let post = Post::batch(&[load(2 * n + again)]).with("forwarded", forwarded);
            assert_eq!(relay.send(&post).await.status, 202);
        }
    }
    relay.drained().await;
    let addresses: std::collections::BTreeSet<String> = plausible
        .arrivals()
        .iter()
        .map(|arrival| arrival.header("x-plausible-ip").to_owned())
        .collect();
    assert_eq!((plausible.count(), addresses.len()), (6, 3));
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn origins_that_were_refused_are_named() {
    let (setup, relay) = relay("http://127.0.0.1:9", "[\"127.0.0.1\"]").await;
    let from = |origin: &'static str, site: &'static str| {
        move |n: usize| {
            let post = Post::batch(&[load(n)])
                .from("198.51.100.1")
                .with("origin", origin);
            post.with("sec-fetch-site", site)
                .with("x-forwarded-host", "alias.example.com")
        }
    };
    send(&relay, 3, from("https://alias.example.com", "same-origin")).await;
    send(&relay, 2, from("https://elsewhere.example.net", "cross-site")).await;
    send(
        &relay,
        1,
        from("https://evil.example.net/jane@example.com", "cross-site"),
    )
    .await;
    // A page that cannot read the configuration never sends an event, but is reported all the same.
    let config = format!("{}/api/config?site={SITE}", relay.public);
    let client = feedback_tests::http_client();
    let asked = client.get(&config).header("origin", "https://reader.example.net");
    assert_eq!(asked.send().await.unwrap().status(), 200);
    // So is one whose browser asks before it sends.
    let notes = format!("{}/feedback/api/notes", relay.public);
    let asked = client.request(reqwest::Method::OPTIONS, &notes);
    let asked = asked.header("origin", "https://asker.example.net");
    assert_eq!(asked.send().await.unwrap().status(), 204);
    // Outsiders can neither make the relay treat a foreign origin as its own, nor register one with arbitrary requests.
    let login = "https://login.example.net";
    for (path, status) in [
        ("api/config?site=other.example", 403),
        ("api/notes", 405),
        ("nothing", 404),
        ("version", 200),
    ] {
        let asked = client
            .get(format!("{}/{path}", relay.public))
            .header("origin", login);
        let asked = asked.header("sec-fetch-site", "same-origin");
        assert_eq!(asked.send().await.unwrap().status(), status, "{path}");
    }
    send(&relay, 1, from("https://elsewhere.example.net", "same-origin")).await;
    let asked = client.get(&config).header("origin", ORIGIN);
    assert_eq!(asked.send().await.unwrap().status(), 200);
    let (said, health, log) = (
        doctor(&setup).await,
        health(&relay).await.to_string(),
        relay.log(),
    );
    for text in [&said, &health] {
        assert!(text.contains("https://alias.example.com (3)"), "{text}");
    }
    let foreign = "https://elsewhere.example.net (3), https://asker.example.net (1), https://reader.example.net (1), others (1)";
    assert!(said.contains(foreign), "{said}");
    assert!(health.contains("`origins` of the site: 6 requests"), "{health}");
    assert!(
        said.contains("add \"https://alias.example.com\" to `origins` in [[site]]"),
        "{said}"
    );
    // Only the operator, who queries the running relay, sees whose pages were refused.
    assert!(!log.contains("alias.example.com"), "{log}");
    assert_eq!(log.matches("their own were refused").count(), 1, "{log}");
    assert_eq!(log.matches("pages were refused").count(), 1, "{log}");
    for text in [&health, &log] {
        assert!(!text.contains("elsewhere") && !text.contains("reader"), "{text}");
    }
    for text in [&said, &health, &log] {
        assert!(!text.contains("login.example"), "{text}");
    }
    for text in [said, health, log] {
        assert!(!text.contains("jane") && !text.contains(ORIGIN), "{text}");
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_cookies_cost_no_event_and_larger_ones_are_counted() {
    let plausible = MiniPlausible::start().await;
    let (setup, relay) = relay(&plausible.url(), "[\"127.0.0.1\"]").await;
    let body = json!({ "n": "Load", "u": "https://panel.example.com/#/home", "d": SITE, "p": { "n": 1 } })
        .to_string();
    let check = async |cookie: usize, headers: usize, status: &str| {
        let more: String = (0..headers).map(|n| format!("x-more-{n}: 1\r\n")).collect();
        let head = format!(
            "POST /api/event?consent=3 HTTP/1.1\r\nhost: relay\r\norigin: {ORIGIN}\r\ncontent-type: text/plain\r\nconnection: close\r\n\
             content-length: {}\r\n{more}cookie: session={}\r\n\r\n{body}",
            body.len(),
            "x".repeat(cookie),
        );
        let answer = raw(&relay.public, head.as_bytes(), false).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{cookie} {headers}: {answer}"
        );
    };
    let counted = async || {
        let metrics = relay.metrics().await;
        metrics.count("heads_too_large_total{listener=\"public\"}")
    };
    check(16 << 10, 0, "202").await;
    check(64 << 10, 100, "202").await;
    assert_eq!(counted().await, 0);
    check(100 << 10, 0, "431").await;
    check(10, 200, "431").await;
    feedback_tests::eventually("both are counted", async || (counted().await == 2).then_some(())).await;
    assert!(doctor(&setup).await.contains("2 requests were answered 431"));
    let log = relay.log();
    assert_eq!(log.matches("headers were too large").count(), 1, "{log}");
    assert!(!log.contains("session="));
    relay.stop().await;
}
