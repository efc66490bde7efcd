//! The admin listener: who can log in, who can turn the switch, and from where.

use crate::{EXE, LONG};
use feedback_relay::clock::{Clock, Timestamp};
use feedback_tests::{MiniPlausible, Post, Relay, SITE, Sent, Setup, load, within};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

const PASSWORD: &str = "correct horse battery";
const SWITCH: &str = "/admin/api/sites/panel.example.com/switch";

/// A setup with an account `alice`.
async fn with_alice(upstream: &str) -> Setup {
    let setup = Setup::new(upstream);
    let done = setup
        .command(
            EXE,
            &["user", "add", "alice", "--password-stdin"],
            &format!("{PASSWORD}\n"),
        )
        .await;
    assert_eq!(
        (done.code, done.out.as_str()),
        (Some(0), "account alice was created"),
        "{done:?}"
    );
    setup
}

fn request(relay: &Relay, method: Method, path: &str) -> RequestBuilder {
    relay.client.request(method, format!("{}{path}", relay.admin))
}

async fn send(request: RequestBuilder) -> Sent {
    Sent::read(request.send().await.unwrap()).await.unwrap()
}

async fn log_in(relay: &Relay, user: &str, password: &str) -> Sent {
    let body = json!({ "user": user, "password": password });
    send(request(relay, Method::POST, "/admin/api/login").json(&body)).await
}

/// Logs in and returns the cookie.
async fn session(relay: &Relay) -> String {
    let sent = log_in(relay, "alice", PASSWORD).await;
    assert_eq!(sent.status, 204, "{sent:?}");
    let cookie = sent.header("set-cookie");
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_password_logs_in_and_wrong_ones_have_to_wait() {
    let clock = Clock::standing_at(Timestamp(1_800_000_000_000));
    let setup = with_alice("http://127.0.0.1:9").await.with_clock(&clock);
    let relay = setup.start().await;
    let check = async |user: &str, password: &str, status: u16| {
        let sent = log_in(&relay, user, password).await;
        assert_eq!(sent.status, status, "{user} {password}: {sent:?}");
        sent
    };
    check("alice", PASSWORD, 204).await;
    check("bob", PASSWORD, 401).await;
    let wrong = check("alice", "wrong", 401).await;
    assert_eq!(wrong.json()["detail"], "The name or the password is wrong.");
    for guess in 2..=5 {
        check("alice", &format!("wrong {guess}"), 401).await;
    }
    let wait = check("alice", PASSWORD, 429).await;
    assert_eq!(wait.header("retry-after"), "15");
    clock.set(Timestamp(1_800_000_015_000));
    check("alice", "wrong again", 401).await;
    let wait = check("alice", PASSWORD, 429).await;
    assert_eq!(
        wait.header("retry-after"),
        "30",
        "each further one doubles the wait"
    );
    clock.set(Timestamp(1_800_000_045_000));
    check("alice", PASSWORD, 204).await;
    check("alice", "wrong", 401).await;
    check("alice", PASSWORD, 204).await;

    let malformed = send(request(&relay, Method::POST, "/admin/api/login").body("{}")).await;
    assert_eq!((malformed.status, malformed.problem().as_str()), (400, "invalid"));
    let large = request(&relay, Method::POST, "/admin/api/login").json(&json!({ "user": "x".repeat(9000) }));
    assert_eq!(send(large).await.status, 413);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_switch_is_turned_with_a_session_from_the_page_itself_and_not_otherwise() {
    let plausible = MiniPlausible::start().await;
    let relay = with_alice(&plausible.url()).await.start().await;
    let cookie = session(&relay).await;
    let put = |path: &str, on: bool| request(&relay, Method::PUT, path).json(&json!({ "on": on }));
    let of_page = |path: &str, on: bool| put(path, on).header("x-feedback-admin", "1");
    let check = async |what: &str, request: RequestBuilder, status: u16, problem: &str| {
        let sent = send(request).await;
        assert_eq!(
            (sent.status, sent.problem().as_str()),
            (status, problem),
            "{what}: {sent:?}"
        );
        sent
    };
    check("no session", of_page(SWITCH, true), 401, "login").await;
    let forged = of_page(SWITCH, true).header("cookie", "feedback_admin=AAAA");
    check("a made-up session", forged, 401, "login").await;
    check(
        "no header",
        put(SWITCH, true).header("cookie", &cookie),
        403,
        "origin",
    )
    .await;
    for site in ["cross-site", "same-site", "none"] {
        let elsewhere = of_page(SWITCH, true)
            .header("cookie", &cookie)
            .header("sec-fetch-site", site);
        check("from elsewhere", elsewhere, 403, "origin").await;
    }
    let other = of_page("/admin/api/sites/other.example.com/switch", true).header("cookie", &cookie);
    check("another site", other, 404, "unknown_site").await;
    let odd = request(&relay, Method::PUT, SWITCH)
        .header("x-feedback-admin", "1")
        .header("cookie", &cookie);
    check("no body", odd, 400, "invalid").await;
    assert!(!relay.metrics().await.enabled(SITE), "none of that has turned it");

    let turn = async |on: bool| {
        let ours = of_page(SWITCH, on)
            .header("cookie", &cookie)
            .header("sec-fetch-site", "same-origin");
        check("from the page", ours, 200, "").await.json()
    };
    assert_eq!(turn(true).await, json!({ "site": SITE, "on": true, "purged": 0 }));
    relay.accept(&[load(1)]).await;
    relay.drained().await;
    let status =
        async || send(request(&relay, Method::GET, "/admin/api/status").header("cookie", &cookie)).await;
    let shown = status().await.json();
    let site = &shown["sites"][0];
    assert_eq!(
        (&site["site"], &site["on"], &site["locked"]),
        (&json!(SITE), &json!(true), &json!(false))
    );
    assert_eq!(
        (&shown["user"], &site["changed_by"]),
        (&json!("alice"), &json!("alice"))
    );
    assert_eq!(shown["counters"]["received"], 1);
    assert_eq!(
        shown["counters"]["ended"],
        json!([{ "outcome": "delivered", "reason": "", "count": 1 }])
    );
    assert_eq!(site["recorded"], "database");
    assert_eq!(
        turn(false).await,
        json!({ "site": SITE, "on": false, "purged": 0 })
    );
    assert_eq!(relay.send(&Post::batch(&[load(2)])).await.status, 403);

    let logout = request(&relay, Method::POST, "/admin/api/logout").header("cookie", &cookie);
    check("logout", logout, 204, "").await;
    assert_eq!(status().await.status, 401, "the session is over");
    let late = of_page(SWITCH, true).header("cookie", &cookie);
    check("a session that is over", late, 401, "login").await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_ends() {
    let clock = Clock::standing_at(Timestamp(1_800_000_000_000));
    let setup = with_alice("http://127.0.0.1:9")
        .await
        .with("admin", "session_s = 1800")
        .with_clock(&clock);
    let relay = setup.start().await;
    let cookie = session(&relay).await;
    let status = async |minutes: i64, by_user: bool| {
        clock.set(Timestamp(1_800_000_000_000 + minutes * 60_000));
        let mut asked = request(&relay, Method::GET, "/admin/api/status").header("cookie", &cookie);
        if by_user {
            asked = asked.header("x-feedback-admin", "1");
        }
        send(asked).await.status
    };
    assert_eq!(status(29, true).await, 200);
    assert_eq!(status(58, false).await, 200, "using it keeps it alive");
    assert_eq!(status(60, false).await, 401, "polling does not");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_listener_serves_nothing_of_the_admins() {
    let relay = with_alice("http://127.0.0.1:9").await.start().await;
    for path in [
        "/metrics",
        "/feedback/metrics",
        "/admin",
        "/admin/api/status",
        "/feedback/admin/api/status",
        "/",
    ] {
        assert_eq!(relay.get(path).await.status, 404, "{path}");
    }
    for path in ["/admin/api/login", SWITCH] {
        let sent = relay.send(&Post::batch(&[]).path(path)).await;
        assert_eq!(sent.status, 404, "{path}");
    }
    let events = request(&relay, Method::POST, "/api/events").body("{}");
    assert!(
        send(events).await.status >= 400,
        "and the admin listener takes no events"
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn off_that_a_restart_would_lose_is_reported_until_it_is_recorded() {
    let setup = with_alice("http://127.0.0.1:9").await.with_a_small_policy();
    let relay = setup.start_on().await;
    let cookie = session(&relay).await;
    let status = async || {
        let status = request(&relay, Method::GET, "/admin/api/status").header("cookie", &cookie);
        send(status).await.json()["sites"][0].clone()
    };
    let ready = async || relay.get("/actuator/health/readiness").await;
    // From here on nothing can be written, not even a tombstone.
    let (data, aside) = (setup.data_dir(), setup.folder().join("aside"));
    std::fs::rename(&data, &aside).unwrap();
    let off = request(&relay, Method::PUT, SWITCH)
        .json(&json!({ "on": false }))
        .header("x-feedback-admin", "1")
        .header("cookie", &cookie);
    let refused = send(off).await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "unavailable"));
    let told = refused.json();
    assert_eq!(told["title"], "The switch was not recorded", "{told}");
    let detail = told["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("Collection is off, but that could not be recorded: "),
        "{told}"
    );
    let shown = status().await;
    assert_eq!(
        (&shown["on"], &shown["recorded"], &shown["changed_by"]),
        (&json!(false), &json!("nowhere"), &json!("alice"))
    );
    let unready = ready().await;
    assert_eq!(unready.status, 503);
    assert_eq!(unready.json()["components"]["switch"]["status"], "OUT_OF_SERVICE");
    let health = relay.health().await.json();
    let details = &health["components"]["switch"]["details"];
    assert_eq!(
        details,
        &json!({ "unrecorded": { SITE: "nowhere" }, "reason": "switch not recorded" })
    );
    let alive = relay.get("/actuator/health/liveness").await;
    assert_eq!(alive.status, 200, "a restart would make it worse");

    std::fs::rename(&aside, &data).unwrap();
    within(LONG, "it is recorded", async || {
        (status().await["recorded"] == "database").then_some(())
    })
    .await;
    within(LONG, "it is ready", async || {
        (ready().await.status == 200).then_some(())
    })
    .await;
    relay.stop().await;
    let relay = setup.start().await;
    assert!(!relay.metrics().await.enabled(SITE));
    relay.stop().await;
}
