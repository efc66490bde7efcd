//! Limits on a single abusive client: its events are few, fill at most one site's share of the spool, and are reported.

use feedback_relay::policy::status::FAILURES;
use feedback_tests::{MiniPlausible, Post, Relay, SITE, Setup, fresh_id, load};
use serde_json::{Value, json};

const OTHER: &str = "other.example.com";
const STRANGER: &str = "198.51.100.1";

/// A setup with small budgets, so that a few requests use them up.
fn setup(plausible: &MiniPlausible, budgets: &[&str]) -> Setup {
    let setup = Setup::new(&plausible.url())
        .with_a_small_policy()
        .without("budget", "");
    budgets
        .iter()
        .fold(setup, |setup, line| setup.with("budget", line))
}

fn batch(from: &str, events: usize) -> Post {
    Post::batch(&(0..events).map(load).collect::<Vec<_>>()).from(from)
}

/// Sends all posts and returns how many were accepted. Each of the others must be refused for this reason, with a
/// Retry-After.
async fn taken(relay: &Relay, posts: impl Iterator<Item = Post>, reason: &str) -> usize {
    let mut taken = 0;
    for post in posts {
        let sent = relay.send(&post).await;
        if sent.status == 202 {
            taken += 1;
            continue;
        }
        assert_eq!((sent.status, sent.problem().as_str()), (429, reason), "{sent:?}");
        let wait: u64 = sent.header("retry-after").parse().unwrap();
        assert!((1..=3600).contains(&wait), "{wait}");
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_brings_a_persons_events_and_a_rest_and_the_next_is_not_in_its_way() {
    let plausible = MiniPlausible::start().await;
    let budgets = [
        "events_per_visitor = 1",
        "events_per_visitor_burst = 20",
        "events_per_client = 1",
        "events_per_client_burst = 100",
    ];
    let tool = "0123456789abcdef0123456789abcdef";
    let relay = setup(&plausible, &budgets)
        .with(
            "",
            &format!("tool = [{{ name = \"smoke\", token = \"{tool}\" }}]"),
        )
        .start_on()
        .await;
    let flood = (0..40).map(|_| batch(STRANGER, 20));
    assert_eq!(
        taken(&relay, flood, "events").await,
        6,
        "20 of its visitor and 100 more"
    );
    // Spreading the events over many visitors does not help.
    let crowd =
        (0..40).map(|n| batch(STRANGER, 20).with("user-agent", &format!("{} {n}", feedback_tests::BROWSER)));
    let crowd = taken(&relay, crowd, "events").await;
    // How many there may be is another budget. A visitor that shares the cell of another one, which happens once in 160
    // runs, shares its 20.
    assert!((38..=40).contains(&crowd), "each of them has its own 20: {crowd}");
    assert_eq!(relay.send(&batch("198.51.100.2", 20)).await.status, 202);
    // A tool with a token has no per-client budget, but is subject to the site's rate.
    for n in 0..20 {
        let post = batch(STRANGER, 20).with("authorization", &format!("Bearer {tool}"));
        assert_eq!(relay.send(&post).await.status, 202, "{n}");
    }
    let metrics = relay.metrics().await;
    let refused = i64::try_from(34 + 40 - crowd).unwrap();
    assert_eq!(metrics.ended("limited", "events"), refused * 20);
    relay.stop().await;
}

/// Sends enough batches to use up a day's budget of 200 events three times over.
async fn refused(relay: &Relay, reason: &str) {
    for n in 0..30 {
        let sent = relay.send(&batch(STRANGER, 20)).await;
        assert_eq!(
            (sent.status, sent.problem().as_str()),
            (503, reason),
            "{n}: {sent:?}"
        );
    }
}

/// Exactly this number of batches is accepted; the next one exceeds the budget.
async fn a_day_brings(relay: &Relay, batches: usize) {
    for n in 0..batches {
        let sent = relay.send(&batch(STRANGER, 20)).await;
        assert_eq!(sent.status, 202, "{n}: {sent:?}");
    }
    let sent = relay.send(&batch(STRANGER, 20)).await;
    assert_eq!(
        (sent.status, sent.problem().as_str()),
        (429, "events"),
        "{sent:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_out_of_service_refuses_is_not_of_the_day() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url())
        .with_a_slow_policy()
        .with("policy", "request_cpu_ms = 10")
        .without("budget", "")
        .with("budget", "events_per_client_burst = 200")
        .with("budget", "events_per_client = 1")
        .with("budget", "events_per_client_day = 200");
    let relay = setup.start_on().await;
    for n in 0..FAILURES {
        let url = "https://panel.example.com/#/slow";
        let slow = json!({ "id": fresh_id(), "name": "Load", "url": url, "props": { "n": n } });
        let sent = relay.send(&Post::batch(&[slow]).from(STRANGER)).await;
        assert_eq!(sent.json()["dropped"][0]["reason"], "timeout", "{sent:?}");
    }
    refused(&relay, "unavailable").await;
    relay.app().policy.reload().await.unwrap();
    // The policy ran for the slow events, so they count.
    a_day_brings(&relay, (200 - FAILURES) / 20).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_spool_refuses_is_not_of_the_day() {
    let mut plausible = MiniPlausible::away();
    let relay = setup(&plausible, &["events_per_client_day = 200"])
        .with("spool", "bytes_max = 131072")
        .start_on()
        .await;
    for n in 0.. {
        let from = format!("198.51.100.{}", 2 + n % 100);
        if relay.send(&batch(&from, 20)).await.status != 202 {
            break;
        }
    }
    refused(&relay, "full").await;
    plausible.come_back().await;
    relay.drained_within(crate::LONG).await;
    a_day_brings(&relay, 10).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_invent_a_crowd_on_either_route() {
    let plausible = MiniPlausible::start().await;
    let budgets = [
        "new_visitors_per_client = 1",
        "new_visitors_per_client_burst = 10",
    ];
    let relay = setup(&plausible, &budgets).start_on().await;
    let of_module = |n: usize, from: &str| {
        let body = json!({ "site": SITE, "consent": { "plan": 3 }, "visitor": format!("{n:032x}"), "events": [load(n)] });
        Post::batch(&[]).body(body.to_string()).from(from)
    };
    let by_value = (0..60).map(|n| of_module(n, STRANGER));
    assert_eq!(taken(&relay, by_value, "visitors").await, 10);
    let by_agent = (0..60).map(|n| {
        let event = json!({ "n": "Load", "u": "https://x/#/home", "d": SITE, "p": { "n": n } });
        let agent = format!("{} {n}", feedback_tests::BROWSER);
        Post::plausible(&event)
            .with("user-agent", &agent)
            .from("198.51.100.2")
    });
    assert_eq!(taken(&relay, by_agent, "visitors").await, 10);
    // Other addresses within the same /64 do not get around it.
    let by_address = (0..60).map(|n| of_module(100 + n, &format!("2001:db8::{n:x}")));
    assert_eq!(taken(&relay, by_address, "visitors").await, 10);
    // A client that was there before continues.
    for n in 0..10 {
        assert_eq!(relay.send(&of_module(n, STRANGER)).await.status, 202, "{n}");
    }
    let metrics = relay.metrics().await;
    assert_eq!(metrics.ended("limited", "visitors"), 150);
    // The last of each ten were counted as suspicious before the address was refused.
    let crowd = format!("suspicious_events_total{{site=\"{SITE}\",reason=\"crowd\"}}");
    assert!(metrics.count(&crowd) > 0 || metrics.count(&crowd.replace("crowd", "no_fetch_metadata")) > 0);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_full_leaves_the_others_their_part_and_the_relay_ready() {
    let mut plausible = MiniPlausible::away();
    let setup = Setup::new(&plausible.url())
        .with_a_small_policy()
        .with("spool", "bytes_max = 131072");
    let setup = setup.with_site(&format!(
        "domain = \"{OTHER}\"\norigins = [\"https://panel.example.com\"]"
    ));
    let relay = setup.start_on().await;
    relay.app().switches.set(OTHER, true, "test").await.unwrap();
    let of = |site: &str| {
        let events: Vec<Value> = (0..20).map(load).collect();
        let body = json!({ "site": site, "consent": { "plan": 3 }, "events": events });
        Post::batch(&[]).body(body.to_string())
    };
    let fill = async |site: &str| {
        for _ in 0..200 {
            let sent = relay.send(&of(site)).await;
            if sent.status != 202 {
                assert_eq!((sent.status, sent.header("retry-after")), (503, "60"), "{sent:?}");
                return sent.problem();
            }
        }
        panic!("{site} is never full");
    };
    let ready = async || {
        let ready = relay.get("/actuator/health/readiness").await;
        (ready.status, ready.json()["reason"].clone())
    };
    assert_eq!(fill(SITE).await, "site");
    assert_eq!(ready().await, (200, Value::Null));
    let spool = relay.health().await.json()["components"]["spool"].clone();
    assert_eq!(spool["status"], "UP", "{spool}");
    let sites = &spool["details"]["sites"];
    assert_eq!(
        (&sites[SITE]["full"], &sites[OTHER]["full"]),
        (&json!(true), &json!(false)),
        "{spool}"
    );
    let metrics = relay.metrics().await;
    let bytes = |site: &str, name: &str| metrics.count(&format!("site_spool_bytes{name}{{site=\"{site}\"}}"));
    assert_eq!(
        (bytes(SITE, "_max"), bytes(OTHER, "_max"), bytes(OTHER, "")),
        (98_304, 98_304, 0)
    );
    assert!(bytes(SITE, "") > 90_000 && bytes(SITE, "") <= 98_304);
    // The other site has a quarter of its own; only when that is used is nothing left.
    assert_eq!(fill(OTHER).await, "full");
    assert_eq!(ready().await, (503, json!("spool full")));
    plausible.come_back().await;
    relay.drained_within(crate::LONG).await;
    assert_eq!(ready().await, (200, Value::Null));
    let metrics = relay.stop().await;
    for site in [SITE, OTHER] {
        assert_eq!(
            metrics.count(&format!("site_spool_bytes{{site=\"{site}\"}}")),
            0,
            "{site}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_browser_sends_is_marked_and_counted_or_dropped() {
    let like_a_browser = || Post::batch(&[load(1)]).with("sec-fetch-site", "same-origin");
    let posts = || {
        [
            ("a browser", like_a_browser(), None),
            (
                "no fetch metadata",
                like_a_browser().without("sec-fetch-site"),
                Some("no_fetch_metadata"),
            ),
            (
                "another browser's hints",
                like_a_browser()
                    .with(
                        "user-agent",
                        "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
                    )
                    .with("sec-ch-ua", "\"Chromium\";v=\"140\""),
                Some("client_hints"),
            ),
        ]
    };
    let counted = |metrics: &feedback_tests::Scrape, reason: &str| {
        metrics.count(&format!(
            "suspicious_events_total{{site=\"{SITE}\",reason=\"{reason}\"}}"
        ))
    };
    let plausible = MiniPlausible::start().await;
    let with_property = |setup: &Setup| {
        let path = setup.folder().join("plan.toml");
        let plan = std::fs::read_to_string(&path).unwrap();
        let late = "[event.prop.late]\n";
        let property = "[event.prop.suspicious]\ntype = \"bool\"\ndescription = \"Set by the relay.\"\n\n";
        std::fs::write(path, plan.replacen(late, &format!("{property}{late}"), 1)).unwrap();
    };
    let setup = Setup::new(&plausible.url()).with_a_small_policy();
    with_property(&setup);
    let relay = setup.start_on().await;
    for (what, post, reason) in posts() {
        assert_eq!(relay.send(&post).await.status, 202, "{what}");
        relay.drained().await;
        let last = plausible.arrivals().pop().unwrap();
        let mark = &last.body["props"]["suspicious"];
        assert_eq!(
            mark,
            &reason.map_or(Value::Null, |_| json!(true)),
            "{what}: {}",
            last.body
        );
        if let Some(reason) = reason {
            assert_eq!(counted(&relay.metrics().await, reason), 1, "{what}");
        }
    }
    let details = relay.health().await.json()["components"]["frontDoor"]["details"]["suspicious"].clone();
    assert_eq!(
        details,
        json!({ SITE: { "client_hints": 1, "no_fetch_metadata": 1 } })
    );
    relay.stop().await;

    let relay = Setup::new(&plausible.url())
        .with_a_small_policy()
        .with("budget", "suspicious = \"drop\"")
        .start_on()
        .await;
    for (what, post, reason) in posts() {
        let sent = relay.send(&post).await;
        let want = reason.map_or((202, ""), |_| (403, "suspicious"));
        assert_eq!((sent.status, sent.problem().as_str()), want, "{what}");
    }
    relay.drained().await;
    let metrics = relay.stop().await;
    assert_eq!(metrics.ended("denied", "suspicious"), 2);
    assert_eq!(counted(&metrics, "client_hints"), 1);
}
