//! The connection to Plausible: log, health and `doctor` name the same cause of a failure.

use crate::EXE;
use feedback_tests::{Answer, MiniPlausible, Post, Setup, eventually, load};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

/// The findings of `doctor` about the test event.
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
    check(Answer::ResetAfterReading, "before an answer arrived", "log").await;

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
        let health = relay.health().await.json();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_400_that_is_not_plausibles_costs_no_event() {
    const HTML: &[(&str, &str)] = &[("content-type", "text/html")];
    const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url())
        .with_a_small_policy()
        .switched_on(EXE)
        .await;
    let relay = setup.spawn(EXE).await;
    for (n, (headers, body, name)) in [
        (
            HTML,
            "<center>The plain HTTP request was sent to HTTPS port</center>",
            "tls_port",
        ),
        (HTML, "<h1>Bad Request</h1>", "page"),
        (JSON, r#"{"message":"no such route"}"#, "other_api"),
    ]
    .into_iter()
    .enumerate()
    {
        plausible.rule(move |_| Answer::Status(400, headers, body));
        let sent = relay.try_send(&Post::batch(&[load(n)])).await.unwrap();
        assert_eq!(sent.status, 202);
        eventually("health names the cause", async || {
            let health = relay.health().await.json();
            let details = &health["components"]["plausible"]["details"];
            (details["cause"]["name"] == name).then_some(())
        })
        .await;
        plausible.rule(|_| Answer::Accept);
        relay.drained_within(crate::LONG).await;
    }
    let metrics = relay.stop().await;
    assert_eq!(metrics.ended("rejected", "plausible_invalid"), 0);
}

/// The findings of `doctor` about a subject, as grades with texts.
async fn found(setup: &Setup, variables: &str, about: &str) -> String {
    let script = format!("{variables} exec {EXE} \"$@\"");
    let done = setup
        .command("sh", &["-c", &script, "sh", "doctor", "--json"], "")
        .await;
    let findings: Vec<Value> = serde_json::from_str(&done.out).unwrap_or_else(|_| panic!("{done:?}"));
    let about = findings.iter().filter(|finding| finding["what"] == about);
    let shown = about.map(|finding| {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}; {}", text("grade"), text("says"), text("advice"))
    });
    shown.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_compares_what_the_running_relay_uses_with_what_the_files_say_now() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url())
        .with_a_small_policy()
        .with("upstream", "headers_file = \"headers\"")
        .with("upstream", "reload_interval_s = 86400");
    let headers = setup.folder().join("headers");
    std::fs::write(&headers, "X-Token: one\n").unwrap();
    let check = async |setup: &Setup, grade: &str, says: &str| {
        let found = found(setup, "", "in use").await;
        assert!(found.starts_with(grade) && found.contains(says), "{found}");
        assert!(!found.contains("s3cret"), "{found}");
    };
    check(&setup, "note", "not checked: no relay runs").await;
    let setup = setup.switched_on(EXE).await;
    let relay = setup.spawn(EXE).await;
    check(&setup, "ok", "uses the current configuration and files").await;

    std::fs::write(&headers, "X-Token: s3cret\n").unwrap();
    check(
        &setup,
        "warning",
        "not yet in use by the running relay: upstream.headers_file",
    )
    .await;
    relay.hang_up();
    eventually("SIGHUP takes it up", async || {
        found(&setup, "", "in use").await.starts_with("ok").then_some(())
    })
    .await;
    let sent = relay.try_send(&Post::batch(&[load(1)])).await.unwrap();
    assert_eq!(sent.status, 202);
    relay.drained_within(crate::LONG).await;
    assert_eq!(plausible.arrivals()[0].header("x-token"), "s3cret");

    // A broken file changes nothing, and is reported by health, metrics and log.
    std::fs::write(&headers, "Host: s3cret\n").unwrap();
    relay.hang_up();
    eventually("it is in health", async || {
        let health = relay.health().await.json();
        let why = &health["components"]["plausible"]["details"]["failedReload"];
        let why = why.as_str()?.to_owned();
        assert!(why.contains("headers_file") && !why.contains("s3cret"), "{why}");
        Some(())
    })
    .await;
    let failed = "upstream_reloads_total{result=\"failed\"}";
    assert_eq!(relay.metrics().await.count(failed), 1);
    let sent = relay.try_send(&Post::batch(&[load(2)])).await.unwrap();
    assert_eq!(sent.status, 202);
    relay.drained_within(crate::LONG).await;
    assert_eq!(plausible.arrivals()[1].header("x-token"), "s3cret", "as before");
    std::fs::write(&headers, "X-Token: s3cret\n").unwrap();

    let changed = setup.clone().with("upstream", "timeout_s = 11");
    check(
        &changed,
        "warning",
        "since the running relay started: configuration",
    )
    .await;
    let plan = setup.folder().join("plan.toml");
    let text = std::fs::read_to_string(&plan).unwrap();
    std::fs::write(&plan, format!("{text}\n# a comment\n")).unwrap();
    check(&setup, "warning", "plan.toml; restart the relay").await;
    std::fs::write(&plan, text).unwrap();
    check(&setup, "ok", "last connected to 127.").await;
    assert!(!relay.log().contains("s3cret"), "no header's value is logged");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_the_proxy_and_where_it_has_it_from() {
    let setup = Setup::new("http://plausible.example.com");
    let check = async |setup: &Setup, variables: &str, grade: &str, says: &str| {
        let found = found(setup, variables, "path to Plausible").await;
        assert!(
            found.starts_with(grade) && found.contains(says),
            "{variables}: {found}"
        );
        assert!(!found.contains("s3cret"), "{found}");
    };
    const NONE: &str = "unset http_proxy HTTP_PROXY no_proxy NO_PROXY;";
    check(&setup, NONE, "ok", "no proxy: neither `upstream.proxy` nor").await;
    let variable = "unset http_proxy no_proxy; HTTP_PROXY=http://u:s3cret@127.0.0.1:9";
    check(
        &setup,
        variable,
        "ok",
        "the proxy http://127.0.0.1:9, from HTTP_PROXY",
    )
    .await;
    let exempt = format!("{variable} NO_PROXY=example.com:80");
    check(
        &setup,
        &exempt,
        "ok",
        "the entry \"example.com:80\" of NO_PROXY exempts the host",
    )
    .await;
    let named = setup
        .clone()
        .with("upstream", "proxy = \"http://u:s3cret@127.0.0.1:8\"");
    check(
        &named,
        variable,
        "ok",
        "the proxy http://127.0.0.1:8, from `upstream.proxy`",
    )
    .await;
    let none = setup.clone().with("upstream", "proxy = \"\"");
    check(&none, variable, "ok", "no proxy: `upstream.proxy` is empty").await;
    let wrong = found(
        &setup,
        "unset http_proxy no_proxy; HTTP_PROXY=socks5://u:s3cret@p:1",
        "configuration",
    )
    .await;
    assert!(
        wrong.starts_with("wrong") && wrong.contains("HTTP_PROXY"),
        "{wrong}"
    );
    assert!(!wrong.contains("s3cret"), "{wrong}");

    // The relay was started with a different environment than the doctor.
    let setup = setup.with_a_small_policy();
    let relay = setup.spawn(EXE).await;
    check(
        &setup,
        variable,
        "warning",
        "this command would use the proxy http://127.0.0.1:9",
    )
    .await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_looks_at_the_client_certificate_and_at_who_may_read_its_key() {
    let setup = Setup::new("http://127.0.0.1:9")
        .with("upstream", "client_cert_file = \"client.crt\"")
        .with("upstream", "client_key_file = \"client.key\"");
    let check = async |year: i32, mode: u32, about: &str, want: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["relay.example.com".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let cert = params.self_signed(&key).unwrap();
        std::fs::write(setup.folder().join("client.crt"), cert.pem()).unwrap();
        let file = setup.folder().join("client.key");
        std::fs::write(&file, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let found = found(&setup, "", about).await;
        assert!(found.starts_with(want), "{year} {mode:o}: {found}");
    };
    check(
        2090,
        0o600,
        "upstream.client_cert_file",
        "ok the certificate is valid for",
    )
    .await;
    check(
        2020,
        0o600,
        "upstream.client_cert_file",
        "wrong the certificate has expired",
    )
    .await;
    check(
        2090,
        0o644,
        "upstream.client_key_file",
        "warning it holds a secret and is world-readable",
    )
    .await;
    check(2090, 0o640, "upstream.client_key_file", "").await;
}
