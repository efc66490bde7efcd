//! Each site has its own plan: its events, its pages, its version in the consent, its privacy page.

use crate::EXE;
use feedback_tests::{Done, MiniPlausible, Post, Relay, Setup, fresh_id};
use serde_json::{Value, json};

const PANEL: &str = "panel.example.com";
const SHOP: &str = "shop.example.com";

/// The shop's plan: its version, events and pages differ from those of the tests' own plan.
const SHOP_PLAN: &str = r#"
version = 7
routes = ["/", "/basket/:id"]

[category.shopping]
description = "What is looked at in the shop."

[[event]]
name = "Bought"
category = "shopping"
description = "Something was bought."

[event.prop.kind]
type = "enum"
values = ["book", "pen"]
description = "What it was."
"#;

fn setup(plausible: &MiniPlausible) -> Setup {
    let setup = Setup::new(&plausible.url()).with_site(&format!("domain = \"{SHOP}\"\nplan = \"shop.toml\""));
    std::fs::write(setup.folder().join("shop.toml"), SHOP_PLAN).unwrap();
    setup
}

async fn start(plausible: &MiniPlausible) -> Relay {
    let relay = setup(plausible).start_on().await;
    relay.app().switches.set(SHOP, true, "test").await.unwrap();
    relay
}

fn batch(site: &str, consent: &Value, name: &str, props: &Value) -> Post {
    let url = format!("https://{site}/basket/jane-7");
    let events = [json!({ "id": fresh_id(), "name": name, "url": url, "props": props })];
    let body = json!({ "site": site, "consent": consent, "events": events });
    Post::batch(&[])
        .body(body.to_string())
        .with("origin", &format!("https://{site}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_with_a_plan_of_its_own_is_judged_by_it_alone() {
    let plausible = MiniPlausible::start().await;
    let relay = start(&plausible).await;
    let check = async |what: &str, post: Post, want: Value| {
        let sent = relay.send(&post).await;
        let body = sent.json();
        let got = match sent.status {
            202 if body["accepted"] == 1 => json!("taken"),
            202 => body["dropped"][0]["reason"].clone(),
            _ => json!(sent.problem()),
        };
        assert_eq!(got, want, "{what}: {sent:?}");
    };
    let (three, seven) = (json!({ "plan": 3 }), json!({ "plan": 7 }));
    let categories = |list: Value| json!({ "plan": 7, "categories": list });
    let (load, book) = (json!({ "n": 1 }), json!({ "kind": "book" }));
    let post = |site, consent, name, props| batch(site, consent, name, props);

    check(
        "the panel's event",
        post(PANEL, &three, "Load", &load),
        json!("taken"),
    )
    .await;
    check(
        "the shop's event",
        post(SHOP, &seven, "Bought", &book),
        json!("taken"),
    )
    .await;
    let elsewhere = json!("unknown_event");
    check(
        "the shop's event at the panel",
        post(PANEL, &three, "Bought", &book),
        elsewhere.clone(),
    )
    .await;
    check(
        "the panel's event at the shop",
        post(SHOP, &seven, "Load", &load),
        elsewhere,
    )
    .await;
    let outdated = json!("consent_outdated");
    check(
        "the panel's consent at the shop",
        post(SHOP, &three, "Bought", &book),
        outdated.clone(),
    )
    .await;
    check(
        "the shop's consent at the panel",
        post(PANEL, &seven, "Load", &load),
        outdated,
    )
    .await;
    let some = categories(json!(["shopping"]));
    check(
        "consent to the category",
        post(SHOP, &some, "Bought", &book),
        json!("taken"),
    )
    .await;
    let other = categories(json!(["usage"]));
    let refused = json!("category_refused");
    check(
        "consent to the panel's category",
        post(SHOP, &other, "Bought", &book),
        refused,
    )
    .await;

    // The same in Plausible's format, which carries the version in the URL.
    for (site, version, status) in [(SHOP, 7, 202), (SHOP, 3, 403), (PANEL, 3, 202), (PANEL, 7, 403)] {
        let (name, props) = if site == SHOP {
            ("Bought", &book)
        } else {
            ("Load", &load)
        };
        let event = json!({ "n": name, "u": format!("https://{site}/basket/1"), "d": site, "p": props });
        let post = Post::plausible(&event).path(&format!("/api/event?consent={version}"));
        let sent = relay.send(&post.with("origin", &format!("https://{site}"))).await;
        assert_eq!(sent.status, status, "{site} {version}: {sent:?}");
    }

    relay.drained().await;
    let mut arrived: Vec<String> = plausible
        .arrivals()
        .iter()
        .map(|a| {
            format!(
                "{} {}",
                a.body["url"].as_str().unwrap(),
                a.body["name"].as_str().unwrap()
            )
        })
        .collect();
    arrived.sort();
    arrived.dedup();
    let want = [
        "https://panel.example.com/other Load",
        "https://shop.example.com/basket/:id Bought",
    ];
    assert_eq!(arrived, want, "each page by its own plan's routes");

    let metrics = relay.metrics().await;
    assert_eq!(metrics.count("events_accepted_total{event=\"Bought\"}"), 3);
    assert_eq!(metrics.count("events_accepted_total{event=\"Load\"}"), 2);
    assert_eq!(metrics.count("plan_version{site=\"shop.example.com\"}"), 7);
    assert_eq!(metrics.count("plan_version{site=\"panel.example.com\"}"), 3);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_its_own_sites_plan() {
    let plausible = MiniPlausible::start().await;
    let relay = start(&plausible).await;
    let check = async |site: &str, version: u32, categories: Value| {
        let config = relay.get(&format!("/api/config?site={site}")).await.json();
        let want = json!({ "enabled": true, "plan": version, "categories": categories });
        assert_eq!(config, want, "{site}");
    };
    check(PANEL, 3, json!(["usage", "feedback"])).await;
    check(SHOP, 7, json!(["shopping"])).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_its_own_sites_plan_lists_no_more_is_not_sent() {
    let mut plausible = MiniPlausible::away();
    let setup = setup(&plausible);
    let relay = setup.start_on().await;
    relay.app().switches.set(SHOP, true, "test").await.unwrap();
    let bought = batch(SHOP, &json!({ "plan": 7 }), "Bought", &json!({ "kind": "pen" }));
    assert_eq!(relay.send(&bought).await.status, 202);
    relay.accept(&[feedback_tests::load(1)]).await;
    relay.stop().await;

    // The shop's plan drops the event; the panel's never had it.
    let narrowed = SHOP_PLAN.replace("\"Bought\"", "\"Sold\"");
    std::fs::write(setup.folder().join("shop.toml"), narrowed).unwrap();
    plausible.come_back().await;
    let relay = setup.start().await;
    relay.drained().await;
    assert_eq!(plausible.numbers(), [1], "only the panel's event");
    assert_eq!(relay.stop().await.endings(), ["delivered/ 1", "purged/ 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlisted_event_needs_consent_to_the_first_category_of_a_plan_that_scrubs() {
    let plausible = MiniPlausible::start().await;
    let setup = setup(&plausible);
    let plan = "version = 2\nunmatched = \"scrub\"\n[category.first]\ndescription = \"All there is.\"\n\
                [category.second]\ndescription = \"Nothing.\"\n";
    std::fs::write(setup.folder().join("shop.toml"), plan).unwrap();
    let relay = setup.start_on().await;
    relay.app().switches.set(SHOP, true, "test").await.unwrap();
    let reason = async |categories: Value| {
        let consent = json!({ "plan": 2, "categories": categories });
        let sent = relay.send(&batch(SHOP, &consent, "Anything", &json!({}))).await;
        assert_eq!(sent.status, 202, "{sent:?}");
        sent.json()["dropped"][0]["reason"].as_str().map(str::to_owned)
    };
    assert_eq!(
        reason(json!(["second"])).await.as_deref(),
        Some("category_refused")
    );
    assert_ne!(
        reason(json!(["first"])).await.as_deref(),
        Some("category_refused")
    );
    let metrics = relay.metrics().await;
    assert!(metrics.text.contains("events_accepted_total{event=\"other\"}"));
    assert!(!metrics.text.contains("Anything"), "nobody can make up labels");
    relay.drained().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn durations_leave_as_buckets_and_pages_as_what_their_routes_show() {
    let plausible = MiniPlausible::start().await;
    let setup = setup(&plausible);
    let plan = SHOP_PLAN.replace(
        "\"/basket/:id\"",
        "\"/basket/:id{int}\", \"/basket/:id{int}/:view{items|pay}\"",
    );
    let took =
        "\n[event.prop.took]\ntype = \"duration\"\nbuckets = [\"1s\", \"1m\"]\ndescription = \"How long.\"\n";
    std::fs::write(setup.folder().join("shop.toml"), plan + took).unwrap();
    let relay = setup.start_on().await;
    relay.app().switches.set(SHOP, true, "test").await.unwrap();
    let rows = [
        ("/basket/7", json!(12), "/basket/:id", json!("<1s")),
        ("/basket/7/pay", json!(1500.5), "/basket/:id/pay", json!("1s-1m")),
        (
            "/%62asket/7;tab=jane/items?q=jane",
            json!(60_000),
            "/basket/:id/items",
            json!(">=1m"),
        ),
        ("/basket/jane", json!("1s-1m"), "/other", json!("1s-1m")),
        ("/basket/7/secret", json!(-1), "/other", Value::Null),
        ("/", json!("1234"), "/", json!("1s-1m")),
        ("/", json!("12 s"), "/", Value::Null),
        ("/", json!(true), "/", Value::Null),
    ];
    for (path, took, _, _) in &rows {
        let event = json!({ "id": fresh_id(), "name": "Bought", "url": format!("https://{SHOP}{path}"), "props": { "took": took } });
        let body = json!({ "site": SHOP, "consent": { "plan": 7 }, "events": [event] });
        let post = Post::batch(&[]).body(body.to_string());
        let sent = relay.send(&post.with("origin", &format!("https://{SHOP}"))).await;
        assert_eq!(sent.json()["accepted"], 1, "{path} {took}: {sent:?}");
    }
    relay.drained().await;
    let left: Vec<(String, Value)> = plausible
        .arrivals()
        .iter()
        .map(|a| {
            let url = a.body["url"]
                .as_str()
                .unwrap()
                .replace("https://shop.example.com", "");
            (url, a.body["props"]["took"].clone())
        })
        .collect();
    let want = rows.map(|(_, _, page, took)| (page.to_owned(), took));
    assert_eq!(left, want);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_privacy_page_of_a_site_is_made_of_its_plan() {
    let plausible = MiniPlausible::start().await;
    let relay = setup(&plausible)
        .with("privacy", "product_name = \"The <Panel>\"")
        .start()
        .await;
    let check = async |path: &str, wants: &[&str], not: &str| {
        let page = relay.get(path).await;
        assert_eq!(page.status, 200, "{path}: {page:?}");
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("cache-control"), "public, max-age=300");
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        for want in wants {
            assert!(page.text.contains(want), "{path}: {want} is not in {}", page.text);
        }
        assert!(!page.text.contains(not), "{path}: {not} is in {}", page.text);
        page
    };
    let name = "The &lt;Panel&gt;";
    let shop = [name, "Something was bought.", "Version 7 of the tracking plan"];
    check(&format!("/privacy?site={SHOP}"), &shop, "One numbered event").await;
    let panel = [name, "One numbered event", "Version 3 of the tracking plan"];
    check(&format!("/feedback/privacy?site={PANEL}"), &panel, "bought").await;

    for path in ["/privacy", "/privacy?site=other.example.com", "/privacy?sites=x"] {
        let refused = relay.get(path).await;
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (404, "unknown_site"),
            "{path}"
        );
        assert!(refused.text.contains("?site="), "{path}: {refused:?}");
        assert!(!refused.text.contains(SHOP), "{path}: {refused:?}");
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_sites_privacy_page_needs_no_name_and_is_asked_for_once() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start().await;
    let page = relay.get("/privacy").await;
    assert_eq!(page.status, 200, "{page:?}");
    let again = async |etag: &str| {
        let request = relay.client.get(format!("{}/privacy", relay.public));
        let response = request.header("if-none-match", etag).send().await.unwrap();
        response.status().as_u16()
    };
    assert_eq!(again(page.header("etag")).await, 304);
    assert_eq!(again("\"another\"").await, 200);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_commands_answer_of_a_file_a_site_or_the_plan_built_in() {
    let setup =
        Setup::new("http://127.0.0.1:9").with_site(&format!("domain = \"{SHOP}\"\nplan = \"shop.toml\""));
    let shop = setup.folder().join("shop.toml").display().to_string();
    let wrong = setup.folder().join("wrong.toml").display().to_string();
    std::fs::write(&shop, SHOP_PLAN).unwrap();
    std::fs::write(&wrong, "version = 0\nroutes = [\"w\"]\n").unwrap();
    let config = setup.write().display().to_string();
    let check = async |arguments: &[&str], code: i32, wants: &[&str], not: &str| {
        let given = arguments.iter().map(|&a| a.to_owned()).collect();
        let done = Done::of(EXE, given, String::new()).await;
        assert_eq!(done.code, Some(code), "{arguments:?}: {done:?}");
        let told = if code == 0 { &done.out } else { &done.err };
        for want in wants {
            assert!(told.contains(want), "{arguments:?}: {want} is not in {told}");
        }
        assert!(
            not.is_empty() || !told.contains(not),
            "{arguments:?}: {not} is in {told}"
        );
    };
    let (config, shop, wrong) = (config.as_str(), shop.as_str(), wrong.as_str());
    check(
        &["plan", "check"],
        0,
        &["plan.toml (built in): version 1: 2 categories"],
        "",
    )
    .await;
    check(
        &["plan", "check", shop],
        0,
        &["shop.toml: version 7: 1 categories, 1 events, 2 routes"],
        "",
    )
    .await;
    let both = ["/plan.toml: version 3", "shop.toml: version 7", "advice: "];
    check(&["plan", "check", "--config", config], 0, &both, "").await;
    let one = ["plan", "check", "--config", config, "--site", SHOP];
    check(&one, 0, &["version 7"], "version 3").await;
    let lines = [
        "wrong.toml:1: `version` must be",
        "wrong.toml:2: `routes` must be",
        "`event` is missing",
    ];
    check(&["plan", "check", wrong], 78, &lines, "").await;
    check(
        &["plan", "check", "nowhere.toml"],
        78,
        &["nowhere.toml: cannot be read"],
        "",
    )
    .await;
    let nobody = ["plan", "check", "--config", config, "--site", "other.example.com"];
    check(
        &nobody,
        1,
        &["no [[site]] has the domain other.example.com; configured:", SHOP],
        "",
    )
    .await;
    check(
        &["plan", "check", shop, "--config", config],
        2,
        &["cannot be used with"],
        "",
    )
    .await;

    let html = [
        "<!doctype html>",
        "Feedback and privacy in Our &amp; Shop",
        "Something was bought.",
    ];
    check(
        &["plan", "docs", shop, "--product-name", "Our & Shop"],
        0,
        &html,
        "",
    )
    .await;
    let markdown = ["# Feedback and privacy on this site", "| Bought |"];
    check(
        &["plan", "docs", shop, "--format", "markdown"],
        0,
        &markdown,
        "<!doctype",
    )
    .await;
    check(
        &["plan", "docs", "--config", config],
        1,
        &["choose one with --site"],
        "",
    )
    .await;
    let types = ["plan", "types", "--config", config, "--site", SHOP];
    check(
        &types,
        0,
        &[
            "export type FeedbackPlanVersion = 7;",
            "\"kind\"?: \"book\" | \"pen\";",
        ],
        "",
    )
    .await;
}
