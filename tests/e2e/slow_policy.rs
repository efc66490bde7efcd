//! A slow policy delays only its own events, and is taken out of service if it stays slow.

use feedback_relay::policy::status::FAILURES;
use feedback_tests::{MiniPlausible, Post, Relay, Setup, eventually, fresh_id, load, stays, within};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// An event for which the slow policy uses all of its time.
fn slow(n: usize) -> Value {
    json!({ "id": fresh_id(), "name": "Load", "url": "https://panel.example.com/#/slow", "props": { "n": n } })
}

async fn policy_health(relay: &Relay) -> Value {
    relay.health().await.json()["components"]["policy"].clone()
}

/// Sends slow events until the policy has failed often enough.
async fn wear_out(relay: &Relay) {
    for n in 0..FAILURES {
        let sent = relay.send(&Post::batch(&[slow(n)])).await;
        assert_eq!(sent.json()["dropped"][0]["reason"], "timeout", "{sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_hundred_slow_events_delay_neither_probes_nor_off() {
    let plausible = MiniPlausible::start().await;
    // Half a second each: the maximum number of waiting events keeps two processors busy for a while.
    let setup = Setup::new(&plausible.url()).with_a_slow_policy();
    let setup = setup.with("policy", "request_cpu_ms = 500");
    let relay = Arc::new(setup.with("policy", "fuel = 10000000000").start_on().await);
    let senders: Vec<_> = (0..400)
        .map(|n| {
            let relay = Arc::clone(&relay);
            let post = Post::batch(&[slow(n)]).from(&format!("198.51.{}.{}", 100 + n / 200, n % 200));
            tokio::spawn(async move { relay.send_once(&post).await })
        })
        .collect();
    eventually("most of them wait", async || {
        (relay.app().ledger.counts().in_progress > 100).then_some(())
    })
    .await;
    let calls = async || relay.metrics().await.count("policy_duration_seconds_count");
    let before = calls().await;
    assert_eq!(relay.get("/actuator/health/liveness").await.status, 200);
    relay.turn(false).await;
    let meanwhile = calls().await - before;
    let waiting = relay.app().ledger.counts().in_progress;
    assert!(
        waiting > 50,
        "{waiting} events still wait, so that this shows anything"
    );
    // Not a time: on a busy machine the policy is as slow as the probes. This many take two processors four seconds,
    // and a probe behind those that wait would take longer.
    assert!(meanwhile <= 16, "{meanwhile} events were scrubbed meanwhile");

    // Switched on again meanwhile: events from before "off" are still not stored.
    relay.turn(true).await;
    relay.turn(false).await;
    for sender in senders {
        let sent = sender.await.unwrap();
        assert!([202, 403, 503].contains(&sent.status), "{sent:?}");
    }
    let relay = Arc::into_inner(relay).unwrap();
    let metrics = relay.metrics().await;
    assert_eq!(metrics.count("events_accepted_total{event=\"Load\"}"), 0);
    assert_eq!(plausible.numbers(), [0; 0]);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_ends_at_its_first_timeout() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url()).with_a_slow_policy();
    let relay = setup.with("policy", "request_cpu_ms = 50").start_on().await;
    let mut events: Vec<_> = (0..100).map(slow).collect();
    events[0] = load(0);
    let sent = relay.send(&Post::batch(&events)).await;
    assert_eq!(
        (sent.status, &sent.json()["accepted"]),
        (202, &json!(1)),
        "{sent:?}"
    );
    let metrics = relay.metrics().await;
    assert_eq!(metrics.ended("policy_failed", "timeout"), 99);
    assert_eq!(metrics.count("policy_duration_seconds_count"), 2, "calls");
    relay.drained().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_goes_on_failing_is_taken_out_of_service() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url()).with_a_slow_policy();
    let relay = setup.with("policy", "request_cpu_ms = 10").start_on().await;
    assert_eq!(policy_health(&relay).await["status"], "UP");
    wear_out(&relay).await;

    let honest = Post::batch(&[load(1)]);
    let refused = relay.send(&honest).await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "unavailable"));
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    let health = policy_health(&relay).await;
    assert_eq!(health["status"], "OUT_OF_SERVICE", "{health}");
    assert_eq!(health["details"]["reason"], "policy failing", "{health}");
    let ready = relay.get("/actuator/health/readiness").await;
    assert_eq!(
        (ready.status, &ready.json()["reason"]),
        (503, &json!("policy failing"))
    );
    assert_eq!(relay.get("/actuator/health/liveness").await.status, 200);
    let metrics = relay.metrics().await;
    assert_eq!(metrics.count("policy_failing"), 1);
    assert_eq!(metrics.ended("policy_failed", "unavailable"), 1);
    assert_eq!(relay.turn(false).await, 0, "the switch works");
    relay.turn(true).await;

    // Like SIGHUP.
    relay.app().policy.reload().await.unwrap();
    let taken = relay.send(&honest).await;
    assert_eq!(taken.json()["accepted"], 1, "{taken:?}");
    assert_eq!(policy_health(&relay).await["status"], "UP");
    assert_eq!(relay.metrics().await.count("policy_failing"), 0);
    relay.drained().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_policy_takes_over_if_it_is_configured_to() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url()).with_a_slow_policy();
    let setup = setup.with("policy", "request_cpu_ms = 10");
    let relay = setup
        .with("policy", "when_failing = \"builtin\"")
        .start_on()
        .await;
    let before = policy_health(&relay).await["details"]["sha256"].clone();
    wear_out(&relay).await;
    within(crate::LONG, "the built-in policy serves", async || {
        let sent = relay.send(&Post::batch(&[load(1)])).await;
        (sent.status == 202).then_some(())
    })
    .await;
    let health = policy_health(&relay).await;
    assert_eq!(health["status"], "UNKNOWN", "a warning: {health}");
    assert_eq!(health["details"]["source"], "builtin", "{health}");
    assert_eq!(health["details"]["insteadOf"], before, "{health}");
    assert_eq!(relay.get("/actuator/health/readiness").await.status, 200);
    assert_eq!(relay.metrics().await.count("policy_failing"), 1);
    let sent = relay.send(&Post::batch(&[slow(2)])).await;
    assert_eq!(sent.json()["accepted"], 1, "{sent:?}");

    relay.app().policy.reload().await.unwrap();
    let health = policy_health(&relay).await;
    assert_eq!(
        (&health["status"], &health["details"]["sha256"]),
        (&json!("UP"), &before)
    );
    relay.drained().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_with_a_slow_input_does_not_switch_the_policy_off_for_others() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url()).with_a_slow_policy();
    let relay = setup.with("policy", "request_cpu_ms = 10").start_on().await;
    for n in 0..2 * FAILURES {
        relay.send(&Post::batch(&[slow(n)])).await;
        for event in [load(2 * n), load(2 * n + 1)] {
            let sent = relay.send(&Post::batch(&[event])).await;
            assert_eq!(sent.json()["accepted"], 1, "{n}: {sent:?}");
        }
    }
    assert_eq!(policy_health(&relay).await["status"], "UP");
    relay.drained().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sender_takes_the_built_in_policy_out_of_service() {
    let plausible = MiniPlausible::start().await;
    // Texts like these cost the built-in policy some milliseconds each.
    let setup = Setup::new(&plausible.url()).with("policy", "request_cpu_ms = 10");
    let setup = setup.with("public", "body_bytes_max = 1048576");
    let plan = setup.folder().join("plan.toml");
    let text = "version = 3\nunmatched = \"scrub\"\n[category.all]\ndescription = \"All there is.\"\n";
    std::fs::write(plan, text).unwrap();
    let relay = setup.start_on().await;
    let event = |text: &str| json!({ "id": fresh_id(), "name": "Load", "url": "https://panel.example.com/", "props": { "t": text } });
    let body = |text: &str, events: usize| {
        let consent = json!({ "plan": 3, "categories": ["all"] });
        let events: Vec<_> = (0..events).map(|_| event(text)).collect();
        Post::batch_with(&consent, &events)
    };
    for n in 0..2 * FAILURES {
        let sent = relay.send(&body(&"1 2 ".repeat(500), 100)).await;
        assert_eq!(sent.status, 202, "{n}: {sent:?}");
    }
    let metrics = relay.metrics().await;
    assert!(metrics.ended("policy_failed", "timeout") > 0, "counted");
    assert_eq!(metrics.ended("policy_failed", "unavailable"), 0);
    assert_eq!(metrics.count("policy_failing"), 0);
    assert_eq!(policy_health(&relay).await["status"], "UP");
    assert_eq!(relay.get("/actuator/health/readiness").await.status, 200);
    let sent = relay.send(&body("fine", 1)).await;
    assert_eq!(sent.json()["accepted"], 1, "{sent:?}");
    relay.stop_unseen().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_that_fails_is_tried_again() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url()).with_a_slow_policy();
    let setup = setup.with("policy", "request_cpu_ms = 10");
    let setup = setup.with("policy", "when_failing = \"builtin\"");
    let relay = setup.start_on().await;
    let db = rusqlite::Connection::open(setup.data_dir().join("relay.db")).unwrap();
    // Like a disk that is full for a moment.
    db.execute_batch(
        "CREATE TRIGGER full BEFORE INSERT ON policy_log BEGIN SELECT RAISE(FAIL, 'disk full'); END",
    )
    .unwrap();
    wear_out(&relay).await;
    // The failure is recorded before the built-in policy is tried, which takes a moment.
    eventually("no policy serves", async || {
        (relay.get("/actuator/health/readiness").await.status == 503).then_some(())
    })
    .await;
    stays(Duration::from_secs(2), "no policy serves", async || {
        policy_health(&relay).await["status"] == "OUT_OF_SERVICE"
    })
    .await;
    db.execute_batch("DROP TRIGGER full").unwrap();
    within(crate::LONG, "the built-in policy serves", async || {
        let sent = relay.send(&Post::batch(&[load(1)])).await;
        (sent.status == 202).then_some(())
    })
    .await;
    assert_eq!(policy_health(&relay).await["details"]["source"], "builtin");
    relay.drained().await;
    relay.stop().await;
}
