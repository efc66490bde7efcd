//! The Host of a request: exactly one on either listener, and on the admin listener one of the configured names.

use bytes::Bytes;
use feedback_tests::{METRICS_PASSWORD, Relay, Sent, Setup, raw};
use http_body_util::Full;
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio::net::TcpStream;

/// Every kind of route of the admin listener.
const ROUTES: [(&str, &str); 13] = [
    ("GET", "/"),
    ("GET", "/index.html"),
    ("GET", "/admin.js"),
    ("HEAD", "/"),
    ("GET", "/version"),
    ("GET", "/metrics"),
    ("GET", "/actuator/health"),
    ("GET", "/actuator/health/liveness"),
    ("GET", "/actuator/health/readiness"),
    ("GET", "/admin/api/status"),
    ("POST", "/admin/api/login"),
    ("PUT", "/admin/api/sites/panel.example.com/switch"),
    ("GET", "/nowhere"),
];

fn status(answer: &str) -> u16 {
    let line = answer.split(' ').nth(1).unwrap_or_default();
    line.parse().unwrap_or_default()
}

fn port(base: &str) -> &str {
    base.rsplit(':').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_exactly_one_host_on_either_listener() {
    let relay = Setup::new("http://127.0.0.1:9").start_on().await;
    for base in [&relay.public, &relay.admin] {
        let own = &base["http://".len()..];
        let check = async |head: String, want: u16| {
            let request = format!("{head}connection: close\r\n\r\n");
            let answer = raw(base, request.as_bytes(), false).await;
            assert_eq!(status(&answer), want, "{head:?}: {answer}");
            if want == 400 {
                assert!(
                    answer.contains("urn:feedback-relay:problem:host"),
                    "{head:?}: {answer}"
                );
            }
        };
        let with = |hosts: &[&str]| {
            let lines: String = hosts.iter().map(|host| format!("host: {host}\r\n")).collect();
            format!("GET /version HTTP/1.1\r\n{lines}")
        };
        check(with(&[own]), 200).await;
        check(with(&[]), 400).await;
        check(with(&[own, own]), 400).await;
        check(with(&[own, "evil.example"]), 400).await;
        check(
            format!("GET /version HTTP/1.1\r\nHost: {own}\r\nhost: {own}\r\n"),
            400,
        )
        .await;
        for host in [
            "",
            "user@127.0.0.1",
            "127.0.0.1 evil.example",
            "127.0.0.1, evil.example",
            "127.0.0.1:80:80",
            "127.0.0.1:port",
            "127.0.0.1:99999",
            "http://127.0.0.1",
            "127.0.0.1/",
            "127.0.0.1#evil.example",
            "[::1",
            "..",
        ] {
            check(with(&[host]), 400).await;
        }
        let target = |target: &str, host: &str| format!("GET {target}/version HTTP/1.1\r\nhost: {host}\r\n");
        check(target(&format!("http://{own}"), own), 200).await;
        check(target(&format!("http://{own}"), "evil.example"), 400).await;
        check(target("http://evil.example", own), 400).await;
        check(target(&format!("http://user@{own}"), own), 400).await;
        check(format!("GET http://{own}/version HTTP/1.1\r\n"), 400).await;
        check(
            format!("GET /version HTTP/1.0\r\nhost: {own}\r\nhost: {own}\r\n"),
            400,
        )
        .await;
        check(format!("GET /version HTTP/1.0\r\nhost: {own}\r\n"), 200).await;
        let is_admin = *base == relay.admin;
        check(
            "GET /version HTTP/1.0\r\n".to_owned(),
            if is_admin { 421 } else { 200 },
        )
        .await;
    }
    let public = "GET /version HTTP/1.1\r\nhost: panel.example.com\r\nconnection: close\r\n\r\n";
    let answer = raw(&relay.public, public.as_bytes(), false).await;
    assert_eq!(
        status(&answer),
        200,
        "the public listener answers to any name: {answer}"
    );
    relay.stop().await;
}

/// Calls the admin listener with this Host and the metrics' credentials, so that only the Host can cause a refusal.
async fn ask(relay: &Relay, method: &str, path: &str, host: &str) -> Sent {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = relay
        .client
        .request(method, format!("{}{path}", relay.admin))
        .header("host", host)
        .header("x-feedback-admin", "1")
        .basic_auth("prometheus", Some(METRICS_PASSWORD));
    Sent::read(request.send().await.unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_answers_to_its_own_names_alone_on_every_route() {
    let setup = Setup::new("http://127.0.0.1:9").with(
        "admin",
        "allowed_hosts = [\"Relay-Admin.example.com\", \"relay.internal:9443\"]",
    );
    let relay = setup.start().await;
    let own = port(&relay.admin).to_owned();
    for (method, path) in ROUTES {
        for host in [
            "evil.example",
            &format!("evil.example:{own}"),
            "127.0.0.1.evil.example",
            "relay-admin.example.com.evil.example",
            "evil.relay-admin.example.com",
            "relay.internal",
            "evil.localhost",
            "0.0.0.0",
            "127.1",
            "2130706433",
            "10.1.2.3",
            "[::]",
        ] {
            let sent = ask(&relay, method, path, host).await;
            assert_eq!(sent.status, 421, "{method} {path} as {host}: {sent:?}");
            if method != "HEAD" {
                assert_eq!(sent.problem(), "unknown_host");
                let detail = sent.json()["detail"].as_str().unwrap().to_owned();
                assert!(detail.contains("`admin.allowed_hosts`"), "{detail}");
                assert!(!sent.text.contains(host), "what was sent is not repeated");
            }
        }
        for host in [
            &format!("127.0.0.1:{own}"),
            "127.0.0.1",
            "localhost:9000",
            "LOCALHOST.",
            "[::1]:8081",
            "relay-admin.example.com",
            "RELAY-ADMIN.EXAMPLE.COM.:8443",
            "relay.internal:9443",
        ] {
            let sent = ask(&relay, method, path, host).await;
            assert_ne!(sent.status, 421, "{method} {path} as {host}: {sent:?}");
        }
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_an_http2_request_counts_as_well() {
    let relay = Setup::new("http://127.0.0.1:9").start().await;
    let own = relay.admin["http://".len()..].to_owned();
    let stream = TcpStream::connect(&own).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let check = async |authority: &str, host: Option<&str>, want: u16| {
        let mut request = Request::get(format!("http://{authority}/version"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let answer = sender.clone().send_request(request).await.unwrap();
        assert_eq!(answer.status(), want, "{authority} {host:?}");
    };
    check(&own, None, 200).await;
    check(&own, Some(&own), 200).await;
    check("evil.example", None, 421).await;
    check("evil.example", Some(&own), 400).await;
    check(&own, Some("evil.example"), 400).await;
    check(&format!("user@{own}"), None, 400).await;
    drop(sender);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_on_all_addresses_answers_to_the_one_it_was_reached_at() {
    let relay = Setup::new("http://127.0.0.1:9")
        .without("admin", "listen")
        .with("admin", "listen = \"[::]:0\"")
        .start()
        .await;
    let port = port(&relay.admin);
    let check = async |at: &str, host: &str, want: u16| {
        let request = format!("GET /version HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = raw(&format!("http://{at}:{port}"), request.as_bytes(), false).await;
        assert_eq!(status(&answer), want, "{host} at {at}: {answer}");
    };
    check("127.0.0.1", "localhost", 200).await;
    check("127.0.0.1", "127.0.0.1", 200).await;
    check("127.0.0.1", "127.0.0.7", 421).await;
    check("127.0.0.7", "127.0.0.7:1234", 200).await;
    check("[::1]", "[::1]", 200).await;
    check("127.0.0.1", "[::]", 421).await;
    check("127.0.0.1", "0.0.0.0", 421).await;
    relay.stop_unseen().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_can_do_nothing() {
    let setup =
        Setup::new("http://127.0.0.1:9").with("admin", "allowed_hosts = [\"relay-admin.example.com\"]");
    let made = ["user", "add", "alice", "--password-stdin"];
    let password = "correct horse battery";
    assert_eq!(setup.command(crate::EXE, &made, password).await.code, Some(0));
    let relay = setup.start().await;
    let own = relay.admin["http://".len()..].to_owned();
    let login = || {
        relay
            .client
            .post(format!("{}/admin/api/login", relay.admin))
            .json(&json!({ "user": "alice", "password": password }))
    };
    let check = async |what: &str, request: RequestBuilder, want: u16, problem: &str| {
        let sent = Sent::read(request.send().await.unwrap()).await.unwrap();
        assert_eq!(
            (sent.status, sent.problem().as_str()),
            (want, problem),
            "{what}: {sent:?}"
        );
        assert_eq!(sent.header("set-cookie").is_empty(), want != 204, "{what}");
    };
    let evil = "http://evil.example";
    let rebound = || login().header("host", "evil.example").header("origin", evil);
    let by_browser = rebound().header("sec-fetch-site", "same-origin");
    check("a rebound page", by_browser, 421, "unknown_host").await;
    check("one of an older browser", rebound(), 421, "unknown_host").await;
    let believed = rebound().header("x-forwarded-host", &own);
    check("x-forwarded-host is not believed", believed, 421, "unknown_host").await;
    // A proxy that hides the browser's Host.
    let hidden = login()
        .header("origin", evil)
        .header("sec-fetch-site", "same-origin");
    check("behind a proxy that writes its own Host", hidden, 403, "origin").await;
    let other_port = format!("http://127.0.0.1:{}1", &own["127.0.0.1:".len()..][..3]);
    for origin in [
        evil,
        "null",
        "",
        &other_port,
        "http://localhost:3000",
        "http://relay-admin.example.com.evil.example",
        "https://relay-admin.example.com@evil.example",
        "file://",
        &format!("ftp://{own}"),
        &own,
    ] {
        check(origin, login().header("origin", origin), 403, "origin").await;
    }
    let two = login()
        .header("origin", format!("http://{own}"))
        .header("origin", evil);
    check("two origins", two, 403, "origin").await;
    for site in ["cross-site", "same-site", "none", "", "same-origin, cross-site"] {
        let elsewhere = login().header("sec-fetch-site", site);
        check(site, elsewhere, 403, "origin").await;
    }
    let two = login()
        .header("sec-fetch-site", "same-origin")
        .header("sec-fetch-site", "cross-site");
    check("two words of the browser", two, 403, "origin").await;
    let insecure = login()
        .header("x-forwarded-proto", "https")
        .header("origin", "http://relay-admin.example.com");
    check("a page without TLS where there is TLS", insecure, 403, "origin").await;
    let form = relay
        .client
        .post(format!("{}/admin/api/login", relay.admin))
        .header("content-type", "text/plain")
        .body(json!({ "user": "alice", "password": password }).to_string());
    check("a form", form, 400, "invalid").await;

    let page = || login().header("sec-fetch-site", "same-origin");
    check("a tool", login(), 204, "").await;
    check(
        "the page",
        page().header("origin", format!("http://{own}")),
        204,
        "",
    )
    .await;
    let proxied = page()
        .header("x-forwarded-proto", "https")
        .header("origin", "https://relay-admin.example.com");
    check(
        "the page behind a proxy that writes its own Host",
        proxied,
        204,
        "",
    )
    .await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_shows_details_to_those_who_may_see_them() {
    let relay = Setup::new("http://127.0.0.1:9").start().await;
    let bare = relay.get_admin("/actuator/health").await;
    assert_eq!(bare.status, 200);
    assert!(
        !bare.text.contains("details") && !bare.text.contains("panel.example.com"),
        "{bare:?}"
    );
    assert_eq!(bare.text, relay.get("/actuator/health").await.text);
    let known = relay.health().await;
    assert!(
        known.text.contains("details") && known.text.contains("panel.example.com"),
        "{known:?}"
    );
    let wrong = ask_as(&relay, "wrong").await;
    assert_eq!((wrong.status, wrong.problem().as_str()), (401, "login"));
    relay.stop().await;
}

async fn ask_as(relay: &Relay, password: &str) -> Sent {
    let request = relay.client.get(format!("{}/actuator/health", relay.admin));
    let request = request.basic_auth("prometheus", Some(password));
    Sent::read(request.send().await.unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_page_can_embed_or_read_an_answer() {
    let relay = Setup::new("http://127.0.0.1:9").start().await;
    for path in [
        "/",
        "/admin/api/status",
        "/actuator/health",
        "/metrics",
        "/version",
        "/nowhere",
    ] {
        let sent = relay.get_admin(path).await;
        let policy = sent.header("content-security-policy");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(policy.starts_with("default-src '"), "{path}: {policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(sent.header(name), value, "{path} {name}");
        }
        assert_eq!(sent.header("access-control-allow-origin"), "", "{path}");
        assert!(!sent.header("cache-control").is_empty(), "{path}");
    }
    relay.stop().await;
}
