//! Refusals: with the right message, readable by the site's pages, and counted under the right reason.

use feedback_tests::{MiniPlausible, ORIGIN, Post, Relay, SITE, Sent, Setup, eventually, load, raw};
use serde_json::{Value, json};

const PAGE: &str = "https://panel.example.com/#/home";

fn of_site(site: &str, n: usize) -> Post {
    Post::plausible(&json!({ "n": "Load", "u": PAGE, "d": site, "p": { "n": n } }))
}

/// A well-formed event in Plausible's format.
fn good(n: usize) -> Post {
    of_site(SITE, n)
}

/// Sends a request that must be refused with this status, and counted as one event with an ending whose reason is the
/// problem's name.
async fn refused(relay: &Relay, what: &str, post: &Post, status: u16, ending: &str) -> Sent {
    let (outcome, reason) = ending.split_once('/').unwrap();
    let before = relay.metrics().await;
    let sent = relay.send(post).await;
    let after = relay.metrics().await;
    assert_eq!(
        (sent.status, sent.problem().as_str()),
        (status, reason),
        "{what}: {sent:?}"
    );
    assert_eq!(sent.header("x-content-type-options"), "nosniff", "{what}");
    assert_eq!(sent.header("vary"), "origin", "{what}");
    let received = "events_received_total";
    assert_eq!(after.count(received) - before.count(received), 1, "{what}");
    let ended = after.ended(outcome, reason) - before.ended(outcome, reason);
    assert_eq!(ended, 1, "{what}: {:?}", after.endings());
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_says_what_is_wrong_to_pages_of_the_origin_and_is_counted() {
    let plausible = MiniPlausible::start().await;
    let origins = "origins = [\"https://panel.example.com\"]";
    let relay = Setup::new(&plausible.url())
        .with_site(&format!(
            "domain = \"locked.example.com\"\n{origins}\noperator_lock = true"
        ))
        .with_site(&format!("domain = \"off.example.com\"\n{origins}"))
        .with("public", "body_bytes_max = 4096")
        .start_on()
        .await;
    let check = async |what: &str, post: Post, status: u16, ending: &str| {
        let sent = refused(&relay, what, &post, status, ending).await;
        assert_eq!(sent.header("access-control-allow-origin"), ORIGIN, "{what}");
        let exposed = sent.header("access-control-expose-headers");
        assert_eq!(exposed, "retry-after", "{what}");
    };
    let denied = async |what: &str, post: Post, reason: &str| {
        check(what, post, 403, &format!("denied/{reason}")).await;
    };
    let one = || Post::batch(&[load(0)]);

    let none = json!({ "site": SITE, "consent": { "plan": 3 }, "events": [] });
    check("half a JSON", one().body("{"), 400, "malformed/invalid").await;
    check("an empty body", one().body(""), 400, "malformed/invalid").await;
    check("a list", good(1).body("[]"), 400, "malformed/invalid").await;
    let empty = one().body(none.to_string());
    check("no events", empty, 400, "malformed/invalid").await;
    let nameless = Post::plausible(&json!({ "u": PAGE, "d": SITE }));
    check("no name", nameless, 400, "malformed/invalid").await;
    let html = one().with("content-type", "text/html");
    check("a wrong type", html, 415, "malformed/unsupported_type").await;
    let untyped = one().without("content-type");
    check("no type", untyped, 415, "malformed/unsupported_type").await;
    let packed = one().with("content-encoding", "br");
    check("packed otherwise", packed, 415, "malformed/unsupported_type").await;
    let plain = one().with("content-encoding", "gzip");
    check("called packed", plain, 400, "malformed/invalid").await;
    let large = good(1).body("x".repeat(4097));
    check("a large body", large, 413, "malformed/too_large").await;

    let other = json!({ "site": "other.example.com", "consent": { "plan": 3 }, "events": [load(0)] });
    let other = one().body(other.to_string());
    denied("another site", other, "unknown_site").await;
    denied("locked", of_site("locked.example.com", 1), "operator_lock").await;
    denied("off", of_site("off.example.com", 1), "switched_off").await;
    denied("unasked", good(1).path("/api/event"), "no_consent").await;
    let unasked = Post::batch_with(&Value::Null, &[load(0)]);
    denied("an unasked batch", unasked, "no_consent").await;
    let odd = good(1).path("/api/event?consent=yes");
    denied("consent to nothing in particular", odd, "no_consent").await;
    for odd in ["yes", "-3", "3.0", "4294967299"] {
        let path = good(1).path(&format!("/feedback/plan/{odd}/api/event?consent=3"));
        denied(
            "a path that consents to nothing in particular",
            path,
            "no_consent",
        )
        .await;
    }
    for version in [2, 4] {
        let batch = Post::batch_with(&json!({ "plan": version }), &[load(0)]);
        denied("consent to another plan", batch, "consent_outdated").await;
        let page = good(1).path(&format!("/api/event?consent={version}"));
        denied("the page's consent to another plan", page, "consent_outdated").await;
        let path = good(1).path(&format!("/feedback/plan/{version}/api/event"));
        denied("consent to another plan in the path", path, "consent_outdated").await;
        let sent = relay
            .send(&good(1).path(&format!("/plan/{version}/api/event")))
            .await;
        assert_eq!(
            sent.json()["plan"],
            json!(3),
            "the page can see which one counts: {sent:?}"
        );
        assert_eq!(sent.header("content-type"), "application/problem+json");
    }
    for signal in ["sec-gpc", "dnt"] {
        let page = good(1).with(signal, "1");
        denied("a signal and the page's consent", page, "privacy_signal").await;
        let unasked = Post::batch_with(&Value::Null, &[load(0)]).with(signal, "1");
        denied("a signal and no consent", unasked, "privacy_signal").await;
    }
    for agent in [
        "Mozilla/5.0 (compatible; Googlebot/2.1)",
        "HeadlessChrome/140.0.0.0",
    ] {
        denied("a bot", one().with("user-agent", agent), "bot").await;
    }
    let unknown = Post::plausible(&json!({ "n": "Payment", "u": PAGE, "d": SITE }));
    check("an unknown event", unknown, 400, "denied/unknown_event").await;
    let bare = Post::plausible(&json!({ "n": "Load", "u": PAGE, "d": SITE }));
    check("no number", bare, 400, "policy_refused/missing_prop").await;
    let beyond = good(1_000_001);
    check("out of range", beyond, 400, "policy_refused/missing_prop").await;

    let elsewhere = one().with("origin", "https://evil.example.net");
    let sent = refused(&relay, "another origin", &elsewhere, 403, "denied/origin").await;
    let allowed = sent.header("access-control-allow-origin");
    assert_eq!(allowed, "", "a page of another origin may not read it");

    let left = (plausible.count(), plausible.connections());
    assert_eq!(left, (0, 1), "nothing but the self-test, which counts nothing");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_or_method_is_no_event() {
    let relay = Setup::new("http://127.0.0.1:9").start_on().await;
    let check = async |path: &str, status: u16, problem: &str| {
        let sent = relay.send(&good(1).path(path)).await;
        assert_eq!(
            (sent.status, sent.problem().as_str()),
            (status, problem),
            "{path}"
        );
        assert_eq!(sent.header("access-control-allow-origin"), ORIGIN, "{path}");
    };
    check("/api/evens", 404, "not_found").await;
    check("/feedback/api/evens", 404, "not_found").await;
    check("/other/api/events", 404, "not_found").await;
    check("/feedback/plan/3/x/api/event", 404, "not_found").await;
    check("/api/config", 405, "method").await;
    check("/feedback/api/config", 405, "method").await;
    for path in [
        "/api/event",
        "/plan/3/api/event",
        "/feedback/plan/3/api/event",
        "/feedback/api/events",
    ] {
        let sent = relay.get(path).await;
        assert_eq!((sent.status, sent.problem().as_str()), (405, "method"), "{path}");
        assert!(sent.header("allow").contains("POST"), "{sent:?}");
    }
    assert_eq!(relay.stop().await.count("events_received_total"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_close_to_a_refusal_is_taken() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let check = async |what: &str, post: Post| {
        let sent = relay.send(&post).await;
        assert_eq!(sent.status, 202, "{what}: {sent:?}");
    };
    let in_person = Post::batch(&[load(1)]).with("sec-gpc", "1").with("dnt", "1");
    check("a signal, and consent given in person", in_person).await;
    let silent = good(2).with("sec-gpc", "0").with("dnt", "0");
    check("no signal", silent).await;
    let hidden = good(3).with("origin", "null").with("host", SITE);
    check(
        "an origin the browser hides",
        hidden.with("sec-fetch-site", "same-origin"),
    )
    .await;
    let capitals = good(4).with("origin", "HTTPS://PANEL.example.com");
    check("the origin in capitals", capitals).await;
    check("no agent", good(5).without("user-agent")).await;
    let identity = good(6).with("content-encoding", "identity");
    check("no compression", identity).await;
    let more = good(7).path("/api/event?x=1&consent=3");
    check("consent beside other parameters", more).await;
    check("www", of_site("www.panel.example.com", 8)).await;
    relay.drained().await;
    assert_eq!(plausible.count(), 8);
    relay.stop().await;
}

/// A hand-written request whose head may contradict its body.
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
    let check = async |what: &str, request: Vec<u8>, hang_up: bool, status: &str, ending: &str| {
        let before = relay.metrics().await;
        let answer = raw(&relay.public, &request, hang_up).await;
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
    let (good_chunk, long_chunk) = (chunk(&good), chunk(&long));
    let short = format!("content-length: {}", good.len() - 5);
    let (huge, whole) = ("content-length: 999999999", "content-length: 500");
    let cases = [
        (
            "a good body in chunks",
            chunked,
            &*good_chunk,
            "202",
            "delivered/",
        ),
        (
            "a long body in chunks",
            chunked,
            &*long_chunk,
            "413",
            "malformed/too_large",
        ),
        (
            "a long body announced",
            huge,
            &*long,
            "413",
            "malformed/too_large",
        ),
        (
            "a body that never ends",
            whole,
            &*good,
            "408",
            "malformed/incomplete",
        ),
        (
            "a chunk that never comes",
            chunked,
            "40\r\n{",
            "408",
            "malformed/incomplete",
        ),
        (
            "a chunk of no size",
            chunked,
            "zz\r\n{",
            "408",
            "malformed/incomplete",
        ),
        (
            "a body longer than announced",
            &*short,
            &*good,
            "400",
            "malformed/invalid",
        ),
    ];
    for (what, framing, body, status, ending) in cases {
        check(what, by_hand(framing, body), false, status, ending).await;
    }
    // A client that sends everything before it reads also gets the answer instead of a broken connection.
    let large = by_hand("content-length: 900000", &" ".repeat(900_000));
    check(
        "a large body sent whole",
        large,
        false,
        "413",
        "malformed/too_large",
    )
    .await;
    // The client is gone and reads no answer, but the event is counted.
    let broken = by_hand(whole, &good);
    check("a body that breaks off", broken, true, "", "malformed/incomplete").await;
    relay.stop().await;
}
