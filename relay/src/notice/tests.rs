//! The output generated from a plan: advice, page and types.

use super::page::About;
use super::*;
use crate::config::SitePlan;
use std::path::Path;

/// A plan with every kind of item, and with texts that try to break out of their context.
fn every_kind() -> crate::config::SitePlan {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    SitePlan::load(&folder.join("src/notice/every-kind.toml")).unwrap()
}

fn about() -> About {
    About {
        product_name: Some("Shop & <Sons>".to_owned()),
        recipient: Some("Example \"GmbH\"".to_owned()),
        contact: Some("privacy@example.com".to_owned()),
    }
}

/// A plan that lists nothing and scrubs everything.
fn bare() -> Plan {
    Plan {
        events: Vec::new(),
        ..Plan::unplanned()
    }
}

#[test]
fn the_types_checked_in_are_those_of_the_plans() {
    let check = |plan: &Plan, file: &str, from: &str| {
        let path = format!("{}/../web/src/plan/{file}", env!("CARGO_MANIFEST_DIR"));
        let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
        let fresh = types::typescript(plan);
        assert!(
            checked_in == fresh,
            "web/src/plan/{file} is not up to date: feedback-relay plan types {from} > web/src/plan/{file}"
        );
    };
    // `npm run check` compiles both, with code that must compile and code that must not.
    check(
        &SitePlan::built_in().unwrap(),
        "meshpanel.d.ts",
        "relay/plan.toml",
    );
    check(
        &every_kind(),
        "every-kind.d.ts",
        "relay/src/notice/every-kind.toml",
    );
}

#[test]
fn a_plan_is_counted_by_what_it_holds() {
    let check = |plan: &Plan, want: &str| assert_eq!(Summary::of(plan).to_string(), want);
    check(
        &every_kind(),
        "version 12: 2 categories, 1 events, 6 routes; properties: 1 enum, 1 int, 1 bool, 1 version, 1 duration, \
         1 text, 1 route, 1 link, 1 file",
    );
    check(
        &bare(),
        "version 1: 1 categories, 0 events, 0 routes; properties: none",
    );
}

#[test]
fn advice_is_given_where_a_plan_could_be_better() {
    let given = advice::advice(&every_kind());
    let event = "event \"Every \"Kind\" */ </title><script>alert(1)</script>\"";
    let wants = [
        "category \"unused\": its description is shorter than 10".to_owned(),
        "category \"unused\": it has no events, yet users are asked to agree to it".to_owned(),
        "route /:something: it never matches, because /:anything comes first".to_owned(),
        "route /call/0176-1234567: the detectors would treat \"0176-1234567\" as personal data".to_owned(),
        format!(
            "{event}, property \"size\": the detectors would treat the value \"jane@example.com\" as personal data"
        ),
        format!("{event}, property \"odd key\": a number from -5 to 5000000 could identify a person"),
        format!("{event}, property \"note\": the detectors do not find all personal data in free text"),
        format!("{event}, property \"at\": its description is shorter"),
    ];
    for want in &wants {
        let found = given.iter().filter(|advice| advice.starts_with(want)).count();
        assert_eq!(found, 1, "{want} is not once in {given:#?}");
    }
    assert_eq!(given.len(), wants.len(), "{given:#?}");
    // The shipped plan is an example to follow, and an empty plan has nothing to improve.
    assert_eq!(
        advice::advice(&SitePlan::built_in().unwrap()),
        Vec::<String>::new()
    );
    assert_eq!(advice::advice(&bare()), Vec::<String>::new());
    let pageless = Plan {
        routes: Vec::new().into(),
        ..(*SitePlan::built_in().unwrap()).clone()
    };
    assert!(advice::advice(&pageless)[0].starts_with("routes: none are listed"));
}

#[test]
fn the_page_shows_users_all_that_the_plan_lists() {
    let plan = SitePlan::built_in().unwrap();
    let (html, markdown) = (
        page::html(&plan, &About::default()),
        page::markdown(&plan, &About::default()),
    );
    let check = |text: &str| {
        assert!(html.contains(&prose::escape(text)), "{text} is not on the page");
        // Markdown markup is escaped with a backslash.
        assert!(
            markdown.replace('\\', "").contains(text),
            "{text} is not in the Markdown"
        );
    };
    for category in &plan.categories {
        check(&category.description);
    }
    for event in &plan.events {
        check(&event.name);
        check(&event.description);
        for prop in &event.props {
            check(&prop.key);
            check(&prop.description);
            if let PropKind::Enum { values } = &prop.kind {
                values.iter().for_each(|value| check(value));
            }
        }
    }
    // The page shows a route with words as a path and its words.
    for route in plan.routes.iter().filter(|route| !route.as_str().contains('{')) {
        check(route.as_str());
    }
    check("/w/:workspace/p/:project/i/:platform/overview/…");
    check("(kind: aws, azure, azure_kubernetes_service, gcp, kubernetes, openshift)");
    for what in [
        "Version 1 of the tracking plan",
        "Global Privacy Control",
        "any workspace, project, platform, definition or service",
        "Your network address",
        "replaces it every day",
        "Plausible",
        "change your mind",
        "How far you scrolled",
        "Any other page is counted as ",
        "Anything you type.",
    ] {
        check(what);
    }
}

#[test]
fn the_page_says_what_a_plan_that_scrubs_does() {
    let check = |plan: &Plan, wants: &[&str], not: &[&str]| {
        let page = page::markdown(plan, &about());
        for want in wants {
            assert!(page.contains(want), "{want} is not in {page}");
        }
        for not in not {
            assert!(!page.contains(not), "{not} is in {page}");
        }
    };
    check(
        &every_kind(),
        &[
            "Other events, properties and pages are collected as well",
            "the campaign in the page's address",
            "`<500ms`, `500ms-5s`, `5s-2m`, `>=2m`",
            "The exact duration of anything for which only ranges are listed above.",
            "`/shop/:item/…` (view: reviews, price-history)",
            "if they are recognised in a text. No program finds everything",
            "Names on the pages listed above: the name or number of any item",
            "run by Example \"GmbH\"",
            "Ask privacy@example.com.",
        ],
        &[
            "Anything you type.",
            "Anything else that this page",
            "counted as `/other`",
        ],
    );
    check(&bare(), &["Other events, properties and pages"], &["| Event |"]);
    check(
        &SitePlan::built_in().unwrap(),
        &["Anything you type."],
        &["Other events", "the campaign in", "The exact duration"],
    );
}

#[test]
fn nothing_that_a_plan_says_is_markup_on_the_page() {
    let html = page::html(&every_kind(), &about());
    let body = html.split_once("<body>").unwrap().1;
    assert!(html.contains("<title>Feedback and privacy in Shop &amp; &lt;Sons&gt;</title>"));
    assert!(body.contains("Use &amp; misuse of the &lt;b&gt;shop&lt;/b&gt;."));
    for tag in ["<script", "<img", "<b>", "</title>"] {
        assert!(!body.contains(tag), "{tag} is in {body}");
    }
    // Every tag is one that the page itself writes.
    for tag in body.split('<').skip(1) {
        let name = tag.trim_start_matches('/').split(['>', ' ']).next().unwrap();
        let ours = [
            "main", "h1", "h2", "h3", "p", "ul", "li", "div", "table", "thead", "tbody", "tr", "th", "td",
            "code", "strong", "small", "footer", "body", "html",
        ];
        assert!(ours.contains(&name), "<{name}> is in {body}");
    }
    let markdown = page::markdown(&every_kind(), &about());
    let table: Vec<&str> = markdown.lines().filter(|line| line.starts_with('|')).collect();
    for row in &table {
        let cells = row.replace("\\|", "").matches('|').count();
        assert_eq!(cells, 4, "a row of three cells: {row}");
    }
    assert!(markdown.contains("\\</title\\>\\<script\\>"), "{markdown}");
}

#[test]
fn the_pages_policy_allows_its_style_and_nothing_else() {
    let policy = page::content_security_policy();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    let html = page::html(&SitePlan::built_in().unwrap(), &About::default());
    for active in [
        "<script", "<link", "<iframe", "<form", " on", "style=", "src=", "href=",
    ] {
        let tags = html
            .split('<')
            .filter_map(|tag| tag.split_once('>'))
            .map(|(tag, _)| tag);
        let found = tags.filter(|tag| format!("<{tag}").contains(active)).count();
        assert_eq!(found, 0, "{active} needs a looser policy");
    }
}
