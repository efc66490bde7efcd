//! The address changes that count as a page.

use super::*;

#[test]
fn pageviews_follow_the_route() {
    let next = json!({"name": "pageview", "url": KEYS});
    let left = json!({"name": "engagement", "url": HOME, "engagement_ms": 10});
    check("one at the start", &[opened()], &json!([first_pageview()]));
    check(
        "one more on a new route, after the engagement of the last",
        &[opened(), Go(10, KEYS)],
        &json!([first_pageview(), left, next]),
    );
    check(
        "hashchange and popstate tell of the same route",
        &[opened(), Go(10, KEYS), Go(11, KEYS)],
        &json!([first_pageview(), left, next]),
    );
    check(
        "a query is no route",
        &[opened(), Go(9, "https://panel.example.com/?a#/w/acme/tenants?b")],
        &json!([first_pageview()]),
    );
    check(
        "none while the page was never visible",
        &[Open(0, HOME, false, false), Go(5, KEYS)],
        &json!([]),
    );
    check(
        "it comes when the page is first visible, focused or not",
        &[Open(0, HOME, false, false), Attend(50, true, false)],
        &json!([first_pageview()]),
    );
    check(
        "an anchor is no route, nor is a slash more",
        &[
            opened(),
            Go(9, "https://panel.example.com/#/w/acme/tenants#costs"),
            Go(10, "https://panel.example.com/#/w/acme/tenants/"),
        ],
        &json!([first_pageview()]),
    );
    check(
        "a long query before the hash hides no route",
        &[opened(), Go(10, long_query())],
        &json!([first_pageview(), left, next]),
    );
    check(
        "again after the back-forward cache, without the referrer",
        &[opened(), Open(9, HOME, true, true)],
        &json!([first_pageview(), {"name": "pageview", "url": HOME}]),
    );
}

/// [`KEYS`] after a query longer than a URL may be.
fn long_query() -> &'static str {
    let long = KEYS.replace('#', &format!("?SAMLResponse={}#", "x".repeat(5000)));
    Box::leak(long.into_boxed_str())
}

#[test]
fn a_replaced_address_corrects_the_pageview_that_is_still_here() {
    const ROOT: &str = "https://panel.example.com/";
    const LANDED: &str = "https://panel.example.com/?utm_source=news&code=c";
    let at = |url: &str| json!({"name": "pageview", "url": url});
    let first =
        |url: &str| json!({"name": "pageview", "url": url, "referrer": "https://search.example/?q=mesh"});
    let left = |url: &str, ms: u32| json!({"name": "engagement", "url": url, "engagement_ms": ms});
    check(
        "a hash router finds its first page",
        &[
            Open(0, ROOT, true, true),
            Replace(10, "https://panel.example.com/#/"),
            Replace(500, HOME),
        ],
        &json!([first(HOME)]),
    );
    check(
        "the campaign stays when the router takes the query away",
        &[Open(0, LANDED, true, true), Replace(10, HOME)],
        &json!([first(
            "https://panel.example.com/?utm_source=news#/w/acme/tenants"
        )]),
    );
    check(
        "also while the page is hidden",
        &[
            Open(0, LANDED, false, false),
            Replace(10, HOME),
            Attend(9000, true, true),
        ],
        &json!([first(
            "https://panel.example.com/?utm_source=news#/w/acme/tenants"
        )]),
    );
    check(
        "also while the page is hidden, and by a new entry",
        &[
            Open(0, ROOT, false, false),
            Go(10, HOME),
            Attend(9000, true, true),
        ],
        &json!([first(HOME)]),
    );
    check(
        "events of the page go along, and so does its engagement",
        &[
            Open(0, ROOT, true, true),
            Track("Feature Used", "url\0shttps://panel.example.com/"),
            Replace(10, HOME),
            Go(50, KEYS),
        ],
        &json!([
            first(HOME),
            {"name": "Feature Used", "url": HOME, "props": {"url": ROOT}},
            left(HOME, 50),
            at(KEYS),
        ]),
    );
    check(
        "a later page is corrected too: a guard that leads elsewhere",
        &[opened(), Go(10, KEYS), Replace(20, ROOT)],
        &json!([first(HOME), left(HOME, 10), at(ROOT)]),
    );
    check(
        "the page before is not corrected, though it has the same address",
        &[opened(), Go(10, KEYS), Go(20, HOME), Replace(30, ROOT)],
        &json!([first(HOME), left(HOME, 10), at(KEYS), left(KEYS, 10), at(ROOT)]),
    );
    check(
        "a hash router adds its first route before the user has touched the page",
        &[
            Open(0, ROOT, true, true),
            Unasked(10, "https://panel.example.com/#/"),
            Unasked(20, HOME),
        ],
        &json!([first(HOME)]),
    );
    check(
        "its second route is a page",
        &[Open(0, HOME, true, true), Unasked(10, KEYS)],
        &json!([first(HOME), left(HOME, 10), at(KEYS)]),
    );
    check(
        "the first route of another path is a page",
        &[
            Open(0, ROOT, true, true),
            Unasked(10, "https://panel.example.com/app#/"),
        ],
        &json!([first(ROOT), left(ROOT, 10), at("https://panel.example.com/app#/")]),
    );
    check(
        "a user's first click on a route is a page",
        &[Open(0, ROOT, true, true), Go(10, HOME)],
        &json!([first(ROOT), left(ROOT, 10), at(HOME)]),
    );
    check(
        "a new entry is a new page at once",
        &[opened(), Go(1, KEYS)],
        &json!([first(HOME), left(HOME, 1), at(KEYS)]),
    );
    check(
        "after four seconds it is a page of its own, as behind a login",
        &[opened(), Replace(4000, ROOT), Replace(4001, KEYS)],
        &json!([first(ROOT), left(ROOT, 4001), at(KEYS)]),
    );
}

#[test]
fn a_pageview_that_has_left_is_not_corrected() {
    let mut client = Client::new(Consent::new("s", 1, "usage"), "");
    let mut new_id = String::new;
    client.open(View::new(0, HOME, true, true), &mut new_id);
    assert!(matches!(client.wake(), Action::Send(_)));
    client.navigate(
        View::new(100, KEYS, true, true),
        Change::new(true, false),
        &mut new_id,
    );
    let accepted = Answer::new(client.flight(), 202, -1, 0);
    assert!(matches!(client.answer(accepted), Action::Wake(_)));
    let Action::Send(body) = client.wake() else {
        panic!("the second page");
    };
    let body: Value = serde_json::from_str(&body).expect("JSON");
    let names: Vec<_> = (0..2)
        .map(|n| (&body["events"][n]["name"], &body["events"][n]["url"]))
        .collect();
    assert_eq!(
        names,
        [
            (&json!("engagement"), &json!(HOME)),
            (&json!("pageview"), &json!(KEYS))
        ]
    );
}

#[test]
fn an_own_page_is_no_referrer() {
    let sent = |referrer: &str| {
        let mut client = Client::new(Consent::new("s", 1, "usage"), referrer);
        client.open(View::new(0, HOME, true, true), &mut String::new);
        let Action::Send(body) = client.wake() else {
            return Value::Null;
        };
        serde_json::from_str::<Value>(&body).unwrap_or_default()["events"][0]["referrer"].clone()
    };
    assert_eq!(sent("https://panel.example.com/login"), Value::Null);
    assert_eq!(sent("https://www.panel.example.com/"), Value::Null);
    assert_eq!(sent(""), Value::Null);
    assert_eq!(sent("https://search.example/"), json!("https://search.example/"));
    assert_eq!(
        sent("https://login.example.com/"),
        json!("https://login.example.com/")
    );
}
