//! Tables of page actions and the resulting events, parsed with serde_json.

mod pages;

use super::{Change, Client, Consent, View};
use crate::delivery::{Action, Answer};
use serde_json::{Value, json};

const HOME: &str = "https://panel.example.com/#/w/acme/tenants";
const KEYS: &str = "https://panel.example.com/#/w/acme/access-management/api-keys";

/// A page action.
enum Do {
    Open(u32, &'static str, bool, bool),
    /// The address changes: a new entry of the history.
    Go(u32, &'static str),
    /// The address changes: replaces the current history entry.
    Replace(u32, &'static str),
    /// The address changes: a new entry, before the user has interacted with the page.
    Unasked(u32, &'static str),
    /// Visible, focused.
    Attend(u32, bool, bool),
    Scroll(u32, u32),
    Track(&'static str, &'static str),
    Rate(&'static str, f64),
}
use Do::{Attend, Go, Open, Rate, Replace, Scroll, Track, Unasked};

/// Runs the steps and returns the resulting batch, `Null` if there is none.
fn batch(categories: &str, steps: &[Do]) -> Value {
    let consent = Consent::new("panel.example.com", 1, categories);
    let mut client = Client::new(consent, "https://search.example/?q=mesh");
    let mut last = 0;
    let mut new_id = || {
        last += 1;
        format!("{last:032x}")
    };
    let mut place = HOME;
    let mut armed = 0;
    for step in steps {
        let view = View::new;
        let action = match *step {
            Open(now, url, visible, focused) => {
                place = url;
                client.open(view(now, url, visible, focused), &mut new_id)
            }
            Go(now, url) => {
                place = url;
                client.navigate(view(now, url, true, true), Change::new(false, false), &mut new_id)
            }
            Replace(now, url) => {
                place = url;
                client.navigate(view(now, url, true, true), Change::new(true, false), &mut new_id)
            }
            Unasked(now, url) => {
                place = url;
                client.navigate(view(now, url, true, true), Change::new(false, true), &mut new_id)
            }
            Attend(now, visible, focused) => client.attend(view(now, place, visible, focused), &mut new_id),
            Scroll(bottom, height) => {
                client.scroll(bottom, height, false);
                Action::Rest
            }
            Track(name, props) => client.track(name, props, &mut new_id),
            Rate(activity, rating) => client.rate(activity, rating, &mut new_id),
        };
        match action {
            Action::Wake(_) => armed += 1,
            other => assert_eq!(other, Action::Rest),
        }
    }
    let Action::Send(body) = client.wake() else {
        return Value::Null;
    };
    assert_eq!(armed, 1, "one timer for all that is waiting");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn events(steps: &[Do]) -> Vec<Value> {
    match batch("feedback,usage", steps).get("events") {
        Some(Value::Array(events)) => events.clone(),
        _ => Vec::new(),
    }
}

/// Compares the events without their ids, which are checked to be distinct and well-formed.
fn check(what: &str, steps: &[Do], expected: &Value) {
    let mut found = events(steps);
    let mut ids = Vec::new();
    for event in &mut found {
        if let Some(Value::String(id)) = event.as_object_mut().and_then(|e| e.remove("id")) {
            assert!(id.len() == 32 && !ids.contains(&id), "{what}: {id}");
            ids.push(id);
        }
    }
    assert_eq!(ids.len(), found.len(), "{what}: each event has an id");
    assert_eq!(Value::Array(found), *expected, "{what}");
}

fn opened() -> Do {
    Open(0, HOME, true, true)
}

fn first_pageview() -> Value {
    json!({"name": "pageview", "url": HOME, "referrer": "https://search.example/?q=mesh"})
}

#[test]
fn a_body_is_what_the_relay_expects() {
    let expected = json!({
        "site": "panel.example.com",
        "consent": {"plan": 1, "categories": ["feedback", "usage"]},
        "events": [{
            "id": "00000000000000000000000000000001",
            "name": "pageview",
            "url": HOME,
            "referrer": "https://search.example/?q=mesh",
        }],
    });
    assert_eq!(batch("feedback,usage", &[opened()]), expected);
}

#[test]
fn engagement_goes_with_the_page_it_was_given_to() {
    let read = |url: &str, ms: u32, depth: u32| json!({"name": "engagement", "url": url, "engagement_ms": ms, "scroll_depth": depth});
    check(
        "hidden: sent at once",
        &[opened(), Scroll(500, 1000), Attend(1200, false, false)],
        &json!([first_pageview(), read(HOME, 1200, 50)]),
    );
    check(
        "blur and then hidden: once",
        &[
            opened(),
            Scroll(500, 1000),
            Attend(1200, true, false),
            Attend(1300, false, false),
        ],
        &json!([first_pageview(), read(HOME, 1200, 50)]),
    );
    check(
        "away for an hour: not counted",
        &[
            opened(),
            Scroll(500, 1000),
            Attend(1000, true, false),
            Attend(3_601_000, true, true),
            Attend(3_604_000, false, true),
        ],
        &json!([first_pageview(), read(HOME, 1000, 50), read(HOME, 3000, 50)]),
    );
    check(
        "the next page is measured anew",
        &[
            opened(),
            Scroll(900, 1000),
            Scroll(300, 1000),
            Go(10, KEYS),
            Scroll(300, 1000),
            Attend(4010, false, true),
        ],
        &json!([
            first_pageview(),
            read(HOME, 10, 90),
            {"name": "pageview", "url": KEYS},
            read(KEYS, 4000, 30),
        ]),
    );
}

#[test]
fn events_of_the_page_carry_their_properties() {
    let tracked =
        |props: Value| json!([first_pageview(), {"name": "Feature Used", "url": HOME, "props": props}]);
    let props = |text: &'static str| [opened(), Track("Feature Used", text)];
    check(
        "text",
        &props("feature\0ssearch"),
        &tracked(json!({"feature": "search"})),
    );
    check("any text", &props("q\0s\"\\\n"), &tracked(json!({"q": "\"\\\n"})));
    check(
        "others",
        &props("n\0 5\0b\0 true\0f\0 -1.5e21"),
        &tracked(json!({"n": 5, "b": true, "f": -1.5e21})),
    );
    check(
        "blank ones are left out",
        &props("a\0s \0 \0sx\0b\0sy"),
        &tracked(json!({"b": "y"})),
    );
    check(
        "none",
        &[opened(), Track(" Feature Used ", "")],
        &json!([first_pageview(), {"name": "Feature Used", "url": HOME}]),
    );
    check("no name", &[opened(), Track(" ", "")], &json!([first_pageview()]));
}

#[test]
fn properties_and_names_have_limits() {
    let consent = Consent::new("s", 1, "usage");
    let sent = |name: &str, props: &str| {
        let mut client = Client::new(consent, "");
        client.track(name, props, &mut String::new);
        let Action::Send(body) = client.wake() else {
            return Value::Null;
        };
        serde_json::from_str::<Value>(&body).unwrap_or_default()["events"][0]["props"].clone()
    };
    let many: String = (0..40).map(|n| format!("k{n}\0sv\0")).collect();
    assert_eq!(sent("x", &many).as_object().map(serde_json::Map::len), Some(30));
    let long = format!("{}\0sv\0k\0s{}", "k".repeat(301), "ü".repeat(1500));
    assert_eq!(sent("x", &long), json!({"k": "ü".repeat(1000)}));
    assert_eq!(sent(&"ü".repeat(120), "k\0sv"), json!({"k": "v"}));
    assert_eq!(sent(&"ü".repeat(121), "k\0sv"), Value::Null);
}

#[test]
fn a_rating_is_a_whole_number_from_1_to_5() {
    let rated = |n: u8| json!({"name": "Activity Rated", "url": HOME, "props": {"activity": "project-created", "rating": n}});
    for (rating, expected) in [(1.0, 1), (2.0, 2), (3.0, 3), (4.0, 4), (5.0, 5)] {
        check(
            "in range",
            &[opened(), Rate("project-created", rating)],
            &json!([first_pageview(), rated(expected)]),
        );
    }
    for refused in [0.0, 6.0, -1.0, 4.5, 257.0, f64::NAN, f64::INFINITY] {
        check(
            "refused",
            &[opened(), Rate("project-created", refused)],
            &json!([first_pageview()]),
        );
    }
    check(
        "no activity",
        &[opened(), Rate(" ", 5.0)],
        &json!([first_pageview()]),
    );
}

#[test]
fn only_agreed_categories_leave_the_page() {
    let everything = [
        opened(),
        Track("Feature Used", ""),
        Rate("a", 5.0),
        Go(10, KEYS),
        Attend(9000, false, false),
    ];
    let names = |categories| match batch(categories, &everything).get("events") {
        Some(Value::Array(events)) => events
            .iter()
            .map(|e| e["name"].as_str().unwrap_or("?").to_owned())
            .collect(),
        _ => Vec::new(),
    };
    assert_eq!(names("feedback"), ["Activity Rated"]);
    assert_eq!(
        names("usage"),
        ["pageview", "Feature Used", "engagement", "pageview", "engagement"]
    );
    assert_eq!(names(""), Vec::<String>::new());
    assert_eq!(names("usages,Feedback"), Vec::<String>::new());
}

#[test]
fn a_batch_sent_again_is_the_same_batch() {
    let consent = Consent::new("s", 1, "usage");
    let mut client = Client::new(consent, "");
    let mut count = 0;
    let mut new_id = || {
        count += 1;
        format!("{count:032x}")
    };
    client.open(View::new(0, HOME, true, true), &mut new_id);
    let first = client.wake();
    assert!(matches!(first, Action::Send(_)));
    let failed = Answer {
        flight: client.flight(),
        status: 503,
        retry_after_s: Some(2),
        random: 5,
    };
    assert_eq!(client.answer(failed), Action::Wake(2005));
    assert_eq!(client.wake(), first);
    assert_eq!(
        client.answer(Answer {
            flight: client.flight(),
            status: 202,
            ..failed
        }),
        Action::Rest
    );
    assert_eq!(client.dropped(), 0);
}
