//! What is left of an event, with a plan and without.

use super::*;
use crate::plan::{Category, PropPlan, Unmatched};
use crate::route::Template;

fn plan() -> Plan {
    let prop = |key: &str, kind, required| PropPlan {
        key: key.into(),
        kind,
        required,
        description: String::new(),
    };
    Plan {
        version: 1,
        categories: vec![Category {
            name: "usage".into(),
            description: String::new(),
        }],
        routes: vec![Template::parse("/w/:workspace/p/:project/tenants").unwrap()].into(),
        unmatched: Unmatched::Other,
        campaigns: false,
        events: vec![EventPlan {
            name: "Rated".into(),
            category: "usage".into(),
            description: String::new(),
            props: vec![
                prop("rating", PropKind::Int { min: 1, max: 5 }, true),
                prop("path", PropKind::Route, false),
                prop("url", PropKind::Link, false),
                prop("note", PropKind::Text { max: 40 }, false),
            ],
        }],
    }
}

fn event(url: &str, props: &[(&str, Value)]) -> Visible {
    Visible {
        name: "Rated".into(),
        url: url.into(),
        referrer: None,
        props: props
            .iter()
            .map(|(k, v)| Prop {
                key: (*k).into(),
                value: v.clone(),
            })
            .collect(),
    }
}

#[test]
fn only_what_the_plan_lists_is_left() {
    let text = |t: &str| Value::Text(t.into());
    let out = scrub(
        &event(
            "https://panel.example.com/#/w/acme-prod/p/billing-7/tenants",
            &[
                ("rating", Value::Integer(4)),
                ("user", text("jane")),
                ("path", text("/w/acme-prod/p/billing-7/tenants")),
                ("url", text("https://docs.example.org/acme?x=1")),
                ("note", text("ask jane@example.com please")),
            ],
        ),
        &plan(),
    )
    .unwrap();
    assert_eq!(out.url, "/w/:workspace/p/:project/tenants");
    let props: Vec<_> = out
        .props
        .iter()
        .map(|p| (p.key.as_str(), p.value.clone()))
        .collect();
    assert!(
        props
            == [
                ("rating", Value::Integer(4)),
                ("path", text("/w/:workspace/p/:project/tenants")),
                ("url", text("https://docs.example.org/")),
                ("note", text("ask [removed] please")),
            ]
    );
}

#[test]
fn a_page_whose_shape_is_a_route_is_that_route() {
    let plan = Plan {
        routes: vec![Template::parse("/w/:workspace").unwrap()].into(),
        ..Plan::unplanned()
    };
    for url in ["/w/acme", "//w//acme/", "/w;a=b/acme", "/#/w/acme;a=b//"] {
        assert_eq!(
            page(&format!("https://panel.example.com{url}"), &plan),
            "/w/:workspace",
            "{url}"
        );
    }
}

#[test]
fn an_address_without_a_public_host_keeps_its_route_alone() {
    let check = |text: &str, want: &str| {
        let mut event = event(
            "https://panel.example.com/",
            &[("link", Value::Text(text.into()))],
        );
        event.name = "Other".into();
        let left = scrub(&event, &Plan::unplanned()).unwrap();
        assert!(left.props[0].value == Value::Text(want.into()), "{text}");
    };
    check(
        "https://docs.example.org/users/7?x#y",
        "https://docs.example.org/",
    );
    check("https://docs.example.org", "https://docs.example.org");
    check("http://localhost:3000/#/w/acme?token=1", "/w/:id");
    check("https://intranet/people/Jane?x=1", "/people/:id");
    check("https://jane:pw@192.168.1.7/", "/");
    check("https://jane_doe.example.org", "/");
    check("http://[2001:db8::1", "/");
}

#[test]
fn a_missing_required_prop_or_an_unknown_event_is_refused() {
    let url = "https://panel.example.com/";
    assert_eq!(scrub(&event(url, &[]), &plan()).err(), Some(Refusal::MissingProp));
    assert_eq!(
        scrub(&event(url, &[("rating", Value::Integer(9))]), &plan()).err(),
        Some(Refusal::MissingProp)
    );
    let unknown = Visible {
        name: "Other".into(),
        ..event(url, &[])
    };
    assert_eq!(scrub(&unknown, &plan()).err(), Some(Refusal::UnknownEvent));
}

/// What is left of one property of an event that no plan lists.
fn unlisted(key: &str, value: Value) -> Option<Value> {
    let mut input = event("https://panel.example.com/", &[(key, value)]);
    input.name = "Searched".into();
    let out = scrub(&input, &Plan::unplanned()).unwrap();
    out.props.into_iter().next().map(|prop| prop.value)
}

#[test]
fn without_a_plan_every_property_passes_key_rules_and_detectors() {
    let check = |key: &str, value: Value, want: Option<Value>| {
        assert!(unlisted(key, value) == want, "{key}");
    };
    let text = |t: &str| Value::Text(t.into());
    let kept = |key: &str, value: Value| check(key, value.clone(), Some(value));
    kept("plan", text("enterprise"));
    kept("count", Value::Integer(42));
    kept("ratio", Value::Decimal(0.25));
    kept("first", Value::Boolean(true));
    kept("author", text("filter"));
    kept("target", text("http://microsoft"));
    check("email", text("anything"), None);
    check("userName", text("anything"), None);
    check("jane@example.com", Value::Boolean(true), None);
    check(
        "href",
        text("https://panel.example.com/users/7?u=jane"),
        Some(text("/users/:id")),
    );
    kept("mobile", Value::Boolean(true));
    kept("card", text("visa"));
    kept("users", Value::Integer(3));
    check("users", text("jane, bob"), None);
    check("password", text("none"), None);
    check("card", Value::Integer(4_111_111_111_111_111), None);
    check("value", Value::Integer(4_111_111_111_111_111), None);
    check(
        "query",
        text("find jane@example.com"),
        Some(text("find [removed]")),
    );
    check(
        "path",
        text("/users/4711/edit?x=1"),
        Some(text("/users/:id/edit")),
    );
    check(
        "href",
        text("https://user:pw@docs.example.org:8443/start?u=jane#top"),
        Some(text("https://docs.example.org/")),
    );
    check(
        "href",
        text("https://docs.example.org"),
        Some(text("https://docs.example.org")),
    );
}

#[test]
fn without_a_plan_names_pages_and_referrers_are_scrubbed() {
    let check = |name: &str, url: &str, referrer: &str, want: (&str, &str, Option<&str>)| {
        let input = Visible {
            name: name.into(),
            url: url.into(),
            referrer: Some(referrer.into()),
            props: Vec::new(),
        };
        let out = scrub(&input, &Plan::unplanned()).unwrap();
        assert_eq!(
            (out.name.as_str(), out.url.as_str(), out.referrer.as_deref()),
            want
        );
    };
    check(
        "pageview",
        "https://panel.example.com/#/w/acme/p/x/tenants?user=jane",
        "https://panel.example.com/#/w/acme",
        ("pageview", "/w/:id/p/:id/tenants", Some("/w/:id")),
    );
    check(
        "Invited jane@example.com",
        "https://panel.example.com:8443/users/17?utm_source=news&email=jane@example.com&utm_term=jane@example.com",
        "https://www.search.example.org/q?x=jane",
        (
            "Invited [removed]",
            "/users/:id?utm_source=news",
            Some("https://www.search.example.org/"),
        ),
    );
    check(
        "pageview",
        "app://jane/",
        "file:///home/jane",
        ("pageview", "/other", None),
    );
}

#[test]
fn without_a_plan_outbound_links_keep_the_host_and_downloads_the_extension() {
    let check = |name: &str, url: &str, want: &str| {
        let mut input = event("https://panel.example.com/", &[("url", Value::Text(url.into()))]);
        input.name = name.into();
        let out = scrub(&input, &Plan::unplanned()).unwrap();
        assert!(out.props[0].value == Value::Text(want.into()), "{url}");
    };
    check(
        "Outbound Link: Click",
        "https://docs.example.org/jane?x=1",
        "https://docs.example.org/",
    );
    check(
        "File Download",
        "https://files.example.org/jane/Invoice-Jane.PDF",
        "pdf",
    );
}

#[test]
fn campaigns_leave_only_where_the_plan_says_so() {
    let url = "https://panel.example.com/#/w/a/p/b/tenants";
    let url = url.replace("/#", "/?utm_source=news#");
    let with = |campaigns| Plan { campaigns, ..plan() };
    assert_eq!(page(&url, &with(false)), "/w/:workspace/p/:project/tenants");
    assert_eq!(
        page(&url, &with(true)),
        "/w/:workspace/p/:project/tenants?utm_source=news"
    );
}
