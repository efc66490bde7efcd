//! Ingest: both formats are accepted; anything else is refused with the right message and counted.

use feedback_tests::{BROWSER, MiniPlausible, ORIGIN, Post, SITE, Sent, Setup, fresh_id, load, pageview};
use reqwest::Method;
use serde_json::{Value, json};

const PAGE: &str = "https://panel.example.com/#/home";
/// The default of `public.base_path`.
const BASE: &str = "/feedback";

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
        Post::batch(&[load(8)]).path("/feedback/api/notes"),
        r#"{"accepted":1,"dropped":[]}"#,
    )
    .await;
    check(
        Post::batch(&[load(9)]).with("content-type", "text/plain"),
        r#"{"accepted":1,"dropped":[]}"#,
    )
    .await;
    relay.drained().await;
    let mut numbers = plausible.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
    assert_eq!(relay.stop().await.endings(), ["delivered/ 9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_exactly_its_path_and_its_methods() {
    for base in [BASE, ""] {
        let setup = Setup::new("http://127.0.0.1:9").with("public", &format!("base_path = {base:?}"));
        let relay = setup.start_on().await;
        let check = async |method: Method, path: &str, status: u16, want: &str| {
            let body = match path.contains("/api/notes") || path.contains("/api/events") {
                true => json!({ "site": SITE, "consent": { "plan": 3 }, "events": [load(1)] }),
                false => json!({ "n": "Load", "u": PAGE, "d": SITE, "p": { "n": 1 } }),
            };
            let request = relay
                .client
                .request(method.clone(), format!("{}{path}", relay.public));
            let request = request.header("origin", ORIGIN).header("user-agent", BROWSER);
            let request = request
                .header("content-type", "text/plain")
                .body(body.to_string());
            let sent = Sent::read(request.send().await.unwrap()).await.unwrap();
            assert_eq!(sent.status, status, "{method} {path} below {base:?}: {sent:?}");
            assert!(
                sent.text.contains(want),
                "{method} {path} below {base:?}: {sent:?}"
            );
            // A page can read refusals too.
            assert_eq!(sent.header("access-control-allow-origin"), ORIGIN, "{path}");
            assert_eq!(sent.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(sent.header("vary"), "origin", "{path}");
        };
        let event = async |path: &str| check(Method::POST, path, 202, "ok").await;
        let batch = async |path: &str| check(Method::POST, path, 202, "accepted").await;
        let nothing = async |path: &str| check(Method::POST, path, 404, ":not_found").await;
        for prefix in ["", BASE] {
            if !base.starts_with(prefix) {
                nothing(&format!("{prefix}/api/event")).await;
                nothing(&format!("{prefix}/plan/3/api/event")).await;
                continue;
            }
            event(&format!("{prefix}/api/event?consent=3")).await;
            event(&format!("{prefix}/plan/3/api/event")).await;
            event(&format!("{prefix}/plan/3/api/event?consent=2")).await;
            batch(&format!("{prefix}/api/notes")).await;
            batch(&format!("{prefix}/api/events")).await;
            for path in [
                "/plan/old/api/event?consent=3",
                "/plan//api/event?consent=3",
                "/api/event",
            ] {
                check(Method::POST, &format!("{prefix}{path}"), 403, ":no_consent").await;
            }
            for path in [
                "/api/event/",
                "/api/Event",
                "/api/%65vent",
                "//api/event",
                "/api/note",
                "/api/notes/",
                "/plan/3/4/api/event",
                "/plan/3/api/notes",
                "/plan/3/api/event/",
                "/other/plan/3/api/event",
                "/feedback/feedback/api/event",
            ] {
                nothing(&format!("{prefix}{path}")).await;
            }
            for path in ["/api/event", "/plan/3/api/event", "/api/notes"] {
                let path = format!("{prefix}{path}");
                check(Method::GET, &path, 405, ":method").await;
                check(Method::OPTIONS, &path, 204, "").await;
            }
            check(Method::POST, &format!("{prefix}/api/config"), 405, ":method").await;
        }
        relay.stop().await;
    }
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
    let detail = "`id` is required: 32 random lower-case hexadecimal digits";
    let want = json!({ "accepted": 3, "dropped": [
        { "i": 1, "reason": "invalid", "detail": detail },
        { "i": 2, "reason": "unknown_event" },
        { "i": 3, "reason": "category_refused" },
        { "i": 4, "reason": "missing_prop" },
    ] });
    assert_eq!((sent.status, sent.json()), (202, want));
    relay.drained().await;
    assert_eq!(plausible.count(), 2);
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
async fn half_a_surrogate_pair_in_one_event_costs_that_event_alone() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let rest = r#""name":"Load","url":"https://panel.example.com/#/home","props":{"n":2,"x":"\ud800"}}"#;
    let odd = format!(r#"{{"id":"00112233445566778899aabbccddeeff",{rest}"#);
    let body = format!(
        r#"{{"site":"{SITE}","consent":{{"plan":3}},"events":[{},{odd},{}]}}"#,
        load(1),
        load(3)
    );
    let sent = relay.send(&Post::batch(&[]).body(body)).await;
    let answer = sent.json();
    assert_eq!((sent.status, &answer["accepted"]), (202, &json!(2)), "{sent:?}");
    assert_eq!(
        (&answer["dropped"][0]["i"], &answer["dropped"][0]["reason"]),
        (&json!(1), &json!("invalid"))
    );
    let single = r#"{"n":"Load","u":"https://panel.example.com/#/home","d":"panel.example.com","p":{"n":4,"x":"\ud800"}}"#;
    let sent = relay.send(&plausible_load(4).body(single)).await;
    assert_eq!((sent.status, sent.problem().as_str()), (400, "invalid"));
    relay.drained().await;
    let mut numbers = plausible.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 3]);
    assert_eq!(
        relay.stop().await.endings(),
        ["delivered/ 2", "malformed/invalid 2"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_batch_is_taken_again_and_delivered_once() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let batch = [load(1), load(2), pageview(PAGE)];
    relay.accept(&batch).await;
    relay.accept(&batch).await;
    relay.drained().await;
    assert_eq!(plausible.count(), 3);
    relay.accept(&batch).await;
    relay.accept(&[load(3)]).await;
    relay.drained().await;
    assert_eq!(relay.stop().await.endings(), ["delivered/ 4", "duplicate/ 6"]);
    assert_eq!(plausible.count(), 4);
}
