//! Tests which part of an event is left, with a plan and without.

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
            revenue: false,
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

/// The part that is left of one property of an event that no plan lists.
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
        ("pageview", "/w/:id/p/:id/tenants", None),
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
fn plausibles_own_events_are_understood_by_every_plan_that_scrubs() {
    let listing = |name: &str, props| Plan {
        unmatched: Unmatched::Scrub,
        events: vec![EventPlan {
            name: name.into(),
            props,
            ..plan().events.remove(0)
        }],
        ..plan()
    };
    let plans = [
        ("no plan", Plan::unplanned()),
        ("a plan of other events", listing("Other", Vec::new())),
        (
            "a plan of nothing",
            Plan {
                events: Vec::new(),
                ..listing("Other", Vec::new())
            },
        ),
        (
            "a plan that lists the download without its url",
            listing("File Download", Vec::new()),
        ),
        (
            "a plan that lists the link without its url",
            listing("Outbound Link: Click", Vec::new()),
        ),
    ];
    let check = |name: &str, key: &str, value: &str, want: &str| {
        for (which, plan) in &plans {
            let mut input = event("https://panel.example.com/", &[(key, Value::Text(value.into()))]);
            input.name = name.into();
            let out = scrub(&input, plan).unwrap();
            assert_eq!(out.name, name, "{which}");
            let left = out.props.first().map(|prop| prop.value.clone());
            assert!(
                left == Some(Value::Text(want.into())),
                "{name} {key} {value}: {which}"
            );
        }
    };
    check(
        "Outbound Link: Click",
        "url",
        "https://docs.example.org/jane?x=1",
        "https://docs.example.org/",
    );
    check(
        "File Download",
        "url",
        "https://files.example.org/jane/Invoice-Jane.PDF",
        "pdf",
    );
    check(
        "File Download",
        "url",
        "https://panel.example.com/users/jane/cv.tar.gz?sig=1",
        "gz",
    );
    check("File Download", "url", "/users/jane/cv.docx", "docx");
    // Without a plan, paths follow the same rules as pages.
    check("404", "path", "/users/4711/edit", "/users/:id/edit");
    check(
        "Form: Submission",
        "path",
        "/users/4711/contact",
        "/users/:id/contact",
    );
    check("WP Form Completions", "path", "/contact", "/contact");
    check(
        "Cloaked Link: Click",
        "url",
        "https://shop.example.org/partner?id=7",
        "https://shop.example.org/",
    );
    check(
        "Cloaked Link: Click",
        "url",
        "https://panel.example.com/users/7",
        "/users/:id",
    );
    // The names belong together: in another event the key holds an ordinary link, as on a site without a plan.
    check("Shared", "url", "https://panel.example.com/users/7", "/users/:id");
    check(
        "File Download",
        "from",
        "https://docs.example.org/jane",
        "https://docs.example.org/",
    );
}

#[test]
fn a_download_that_a_strict_plan_does_not_list_is_refused_and_one_it_types_is_typed() {
    let mut input = event(
        "https://panel.example.com/",
        &[("url", Value::Text("https://files.example.org/a.pdf".into()))],
    );
    input.name = "File Download".into();
    assert_eq!(scrub(&input, &plan()).err(), Some(Refusal::UnknownEvent));
    let mut typed = Plan {
        unmatched: Unmatched::Scrub,
        ..plan()
    };
    typed.events[0].name = "File Download".into();
    typed.events[0].props.retain(|prop| !prop.required);
    assert!(
        scrub(&input, &typed).unwrap().props[0].value == Value::Text("https://files.example.org/".into())
    );
}

#[test]
fn a_typed_value_leaves_in_one_form_whatever_its_spelling() {
    let check = |key: &str, value: Value, want: Option<Value>| {
        let input = event(
            "https://panel.example.com/",
            &[("rating", Value::Text("4".into())), (key, value)],
        );
        let out = scrub(&input, &plan()).unwrap();
        assert!(out.props[0].value == Value::Integer(4));
        let left = out.props.get(1).map(|prop| prop.value.clone());
        assert!(left == want, "{key}");
    };
    let text = |t: &str| Value::Text(t.into());
    check("note", Value::Integer(42), Some(text("42")));
    check("note", Value::Decimal(4.5), Some(text("4.5")));
    check("note", Value::Boolean(true), Some(text("true")));
    check(
        "note",
        Value::Integer(4_111_111_111_111_111),
        Some(text("[removed]")),
    );
    check(
        "path",
        text(" /w/acme/p/b/tenants "),
        Some(text("/w/:workspace/p/:project/tenants")),
    );
    check(
        "url",
        text("\thttps://docs.example.org/x\n"),
        Some(text("https://docs.example.org/")),
    );
    check("url", Value::Integer(5), None);
    check("path", Value::Boolean(true), None);
}

#[test]
fn a_policy_is_shown_the_canonical_form_and_no_referrer_of_the_own_site() {
    let shown = |referrer: &str, value: Value| {
        let event = crate::Event {
            id: None,
            name: "Rated".into(),
            site: "example.com".into(),
            url: "https://panel.example.com/".into(),
            referrer: Some(referrer.into()),
            props: vec![Prop {
                key: "rating".into(),
                value,
            }],
            interactive: true,
            engagement: None,
            revenue: None,
        };
        let mut visible = Visible::of(&event, &plan());
        (visible.referrer.clone(), visible.props.remove(0).value)
    };
    let check = |referrer: &str, value: Value, stays: bool, want: Value| {
        let (left, value) = shown(referrer, value);
        assert_eq!(left.is_some(), stays, "{referrer}");
        assert!(value == want);
    };
    let text = |t: &str| Value::Text(t.into());
    check("https://search.example.org/", text("5"), true, Value::Integer(5));
    check("https://example.com/a", text("+5.0"), false, Value::Integer(5));
    check("http://WWW.Example.com:8080/a", text("9"), false, text("9"));
    check(
        "https://blog.example.com/",
        Value::Integer(9),
        true,
        Value::Integer(9),
    );
    check("nonsense", Value::Decimal(3.0), true, Value::Integer(3));
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

#[test]
fn the_values_that_name_a_type_are_sorted_so_that_each_is_found() {
    assert!(SORTS.is_sorted_by(|a, b| a < b));
    assert!(SORTS.iter().all(|word| *word == word.to_lowercase()));
}
