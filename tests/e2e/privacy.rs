//! Secrets planted wherever a browser can put one appear only in the browser's own request.

use crate::EXE;
use crate::canaries::{ADDRESS, assert_clean, assert_clean_folder, plant, requests};
use feedback_tests::{BROWSER, ChildRelay, MiniPlausible, ORIGIN, Post, SITE, Setup, eventually, load};
use serde_json::json;
use std::net::Ipv6Addr;

/// Everything that a relay discloses about itself.
async fn told(relay: &ChildRelay) -> Vec<(&'static str, String)> {
    let get = async |base: &str, path: &str| {
        let request = relay.client.get(format!("{base}{path}"));
        request.send().await.unwrap().text().await.unwrap()
    };
    let login = json!({ "user": "alice", "password": "correct horse battery" });
    let answer = relay
        .client
        .post(format!("{}/admin/api/login", relay.admin))
        .json(&login)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 204);
    let cookie = answer.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let status = relay
        .client
        .get(format!("{}/admin/api/status", relay.admin))
        .header("cookie", cookie);
    vec![
        ("the metrics", relay.metrics().await.text),
        ("the public health", get(&relay.public, "/actuator/health").await),
        ("the health with details", relay.health().await.text),
        (
            "the configuration for browsers",
            get(&relay.public, "/api/config?site=panel.example.com").await,
        ),
        (
            "the admin's status",
            status.send().await.unwrap().text().await.unwrap(),
        ),
        ("the log", relay.log()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_planted_anywhere_appears_nowhere() {
    let mut plausible = MiniPlausible::away();
    let setup = Setup::new(&plausible.url()).with_the_plan_built_in();
    let done = setup.command(EXE, &["switch", "on", "--site", SITE], "").await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let done = setup
        .command(
            EXE,
            &["user", "add", "alice", "--password-stdin"],
            "correct horse battery\n",
        )
        .await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let relay = setup.spawn(EXE).await;
    let mut taken = 0;
    for post in requests() {
        let sent = relay.try_send(&post).await.unwrap();
        // An unknown site is answered 202 as well, as by Plausible.
        let is_dropped = sent.headers.contains_key("x-plausible-dropped");
        taken += usize::from(sent.status == 202 && !is_dropped);
        assert_clean("an answer", sent.text.as_bytes());
        assert_clean(
            "an answer's headers",
            format!("{:?}", sent.headers)
                .replace(&plant("origin"), "")
                .as_bytes(),
        );
    }
    assert_eq!(taken, 8, "{:?}", relay.metrics().await.endings());
    let refused = relay.metrics().await;
    assert!(
        refused.count("events_received_total") >= 20,
        "{:?}",
        refused.endings()
    );

    // While everything waits, so that the disk holds the most data.
    assert!(
        assert_clean_folder(&setup.data_dir()) >= 3,
        "database, its log and the lock"
    );
    plausible.come_back().await;
    eventually("what was taken arrives", async || {
        (plausible.count() == 8).then_some(())
    })
    .await;
    assert_clean("what Plausible got", &plausible.bytes());
    for (place, text) in told(&relay).await {
        assert!(!text.is_empty(), "{place} is empty");
        assert_clean(place, text.as_bytes());
    }
    assert!(relay.log().contains("WARN"), "there is a log that could tell");
    relay.stop().await;
    assert_clean_folder(&setup.data_dir());
}

/// Client hints that browsers send beside the User-Agent: the detail that was removed from the latter.
const CLIENT_HINTS: [(&str, &str); 9] = [
    ("sec-ch-ua", r#""Chromium";v="140", "Not=A?Brand";v="24""#),
    ("sec-ch-ua-arch", r#""x86""#),
    ("sec-ch-ua-bitness", r#""64""#),
    (
        "sec-ch-ua-full-version-list",
        r#""Chromium";v="140.0.7000.9", "Not=A?Brand";v="24.0.0.0""#,
    ),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-model", r#""SM-S918B""#),
    ("sec-ch-ua-platform", r#""Linux""#),
    ("sec-ch-ua-platform-version", r#""6.8.0""#),
    ("sec-ch-ua-wow64", "?0"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_plausible_holds_these_headers_and_fields_and_no_others() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url())
        .with_the_plan_built_in()
        .start_on()
        .await;
    let event = json!({
        "n": "Feature Used", "d": SITE, "r": "https://search.example.org/find?q=secret", "i": false,
        "u": "https://panel.example.com/#/w/acme-prod/p/billing-7/tenants", "p": { "feature": "search", "more": 1 },
    });
    for agent in [BROWSER, "something/1.0"] {
        let mut post = Post::plausible(&event)
            .path("/api/event?consent=1")
            .from(ADDRESS)
            .with("user-agent", agent);
        for (name, value) in CLIENT_HINTS {
            post = post.with(name, value);
        }
        assert_eq!(relay.send(&post).await.status, 202);
    }
    let arrivals = eventually("both arrive", async || {
        Some(plausible.arrivals()).filter(|a| a.len() == 2)
    })
    .await;
    let names = |i: usize| {
        let mut names: Vec<String> = arrivals[i].headers.iter().map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    };
    let of_browser = usize::from(arrivals[0].header("user-agent").is_empty());
    assert_eq!(
        names(of_browser),
        [
            "content-length",
            "content-type",
            "host",
            "user-agent",
            "x-plausible-ip"
        ]
    );
    assert_eq!(
        names(1 - of_browser),
        ["content-length", "content-type", "host", "x-plausible-ip"]
    );
    let arrival = &arrivals[of_browser];
    assert_eq!(arrival.line, "POST /api/event");
    let coarse = BROWSER.replace("140.0.7000.9", "140.0.0.0");
    assert_eq!(arrival.header("user-agent"), coarse);
    let want = json!({
        "name": "Feature Used", "domain": SITE, "interactive": false, "props": { "feature": "search" },
        "url": "https://panel.example.com/w/:workspace/p/:project/tenants", "referrer": arrival.body["referrer"],
    });
    assert_eq!(arrival.body, want);
    let referrer = arrival.body["referrer"].as_str().unwrap();
    assert!(
        referrer.trim_end_matches('/').ends_with("//search.example.org"),
        "{referrer}"
    );
    let visitor: Ipv6Addr = arrival.header("x-plausible-ip").parse().unwrap();
    let [first, ..] = visitor.octets();
    assert!(
        first & 0xfe == 0xfc || visitor.segments()[0] == 0x2001,
        "{visitor} is nobody's address"
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_cannot_send_and_a_page_of_ours_needs_no_header_of_ours() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let preflight = async |origin: &str| {
        let request = relay
            .client
            .request(reqwest::Method::OPTIONS, format!("{}/api/events", relay.public));
        let response = request
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .send()
            .await;
        let response = response.unwrap();
        assert_eq!(response.status(), 204);
        response
            .headers()
            .get("access-control-allow-origin")
            .map(|v| v.to_str().unwrap().to_owned())
    };
    assert_eq!(preflight(ORIGIN).await.as_deref(), Some(ORIGIN));
    assert_eq!(preflight("https://evil.example.net").await, None);
    assert_eq!(preflight("null").await, None);
    let evil = Post::batch(&[load(1)]).with("origin", "null");
    assert_eq!(relay.send(&evil).await.status, 403);
    assert_eq!(relay.stop().await.endings(), ["denied/origin 1"]);
}
