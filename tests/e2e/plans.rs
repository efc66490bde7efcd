//! Each site has its own plan: its events, its pages, its version in the consent, its privacy page.

use feedback_tests::{MiniPlausible, Post, Relay, Setup, fresh_id};
use serde_json::{Value, json};

const PANEL: &str = "panel.example.com";
const SHOP: &str = "shop.example.com";

/// The shop's plan: another version, other events and pages than the tests' own.
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
    relay.app().switches.turn(SHOP, true, "test").await.unwrap();
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

    // The same in Plausible's format, where the version is in the address.
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
async fn a_browser_is_told_its_own_sites_plan() {
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
    relay.app().switches.turn(SHOP, true, "test").await.unwrap();
    let bought = batch(SHOP, &json!({ "plan": 7 }), "Bought", &json!({ "kind": "pen" }));
    assert_eq!(relay.send(&bought).await.status, 202);
    relay.accept(&[feedback_tests::load(1)]).await;
    relay.stop().await;

    // The shop's plan loses the event; the panel's never had it.
    let narrowed = SHOP_PLAN.replace("\"Bought\"", "\"Sold\"");
    std::fs::write(setup.folder().join("shop.toml"), narrowed).unwrap();
    plausible.come_back().await;
    let relay = setup.start().await;
    relay.drained().await;
    assert_eq!(plausible.numbers(), [1], "only the panel's event");
    assert_eq!(relay.stop().await.endings(), ["delivered/ 1", "purged/ 1"]);
}
