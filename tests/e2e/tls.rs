//! TLS in the relay: which certificate a client gets, and how changes take effect.

use bytes::Bytes;
use feedback_relay::clock::Clock;
use feedback_tests::{MiniPlausible, Relay, Setup, eventually, raw, within};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const NAME: &str = "relay.example.com";

/// A self-made certificate and its key, in PEM.
struct Made {
    cert: String,
    key: String,
    der: CertificateDer<'static>,
}

impl Made {
    fn until(year: i32) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let cert = params.self_signed(&key).unwrap();
        Self {
            cert: cert.pem(),
            key: key.serialize_pem(),
            der: cert.der().clone(),
        }
    }

    fn write(&self, folder: &Path) {
        std::fs::write(folder.join("relay.crt"), &self.cert).unwrap();
        std::fs::write(folder.join("relay.key"), &self.key).unwrap();
    }
}

/// A relay's setup with TLS on both listeners.
fn setup(upstream: &str, made: &Made) -> Setup {
    let setup = Setup::new(upstream);
    made.write(setup.folder());
    let files = "cert_file = \"relay.crt\"\nkey_file = \"relay.key\"\nreload_interval_s = 1";
    setup
        .with("public.tls", files)
        .with("admin.tls", files)
        .with("admin", &format!("allowed_hosts = [\"{NAME}\"]"))
}

/// Connects as a client that trusts one certificate, and offers one version of HTTP.
async fn connect(
    base: &str,
    trusted: &Made,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(base.strip_prefix("https://").unwrap()).await?;
    let name = ServerName::try_from(NAME).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn connect_any(base: &str, trusted: &Made) -> std::io::Result<TlsStream<TcpStream>> {
    connect(base, trusted, rustls::ALL_VERSIONS, b"http/1.1").await
}

type Http1 = hyper::client::conn::http1::SendRequest<Empty<Bytes>>;

async fn http1(stream: TlsStream<TcpStream>) -> Http1 {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn version_request(base: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("{base}/version"))
        .body(Empty::new())
        .unwrap()
}

async fn ask(sender: &mut Http1) -> u16 {
    sender.ready().await.unwrap();
    let mut request = version_request("");
    request.headers_mut().insert("host", NAME.parse().unwrap());
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    status
}

async fn reload(relay: &Relay) -> Result<bool, String> {
    let tls = relay.door().tls.public.clone().unwrap();
    tls.reload(&Clock::system()).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_speak_both_versions_of_tls_and_of_http() {
    let made = Made::until(2090);
    let relay = setup("http://127.0.0.1:9", &made).start_on().await;
    for base in [&relay.public, &relay.admin] {
        for version in rustls::ALL_VERSIONS {
            let one = connect(base, &made, &[*version], b"http/1.1").await.unwrap();
            assert_eq!(one.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            assert_eq!(ask(&mut http1(one).await).await, 200, "{version:?}");

            let two = connect(base, &made, &[*version], b"h2").await.unwrap();
            assert_eq!(two.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let exec = TokioExecutor::new();
            let (mut sender, connection) = hyper::client::conn::http2::handshake(exec, TokioIo::new(two))
                .await
                .unwrap();
            tokio::spawn(connection);
            let answer = sender.send_request(version_request(base)).await.unwrap();
            assert_eq!(answer.status(), 200, "{version:?}");
        }
    }
    let unknown = connect(&relay.public, &made, rustls::ALL_VERSIONS, b"spdy/3").await;
    assert!(unknown.is_err(), "nothing else is agreed on");
    let other = Made::until(2090);
    assert!(
        connect_any(&relay.public, &other).await.is_err(),
        "it is this certificate"
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_came_by_tls_gets_a_header_to_come_by_tls_only() {
    let hsts = async |relay: &Relay, base: &str, path: &str| {
        let answer = relay.client.get(format!("{base}{path}")).send().await.unwrap();
        let header = answer.headers().get("strict-transport-security");
        header.map(|value| value.to_str().unwrap().to_owned())
    };
    let check = async |setup: Setup, public: Option<&str>, admin: Option<&str>| {
        let relay = setup.start_on().await;
        // Paths that exist, that do not, and that are refused.
        for path in ["/version", "/nothing", "/api/config"] {
            assert_eq!(
                hsts(&relay, &relay.public, path).await.as_deref(),
                public,
                "{path}"
            );
            assert_eq!(hsts(&relay, &relay.admin, path).await.as_deref(), admin, "{path}");
        }
        relay.stop().await;
    };
    let upstream = "http://127.0.0.1:9";
    let year = Some("max-age=31536000");
    check(Setup::new(upstream), None, None).await;
    check(setup(upstream, &Made::until(2090)), year, year).await;
    let short = setup(upstream, &Made::until(2090))
        .with("public.tls", "hsts_s = 60")
        .with("admin.tls", "hsts_s = 0");
    check(short, Some("max-age=60"), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_in_over_tls_and_a_login_is_for_tls_only() {
    let plausible = MiniPlausible::start().await;
    let setup = setup(&plausible.url(), &Made::until(2090));
    let password = "a long password";
    let add = ["user", "add", "alice", "--password-stdin"];
    let added = setup.command(crate::EXE, &add, password).await;
    assert_eq!(added.code, Some(0), "{added:?}");
    let relay = setup.start_on().await;
    relay.accept(&[feedback_tests::load(1)]).await;
    relay.drained().await;
    let login = relay
        .client
        .post(format!("{}/admin/api/login", relay.admin))
        .header("content-type", "application/json")
        .body(format!(r#"{{"user":"alice","password":"{password}"}}"#));
    let answer = login.send().await.unwrap();
    assert_eq!(answer.status(), 204);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/; Secure"),
        "no Secure"
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_never_end_keep_no_probe_and_no_scrape_out() {
    feedback_relay::os::rlimit::raise();
    let relay = setup("http://127.0.0.1:9", &Made::until(2090))
        .with_a_small_policy()
        .start()
        .await;
    // More than the connection limit, each with the beginning of a handshake.
    let mut held = Vec::new();
    for _ in 0..600 {
        let mut stream = TcpStream::connect(&relay.admin[8..]).await.unwrap();
        let _ = stream.write_all(&[0x16, 3, 1, 2, 0, 1]).await;
        held.push(stream);
    }
    let version = feedback_tests::http_client().get(format!("{}/version", relay.admin));
    assert_eq!(version.send().await.unwrap().status(), 200);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_for_new_connections_and_old_ones_go_on() {
    let (old, new) = (Made::until(2090), Made::until(2091));
    let setup = setup("http://127.0.0.1:9", &old);
    let relay = setup.start_on().await;
    let expiry = "tls_certificate_expiry_timestamp_seconds{listener=\"public\"}";
    let before = relay.metrics().await.count(expiry);
    let mut open = http1(connect_any(&relay.public, &old).await.unwrap()).await;
    assert_eq!(ask(&mut open).await, 200);

    new.write(setup.folder());
    // No signal is sent: the relay checks the files periodically.
    within(
        Duration::from_secs(30),
        "the new certificate is shown",
        async || connect_any(&relay.public, &new).await.ok(),
    )
    .await;
    assert!(
        connect_any(&relay.public, &old).await.is_err(),
        "the old one is gone"
    );
    assert_eq!(ask(&mut open).await, 200, "what was open goes on");
    let metrics = relay.metrics().await;
    assert_eq!(metrics.count(expiry) - before, 365 * 24 * 60 * 60);
    assert!(metrics.count("tls_reloads_total{result=\"ok\"}") >= 1);
    assert_eq!(metrics.count("tls_reloads_total{result=\"failed\"}"), 0);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_certificate_changes_nothing_and_is_reported() {
    let (good, other) = (Made::until(2090), Made::until(2090));
    let setup = setup("http://127.0.0.1:9", &good).without("public.tls", "cert_file");
    // Only this test triggers a check.
    let files = "cert_file = \"relay.crt\"\nkey_file = \"relay.key\"\nreload_interval_s = 86400";
    let relay = setup.clone().with("public.tls", files).start_on().await;
    let folder = setup.folder();
    let health = async || relay.health().await.json()["components"]["tls"].clone();
    assert_eq!(health().await["status"], "UP");
    let check = async |what: &str, cert: &str, key: &str, want: &str| {
        std::fs::write(folder.join("relay.crt"), cert).unwrap();
        std::fs::write(folder.join("relay.key"), key).unwrap();
        let why = reload(&relay).await.unwrap_err();
        assert!(why.contains(want), "{what}: {why}");
        let health = health().await;
        assert_eq!(health["details"]["public"]["failedReload"], why, "{what}");
        assert_eq!(health["status"], "UNKNOWN", "{what}: a warning");
        let mut still = http1(connect_any(&relay.public, &good).await.unwrap()).await;
        assert_eq!(ask(&mut still).await, 200, "{what}");
    };
    let half = &good.cert[..good.cert.len() / 2];
    let long = "x".repeat(300_000);
    let no_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check("nothing", "", &good.key, "holds no certificate").await;
    check("half of it", half, &good.key, "holds no certificate").await;
    check("no X.509", no_x509, &good.key, "it is not an X.509 certificate").await;
    check(
        "another key",
        &good.cert,
        &other.key,
        "is not that of the first certificate",
    )
    .await;
    check(
        "another certificate",
        &other.cert,
        &good.key,
        "is not that of the first certificate",
    )
    .await;
    check("no key", &good.cert, "", "holds no private key").await;
    check("two certificates", &good.cert, &good.cert, "holds no private key").await;
    check("a flood", &long, &good.key, "longer than").await;
    good.write(folder);
    std::fs::remove_file(folder.join("relay.key")).unwrap();
    assert!(
        reload(&relay)
            .await
            .unwrap_err()
            .contains("relay.key cannot be read")
    );

    other.write(folder);
    assert_eq!(reload(&relay).await, Ok(true));
    assert_eq!(reload(&relay).await, Ok(false));
    assert_eq!(health().await["status"], "UP");
    connect_any(&relay.public, &other).await.unwrap();
    let failed = relay
        .metrics()
        .await
        .count("tls_reloads_total{result=\"failed\"}");
    assert!(failed >= 9, "{failed}");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_shown_and_logged() {
    let setup = setup("http://127.0.0.1:9", &Made::until(2020));
    let relay = setup.start_on().await;
    let sent = relay.health().await;
    let tls = &sent.json()["components"]["tls"];
    assert_eq!((sent.status, &tls["status"]), (503, &"OUT_OF_SERVICE".into()));
    assert!(tls["details"]["admin"]["expiresInDays"].as_i64().unwrap() < 0);
    let ready = relay.get("/actuator/health/readiness").await;
    assert_eq!(ready.status, 200, "the relay itself is ready");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_gets_a_word_and_noise_and_silence_get_nothing() {
    let made = Made::until(2090);
    let relay = setup("http://127.0.0.1:9", &made).start_on().await;
    let plain = raw(&relay.public, b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n", false).await;
    assert!(plain.starts_with("HTTP/1.1 400 "), "{plain}");
    assert!(plain.ends_with("use https://\n"), "{plain}");
    // A handshake record without a handshake.
    let noise = raw(&relay.public, b"\x16\x03\x01\x00\x04\x99\x00\x00\x00", false).await;
    assert!(!noise.contains("HTTP"), "{noise}");
    let handshakes = "connections_closed_total{listener=\"public\",reason=\"handshake\"}";
    eventually("both are counted", async || {
        (relay.metrics().await.count(handshakes) >= 2).then_some(())
    })
    .await;
    // The beginning of a handshake and then silence, and silence from the start.
    let mut stalled = tokio::task::JoinSet::new();
    for start in [&b"\x16\x03\x01\x02\x00\x01"[..], b""] {
        let address = relay.public.strip_prefix("https://").unwrap().to_owned();
        stalled.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, start)
                .await
                .unwrap();
            let mut rest = Vec::new();
            let end = stream.read_to_end(&mut rest);
            let closed = tokio::time::timeout(Duration::from_secs(30), end).await;
            assert!(closed.is_ok(), "still open");
        });
    }
    stalled.join_all().await;
    assert_eq!(
        ask(&mut http1(connect_any(&relay.public, &made).await.unwrap()).await).await,
        200
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_knows_tls() {
    let (made, other) = (Made::until(2090), Made::until(2091));
    let setup = setup("http://127.0.0.1:9", &made);
    let checked = setup.command(crate::EXE, &["check-config"], "").await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.out.contains("public: TLS with "), "{checked:?}");
    assert!(
        checked.out.contains("expires at 2090-01-01T00:00:00Z"),
        "{checked:?}"
    );

    let (relay_setup, _) = setup.clone().at_an_address();
    let relay = relay_setup.spawn(crate::EXE).await;
    assert!(relay.public.starts_with("https://"), "{}", relay.public);
    let health = relay_setup.command(crate::EXE, &["health"], "").await;
    assert_eq!(health.code, Some(0), "{health:?}");

    other.write(setup.folder());
    relay.hang_up();
    eventually("the new certificate is shown at SIGHUP", async || {
        connect_any(&relay.public, &other).await.ok()
    })
    .await;
    relay.stop().await;

    std::fs::write(setup.folder().join("relay.crt"), &made.cert).unwrap();
    let checked = setup.command(crate::EXE, &["check-config"], "").await;
    assert_eq!(checked.code, Some(78), "{checked:?}");
    assert!(checked.err.contains("`public.tls`: the key in "), "{checked:?}");
    assert!(
        checked.err.contains("`admin.tls`: the key in "),
        "both are told: {checked:?}"
    );
    assert_eq!(checked.out, "", "it is not called valid");
    let doctor = setup.command(crate::EXE, &["doctor"], "").await;
    assert!(
        doctor.out.contains("WRONG   public.tls: the key in "),
        "{doctor:?}"
    );
    Made::until(2020).write(setup.folder());
    let doctor = setup.command(crate::EXE, &["doctor"], "").await;
    assert!(
        doctor
            .out
            .contains("WRONG   admin.tls: the certificate has expired"),
        "{doctor:?}"
    );
    let checked = setup.command(crate::EXE, &["check-config"], "").await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked
            .out
            .contains("note: the certificate of public has expired"),
        "{checked:?}"
    );
}
