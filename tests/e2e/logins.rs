//! The admin listener under attack: password guessing, and requests that are held open.

use crate::EXE;
use bytes::Bytes;
use feedback_relay::clock::{Clock, Timestamp};
use feedback_relay::os::rlimit;
use feedback_tests::{METRICS_PASSWORD, Relay, Scrape, Sent, Setup, http_client};
use hyper::body::{Body, Frame};
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const PASSWORD: &str = "correct horse battery";
const NEW_PASSWORD: &str = "staple of the battery";
/// How long a login waits for its turn before it is refused, as in `accounts/turns.rs`.
const WAIT_MAX: Duration = Duration::from_secs(10);
const START: Timestamp = Timestamp(1_800_000_000_000);

/// A setup with an account `alice`, behind a proxy that names its clients.
async fn with_alice() -> Setup {
    let setup = Setup::new("http://127.0.0.1:9")
        .with_a_small_policy()
        .with("admin", "trusted_proxies = [\"127.0.0.1\"]");
    user(&setup, "add", PASSWORD).await;
    setup
}

async fn user(setup: &Setup, command: &str, password: &str) {
    let arguments = ["user", command, "alice", "--password-stdin"];
    let done = setup.command(EXE, &arguments, &format!("{password}\n")).await;
    assert_eq!(done.code, Some(0), "{done:?}");
}

/// A login from an address, with or without the cookie of a known device, on a connection of its own.
async fn log_in(admin: &str, from: &str, device: &str, name: &str, password: &str) -> Sent {
    let request = http_client()
        .post(format!("{admin}/admin/api/login"))
        .header("x-forwarded-for", from)
        .header("cookie", device)
        .json(&json!({ "user": name, "password": password }));
    Sent::read(request.send().await.unwrap()).await.unwrap()
}

/// The cookies that a login sets: session and device.
fn cookies(sent: &Sent) -> (String, String) {
    let set = sent.headers.get_all("set-cookie").iter();
    let set: Vec<&str> = set.map(|value| value.to_str().unwrap()).collect();
    let [session, device] = set[..] else {
        panic!("{sent:?}")
    };
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=15552000"] {
        assert!(device.contains(attribute), "{device}");
    }
    let value = |cookie: &str| cookie.split(';').next().unwrap().to_owned();
    (value(session), value(device))
}

fn logins(relay: &feedback_tests::Scrape, result: &str) -> i64 {
    relay.count(&format!("admin_logins_total{{result=\"{result}\"}}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_guess_keep_no_known_device_out() {
    let clock = Clock::standing_at(START);
    let setup = with_alice().await.with_clock(&clock);
    let relay = setup.start().await;
    let (_, device) = cookies(&log_in(&relay.admin, "192.0.2.1", "", "alice", PASSWORD).await);
    let mut statuses = Vec::new();
    for n in 0..24 {
        let from = format!("198.51.100.{n}");
        statuses.push(log_in(&relay.admin, &from, "", "alice", "a guess").await.status);
    }
    assert_eq!(statuses, [[401; 20].as_slice(), &[429; 4]].concat());
    let check = async |what: &str, from: &str, device: &str, name: &str, password: &str, status: u16| {
        let sent = log_in(&relay.admin, from, device, name, password).await;
        assert_eq!(sent.status, status, "{what}: {sent:?}");
        sent
    };
    let wait = check("an unknown device", "192.0.2.9", "", "alice", PASSWORD, 429).await;
    assert_eq!(wait.header("retry-after"), "60");
    let detail = wait.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("try again in 60 seconds, or from a browser that has logged in"),
        "{detail}"
    );
    check("a known one", "192.0.2.9", &device, "alice", PASSWORD, 204).await;
    check(
        "a known one, mistyped",
        "198.51.100.1",
        &device,
        "alice",
        "a typo",
        401,
    )
    .await;
    check("and again", "198.51.100.1", &device, "alice", PASSWORD, 204).await;
    let (all_but_last, last) = device.split_at(device.len() - 1);
    let forged = format!("{all_but_last}{}", if last == "A" { "E" } else { "A" });
    check("a forged one", "192.0.2.9", &forged, "alice", PASSWORD, 429).await;
    check("at another account", "192.0.2.9", &device, "bob", PASSWORD, 401).await;
    clock.set(START.plus(Duration::from_secs(60)));
    check(
        "an unknown device a minute later",
        "192.0.2.9",
        "",
        "alice",
        PASSWORD,
        204,
    )
    .await;
    check("one guess a minute", "198.51.100.77", "", "alice", "a guess", 401).await;

    let seen = relay.metrics().await;
    let results = ["ok", "wrong", "throttled", "overloaded", "disabled"].map(|result| logins(&seen, result));
    assert_eq!(results, [4, 23, 6, 0, 0]);

    user(&setup, "passwd", NEW_PASSWORD).await;
    check(
        "with a new password",
        "192.0.2.9",
        &device,
        "alice",
        NEW_PASSWORD,
        429,
    )
    .await;
    clock.set(START.plus(Duration::from_secs(120)));
    let (_, device) = cookies(&check("later", "192.0.2.9", "", "alice", NEW_PASSWORD, 204).await);
    relay.stop().await;

    let relay = setup.start().await;
    for n in 0..20 {
        log_in(&relay.admin, &format!("198.51.100.{n}"), "", "alice", "a guess").await;
    }
    let known = log_in(&relay.admin, "192.0.2.1", &device, "alice", NEW_PASSWORD).await;
    assert_eq!(known.status, 204, "a device is known after a restart: {known:?}");
    let done = setup
        .command(EXE, &["user", "disable", "alice", "--yes"], "")
        .await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let disabled = log_in(&relay.admin, "192.0.2.1", &device, "alice", NEW_PASSWORD).await;
    assert_eq!(disabled.status, 401, "{disabled:?}");
    assert_eq!(logins(&relay.metrics().await, "disabled"), 1);
    let done = setup.command(EXE, &["doctor"], "").await;
    assert!(
        done.out.contains("admin logins: 21 failed within the last hour"),
        "{done:?}"
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_logins_than_can_be_hashed_are_refused_at_once_and_devices_go_first() {
    let setup = with_alice().await;
    let relay = setup.start().await;
    let (_, device) = cookies(&log_in(&relay.admin, "192.0.2.1", "", "alice", PASSWORD).await);
    let mut flood = JoinSet::new();
    for n in 0..100 {
        let (admin, from) = (relay.admin.clone(), format!("198.51.{}.1", n % 50));
        flood.spawn(async move {
            let start = Instant::now();
            let sent = log_in(&admin, &from, "", &format!("made up {n}"), "a guess").await;
            (sent, start.elapsed())
        });
    }
    let mut sent = Vec::new();
    while sent.len() < 20 {
        sent.push(flood.join_next().await.unwrap().unwrap());
    }
    let owner = log_in(&relay.admin, "192.0.2.1", &device, "alice", PASSWORD).await;
    assert_eq!(owner.status, 204, "{owner:?}");
    let before = logins(&relay.metrics().await, "wrong");
    sent.extend(flood.join_all().await);
    let of = |status| sent.iter().filter(|(sent, _)| sent.status == status).count();
    assert_eq!(of(401) + of(503), 100, "{sent:?}");
    // On a slow machine some of those in the queue wait in vain.
    let is_late = |(sent, took): &&(Sent, Duration)| sent.status == 503 && *took >= WAIT_MAX;
    let late = sent.iter().filter(is_late).count();
    assert!(of(401) + late >= 30, "{} {late}", of(401));
    assert!(of(503) > late, "{} {late}", of(503));
    let after = i64::try_from(of(401)).unwrap();
    assert!(before < after, "{before} of {after} strangers were before her");
    let (refused, _) = sent.iter().find(|(sent, _)| sent.status == 503).unwrap();
    assert_eq!(
        (refused.problem().as_str(), refused.header("retry-after")),
        ("overloaded", "2")
    );
    let seen = relay.metrics().await;
    assert_eq!(logins(&seen, "overloaded"), i64::try_from(of(503)).unwrap());
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_are_logged_without_passwords_addresses_or_made_up_names() {
    let setup = with_alice().await;
    let relay = setup.spawn(EXE).await;
    let typed = "the-password-in-the-wrong-field";
    for (name, password, status) in [(typed, "hunter-2-hunter-2", 401), ("alice", PASSWORD, 204)] {
        let sent = log_in(&relay.admin, "192.0.2.77", "", name, password).await;
        assert_eq!(sent.status, status, "{sent:?}");
        let log = relay.log();
        for secret in [typed, password, "192.0.2.77"] {
            assert!(!log.contains(secret), "{log}");
        }
    }
    let log = feedback_tests::eventually("both are logged", async || {
        let log = relay.log();
        (log.contains("logins failed") && log.contains("logged in")).then_some(log)
    })
    .await;
    let line = |says: &str| log.lines().find(|line| line.contains(says)).unwrap().to_owned();
    let failed = line("logins failed");
    assert!(
        failed.contains("wrong=1") && failed.contains("of_unknown_names=1"),
        "{failed}"
    );
    assert!(line("logged in").contains("account=\"alice\""), "{log}");
    relay.stop().await;
}

/// Connections on which these bytes were sent, without those that the relay closed.
async fn hold(admin: &str, count: usize, sent: &'static [u8]) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(&admin[7..]).await.unwrap();
        // The relay may already have closed this one to make room, which is the behaviour under test.
        let _ = stream.write_all(sent).await;
        held.push(stream);
    }
    held
}

/// A body that never comes.
struct NoBody;

impl Body for NoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// HTTP/2 connections, each with the maximum number of logins whose bodies never come.
async fn hold_streams(admin: &str, connections: usize) -> JoinSet<()> {
    let mut held = JoinSet::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(&admin[7..]).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake::<_, _, NoBody>(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        held.spawn(async move { drop(connection.await) });
        for _ in 0..100 {
            let (mut sender, uri) = (sender.clone(), format!("{admin}/admin/api/login"));
            held.spawn(async move {
                let request = Request::post(uri).header("content-type", "application/json");
                let request = request.body(NoBody).unwrap();
                drop(sender.send_request(request).await);
            });
        }
    }
    held
}

/// Everything that must keep working does, each request on a new connection.
async fn all_answer(what: &str, relay: &Relay, session: &str, device: &str) {
    let check = async |route: &str, request: reqwest::RequestBuilder, status: u16| {
        let request = request.timeout(Duration::from_secs(20));
        let sent = request
            .send()
            .await
            .unwrap_or_else(|error| panic!("{what}: {route}: {error}"));
        assert_eq!(sent.status().as_u16(), status, "{what}: {route}");
    };
    let ask = |method, path: &str| http_client().request(method, format!("{}{path}", relay.admin));
    for path in [
        "/version",
        "/actuator/health/liveness",
        "/actuator/health/readiness",
    ] {
        check(path, ask(Method::GET, path), 200).await;
    }
    let scrape = ask(Method::GET, "/metrics").basic_auth("prometheus", Some(METRICS_PASSWORD));
    check("metrics", scrape, 200).await;
    let status = ask(Method::GET, "/admin/api/status").header("cookie", session);
    check("status", status, 200).await;
    let off = ask(Method::PUT, "/admin/api/sites/panel.example.com/switch")
        .header("cookie", session)
        .header("x-feedback-admin", "1")
        .json(&json!({ "on": false }));
    check("off", off, 200).await;
    for (who, device) in [("a known device", device), ("an unknown one", "")] {
        let sent = log_in(&relay.admin, "192.0.2.1", device, "alice", PASSWORD).await;
        assert_eq!(sent.status, 204, "{what}: {who}: {sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_held_open_keeps_probes_scrapes_or_admins_out() {
    rlimit::raise();
    let setup = with_alice().await;
    let relay = setup.start().await;
    let (session, device) = cookies(&log_in(&relay.admin, "192.0.2.1", "", "alice", PASSWORD).await);
    all_answer("before", &relay, &session, &device).await;
    // More than the connection limit.
    let check = async |what: &str, sent: &'static [u8]| {
        let held = hold(&relay.admin, 600, sent).await;
        all_answer(what, &relay, &session, &device).await;
        drop(held);
    };
    check("silence", b"").await;
    check(
        "heads that never end",
        b"GET /version HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ",
    )
    .await;
    let no_body = b"POST /admin/api/login HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
        content-length: 60\r\n\r\n";
    check("bodies that never come", no_body).await;
    let half = b"POST /admin/api/login HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
        content-length: 60\r\n\r\n{\"user\":";
    check("halves of bodies", half).await;
    let chunk = b"POST /admin/api/login HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
        transfer-encoding: chunked\r\n\r\n1\r\n{\r\n";
    check("chunks without an end", chunk).await;
    let switch = b"PUT /admin/api/sites/panel.example.com/switch HTTP/1.1\r\nhost: 127.0.0.1\r\n\
        x-feedback-admin: 1\r\ncontent-type: application/json\r\ncontent-length: 60\r\n\r\n";
    check("switches of strangers", switch).await;
    let mut streams = hold_streams(&relay.admin, 20).await;
    all_answer("HTTP/2 streams", &relay, &session, &device).await;
    streams.shutdown().await;
    let seen = relay.metrics().await;
    assert!(
        logins(&seen, "incomplete") > 1000,
        "they made room: {}",
        logins(&seen, "incomplete")
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn few_guesses_at_the_metrics_password_are_looked_at_and_the_scraper_is_not_kept_out() {
    let setup = Setup::new("http://127.0.0.1:9").with_a_small_policy();
    let relay = setup.start().await;
    let send = async |client: &reqwest::Client, password: &str| {
        let request = client.get(format!("{}/metrics", relay.admin));
        let request = request.basic_auth("prometheus", Some(password));
        Sent::read(request.send().await.unwrap()).await.unwrap()
    };
    // A client with one connection, which stays open.
    let scraper = http_client();
    assert_eq!(send(&scraper, METRICS_PASSWORD).await.status, 200);
    let attacker = http_client();
    let guess = async |password: &str| send(&attacker, password).await;
    let mut looked_at = 0;
    for n in 0..300 {
        let sent = guess(&format!("guess {n}")).await;
        looked_at += usize::from(sent.status == 401);
        assert!(matches!(sent.status, 401 | 429), "{sent:?}");
    }
    // 20, and one more every five seconds.
    assert!((20..60).contains(&looked_at), "{looked_at}");
    let right = guess(METRICS_PASSWORD).await;
    assert_eq!(right.status, 429, "a guess that is right is not looked at either");
    assert!(
        right.header("retry-after").parse::<u64>().unwrap() <= 5,
        "{right:?}"
    );
    let seen = send(&scraper, METRICS_PASSWORD).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    let seen = Scrape::parse(&seen.text);
    let of = |result| seen.count(&format!("metrics_auth_total{{result=\"{result}\"}}"));
    assert_eq!((of("wrong"), of("ok")), (i64::try_from(looked_at).unwrap(), 2));
    assert_eq!(of("wrong") + of("throttled"), 301);
    relay.stop_unseen().await;
}
