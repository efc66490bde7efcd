//! Proxies, headers from a file, client certificates, and files that change.

use super::causes::{Made, made, tls_server};
use super::*;
use crate::config::{Config, Proxy, ProxySource};
use crate::forward::Metrics;
use crate::metrics::Registry;
use axum::http::HeaderValue;
use rustls::sign::CertifiedKey as Certified;
use std::path::Path;
use std::sync::Mutex;

/// A proxy that records the head of each request, and sends this answer, or forwards CONNECT.
async fn proxy(answer: Option<&'static str>, heads: Arc<Mutex<Vec<String>>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(pass_on(tcp, answer, Arc::clone(&heads)));
        }
    });
    port
}

async fn pass_on<S: Stream>(mut stream: S, answer: Option<&'static str>, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"body") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    heads.lock().unwrap().push(head.clone());
    if let Some(answer) = answer {
        stream.write_all(answer.as_bytes()).await.unwrap();
        // Until the other side has read it.
        let _ = stream.read_buf(&mut Vec::new()).await;
        return;
    }
    // The proxy resolves the name: here every name is this machine.
    let port = head.split([' ', ':']).nth(2).unwrap().to_owned();
    let mut upstream = tokio::net::TcpStream::connect(format!("127.0.0.1:{port}"))
        .await
        .unwrap();
    stream
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await
        .unwrap();
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
}

fn through(mut upstream: Upstream, port: u16, credentials: Option<&'static str>) -> Upstream {
    let authorization = credentials.map(HeaderValue::from_static);
    let proxy = Proxy {
        is_tls: false,
        host: "127.0.0.1".into(),
        port,
        authorization,
    };
    upstream.way = Way::Proxy(proxy, ProxySource::Setting);
    upstream
}

#[tokio::test]
async fn tls_goes_through_a_tunnel_to_a_name_that_only_the_proxy_knows() {
    let heads = Arc::default();
    let server = made(|params| {
        *params = rcgen::CertificateParams::new(["plausible.internal".to_owned()]).unwrap();
    });
    let port = tls_server(&server, rustls::ALL_VERSIONS, false).await;
    let proxy = proxy(None, Arc::clone(&heads)).await;
    let upstream = upstream(format!("https://plausible.internal:{port}"));
    let upstream = through(upstream, proxy, Some("Basic c2VjcmV0"));
    let loaded = Loaded {
        ca: vec![server.0.clone()],
        headers: vec![(
            HeaderName::from_static("x-token"),
            HeaderValue::from_static("token"),
        )],
        ..Loaded::default()
    };
    let http = Http::with(&upstream, &loaded, Arc::new(System)).unwrap();
    let mut connection = http.connection();
    assert_eq!(send(&mut connection).await, Ok(202));
    assert_eq!(send(&mut connection).await, Ok(202), "the tunnel is kept");
    let heads = heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 1, "{heads:?}");
    let line = format!("CONNECT plausible.internal:{port} HTTP/1.1\r\n");
    assert!(heads[0].starts_with(&line), "{heads:?}");
    assert!(
        heads[0].contains("proxy-authorization: Basic c2VjcmV0\r\n"),
        "{heads:?}"
    );
    assert!(!heads[0].contains("x-token"), "the upstream's alone: {heads:?}");
    assert_eq!(http.peer().map(|peer| peer.port()), Some(proxy));
    assert!(!format!("{http:?} {upstream:?}").contains("c2VjcmV0"));
}

#[tokio::test]
async fn plain_http_names_the_whole_address_to_the_proxy() {
    let heads = Arc::default();
    let proxy = proxy(Some(OK), Arc::clone(&heads)).await;
    let upstream = upstream("http://plausible.internal:8000/stats".to_owned());
    let http = Http::new(&through(upstream, proxy, Some("Basic c2VjcmV0"))).unwrap();
    assert_eq!(send(&mut http.connection()).await, Ok(202));
    let heads = heads.lock().unwrap().clone();
    let line = "POST http://plausible.internal:8000/api/event HTTP/1.1\r\n";
    assert!(heads[0].starts_with(line), "{heads:?}");
    assert!(
        heads[0].contains("host: plausible.internal:8000\r\n"),
        "{heads:?}"
    );
    assert!(
        heads[0].contains("proxy-authorization: Basic c2VjcmV0\r\n"),
        "{heads:?}"
    );
}

#[tokio::test]
async fn a_proxy_that_does_not_let_the_relay_through_is_named() {
    let check = async |url: &str, answer: &'static str, name: &str, says: &str| {
        let port = proxy(Some(answer), Arc::default()).await;
        let upstream = through(upstream(url.to_owned()), port, None);
        let cause = send(&mut Http::new(&upstream).unwrap().connection())
            .await
            .unwrap_err();
        assert_eq!(cause.name(), name, "{answer}: {cause}");
        assert!(cause.to_string().contains(says), "{cause}");
        assert!(
            cause.to_string().contains(&format!("http://127.0.0.1:{port}")),
            "{cause}"
        );
        assert!(!cause.may_have_arrived(), "{cause}");
    };
    const TLS: &str = "https://plausible.internal";
    const LOGIN: &str = "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n";
    check(TLS, LOGIN, "proxy_login", "requires authentication").await;
    const NO: &str = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
    check(TLS, NO, "proxy_refused", "refuses to connect").await;
    const AWAY: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
    check(TLS, AWAY, "proxy_refused", "cannot reach Plausible").await;
    check(TLS, "SSH-2.0-OpenSSH\r\n", "proxy", "does not speak HTTP").await;

    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for url in [TLS, "http://plausible.internal"] {
        let upstream = through(upstream(url.to_owned()), gone.port(), None);
        let cause = send(&mut Http::new(&upstream).unwrap().connection())
            .await
            .unwrap_err();
        let refused = Box::new(Cause::Refused);
        let proxy = format!("http://{gone}");
        assert_eq!(cause, Cause::Proxy(proxy, refused));
    }
    // Plain HTTP: the proxy's answers are those of the way.
    let port = proxy(Some(LOGIN), Arc::default()).await;
    let upstream = through(upstream("http://plausible.internal".to_owned()), port, None);
    let answer = Http::new(&upstream)
        .unwrap()
        .connection()
        .send(request())
        .await
        .unwrap();
    assert_eq!(Cause::of_answer(&upstream.url, &answer), Some(Cause::ProxyLogin));
}

#[tokio::test]
async fn the_way_to_the_proxy_itself_may_be_encrypted() {
    let server = made(|_| {});
    let port = tls_server(&server, rustls::ALL_VERSIONS, false).await;
    let mut upstream = upstream("http://plausible.internal".to_owned());
    let proxy = Proxy {
        is_tls: true,
        host: "localhost".into(),
        port,
        authorization: None,
    };
    upstream.way = Way::Proxy(proxy, ProxySource::Setting);
    let trusting = trusting(&upstream, vec![server.0.clone()]).unwrap();
    assert_eq!(send(&mut trusting.connection()).await, Ok(202));
    let cause = send(&mut Http::new(&upstream).unwrap().connection())
        .await
        .unwrap_err();
    assert!(
        cause.to_string().contains("not signed by a trusted CA"),
        "{cause}"
    );
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let server = made(|_| {});
    for version in rustls::ALL_VERSIONS {
        let port = tls_server(&server, &[*version], true).await;
        let upstream = upstream(format!("https://localhost:{port}"));
        let Made(cert, key) = &server;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let client = Certified::from_der(vec![cert.clone()], key.clone_key(), &provider).unwrap();
        let loaded = Loaded {
            ca: vec![cert.clone()],
            client: Some(Arc::new(client)),
            ..Loaded::default()
        };
        let http = Http::with(&upstream, &loaded, Arc::new(System)).unwrap();
        assert_eq!(send(&mut http.connection()).await, Ok(202), "{version:?}");
    }
}

/// An upstream over TLS with a CA file and a headers file in a folder.
fn configured(port: u16, folder: &Path) -> Config {
    let text = format!(
        "[upstream]\nurl = \"https://localhost:{port}\"\nca_file = \"ca.pem\"\nheaders_file = \"headers\"\n[[site]]\ndomain = \"a.example\"\n"
    );
    Config::parse("relay.toml", &text, folder, &|_| None).unwrap()
}

fn pem(made: &Made) -> String {
    use base64::Engine;
    let text = base64::prelude::BASE64_STANDARD.encode(&made.0);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[tokio::test]
async fn changed_files_are_in_use_at_the_next_request_and_broken_ones_change_nothing() {
    let (old, new) = (made(|_| {}), made(|_| {}));
    let port = tls_server(&new, rustls::ALL_VERSIONS, false).await;
    let folder = tempfile::tempdir().unwrap();
    let (ca, headers) = (folder.path().join("ca.pem"), folder.path().join("headers"));
    std::fs::write(&ca, pem(&old)).unwrap();
    std::fs::write(&headers, "X-Token: one").unwrap();
    let config = configured(port, folder.path());
    let metrics = Metrics::register(&mut Registry::default());
    let in_use = InUse::open(&config.upstream, &metrics).unwrap();
    let mut connection = in_use.http().connection();
    assert!(send(&mut connection).await.is_err(), "signed by another CA");
    assert!(!in_use.take().unwrap(), "nothing changed");
    let before = in_use.digests();

    std::fs::write(&ca, pem(&new)).unwrap();
    assert!(in_use.take().unwrap(), "it changed");
    assert_eq!(send(&mut connection).await, Ok(202), "the same lane");
    assert_ne!(in_use.digests(), before);
    assert_eq!(in_use.last_error(), None);

    let check = async |file: &Path, content: &str, setting: &str, connection: &mut HttpConnection| {
        let good = std::fs::read(file).unwrap();
        std::fs::write(file, content).unwrap();
        let error = in_use.take().unwrap_err().to_string();
        assert!(error.contains(setting) && !error.contains("s3cret"), "{error}");
        assert_eq!(in_use.last_error(), Some(error));
        assert_eq!(send(connection).await, Ok(202), "the previous content stays");
        std::fs::write(file, good).unwrap();
        assert!(!in_use.take().unwrap(), "the same as before");
        assert_eq!(in_use.last_error(), None, "it is over");
    };
    check(&ca, "", "`upstream.ca_file`", &mut connection).await;
    check(
        &ca,
        "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n",
        "certificate",
        &mut connection,
    )
    .await;
    check(
        &headers,
        "Host: s3cret",
        "`upstream.headers_file`",
        &mut connection,
    )
    .await;
    check(&headers, "s3cret", "`upstream.headers_file`", &mut connection).await;
    std::fs::remove_file(&headers).unwrap();
    assert!(in_use.take().is_err(), "a missing file");
    let count = |result| metrics.upstream_reloads.with([result]).get();
    assert_eq!((count("ok"), count("failed")), (1, 5));
}

#[tokio::test]
async fn each_request_carries_the_headers_of_the_file_that_is_in_use() {
    let heads = Arc::default();
    let port = proxy(Some(OK), Arc::clone(&heads)).await;
    let upstream = upstream(format!("http://127.0.0.1:{port}"));
    let header = |value| {
        vec![(
            HeaderName::from_static("authorization"),
            HeaderValue::from_static(value),
        )]
    };
    let loaded = Loaded {
        headers: header("Basic one"),
        ..Loaded::default()
    };
    let http = Http::with(&upstream, &loaded, Arc::new(System)).unwrap();
    assert_eq!(send(&mut http.connection()).await, Ok(202));
    let mut own = request();
    own.headers_mut()
        .insert("authorization", HeaderValue::from_static("Bearer own"));
    http.connection().send(own).await.unwrap();
    let heads = heads.lock().unwrap().clone();
    assert!(heads[0].contains("authorization: Basic one\r\n"), "{heads:?}");
    assert!(
        heads[1].contains("authorization: Bearer own\r\n"),
        "a request's own stays: {heads:?}"
    );
    assert!(!heads[1].contains("Basic one"), "{heads:?}");
}
