//! Tests the receiver against Plausible's contract, through its routes.

use super::*;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use std::sync::atomic::{AtomicI64, Ordering};
use tower::ServiceExt as _;

type Headers<'h> = &'h [(&'static str, &'static str)];

fn receiver(sites: &[&str]) -> Router {
    router(Receiver::new(
        sites.iter().map(|&site| site.into()).collect(),
        || 0,
    ))
}

async fn send(receiver: &Router, mut request: Request) -> Response {
    let peer: SocketAddr = "192.0.2.1:1234".parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    receiver.clone().oneshot(request).await.unwrap()
}

async fn json(response: Response) -> Value {
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}

async fn post(receiver: &Router, body: &Value, headers: Headers<'_>) -> Response {
    let mut request = Request::post("/api/event").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(receiver, request.body(Body::from(body.to_string())).unwrap()).await
}

/// Whether an event counts.
async fn counts(receiver: &Router, body: &Value, headers: Headers<'_>) -> bool {
    let response = post(receiver, body, headers).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED, "{body}");
    !response.headers().contains_key("x-plausible-dropped")
}

async fn get(receiver: &Router, path: &str) -> Value {
    json(send(receiver, Request::get(path).body(Body::empty()).unwrap()).await).await
}

/// A valid pageview with some fields replaced.
fn event(mut changes: Value) -> Value {
    let mut body = json!({ "name": "pageview", "url": "https://a.example/", "domain": "a.example" });
    let fields = body.as_object_mut().unwrap();
    fields.append(changes.as_object_mut().unwrap());
    body
}

#[tokio::test]
async fn a_path_becomes_a_page() {
    let receiver = receiver(&[]);
    for (url, page) in [
        ("https://a.example/w/%3Aid?q=1#x", "/w/:id"),
        ("https://a.example:8443", "/"),
        ("https://a.example/50%/", "/50%/"),
    ] {
        assert!(counts(&receiver, &event(json!({ "url": url })), &[]).await);
        assert_eq!(get(&receiver, "/stats").await["recent"][0]["page"], page, "{url}");
    }
    let stats = get(&receiver, "/stats").await;
    assert_eq!((&stats["pageviews"], &stats["visitors"]), (&json!(3), &json!(1)));
}

#[tokio::test]
async fn a_broken_rule_is_answered_with_its_field() {
    for (body, field, text) in [
        (json!({}), "url", "is required"),
        (event(json!({ "name": " " })), "event_name", "can't be blank"),
        (
            event(json!({ "name": "x".repeat(121) })),
            "event_name",
            "should be at most 120 character(s)",
        ),
        (
            event(json!({ "name": "engagement" })),
            "event_name",
            "engagement needs an integer sd or e",
        ),
        (
            event(json!({ "url": "x".repeat(2001) })),
            "url",
            "must be a valid url",
        ),
        (event(json!({ "domain": "" })), "domain", "can't be blank"),
        (json!({ "name": "x", "url": "/x" }), "domain", "can't be blank"),
    ] {
        let response = post(&receiver(&[]), &body, &[]).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(json(response).await["errors"][field][0], text, "{body}");
    }
}

#[tokio::test]
async fn a_drop_shows_in_the_header_only() {
    let receiver = receiver(&["a.example"]);
    let check = async |changes: Value, headers: Headers<'_>, is_counted: bool| {
        let body = event(changes);
        assert_eq!(counts(&receiver, &body, headers).await, is_counted, "{body}");
    };
    check(json!({}), &[], true).await;
    check(json!({ "domain": "b.example" }), &[], false).await;
    check(json!({ "referrer": "https://b.example/x" }), &[], true).await;
    check(json!({ "referrer": "file:///x" }), &[], false).await;
    check(json!({}), &[("user-agent", "HeadlessChrome/1")], false).await;
    check(json!({}), &[("user-agent", "some-bot/1")], false).await;
    let engagement = json!({ "name": "engagement", "e": 1 });
    check(engagement.clone(), &[], true).await;
    check(engagement, &[("x-plausible-ip", "other")], false).await;
    assert_eq!(get(&receiver, "/stats").await["dropped"], 5);
    assert_eq!(get(&receiver, "/received").await.as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn a_session_ends_after_half_an_hour_without_an_event() {
    static NOW_MS: AtomicI64 = AtomicI64::new(0);
    let receiver = router(Receiver::new(Vec::new(), || NOW_MS.load(Ordering::SeqCst)));
    let engagement = event(json!({ "name": "engagement", "sd": 50 }));
    assert!(counts(&receiver, &event(json!({})), &[]).await);
    for (minutes, is_counted) in [(29, true), (58, true), (88, false)] {
        NOW_MS.store(minutes * 60_000, Ordering::SeqCst);
        assert_eq!(counts(&receiver, &engagement, &[]).await, is_counted, "{minutes}");
    }
}

#[tokio::test]
async fn the_first_address_header_distinguishes_visitors() {
    let receiver = receiver(&[]);
    let debug = ("x-debug-request", "true");
    for (headers, address) in [
        (
            &[("x-plausible-ip", "2001:db8::1"), ("x-forwarded-for", "x")][..],
            "2001:db8::1",
        ),
        (&[("x-forwarded-for", "2001:db8::1, 10.0.0.1")], "2001:db8::1"),
        (&[("x-plausible-ip", "2001:db8::2")], "2001:db8::2"),
        (&[], "192.0.2.1"),
    ] {
        assert!(counts(&receiver, &event(json!({})), headers).await);
        let answer = post(&receiver, &event(json!({})), &[headers, &[debug]].concat()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(json(answer).await["ip"], address);
    }
    let stats = get(&receiver, "/stats").await;
    assert_eq!((&stats["visitors"], &stats["events"]), (&json!(3), &json!(4)));
}

#[tokio::test]
async fn ratings_are_counted_by_activity() {
    let receiver = receiver(&[]);
    for rating in [5, 4, 4] {
        let props = json!({ "activity": "project-created", "rating": rating });
        let body = event(json!({ "name": "Activity Rated", "props": props }));
        assert!(counts(&receiver, &body, &[]).await);
    }
    let stats = get(&receiver, "/stats").await;
    assert_eq!(stats["ratings"][0]["distribution"], json!([0, 0, 0, 2, 1]));
    assert_eq!(stats["goals"][0]["count"], 3);
}
