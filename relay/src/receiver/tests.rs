//! The receiver against the contract.

use super::*;

fn take(receiver: &Receiver, body: &Value, headers: &[(&'static str, &'static str)]) -> Result<u64, Value> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, HeaderValue::from_static(value));
    }
    let address = visitor_address(&map, "192.0.2.1".parse().unwrap());
    let agent = map.get("user-agent").and_then(|v| v.to_str().ok()).unwrap_or("");
    let events = Received::parse(body, &address, agent)?;
    Ok(receiver.memory().take(events, &receiver.sites, &map, body))
}

#[test]
fn short_and_long_keys_count_alike_and_routes_become_pages() {
    let receiver = Receiver::default();
    let check = |body: Value, page: &str| {
        assert_eq!(take(&receiver, &body, &[]), Ok(0));
        assert_eq!(receiver.memory().stats()["recent"][0]["page"], page, "{body}");
    };
    check(
        json!({ "n": "pageview", "u": "https://a.example/w/%3Aid?q=1#x", "d": "a.example" }),
        "/w/:id",
    );
    check(
        json!({ "name": "pageview", "url": "https://a.example", "domain": "a.example" }),
        "/",
    );
    check(
        json!({ "n": "pageview", "u": "https://a.example/#/x", "d": "a.example", "h": 1 }),
        "/#/x",
    );
    assert_eq!(receiver.memory().stats()["pageviews"], 3);
}

#[test]
fn what_is_wrong_is_a_map_of_fields() {
    let check = |body: Value, field: &str, text: &str| {
        let errors = take(&Receiver::default(), &body, &[]).unwrap_err();
        assert_eq!(errors[field][0], text, "{body}");
    };
    check(json!({}), "url", "is required");
    check(
        json!({ "n": " ", "u": "https://a.example/" }),
        "event_name",
        "can't be blank",
    );
    check(
        json!({ "n": 1.5, "u": "https://a.example/" }),
        "event_name",
        "is invalid",
    );
    check(
        json!({ "n": "x", "u": "data:text/html,x" }),
        "url",
        "scheme is not allowed",
    );
    check(json!({ "n": "x", "u": "/x" }), "domain", "can't be blank");
    check(
        json!({ "n": "engagement", "u": "https://a.example/" }),
        "event_name",
        "engagement needs an integer sd or e",
    );
}

#[test]
fn drops_are_told_by_the_header_only() {
    let receiver = Receiver::new(vec!["a.example".into()]);
    let event = |extra: Value| {
        let mut body = json!({ "n": "pageview", "u": "https://a.example/", "d": "a.example" });
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        body
    };
    assert_eq!(take(&receiver, &event(json!({})), &[]), Ok(0));
    assert_eq!(take(&receiver, &event(json!({ "d": "b.example" })), &[]), Ok(1));
    assert_eq!(
        take(&receiver, &event(json!({ "d": "a.example,b.example" })), &[]),
        Ok(1)
    );
    assert_eq!(take(&receiver, &event(json!({ "r": "file:///x" })), &[]), Ok(1));
    assert_eq!(
        take(
            &receiver,
            &event(json!({})),
            &[("user-agent", "HeadlessChrome/1")]
        ),
        Ok(1)
    );
    assert_eq!(
        take(&receiver, &event(json!({ "n": "engagement", "e": 1 })), &[]),
        Ok(0)
    );
    assert_eq!(
        take(
            &receiver,
            &event(json!({ "n": "engagement", "e": 1 })),
            &[("x-plausible-ip", "other")]
        ),
        Ok(1)
    );
}

#[test]
fn visitors_are_told_apart_by_the_first_address_header() {
    let receiver = Receiver::default();
    let body = json!({ "n": "pageview", "u": "https://a.example/", "d": "a.example" });
    for headers in [
        &[("x-plausible-ip", "2001:db8::1"), ("x-forwarded-for", "x")][..],
        &[("x-plausible-ip", "2001:db8::1"), ("x-forwarded-for", "y")],
        &[("x-forwarded-for", "2001:db8::1, 10.0.0.1")],
        &[("x-plausible-ip", "2001:db8::2")],
    ] {
        take(&receiver, &body, headers).unwrap();
    }
    assert_eq!(receiver.memory().stats()["visitors"], 2);
}

#[test]
fn ratings_are_counted_by_activity() {
    let receiver = Receiver::default();
    for rating in [5, 4, 4] {
        let body = json!({ "n": "Activity Rated", "u": "https://a.example/", "props": { "activity": "project-created", "rating": rating } });
        take(&receiver, &body, &[]).unwrap();
    }
    let stats = receiver.memory().stats();
    assert_eq!(stats["ratings"][0]["distribution"], json!([0, 0, 0, 2, 1]));
    assert_eq!(stats["goals"][0]["count"], 3);
}
