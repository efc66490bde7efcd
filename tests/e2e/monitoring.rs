//! The monitoring endpoints: metrics behind basic auth, health and version in common formats.

use feedback_tests::{METRICS_PASSWORD, MiniPlausible, Setup};
use relay_event::Outcome;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_are_complete_and_for_those_who_know_the_password() {
    let setup = Setup::new("http://127.0.0.1:9");
    let relay = setup.start().await;
    let bare = relay.get_admin("/metrics").await;
    assert_eq!((bare.status, bare.problem().as_str()), (401, "login"));
    assert_eq!(bare.header("www-authenticate"), "Basic realm=\"metrics\"");
    for (user, password) in [("prometheus", "wrong"), ("somebody", METRICS_PASSWORD), ("", "")] {
        let sent = relay.metrics_as(user, password).await;
        assert_eq!(sent.status, 401, "{user} {password}");
    }
    let text = relay.metrics().await.text;
    assert!(text.ends_with("# EOF\n"), "{text}");
    for name in [
        "events_received_total",
        "events_recovered_total",
        "events_in_progress",
        "spool_events",
        "spool_bytes",
        "spool_oldest_timestamp_seconds",
        "conservation_difference",
        "events_accepted_total",
        "props_dropped_total",
        "revenue_dropped_total",
        "upstream_requests_total",
        "upstream_duration_seconds_bucket",
        "upstream_unknown_total",
        "upstream_breaker",
        "upstream_concurrency_limit",
        "upstream_requests_in_flight",
        "upstream_probes_total",
        "upstream_parked_total",
        "upstream_late_total",
        "policy_duration_seconds_bucket",
        "spool_write_duration_seconds_bucket",
        "collection_enabled",
        "switch_unrecorded",
        "build_info",
        "policy_info",
        "policy_reloads_total",
        "spool_quarantined",
        "spool_quarantine_dropped_total",
        "database_rebuilds_total",
        "site_accepting",
        "site_last_accepted_timestamp_seconds",
        "site_held_events",
        "site_spool_bytes",
        "site_spool_bytes_max",
        "suspicious_events_total",
    ] {
        let series = format!("\nfeedback_relay_{name}");
        assert!(text.contains(&series), "{name} is missing");
    }
    for outcome in Outcome::ALL {
        let labels = format!(
            "{{outcome=\"{}\",reason=\"{}\"}} 0\n",
            outcome.label(),
            outcome.reason()
        );
        assert!(text.contains(&labels), "{outcome:?} is missing");
    }
    for event in ["pageview", "engagement", "Load", "Activity Rated"] {
        assert!(
            text.contains(&format!("events_accepted_total{{event=\"{event}\"}} 0\n")),
            "{event}"
        );
    }
    relay.stop().await;

    let relay = setup.without("metrics", "password").start().await;
    let closed = relay.metrics_as("prometheus", "").await;
    assert_eq!((closed.status, closed.problem().as_str()), (403, "no_password"));
    relay.stop_unseen().await;
}

fn keys(json: &Value) -> Vec<&str> {
    json.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_version_have_the_shape_operators_know() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start().await;
    let components = [
        "dashboard",
        "db",
        "diskSpace",
        "frontDoor",
        "plausible",
        "policy",
        "spool",
        "switch",
    ];
    for path in ["/actuator/health", "/feedback/actuator/health"] {
        let public = relay.get(path).await;
        assert_eq!(public.status, 200);
        let json = public.json();
        assert_eq!(keys(&json), ["components", "groups", "status"]);
        assert_eq!(
            (&json["status"], &json["groups"]),
            (&json!("UP"), &json!(["liveness", "readiness"]))
        );
        assert_eq!(keys(&json["components"]), components);
        assert_eq!(
            json["components"]["db"],
            json!({ "status": "UP" }),
            "no details in public"
        );
    }
    let detailed = relay.health().await.json();
    assert_eq!(keys(&detailed["components"]), components);
    let db = &detailed["components"]["db"];
    assert_eq!(
        (&db["status"], &db["details"]["database"]),
        (&json!("UP"), &json!("SQLite"))
    );
    assert_eq!(keys(&db["details"]), ["database", "result", "validationQuery"]);
    assert_eq!(detailed["components"]["spool"]["details"]["events"], 0);
    let disk = &detailed["components"]["diskSpace"];
    assert!(
        disk["details"]["free"].as_u64().is_some_and(|free| free > 0),
        "{disk}"
    );
    for get in [
        relay.get("/actuator/health/liveness").await,
        relay.get_admin("/actuator/health/liveness").await,
    ] {
        assert_eq!((get.status, &get.json()["status"]), (200, &json!("UP")));
        assert_eq!(keys(&get.json()["components"]), ["livenessState"]);
    }
    for get in [
        relay.get("/actuator/health/readiness").await,
        relay.get_admin("/actuator/health/readiness").await,
    ] {
        assert_eq!((get.status, &get.json()["status"]), (200, &json!("UP")));
        assert_eq!(
            keys(&get.json()["components"]),
            ["db", "diskSpace", "policy", "readinessState", "spool", "switch"]
        );
    }
    assert_eq!(relay.get("/actuator/health/nothing").await.status, 404);
    for version in [relay.get("/version").await, relay.get_admin("/version").await] {
        assert_eq!(keys(&version.json()), ["branch", "git", "package"]);
        assert_eq!(version.json()["package"], env!("CARGO_PKG_VERSION"));
    }
    assert_eq!(plausible.connections(), 0, "health asks Plausible nothing");
    relay.stop().await;
}
