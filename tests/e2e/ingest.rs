//! What comes in: both formats are taken, everything else is refused with the right words and counted.

use feedback_tests::{
    MiniPlausible, ORIGIN, Post, Relay, SITE, Sent, Setup, eventually, fresh_id, load, pageview, raw,
};
use serde_json::{Value, json};

const PAGE: &str = "https://panel.example.com/#/home";

fn event(name: &str, props: &Value) -> Value {
    json!({ "id": fresh_id(), "name": name, "url": PAGE, "props": props })
}

fn plausible_load(n: usize) -> Post {
    Post::plausible(&json!({ "n": "Load", "u": PAGE, "d": SITE, "p": { "n": n } }))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_formats_are_taken_at_the_root_and_below_the_base_path() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let check = async |post: Post, body: &str| {
        let sent = relay.send(&post).await;
        assert_eq!((sent.status, sent.text.as_str()), (202, body), "{post:?}");
        assert_eq!(sent.header("access-control-allow-origin"), ORIGIN);
        assert_eq!(sent.header("cache-control"), "no-store");
    };
    let long = json!({ "name": "Load", "url": PAGE, "domain": SITE, "props": { "n": 2 } });
    let text = json!({ "n": "Load", "u": PAGE, "d": SITE, "m": "{\"n\":3}" });
    check(plausible_load(1), "ok").await;
    check(
        Post::plausible(&long).with("content-type", "application/json"),
        "ok",
    )
    .await;
    check(
        Post::plausible(&text).with("content-type", "Text/Plain; charset=UTF-8"),
        "ok",
    )
    .await;
    check(plausible_load(4).without("origin").with("origin", ORIGIN), "ok").await;
    check(plausible_load(5).path("/feedback/api/event?consent=3"), "ok").await;
    check(Post::batch(&[load(6), load(7)]), r#"{"accepted":2,"dropped":[]}"#).await;
    check(
        Post::batch(&[load(8)]).path("/feedback/api/events"),
        r#"{"accepted":1,"dropped":[]}"#,
    )
    .await;
    check(
        Post::batch(&[load(9)]).with("content-type", "text/plain"),
        r#"{"accepted":1,"dropped":[]}"#,
    )
    .await;
    let mut numbers = eventually("all nine arrive", async || {
        Some(plausible.numbers()).filter(|numbers| numbers.len() == 9)
    })
    .await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
    assert_eq!(relay.stop().await.endings(), ["delivered/ 9"]);
}

/// A refusal: what is sent, and how it is answered and counted. An empty ending is not counted as an event.
async fn check_refusal(relay: &Relay, what: &str, post: &Post, want: (u16, &str, &str)) -> Sent {
    let (status, problem, ending) = want;
    let before = relay.metrics().await;
    let sent = relay.send(post).await;
    let after = relay.metrics().await;
    assert_eq!(
        (sent.status, sent.problem().as_str()),
        (status, problem),
        "{what}: {sent:?}"
    );
    assert_eq!(sent.header("x-content-type-options"), "nosniff", "{what}");
    let events = i64::from(!ending.is_empty());
    let received = "events_received_total";
    assert_eq!(after.count(received) - before.count(received), events, "{what}");
    if let Some((outcome, reason)) = ending.split_once('/') {
        assert_eq!(
            after.ended(outcome, reason) - before.ended(outcome, reason),
            1,
            "{what}: {:?}",
            after.endings()
        );
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_says_what_is_wrong_to_pages_of_the_origin_and_is_counted() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url())
        .with_site("domain = \"locked.example.com\"\norigins = [\"https://panel.example.com\"]\noperator_lock = true")
        .with_site("domain = \"off.example.com\"\norigins = [\"https://panel.example.com\"]")
        .with("public", "body_bytes_max = 4096")
        .start_on()
        .await;
    let check = async |what: &str, post: Post, status: u16, problem: &str, ending: &str| {
        let sent = check_refusal(&relay, what, &post, (status, problem, ending)).await;
        assert_eq!(sent.header("access-control-allow-origin"), ORIGIN, "{what}");
        assert_eq!(
            sent.header("access-control-expose-headers"),
            "retry-after",
            "{what}"
        );
    };
    let one = || Post::batch(&[load(0)]);
    let of_site =
        |site: &str| Post::plausible(&json!({ "n": "Load", "u": PAGE, "d": site, "p": { "n": 1 } }));
    let large = || {
        Post::plausible(&json!({ "n": "Load", "u": PAGE, "d": SITE, "p": { "n": 1, "x": "x".repeat(5000) } }))
    };
    let empty = json!({ "site": SITE, "consent": { "plan": 3 }, "events": [] }).to_string();

    check(
        "half a JSON",
        one().body("{\"site\":"),
        400,
        "invalid",
        "malformed/invalid",
    )
    .await;
    check(
        "an empty body",
        one().body(""),
        400,
        "invalid",
        "malformed/invalid",
    )
    .await;
    check(
        "a list",
        plausible_load(1).body("[]"),
        400,
        "invalid",
        "malformed/invalid",
    )
    .await;
    check(
        "no events",
        one().body(empty),
        400,
        "invalid",
        "malformed/invalid",
    )
    .await;
    let nameless = Post::plausible(&json!({ "u": PAGE, "d": SITE }));
    check("no name", nameless, 400, "invalid", "malformed/invalid").await;
    let html = one().with("content-type", "text/html");
    check(
        "a wrong type",
        html,
        415,
        "unsupported_type",
        "malformed/unsupported_type",
    )
    .await;
    let untyped = one().without("content-type");
    check(
        "no type",
        untyped,
        415,
        "unsupported_type",
        "malformed/unsupported_type",
    )
    .await;
    let zipped = one().with("content-encoding", "gzip");
    check(
        "a compressed body",
        zipped,
        415,
        "unsupported_type",
        "malformed/unsupported_type",
    )
    .await;
    check("a large body", large(), 413, "too_large", "malformed/too_large").await;
    check(
        "another site",
        of_site("other.example.com"),
        403,
        "unknown_site",
        "denied/unknown_site",
    )
    .await;
    let two = "panel.example.com,off.example.com";
    check(
        "two sites",
        of_site(two),
        403,
        "unknown_site",
        "denied/unknown_site",
    )
    .await;
    check(
        "a locked site",
        of_site("locked.example.com"),
        403,
        "operator_lock",
        "denied/operator_lock",
    )
    .await;
    check(
        "a site that is off",
        of_site("off.example.com"),
        403,
        "switched_off",
        "denied/switched_off",
    )
    .await;
    let unasked = plausible_load(1).path("/api/event");
    check("no consent", unasked, 403, "no_consent", "denied/no_consent").await;
    let unasked = Post::batch_with(&Value::Null, &[load(0)]);
    check(
        "no consent in a batch",
        unasked,
        403,
        "no_consent",
        "denied/no_consent",
    )
    .await;
    let odd = plausible_load(1).path("/api/event?consent=yes");
    check(
        "consent to nothing in particular",
        odd,
        403,
        "no_consent",
        "denied/no_consent",
    )
    .await;
    for version in [2, 4] {
        let other = Post::batch_with(&json!({ "plan": version }), &[load(0)]);
        check(
            "consent to another plan",
            other,
            403,
            "consent_outdated",
            "denied/consent_outdated",
        )
        .await;
        let other = plausible_load(1).path(&format!("/api/event?consent={version}"));
        check(
            "consent to another plan",
            other,
            403,
            "consent_outdated",
            "denied/consent_outdated",
        )
        .await;
    }
    for signal in ["sec-gpc", "dnt"] {
        let page = plausible_load(1).with(signal, "1");
        check(
            "a signal and the page's consent",
            page,
            403,
            "privacy_signal",
            "denied/privacy_signal",
        )
        .await;
    }
    for agent in [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/140.0.0.0 Safari/537.36",
    ] {
        check("a bot", one().with("user-agent", agent), 403, "bot", "denied/bot").await;
    }
    let unknown = Post::plausible(&json!({ "n": "Payment", "u": PAGE, "d": SITE }));
    check(
        "an unknown event",
        unknown,
        400,
        "unknown_event",
        "denied/unknown_event",
    )
    .await;
    let bare = Post::plausible(&json!({ "n": "Load", "u": PAGE, "d": SITE }));
    check(
        "no number",
        bare,
        400,
        "missing_prop",
        "policy_refused/missing_prop",
    )
    .await;
    check(
        "a number out of range",
        plausible_load(1_000_001),
        400,
        "missing_prop",
        "policy_refused/missing_prop",
    )
    .await;
    check("an unknown path", one().path("/api/evens"), 404, "not_found", "").await;
    check(
        "a path of the admin listener",
        one().path("/admin/api/login"),
        404,
        "not_found",
        "",
    )
    .await;
    check("a wrong method", one().path("/api/config"), 405, "method", "").await;

    let elsewhere = one().with("origin", "https://evil.example.net");
    let sent = check_refusal(
        &relay,
        "another origin",
        &elsewhere,
        (403, "origin", "denied/origin"),
    )
    .await;
    assert_eq!(
        sent.header("access-control-allow-origin"),
        "",
        "a page of another origin may not read it"
    );

    assert_eq!(
        (plausible.count(), plausible.connections()),
        (0, 0),
        "nothing of all that has left"
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_close_to_a_refusal_is_taken() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let check = async |what: &str, post: Post| {
        let sent = relay.send(&post).await;
        assert_eq!(sent.status, 202, "{what}: {sent:?}");
    };
    check(
        "a signal, and consent given in person",
        Post::batch(&[load(1)]).with("sec-gpc", "1").with("dnt", "1"),
    )
    .await;
    check(
        "no signal",
        plausible_load(2).with("sec-gpc", "0").with("dnt", "0"),
    )
    .await;
    check("no origin, as tools send", plausible_load(3).without("origin")).await;
    check(
        "the origin in capitals",
        plausible_load(4).with("origin", "HTTPS://PANEL.example.com"),
    )
    .await;
    check("no agent", plausible_load(5).without("user-agent")).await;
    check(
        "identity is no compression",
        plausible_load(6).with("content-encoding", "identity"),
    )
    .await;
    check(
        "consent beside other parameters",
        plausible_load(7).path("/api/event?x=1&consent=3"),
    )
    .await;
    check(
        "www",
        Post::plausible(&json!({ "n": "Load", "u": PAGE, "d": "www.panel.example.com", "p": { "n": 8 } })),
    )
    .await;
    eventually("all arrive", async || (plausible.count() == 8).then_some(())).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_events_do_not_take_their_batch_with_them() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let repeated = load(1);
    let events = [
        load(0),
        json!({ "id": "short", "name": "pageview", "url": PAGE }),
        event("Payment", &json!({})),
        event("Activity Rated", &json!({ "rating": 5 })),
        event("Load", &json!({})),
        repeated.clone(),
        repeated,
    ];
    let sent = relay
        .send(&Post::batch_with(
            &json!({ "plan": 3, "categories": ["usage"] }),
            &events,
        ))
        .await;
    let detail = "`id` is required: 32 lower-case hexadecimal digits, random";
    let want = json!({ "accepted": 3, "dropped": [
        { "i": 1, "reason": "invalid", "detail": detail },
        { "i": 2, "reason": "unknown_event" },
        { "i": 3, "reason": "category_refused" },
        { "i": 4, "reason": "missing_prop" },
    ] });
    assert_eq!((sent.status, sent.json()), (202, want));
    eventually("the good ones arrive", async || {
        (plausible.count() == 2).then_some(())
    })
    .await;
    let want = [
        "delivered/ 2",
        "denied/category_refused 1",
        "denied/unknown_event 1",
        "duplicate/ 1",
        "malformed/invalid 1",
        "policy_refused/missing_prop 1",
    ];
    assert_eq!(relay.stop().await.endings(), want);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_batch_is_taken_again_and_delivered_once() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let batch = [load(1), load(2), pageview(PAGE)];
    relay.accept(&batch).await;
    relay.accept(&batch).await;
    eventually("one copy arrives", async || {
        (plausible.count() == 3).then_some(())
    })
    .await;
    relay.accept(&batch).await;
    relay.accept(&[load(3)]).await;
    eventually("the next one arrives", async || {
        plausible.numbers().contains(&3).then_some(())
    })
    .await;
    assert_eq!(relay.stop().await.endings(), ["delivered/ 4", "duplicate/ 6"]);
    assert_eq!(plausible.count(), 4);
}

/// A request by hand, with a head that may lie about its body.
fn by_hand(framing: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /api/event?consent=3 HTTP/1.1\r\nhost: relay\r\norigin: {ORIGIN}\r\ncontent-type: text/plain\r\n\
         connection: close\r\n{framing}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_lie_dawdle_or_break_off_are_refused_and_counted() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url())
        .with("public", "body_bytes_max = 2048")
        .with("public", "body_timeout_s = 1")
        .start_on()
        .await;
    let check = async |what: &str, framing: &str, body: &str, hang_up: bool, status: &str, ending: &str| {
        let before = relay.metrics().await;
        let answer = raw(&relay.public, &by_hand(framing, body), hang_up).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) || hang_up,
            "{what}: {answer}"
        );
        let (outcome, reason) = ending.split_once('/').unwrap();
        eventually(what, async || {
            let after = relay.metrics().await;
            (after.ended(outcome, reason) == before.ended(outcome, reason) + 1).then_some(())
        })
        .await;
    };
    let good = json!({ "n": "Load", "u": PAGE, "d": SITE, "p": { "n": 1 } }).to_string();
    let long = format!("{}{good}", " ".repeat(3000));
    let chunk = |body: &str| format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let chunked = "transfer-encoding: chunked";
    check(
        "a good body in chunks",
        chunked,
        &chunk(&good),
        false,
        "202",
        "delivered/",
    )
    .await;
    check(
        "a long body in chunks",
        chunked,
        &chunk(&long),
        false,
        "413",
        "malformed/too_large",
    )
    .await;
    check(
        "a long body announced",
        "content-length: 999999999",
        &long,
        false,
        "413",
        "malformed/too_large",
    )
    .await;
    check(
        "a body that never ends",
        "content-length: 500",
        &good,
        false,
        "408",
        "malformed/incomplete",
    )
    .await;
    check(
        "a chunk that never comes",
        chunked,
        "40\r\n{",
        false,
        "408",
        "malformed/incomplete",
    )
    .await;
    check(
        "a chunk of no size",
        chunked,
        "zz\r\n{",
        false,
        "408",
        "malformed/incomplete",
    )
    .await;
    check(
        "a body that breaks off",
        "content-length: 500",
        &good,
        true,
        "408",
        "malformed/incomplete",
    )
    .await;
    let short = format!("content-length: {}", good.len() - 5);
    check(
        "a body longer than announced",
        &short,
        &good,
        false,
        "400",
        "malformed/invalid",
    )
    .await;
    relay.stop().await;
}
