//! `feedback-relay scrub`, which reviewers run on their own data: its output equals the delivered events.

use crate::EXE;
use feedback_tests::{Done, Setup};
use serde_json::{Value, json};

const AGENT: &str = "Mozilla/5.0 (Linux; Android 14; SM-S918B Build/UP1A) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/120.0.6099.230 Mobile Safari/537.36";

async fn scrub(arguments: &[&str], input: &str) -> Done {
    let arguments = ["scrub"].iter().chain(arguments).map(|&a| a.to_owned());
    Done::of(EXE, arguments.collect(), input.to_owned()).await
}

fn line(event: &Value) -> String {
    let came_along = json!({
        "User-Agent": AGENT, "Sec-CH-UA-Model": "\"SM-S918B\"", "Cookie": "session=canary-cookie",
        "X-Forwarded-For": "198.51.100.23", "Authorization": "Bearer canary-bearer",
    });
    json!({ "id": "row", "event": event, "headers": came_along, "client_ip": "198.51.100.23" }).to_string()
}

fn output(done: &Done) -> Value {
    assert_eq!(done.code, Some(0), "{done:?}");
    let answer: Value = serde_json::from_str(done.out.lines().next().unwrap()).unwrap();
    assert_eq!(answer["id"], "row");
    answer["output"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_event_without_a_plan_leaks_nothing_and_keeps_what_analysts_need() {
    let event = json!({
        "name": "Invited jane.doe@example.com",
        "url": "https://jane:pw-canary@panel.example.com:8443/#/w/acme-prod/p/billing-7/users/4711?token=tok-canary",
        "domain": "panel.example.com",
        "referrer": "https://mail.example.org/inbox/jane.doe@example.com?q=canary-query",
        "props": {
            "plan": "enterprise", "seats": 25, "first": true, "ratio": 0.5, "feature": "role mapping",
            "email": "jane.doe@example.com", "userName": "canary-user", "workspace_id": "canary-workspace",
            "search": "invoice of +49 176 12345678 please", "card": 4_111_111_111_111_111_i64,
            "jane.doe@example.com": "yes", "nested": { "deep": "canary-nested" }, "list": ["canary-list"],
            "encoded": "amFuZS5kb2VAZXhhbXBsZS5jb20=", "wide": "ｊａｎｅ．ｄｏｅ＠ｅｘａｍｐｌｅ．ｃｏｍ",
        },
    });
    let done = scrub(&[], &line(&event)).await;
    let output = output(&done);
    let body = &output["body"];
    assert_eq!(body["name"], "Invited [removed]");
    assert_eq!(body["url"], "https://panel.example.com/w/:id/p/:id/users/:id");
    assert_eq!(body["referrer"], "https://mail.example.org/");
    assert_eq!(
        body["props"],
        json!({
            "plan": "enterprise", "seats": 25, "first": true, "ratio": 0.5, "feature": "role mapping",
            "search": "invoice of [removed] please", "encoded": "[removed]", "wide": "[removed]",
        })
    );
    let headers = output["headers"].as_object().unwrap();
    let names: Vec<&str> = headers.keys().map(String::as_str).collect();
    assert_eq!(names, ["content-type", "user-agent", "x-plausible-ip"]);
    let agent = headers["user-agent"].as_str().unwrap();
    assert!(
        agent.contains("Android 10; K") && agent.contains("Chrome/120.0.0.0 Mobile"),
        "{agent}"
    );
    for canary in [
        "canary",
        "jane",
        "doe",
        "acme",
        "billing",
        "4711",
        "198.51.100.23",
        "SM-S918B",
        "6099",
    ] {
        assert!(!done.out.contains(canary), "{canary} is in {}", done.out);
    }
    assert!(done.err.contains("no --plan and no --config"), "{done:?}");
    assert!(done.err.contains("1 read, 1 would leave, 0 dropped"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reasons_are_shown_and_no_content() {
    let event = json!({
        "name": "Searched", "url": "https://panel.example.com/docs", "domain": "panel.example.com",
        "props": { "email": "x", "note": "mail jane.doe@example.com", "jane.doe@example.com": "y", "plan": "pro" },
    });
    let done = scrub(&["--explain"], &line(&event)).await;
    for want in [
        "name: kept",
        "url: becomes the page /docs",
        "props.email: dropped, its key names: e-mail",
        "props.note: kept without e-mail",
        ": dropped, its key contains: e-mail",
        "props.plan: kept",
    ] {
        assert!(done.err.contains(want), "{want:?} is not in {}", done.err);
    }
    assert!(!done.err.contains("jane"), "{}", done.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_leave_is_null_and_counted_by_its_reason() {
    let check = async |what: &str, input: &str, why: &str| {
        let done = scrub(&[], input).await;
        assert_eq!(done.code, Some(0), "{what}: {done:?}");
        let answer: Value = serde_json::from_str(done.out.trim()).unwrap();
        assert_eq!(answer["output"], Value::Null, "{what}");
        assert!(done.err.contains(why), "{what}: {why:?} is not in {}", done.err);
    };
    let page =
        json!({ "name": "pageview", "url": "https://panel.example.com/", "domain": "panel.example.com" });
    let bot = json!({ "id": 1, "event": page, "headers": { "user-agent": "Googlebot/2.1" } });
    check("a bot", &bot.to_string(), "denied/bot: 1").await;
    check(
        "no event",
        r#"{"id": 1, "event": {"name": "x"}}"#,
        "`url` is required",
    )
    .await;
    check("no JSON", "{\"id\": 1", "line 1: dropped: not a valid input line").await;
    let long = format!("{{\"id\": 1, \"event\": \"{}\"}}", "x".repeat(1_100_000));
    check("a line without end", &long, "line 1: dropped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_brings_its_sites_plans_and_wrong_arguments_are_explained() {
    let setup = Setup::new("http://127.0.0.1:9");
    let event = |site: &str| {
        line(&json!({
            "name": "Activity Rated", "url": "https://panel.example.com/#/w/acme/p/x/tenants?q=1", "domain": site,
            "props": { "activity": "project-created", "rating": 4, "extra": "canary" },
        }))
    };
    let config = ["scrub", "--explain"];
    let known = setup.command(EXE, &config, &event("panel.example.com")).await;
    assert_eq!(known.code, Some(0), "{known:?}");
    assert!(
        known.out.contains("\"rating\":4") && !known.out.contains("canary"),
        "{known:?}"
    );
    assert!(
        known
            .err
            .contains("props.extra: dropped, the plan does not list it"),
        "{known:?}"
    );
    let unknown = setup.command(EXE, &config, &event("other.example.com")).await;
    assert!(unknown.err.contains("denied/unknown_site: 1"), "{unknown:?}");
    let with_site = ["scrub", "--site", "other.example.com"];
    let refused = setup.command(EXE, &with_site, "").await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused
            .err
            .contains("no [[site]] has the domain other.example.com"),
        "{refused:?}"
    );

    let missing = scrub(&["no-such-file.jsonl"], "").await;
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.err.contains("cannot read no-such-file.jsonl"),
        "{missing:?}"
    );
    let plan = scrub(&["--plan", "no-such-plan.toml"], "").await;
    assert_eq!(plan.code, Some(78));
    assert!(plan.err.contains("no-such-plan.toml"), "{plan:?}");
}
