//! Connections over real sockets: those that do not read are closed, and resting ones lose nothing.

use super::*;
use crate::metrics::Registry;
use axum::Router;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// A SETTINGS frame with an initial window of 0.
const NO_WINDOW: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
/// `GET /` of the host `x` on stream 1.
const GET: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x01\x01x";
/// A `WINDOW_UPDATE` frame with one more byte for stream 1.
const ONE_BYTE: &[u8] = b"\0\0\x04\x08\0\0\0\0\x01\0\0\0\x01";
const PATIENCE: Duration = Duration::from_secs(30);

async fn serve(limits: ConnectionLimits) -> (SocketAddr, ConnectionMetrics, CancellationToken) {
    // Larger than the kernel's buffer.
    let large = axum::body::Bytes::from(vec![b'x'; 8 << 20]);
    let router = Router::new()
        .route("/", get(|| async { large }))
        .route("/small", get(|| async { "small" }))
        .route("/echo", post(|body: String| async { body }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let front = Front {
        listener,
        service: Service::new(router),
        limits,
        tls: None,
        metrics: Metrics::register(&mut Registry::default()).of("public"),
    };
    let (metrics, stop) = (front.metrics.clone(), CancellationToken::new());
    tokio::spawn(front.run(stop.clone()));
    (address, metrics, stop)
}

fn limits(awake_max: usize, read_within: Duration) -> ConnectionLimits {
    ConnectionLimits {
        open_max: 100,
        per_client_max: 0,
        exempt: Vec::new(),
        awake_max,
        read_within,
    }
}

#[test]
fn memory_is_returned_once_a_burst_is_over() {
    // The connections that have released their memory by each look, and the looks at which it is returned.
    let check = |what: &str, released: &[usize], want: &[usize]| {
        let mut garbage = Garbage::default();
        let due: Vec<_> = (0..released.len())
            .filter(|nth| garbage.is_due(released[*nth]))
            .collect();
        assert_eq!(due, want, "{what}");
    };
    check("few", &[0, 1, 2, 60, 61, BURST - 1, BURST - 1], &[]);
    check("a burst", &[0, 9000, 9000, 9000, 9001], &[2]);
    check("it lasts", &[0, 500, 1000, 1500, 2000, 2001], &[5]);
    check(
        "steadily few",
        &[200, 400, 450, 500, 550, 600, 650, 1000, 1050, 1100],
        &[4, 9],
    );
    let waiting = |released: usize| {
        let mut garbage = Garbage::default();
        let _ = garbage.is_due(released);
        garbage.is_waiting()
    };
    assert_eq!([0, BURST - 1, BURST].map(waiting), [false, false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_read_is_closed_and_one_that_reads_is_not() {
    let http1: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let http2 = |settings| [PREFACE, settings, GET].concat();
    let mut peers = JoinSet::new();
    for (what, first, again, is_closed) in [
        ("no window", http2(NO_WINDOW), &b""[..], true),
        ("a window of one byte", http2(NO_WINDOW), ONE_BYTE, true),
        ("no reading over HTTP/2", http2(EMPTY_SETTINGS), b"", true),
        ("no reading over HTTP/1.1", http1.to_vec(), b"", true),
        (
            "a small answer",
            b"GET /small HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            b"",
            false,
        ),
    ] {
        peers.spawn(async move {
            let (address, metrics, stop) = serve(limits(100, Duration::from_secs(1))).await;
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            let mut stream = socket.connect(address).await.unwrap();
            stream.write_all(&first).await.unwrap();
            let closed = async {
                while metrics.closed(Closed::Unread).get() == 0 || metrics.open.get() > 0 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    let _ = stream.write_all(again).await;
                }
            };
            let patience = if is_closed {
                PATIENCE
            } else {
                Duration::from_secs(4)
            };
            let closed = tokio::time::timeout(patience, closed).await.is_ok();
            assert_eq!(closed, is_closed, "{what}");
            stop.cancel();
        });
    }
    peers.join_all().await;
}

/// Sends `request` and reads `answers` responses with this body.
async fn ask(stream: &mut TcpStream, request: &[u8], answers: usize, body: &str) {
    stream.write_all(request).await.unwrap();
    let (end, mut read) = (format!("\r\n\r\n{body}"), Vec::new());
    while String::from_utf8_lossy(&read).matches(&end).count() < answers {
        let more = tokio::time::timeout(PATIENCE, stream.read_buf(&mut read)).await;
        assert_ne!(more.unwrap().unwrap(), 0, "{}", String::from_utf8_lossy(&read));
    }
    assert!(
        read.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&read)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_rests_goes_on_where_it_was() {
    // One may be awake, so each of these makes the others rest.
    let (address, _, stop) = serve(limits(1, Duration::from_secs(30))).await;
    let request: &[u8] = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello";
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(TcpStream::connect(address).await.unwrap());
    }
    for _ in 0..3 {
        for stream in &mut open {
            ask(stream, request, 1, "hello").await;
        }
    }
    // A head may arrive in pieces, and the connection may be asked to rest between them.
    for end in [10, 30, request.len() - 7, request.len() - 2] {
        for stream in &mut open {
            stream.write_all(&request[..end]).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        for stream in &mut open {
            ask(stream, &request[end..], 1, "hello").await;
        }
    }
    // Several requests at once.
    for stream in &mut open {
        ask(stream, &request.repeat(40), 40, "hello").await;
    }
    // HTTP/2 cannot rest: it is asked to shut down.
    let mut http2 = TcpStream::connect(address).await.unwrap();
    http2
        .write_all(&[PREFACE, EMPTY_SETTINGS].concat())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    ask(&mut open[0], request, 1, "hello").await;
    ask(&mut open[1], request, 1, "hello").await;
    let mut frames = Vec::new();
    let goodbye = async {
        // A frame of type 7 (GOAWAY) of 8 bytes on stream 0.
        while !frames.windows(9).any(|frame| frame == b"\0\0\x08\x07\0\0\0\0\0") {
            assert_ne!(http2.read_buf(&mut frames).await.unwrap(), 0);
        }
    };
    tokio::time::timeout(PATIENCE, goodbye).await.unwrap();
    // Resting ones end with the relay, and at the request of the client.
    let last = b"GET /small HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    ask(&mut open[2], last, 1, "small").await;
    assert_eq!(open[2].read(&mut [0; 9]).await.unwrap(), 0);
    stop.cancel();
    for stream in &mut open {
        let end = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 9]))
            .await
            .unwrap();
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
}
