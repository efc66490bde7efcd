//! Each cause, from a real socket.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, SupportedProtocolVersion};

/// A server's certificate and its key.
pub(super) struct Made(
    pub(super) CertificateDer<'static>,
    pub(super) PrivateKeyDer<'static>,
);

pub(super) fn made(change: impl FnOnce(&mut CertificateParams)) -> Made {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    change(&mut params);
    let cert = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Made(cert.der().clone(), key)
}

/// A TLS server of these versions; gives its port.
pub(super) async fn tls_server(
    made: &Made,
    versions: &[&'static SupportedProtocolVersion],
    wants_client: bool,
) -> u16 {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match wants_client {
        false => builder.with_no_client_auth(),
        true => {
            let mut roots = RootCertStore::empty();
            roots.add(made.0.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = builder
        .with_single_cert(vec![made.0.clone()], made.1.clone_key())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(tcp).await {
                converse(stream, vec![Serve::Answer(OK); 2], Arc::default()).await;
            }
        }
    });
    port
}

async fn cause_of(url: String, ca: &[&Made]) -> Result<u16, Cause> {
    let ca = ca.iter().map(|made| made.0.clone()).collect();
    send(&mut trusting(&upstream(url), ca).unwrap().connection()).await
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_is_named() {
    let check = async |what: &str, made: Made, want: Result<u16, Certificate>| {
        let port = tls_server(&made, rustls::ALL_VERSIONS, false).await;
        let got = cause_of(format!("https://localhost:{port}"), &[&made]).await;
        assert_eq!(got, want.map_err(Cause::Certificate), "{what}");
    };
    check("good", made(|_| {}), Ok(202)).await;
    let expired = made(|params| params.not_after = date_time_ymd(2020, 1, 1));
    check("expired", expired, Err(Certificate::Expired)).await;
    let early = made(|params| params.not_before = date_time_ymd(2090, 1, 1));
    check("early", early, Err(Certificate::NotYetValid)).await;
    let ca = made(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    check("a CA's own", ca, Err(Certificate::IsCa)).await;
    let client = made(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    check("a client's", client, Err(Certificate::WrongPurpose)).await;
    let other = made(|params| {
        *params = CertificateParams::new(["a.example".to_owned(), "b.example".to_owned()]).unwrap();
    });
    let names = vec!["a.example".to_owned(), "b.example".to_owned()];
    check("other names", other, Err(Certificate::WrongName(names))).await;
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_is_named_in_both_versions_of_tls() {
    for version in rustls::ALL_VERSIONS {
        let server = made(|_| {});
        let port = tls_server(&server, &[*version], true).await;
        let got = cause_of(format!("https://localhost:{port}"), &[&server]).await;
        assert_eq!(got, Err(Cause::ClientCertificate), "{version:?}");
    }
}

/// A server that reads until data has arrived, writes this and closes; returns its address.
async fn says(bytes: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
            // Until the other side closes: no reset overtakes the bytes.
            while stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
        }
    });
    address
}

#[tokio::test]
async fn a_port_that_speaks_something_else_is_named() {
    let check = async |scheme: &str, bytes: &'static [u8], want: Cause| {
        let address = says(bytes).await;
        let got = cause_of(format!("{scheme}://{address}"), &[]).await;
        assert_eq!(got, Err(want), "{scheme} {:?}", String::from_utf8_lossy(bytes));
    };
    let http = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    check("https", http, Cause::NoTls).await;
    check("https", b"220 mail.example.com ESMTP\r\n", Cause::NoTls).await;
    check("https", b"SSH-2.0-OpenSSH_9.9\r\n", Cause::NoTls).await;
    check("https", b"", Cause::TlsClosed).await;
    // Alerts: of a version that is too old for the server, and another.
    check("https", b"\x15\x03\x01\x00\x02\x02\x46", Cause::TlsVersion).await;
    check("http", b"\x15\x03\x01\x00\x02\x02\x0a", Cause::TlsPort).await;
    check("http", b"220 mail.example.com ESMTP\r\n", Cause::NotHttp).await;
    check("http", b"", Cause::BrokenAfter).await;

    let server = made(|_| {});
    let port = tls_server(&server, rustls::ALL_VERSIONS, false).await;
    let got = cause_of(format!("http://127.0.0.1:{port}"), &[]).await;
    assert_eq!(got, Err(Cause::TlsPort), "plain HTTP to a real TLS server");
}

/// Names and their addresses, as a test has them.
#[derive(Debug, Default)]
struct Table(std::sync::Mutex<Vec<std::net::SocketAddr>>);

impl Resolve for Table {
    fn resolve<'h>(&'h self, _: &'h str, _: u16) -> race::Resolving<'h> {
        let found = self.0.lock().unwrap().clone();
        Box::pin(async move { Ok(found) })
    }
}

#[tokio::test]
async fn a_name_of_a_dead_ipv6_and_a_good_ipv4_address_is_reached() {
    let (good, _) = server(vec![vec![Serve::Answer(OK)]; 1]).await;
    let dead = std::net::TcpListener::bind("[::1]:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let names = Arc::new(Table::default());
    let upstream = upstream("http://plausible.example".into());
    let http = Http::with(
        &upstream,
        &Loaded::default(),
        Arc::clone(&names) as Arc<dyn Resolve>,
    )
    .unwrap();
    let unknown = Cause::NameUnknown("plausible.example".into());
    assert_eq!(send(&mut http.connection()).await, Err(unknown));
    *names.0.lock().unwrap() = vec![dead];
    assert_eq!(send(&mut http.connection()).await, Err(Cause::Refused));
    *names.0.lock().unwrap() = vec![dead, good];
    assert_eq!(send(&mut http.connection()).await, Ok(202));
}

#[tokio::test]
async fn a_name_that_no_resolver_knows_is_named() {
    // RFC 6761: `invalid` never resolves. Without any DNS server the resolver itself fails.
    let got = cause_of("http://plausible.invalid".into(), &[]).await;
    let (unknown, server) = (Cause::NameUnknown as fn(_) -> _, Cause::NameServer as fn(_) -> _);
    let host = || "plausible.invalid".to_owned();
    assert!(
        [Err(unknown(host())), Err(server(host()))].contains(&got),
        "{got:?}"
    );
}

/// Plausible moves: its name resolves to another address, while the old one keeps answering.
#[tokio::test(start_paused = true)]
async fn a_plausible_that_moved_is_found_while_traffic_flows() {
    let (old, before) = server(vec![vec![Serve::Answer(OK); 100]]).await;
    let (new, after) = server(vec![vec![Serve::Answer(OK); 100]]).await;
    let names = Arc::new(Table::default());
    *names.0.lock().unwrap() = vec![old];
    let upstream = upstream("http://plausible.example".into());
    let http = Http::with(
        &upstream,
        &Loaded::default(),
        Arc::clone(&names) as Arc<dyn Resolve>,
    )
    .unwrap();
    let mut connection = http.connection();
    send(&mut connection).await.unwrap();
    *names.0.lock().unwrap() = vec![new];
    let moved = Instant::now();
    while after[1].load(Ordering::SeqCst) == 0 {
        assert!(
            moved.elapsed() < AGE_MAX + Duration::from_secs(2),
            "it is not found"
        );
        send(&mut connection).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(
        before[0].load(Ordering::SeqCst),
        1,
        "one connection to the old one"
    );
}
