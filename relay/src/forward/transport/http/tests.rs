use super::exchange::Stream;
use super::*;
use crate::config::{Delivery, Direct, Profile, UpstreamFiles, Way};
use crate::forward::transport::ANSWER_BYTES_MAX;
use crate::forward::transport::cause::Certificate;
use axum::http::{HeaderName, Method};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server's behaviour on one connection: one entry per request, then it closes.
#[derive(Clone, Debug)]
enum Serve {
    /// Writes this when a request came.
    Answer(&'static str),
    /// Writes this when a request came, and closes a moment later, without being asked.
    AnswerThenClose(&'static str),
    /// Closes when a request came.
    Close,
    /// Says nothing more.
    Hang,
}

mod causes;
mod proxies;
mod together;

const OK: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok";

/// A server with a script per connection; gives its address and counts its connections and requests.
async fn server(script: Vec<Vec<Serve>>) -> (std::net::SocketAddr, Arc<[AtomicUsize; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let counts: Arc<[AtomicUsize; 2]> = Arc::default();
    let counting = Arc::clone(&counts);
    tokio::spawn(async move {
        for connection in script {
            let (stream, _) = listener.accept().await.unwrap();
            counting[0].fetch_add(1, Ordering::SeqCst);
            tokio::spawn(converse(stream, connection, Arc::clone(&counting)));
        }
        // No further answers, but the port stays taken.
        std::future::pending::<()>().await;
    });
    (address, counts)
}

async fn converse<S: Stream>(mut stream: S, script: Vec<Serve>, counts: Arc<[AtomicUsize; 2]>) {
    let mut buffer = Vec::new();
    for serve in script {
        while !buffer.ends_with(b"body") {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        counts[1].fetch_add(1, Ordering::SeqCst);
        buffer.clear();
        match serve {
            Serve::Answer(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Serve::AnswerThenClose(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                return;
            }
            Serve::Close => return,
            Serve::Hang => std::future::pending().await,
        }
    }
}

fn upstream(url: String) -> Upstream {
    Upstream {
        url,
        profile: Profile::PlausibleCe,
        address_header: HeaderName::from_static("x-plausible-ip"),
        concurrency: 1,
        timeout: Duration::from_millis(300),
        files: UpstreamFiles::default(),
        way: Way::Direct(Direct::NoneNamed),
        health_path: None,
        delivery: Delivery::AtLeastOnce,
        late_after: Duration::from_secs(300),
        stats: None,
        test_site: None,
    }
}

fn trusting(upstream: &Upstream, ca: Vec<CertificateDer<'static>>) -> Result<Http, TransportError> {
    let loaded = Loaded {
        ca,
        ..Loaded::default()
    };
    Http::with(upstream, &loaded, Arc::new(System))
}

fn request() -> Request<Bytes> {
    let mut request = Request::new(Bytes::from_static(b"body"));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "/api/event".parse().unwrap();
    request
}

/// The end of a request: a status, or a failure.
async fn send(connection: &mut HttpConnection) -> Result<u16, Cause> {
    let answer = connection.send(request()).await?;
    assert!(answer.body().len() <= ANSWER_BYTES_MAX);
    Ok(answer.status().as_u16())
}

#[tokio::test]
async fn each_request_ends_with_an_answer_or_says_whether_it_may_have_arrived() {
    use Serve::{Answer, AnswerThenClose, Close, Hang};
    let check = async |script: Vec<Vec<Serve>>, want: &[Result<u16, Cause>], connections, requests| {
        let what = format!("{script:?}");
        let (address, counts) = server(script).await;
        let http = Http::new(&upstream(format!("http://{address}"))).unwrap();
        let mut connection = http.connection();
        for want in want {
            assert_eq!(send(&mut connection).await, *want, "{what}");
            // The server's closing travels over loopback.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let seen = [&counts[0], &counts[1]].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(seen, [connections, requests], "{what}");
    };
    // One connection takes many requests.
    check(vec![vec![Answer(OK); 3]], &[const { Ok(202) }; 3], 1, 3).await;
    // A connection that the server closed between requests is replaced, and that is no failure.
    check(vec![vec![AnswerThenClose(OK)]; 3], &[const { Ok(202) }; 3], 3, 3).await;
    const GOODBYE: &str = "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    check(
        vec![vec![AnswerThenClose(GOODBYE)]; 2],
        &[const { Ok(202) }; 2],
        2,
        2,
    )
    .await;
    // A redirect is an answer.
    const MOVED: &str = "HTTP/1.1 301 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
    check(vec![vec![Answer(MOVED)]], &[Ok(301)], 1, 1).await;
    // Sent, and no answer: on a fresh connection and on a used one, never sent twice by itself.
    check(vec![vec![Close]], &[Err(Cause::BrokenAfter)], 1, 1).await;
    check(
        vec![vec![Answer(OK), Close], vec![Answer(OK)]],
        &[Ok(202), Err(Cause::BrokenAfter), Ok(202)],
        2,
        3,
    )
    .await;
    check(
        vec![vec![Hang], vec![Answer(OK)]],
        &[Err(Cause::AnswerTimedOut), Ok(202)],
        2,
        2,
    )
    .await;
    check(
        vec![vec![Answer("\u{1} no HTTP\r\n\r\n")]],
        &[Err(Cause::NotHttp)],
        1,
        1,
    )
    .await;
    // A head without its body is an answer, and costs the connection.
    const HALF: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\nok";
    check(
        vec![vec![AnswerThenClose(HALF)], vec![Answer(OK)]],
        &[Ok(202), Ok(202)],
        2,
        2,
    )
    .await;
    check(
        vec![vec![Answer(HALF), Hang], vec![Answer(OK)]],
        &[Ok(202), Ok(202)],
        2,
        2,
    )
    .await;
}

#[tokio::test]
async fn a_long_answer_is_cut_and_costs_the_connection() {
    let long: &'static str = Box::leak(
        format!(
            "HTTP/1.1 202 Accepted\r\ncontent-length: 100000\r\n\r\n{}",
            "x".repeat(100_000)
        )
        .into_boxed_str(),
    );
    let (address, counts) = server(vec![vec![Serve::Answer(long)], vec![Serve::Answer(OK)]]).await;
    let http = Http::new(&upstream(format!("http://{address}"))).unwrap();
    let mut connection = http.connection();
    assert_eq!(send(&mut connection).await, Ok(202));
    assert_eq!(send(&mut connection).await, Ok(202));
    assert_eq!(counts[0].load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_port_without_a_listener_refuses_and_nothing_was_sent() {
    // Bound once to learn a free port, and closed again.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let http = Http::new(&upstream(format!("http://{address}"))).unwrap();
    assert_eq!(send(&mut http.connection()).await, Err(Cause::Refused));
    assert!(!Cause::Refused.may_have_arrived());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_a_while() {
    let (address, counts) = server(vec![vec![Serve::Answer(OK); 3]; 2]).await;
    let http = Http::new(&upstream(format!("http://{address}"))).unwrap();
    let mut connection = http.connection();
    let made = || counts[0].load(Ordering::SeqCst);
    send(&mut connection).await.unwrap();
    tokio::time::advance(IDLE_MAX - Duration::from_secs(1)).await;
    send(&mut connection).await.unwrap();
    assert_eq!(made(), 1);
    tokio::time::advance(IDLE_MAX).await;
    connection.tidy();
    assert!(connection.open.is_none());
    send(&mut connection).await.unwrap();
    assert_eq!(made(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_always_busy_is_replaced_all_the_same() {
    let (address, counts) = server(vec![vec![Serve::Answer(OK); 40]; 3]).await;
    let http = Http::new(&upstream(format!("http://{address}"))).unwrap();
    let mut connection = http.connection();
    let step = IDLE_MAX - Duration::from_secs(5);
    let started = Instant::now();
    let mut made_at = Vec::new();
    while made_at.len() < 3 {
        send(&mut connection).await.unwrap();
        if counts[0].load(Ordering::SeqCst) > made_at.len() {
            made_at.push(started.elapsed());
        }
        tokio::time::advance(step).await;
    }
    for pair in made_at.windows(2) {
        let age = pair[1] - pair[0];
        assert!(
            (AGE_MAX - AGE_MAX / 5..AGE_MAX + step * 2).contains(&age),
            "{age:?}"
        );
    }
}

#[test]
fn the_age_of_a_connection_is_drawn_from_the_last_fifth() {
    let check = |random, want| assert_eq!(age_max(random), Duration::from_secs(want), "{random}");
    check(0, 300);
    check(u32::MAX / 2 + 1, 270);
    check(u32::MAX, 240);
}

#[tokio::test]
async fn a_server_is_believed_only_when_its_certificate_is_signed_by_the_ca_and_names_it() {
    let certified = |name: &str| generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let check = async |server: &CertifiedKey<rcgen::KeyPair>, ca: &[&CertifiedKey<rcgen::KeyPair>], want| {
        let key = PrivateKeyDer::try_from(server.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![server.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(tcp).await {
                converse(stream, vec![Serve::Answer(OK); 2], Arc::default()).await;
            }
        });
        let ca = ca.iter().map(|ca| ca.cert.der().clone()).collect();
        let http = trusting(&upstream(format!("https://localhost:{port}")), ca).unwrap();
        let mut connection = http.connection();
        assert_eq!(send(&mut connection).await, want);
        assert_eq!(connection.certificate_until().is_some(), want.is_ok());
    };
    let (ours, other, misnamed) = (
        certified("localhost"),
        certified("localhost"),
        certified("elsewhere"),
    );
    let unknown = || Cause::Certificate(Certificate::UnknownIssuer);
    check(&ours, &[&ours], Ok(202)).await;
    check(&ours, &[&other, &ours], Ok(202)).await;
    check(&ours, &[&other], Err(unknown())).await;
    let elsewhere = Certificate::WrongName(vec!["elsewhere".into()]);
    check(&misnamed, &[&misnamed], Err(Cause::Certificate(elsewhere))).await;
    // Without a CA of one's own the system decides, and it does not know this one.
    check(&ours, &[], Err(unknown())).await;
}
