//! Values arrive at Plausible in one form, whatever form the sender used: numbers as text, revenue, own referrers.

use feedback_tests::{MiniPlausible, Post, Relay, Setup, eventually};
use serde_json::{Value, json};

const SHOP: &str = "shop.example.com";

const SHOP_PLAN: &str = r#"
version = 7
routes = ["/", "/basket/:id"]

[category.shopping]
description = "What is looked at in the shop."

[[event]]
name = "Bought"
category = "shopping"
description = "Something was bought."
revenue = true

[event.prop.stars]
type = "int"
min = 1
max = 5
required = true
description = "How good it was."

[event.prop.gift]
type = "bool"
description = "Whether it was a present."

[event.prop.took]
type = "duration"
buckets = ["1s", "5s"]
description = "How long it took."

[[event]]
name = "Returned"
category = "shopping"
description = "Something was sent back."
"#;

async fn start(plausible: &MiniPlausible) -> Relay {
    let site = format!(
        "domain = \"{SHOP}\"\nplan = \"shop.toml\"\norigins = [\"https://{SHOP}\", \"https://pay.example.net\"]"
    );
    let setup = Setup::new(&plausible.url()).with_site(&site);
    std::fs::write(setup.folder().join("shop.toml"), SHOP_PLAN).unwrap();
    let relay = setup.start_on().await;
    relay.app().switches.set(SHOP, true, "test").await.unwrap();
    relay
}

/// Sends an event in the format of Plausible's tracker and returns the event that Plausible received.
async fn pass(relay: &Relay, plausible: &MiniPlausible, fields: Value) -> Value {
    let mut event =
        json!({ "n": "Bought", "d": SHOP, "u": format!("https://{SHOP}/basket/7"), "p": { "stars": "5" } });
    for (key, value) in fields.as_object().unwrap() {
        event[key] = value.clone();
    }
    let before = plausible.arrivals().len();
    let post = Post::plausible(&event)
        .path("/api/event?consent=7")
        .with("origin", &format!("https://{SHOP}"));
    let sent = relay.send(&post).await;
    assert_eq!(sent.status, 202, "{fields}: {}", sent.text);
    eventually("the event arrives", async || {
        plausible
            .arrivals()
            .get(before)
            .map(|arrival| arrival.body.clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_came_as_text_arrives_as_the_number_it_is() {
    let plausible = MiniPlausible::start().await;
    let relay = start(&plausible).await;
    let check = async |props: Value, want: Value| {
        let body = pass(&relay, &plausible, json!({ "p": props })).await;
        assert_eq!(body["props"], want, "{props}");
    };
    check(json!({ "stars": "5" }), json!({ "stars": 5 })).await;
    check(json!({ "stars": 5.0 }), json!({ "stars": 5 })).await;
    check(json!({ "stars": " +5.0 " }), json!({ "stars": 5 })).await;
    check(
        json!({ "stars": "1", "gift": "true", "took": "1500" }),
        json!({ "stars": 1, "gift": true, "took": "1s-5s" }),
    )
    .await;
    check(
        json!({ "stars": "1", "gift": "maybe", "took": "long" }),
        json!({ "stars": 1 }),
    )
    .await;
    let post = Post::plausible(&json!({
        "n": "Bought", "d": SHOP, "u": format!("https://{SHOP}/"), "p": { "stars": "6" },
    }));
    let post = post
        .path("/api/event?consent=7")
        .with("origin", &format!("https://{SHOP}"));
    assert_eq!(
        relay.send(&post).await.status,
        400,
        "6 is out of the plan's range in any spelling"
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revenue_arrives_if_the_plan_says_so_and_is_counted_if_it_does_not() {
    let plausible = MiniPlausible::start().await;
    let relay = start(&plausible).await;
    let check = async |fields: Value, want: Value| {
        let body = pass(&relay, &plausible, fields.clone()).await;
        assert_eq!(body["revenue"], want, "{fields}");
        assert_eq!(body["$"], Value::Null);
    };
    let euros = json!({ "amount": "12.5", "currency": "EUR" });
    check(
        json!({ "$": { "amount": "12.50", "currency": "EUR" } }),
        euros.clone(),
    )
    .await;
    check(
        json!({ "revenue": { "amount": 12.5, "currency": "eur" } }),
        euros.clone(),
    )
    .await;
    check(json!({ "$": r#"{"amount":12.5,"currency":"EUR"}"# }), euros).await;
    assert_eq!(relay.metrics().await.count("revenue_dropped_total"), 0);
    let price = json!({ "amount": 12.5, "currency": "EUR" });
    check(json!({ "n": "Returned", "$": price }), Value::Null).await;
    check(
        json!({ "$": { "amount": 12.5, "currency": "Euro" } }),
        Value::Null,
    )
    .await;
    check(json!({ "$": "12.50 EUR" }), Value::Null).await;
    check(json!({}), Value::Null).await;
    assert_eq!(relay.metrics().await.count("revenue_dropped_total"), 3);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_referrer_of_the_own_site_does_not_arrive_whichever_of_its_hosts_it_is() {
    let plausible = MiniPlausible::start().await;
    let relay = start(&plausible).await;
    let check = async |referrer: &str, want: Value| {
        let body = pass(&relay, &plausible, json!({ "r": referrer })).await;
        assert_eq!(body["referrer"], want, "{referrer}");
    };
    check(
        "https://search.example.org/?q=x",
        json!("https://search.example.org/"),
    )
    .await;
    check("https://shop.example.com/", Value::Null).await;
    check("https://www.shop.example.com/basket/1", Value::Null).await;
    check("https://SHOP.example.com:8443/", Value::Null).await;
    check("https://pay.example.net/done?id=7", Value::Null).await;
    check("https://www.pay.example.net/", Value::Null).await;
    check(
        "https://pay.example.net.evil.example.org/",
        json!("https://pay.example.net.evil.example.org/"),
    )
    .await;
    relay.stop().await;
}
