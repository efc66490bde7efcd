//! The way to Plausible: the cause of a failure is named the same in the log, in health and by `doctor`.

use crate::EXE;
use feedback_tests::{Answer, MiniPlausible, Post, Setup, eventually, load};
use serde_json::Value;

/// What `doctor` finds about the test event.
async fn test_event(setup: &Setup) -> Value {
    let asked = ["doctor", "--json", "--even-if-off", "--send-test-event"];
    let done = setup.command(EXE, &asked, "").await;
    let findings: Vec<Value> = serde_json::from_str(&done.out).unwrap();
    let about = |finding: &Value| finding["what"].as_str().unwrap().contains("test event");
    findings
        .into_iter()
        .find(about)
        .unwrap_or_else(|| panic!("{done:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_the_cause_and_its_advice_follows() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url());
    let check = async |answer: Answer, says: &str, advice: &str| {
        let what = format!("{answer:?}");
        plausible.rule(move |_| answer.clone());
        let found = test_event(&setup).await;
        assert_eq!(found["grade"], "wrong", "{what}: {found}");
        assert!(found["says"].as_str().unwrap().contains(says), "{what}: {found}");
        assert!(
            found["advice"].as_str().unwrap().contains(advice),
            "{what}: {found}"
        );
    };
    let html = &[("content-type", "text/html")];
    let to = "https://login.example.com/start?secret=1".to_owned();
    check(
        Answer::Redirect(302, to),
        "redirects to https://login.example.com/start",
        "login",
    )
    .await;
    let moved = "https://stats.example.com/api/event".to_owned();
    check(
        Answer::Redirect(301, moved),
        "redirects to https",
        "\"https://stats.example.com\"",
    )
    .await;
    let login = "<input type=\"password\">";
    check(Answer::Status(200, html, login), "a login page", "headers_file").await;
    check(
        Answer::Status(401, &[], ""),
        "requires authentication",
        "headers_file",
    )
    .await;
    check(Answer::Status(404, &[], ""), "no events API", "`upstream.url`").await;
    let api = r#"{"status":"ok"}"#;
    check(
        Answer::Status(200, &[], api),
        "a JSON API answers",
        "`upstream.url`",
    )
    .await;
    let secure = "Client sent an HTTP request to an HTTPS server.";
    check(Answer::Status(400, &[], secure), "expects TLS", "https://").await;
    check(Answer::Garbage, "does not speak HTTP", "port").await;
    check(Answer::ResetAfterReading, "before there was an answer", "log").await;

    let found = test_event(&Setup::new("http://plausible.invalid")).await;
    assert!(
        found["says"].as_str().unwrap().contains("plausible.invalid"),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cause_of_an_outage_is_in_health_and_in_the_log_until_it_is_over() {
    let (mut plausible, setup, relay) = Setup::while_plausible_is_away(EXE).await;
    let cause = async || {
        let admin = format!("{}/actuator/health", relay.admin);
        let health: Value = relay
            .client
            .get(admin)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        health["components"]["plausible"]["details"]["cause"].clone()
    };
    let sent = relay.try_send(&Post::batch(&[load(1)])).await.unwrap();
    assert_eq!(sent.status, 202);
    let named = eventually("health names the cause", async || {
        let cause = cause().await;
        (cause["name"] == "refused").then_some(cause)
    })
    .await;
    assert!(
        named["advice"].as_str().unwrap().contains("`upstream.url`"),
        "{named}"
    );
    let log = eventually("the log names it", async || {
        let log = relay.log();
        log.contains("cause=\"refused\"").then_some(log)
    })
    .await;
    assert!(
        log.contains("no process listens on that port; start Plausible"),
        "{log}"
    );
    plausible.come_back().await;
    relay.drained_within(crate::LONG).await;
    eventually("it is over", async || {
        (cause().await == Value::Null).then_some(())
    })
    .await;
    relay.stop().await;
    drop(setup);
}
