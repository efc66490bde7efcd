//! HTTP/2 over cleartext with prior knowledge: honest requests, and connections that abuse the protocol.

use bytes::Bytes;
use feedback_tests::{BROWSER, MiniPlausible, ORIGIN, PATIENCE, Relay, SITE, Setup, load};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

type Http2 = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn connect(relay: &Relay) -> Http2 {
    let stream = TcpStream::connect(&relay.public[7..]).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

fn post(relay: &Relay, body: &str) -> Request<Full<Bytes>> {
    Request::post(format!("{}/api/events", relay.public))
        .header("content-type", "application/json")
        .header("user-agent", BROWSER)
        .header("origin", ORIGIN)
        .body(Full::from(body.to_owned()))
        .unwrap()
}

fn batch(n: usize) -> String {
    json!({ "site": SITE, "consent": { "plan": 3 }, "events": [load(n)] }).to_string()
}

async fn read(answer: Response<hyper::body::Incoming>) -> (u16, String) {
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_on_one_connection_are_each_answered() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url())
        .with("public", "body_bytes_max = 4096")
        .start_on()
        .await;
    let mut sender = connect(&relay).await;
    // More than the limit of concurrent streams: the client queues them, and all arrive.
    let mut sending = JoinSet::new();
    for n in 0..200 {
        let (mut sender, request) = (sender.clone(), post(&relay, &batch(n)));
        sending.spawn(async move { read(sender.send_request(request).await.unwrap()).await });
    }
    for (status, body) in sending.join_all().await {
        assert_eq!((status, body.as_str()), (202, r#"{"accepted":1,"dropped":[]}"#));
    }
    // A refused request does not affect the others.
    let check = async |sender: &mut Http2, request, status: u16, words: &str| {
        let (got, body) = read(sender.send_request(request).await.unwrap()).await;
        assert_eq!(got, status, "{body}");
        assert!(body.contains(words), "{body}");
    };
    check(&mut sender, post(&relay, "{"), 400, "problem:invalid").await;
    check(&mut sender, post(&relay, &" ".repeat(5000)), 413, "too_large").await;
    // Cookies of the page's host are sent along, and ignored.
    let cookie = |bytes: usize, n: usize| {
        let mut post = post(&relay, &batch(n));
        let crumb = format!("x={}", "y".repeat(2000 - 3));
        let crumbs = vec![crumb; bytes / 2000].join("; ");
        post.headers_mut().insert("cookie", crumbs.parse().unwrap());
        post
    };
    check(&mut sender, cookie(16 << 10, 201), 202, "\"accepted\":1").await;
    check(&mut sender, cookie(64 << 10, 202), 202, "\"accepted\":1").await;
    let too_large = "heads_too_large_total{listener=\"public\"}";
    assert_eq!(relay.metrics().await.count(too_large), 0);
    check(&mut sender, cookie(120 << 10, 1), 431, "head_too_large").await;
    assert_eq!(relay.metrics().await.count(too_large), 1);
    check(&mut sender, post(&relay, &batch(200)), 202, "\"accepted\":1").await;
    relay.drained().await;
    assert_eq!(plausible.count(), 203);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_finishes_the_streams_in_flight() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url());
    let relay = setup.start_on().await;
    let mut sender = connect(&relay).await;
    let request = post(&relay, &batch(1));
    let db = rusqlite::Connection::open(setup.data_dir().join("relay.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = tokio::spawn(async move { read(sender.send_request(request).await.unwrap()).await });
    feedback_tests::eventually("the request is in flight", async || {
        (relay.metrics().await.count("requests_in_progress") == 1).then_some(())
    })
    .await;
    let stopping = tokio::spawn(relay.stop_unseen());
    db.execute_batch("ROLLBACK").unwrap();
    assert_eq!(answer.await.unwrap().0, 202);
    stopping.await.unwrap();
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `:method: POST`, `:scheme: http`, `:path: /`, as indices of the static table.
const POST_HEAD: &[u8] = &[0x83, 0x86, 0x84];
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

/// After the preface, sends frames repeatedly until the relay closes the connection.
async fn closed_after(relay: &Relay, what: &str, mut frames: impl FnMut(u32) -> Vec<u8>) {
    let stream = TcpStream::connect(&relay.public[7..]).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let flood = async {
        if writing.write_all(PREFACE).await.is_err() {
            return;
        }
        for n in 0..1_000_000 {
            if writing.write_all(&frames(n)).await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    let end = async {
        // A GOAWAY may come first; only the end is asserted.
        let _ = tokio::io::copy(&mut reading, &mut tokio::io::sink()).await;
    };
    let closed = async {
        tokio::select! { () = flood => {} () = end => {} }
    };
    let closed = tokio::time::timeout(Duration::from_secs(30), closed).await;
    assert!(closed.is_ok(), "still open: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_their_own_connection_and_no_other() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let mut honest = connect(&relay).await;
    let stream = |n: u32| 2 * n + 1;
    let (end_headers, end_stream) = (4, 1);
    // Streams that are opened and reset at once.
    closed_after(&relay, "resets", |n| {
        let open = frame(HEADERS, end_headers | end_stream, stream(n), POST_HEAD);
        [open, frame(RST_STREAM, 0, stream(n), &8_u32.to_be_bytes())].concat()
    })
    .await;
    // More streams than the limit, whose bodies never come.
    closed_after(&relay, "streams", |n| {
        frame(HEADERS, end_headers, stream(n), POST_HEAD)
    })
    .await;
    // A head that never ends.
    closed_after(&relay, "a head without end", |n| match n {
        0 => frame(HEADERS, 0, 1, POST_HEAD),
        // A literal header without indexing: name `a`, value of 1000 bytes.
        _ => frame(
            CONTINUATION,
            0,
            1,
            &[&[0, 1, b'a', 0x7f, 0xe9, 6][..], &[b'x'; 1000]].concat(),
        ),
    })
    .await;
    closed_after(&relay, "a frame that is too long", |_| {
        frame(0, 0, 1, &[0; 20_000])
    })
    .await;
    closed_after(&relay, "a frame of no stream", |_| {
        frame(HEADERS, 5, 0, POST_HEAD)
    })
    .await;
    closed_after(&relay, "a setting that may not be", |_| {
        frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])
    })
    .await;
    // The honest connection is still answered.
    let answer = honest.send_request(post(&relay, &batch(1))).await.unwrap();
    assert_eq!(answer.status(), 202);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_frames_and_reads_no_answer_is_held_back() {
    let relay = Setup::new("http://127.0.0.1:9").start_on().await;
    let mut stream = TcpStream::connect(&relay.public[7..]).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    let ping = frame(PING, 0, 0, &[7; 8]).repeat(1000);
    // Each ping requires an answer. Once no more answers fit into the socket, the relay stops reading: it does not
    // accept all 200 megabytes of pings.
    let flood = async {
        for _ in 0..12_000 {
            if stream.write_all(&ping).await.is_err() {
                return;
            }
        }
        panic!("all of it was taken");
    };
    let _ = tokio::time::timeout(Duration::from_secs(3), flood).await;
    let mut honest = connect(&relay).await;
    let request = post(&relay, "{");
    let answer = tokio::time::timeout(PATIENCE, honest.send_request(request)).await;
    assert_eq!(answer.unwrap().unwrap().status(), 400);
    drop(stream);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_of_http2_is_closed() {
    let relay = Setup::new("http://127.0.0.1:9").start_on().await;
    let mut open = JoinSet::new();
    let head = frame(HEADERS, 0, 1, POST_HEAD);
    for (what, start) in [
        ("half a preface", PREFACE[..10].to_vec()),
        ("a preface", PREFACE.to_vec()),
        ("half a head", [PREFACE, &head].concat()),
    ] {
        let address = relay.public[7..].to_owned();
        open.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&start).await.unwrap();
            let mut rest = Vec::new();
            let end = stream.read_to_end(&mut rest);
            let closed = tokio::time::timeout(Duration::from_secs(30), end).await;
            assert!(closed.is_ok(), "still open: {what}");
        });
    }
    open.join_all().await;
    relay.stop().await;
}
