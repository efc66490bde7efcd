//! Peers that send or read slowly: honest requests are accepted beside them, and nothing is held for ever.

use feedback_tests::{BROWSER, MiniPlausible, ORIGIN, PATIENCE, Post, Relay, SITE, Setup, eventually, load};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// `SETTINGS` after the preface, with nothing in it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The same with an initial window of 0: no byte of an answer may be sent.
const PREFACE_WITHOUT_WINDOW: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// A literal header without indexing.
fn header(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// `:method`, `:scheme: http`, `:authority: x` and `:path`, as indices of the static table.
fn head(method: u8, path: &str) -> Vec<u8> {
    let path = [&[4, u8::try_from(path.len()).unwrap()], path.as_bytes()].concat();
    [vec![method, 0x86, 1, 1, b'x'], path].concat()
}

/// The head of a batch of this client over HTTP/2.
fn batch_head(client: &str) -> Vec<u8> {
    [
        head(0x83, "/api/notes"),
        header("content-type", "text/plain"),
        header("x-forwarded-for", client),
    ]
    .concat()
}

/// Twenty streams whose bodies never come, each with these frames after its head.
fn streams(client: &str, behind: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let stream = |n: u32| [frame(HEADERS, END_HEADERS, n, &batch_head(client)), behind(n)].concat();
    let streams: Vec<_> = (0..20).flat_map(|n| stream(4 * n + 1)).collect();
    [PREFACE, &streams].concat()
}

fn http1(client: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /api/notes HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\nx-forwarded-for: {client}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

/// The name of an attack, the first bytes of its connection, and the bytes it then repeats.
type Attack = (&'static str, fn(&str) -> Vec<u8>, &'static [u8]);

const ATTACKS: [Attack; 13] = [
    (
        "bodies that never come",
        |c| http1(c, "content-length: 99\r\n", ""),
        b"",
    ),
    (
        "a byte now and then",
        |c| http1(c, "content-length: 9999\r\n", "{"),
        b" ",
    ),
    (
        "all but the last byte",
        |c| http1(c, "content-length: 60000\r\n", &" ".repeat(59_999)),
        b"",
    ),
    (
        "chunks without end",
        |c| http1(c, "transfer-encoding: chunked\r\n", "1\r\n \r\n"),
        b"1\r\n \r\n",
    ),
    (
        "packed bodies that trickle",
        |c| http1(c, "content-length: 9999\r\ncontent-encoding: gzip\r\n", "\u{1f}"),
        b"\0",
    ),
    (
        "bodies that wait to be asked for",
        |c| http1(c, "content-length: 99\r\nexpect: 100-continue\r\n", ""),
        b"",
    ),
    (
        "a head without end",
        |_| b"POST /api/notes HTTP/1.1\r\nx: ".to_vec(),
        b"x",
    ),
    ("streams without bodies", |c| streams(c, |_| Vec::new()), b""),
    (
        "streams with windows and no bodies",
        |c| streams(c, |n| frame(WINDOW_UPDATE, 0, n, &[0, 0, 0, 1])),
        b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01",
    ),
    (
        "streams that trickle",
        |c| streams(c, |n| frame(DATA, 0, n, b"{")),
        b"\0\0\x01\0\0\0\0\0\x01 ",
    ),
    (
        "streams with nearly all of their bodies",
        |c| streams(c, |n| frame(DATA, 0, n, &[b' '; 3000])),
        b"",
    ),
    (
        "streams opened and reset",
        |c| {
            streams(c, |n| {
                [
                    frame(HEADERS, END_HEADERS, n + 2, &batch_head(c)),
                    frame(RST_STREAM, 0, n + 2, &[0, 0, 0, 8]),
                ]
                .concat()
            })
        },
        b"",
    ),
    (
        "a head without end over HTTP/2",
        |c| [PREFACE, &frame(HEADERS, 0, 1, &batch_head(c))].concat(),
        b"",
    ),
];

/// Opens a connection, sends `first`, repeats `again`, and reads everything that comes back.
async fn open(address: String, first: Vec<u8>, again: &'static [u8]) {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return;
    };
    let _ = stream.write_all(&first).await;
    let (mut reading, mut writing) = stream.split();
    let trickle = async {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if again.is_empty() || writing.write_all(again).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut sink = tokio::io::sink();
    tokio::select! {
        () = trickle => {}
        _ = tokio::io::copy(&mut reading, &mut sink) => {}
    }
}

/// Honest requests are accepted, pages are served, and the relay reports ready.
async fn is_open_to_others(relay: &Relay, what: &str) {
    let config = format!("/api/config?site={SITE}");
    for n in 0..10 {
        let post = Post::batch(&[load(n)]).from(&format!("198.51.100.{n}"));
        let sent = tokio::time::timeout(PATIENCE, relay.send(&post)).await;
        let sent = sent.unwrap_or_else(|_| panic!("{what}: no answer"));
        assert_eq!(sent.status, 202, "{what}: {sent:?}");
    }
    for path in [&config, "/privacy", "/snippet.js", "/actuator/health/readiness"] {
        assert_eq!(relay.get(path).await.status, 200, "{what}: {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_requests_are_taken_beside_bodies_that_do_not_come() {
    let plausible = MiniPlausible::start().await;
    // Room for 36 empty bodies, and 9 per client.
    let relay = Setup::new(&plausible.url())
        .with("public", "requests_max = 8")
        .start_on()
        .await;
    for (what, first, again) in ATTACKS {
        // Behind one proxy: four clients with more bodies than the limit, and fifty with fewer each.
        let clients = (0..4).cycle().take(40).map(|n| format!("203.0.113.{n}"));
        let networks = (0..50).map(|n| format!("2001:db8:0:{n:x}::1"));
        let mut attack = JoinSet::new();
        for client in clients.chain(networks) {
            attack.spawn(open(relay.public[7..].to_owned(), first(&client), again));
        }
        let waiting = async || relay.metrics().await.count("bodies_waiting");
        if !what.contains("head") {
            eventually(what, async || (waiting().await >= 3).then_some(())).await;
        }
        is_open_to_others(&relay, what).await;
        assert!(waiting().await <= 36, "{what}");
        attack.abort_all();
        while attack.join_next().await.is_some() {}
    }
    let metrics = relay.metrics().await;
    assert!(metrics.ended("limited", "slow_body") > 0);
    eventually("no place is lost", async || {
        (relay.metrics().await.count("bodies_waiting") == 0).then_some(())
    })
    .await;
    assert_eq!(relay.turn(false).await, 0);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_comes_fast_enough_or_is_not_waited_for() {
    let relay = Setup::new("http://127.0.0.1:9")
        .with("public", "body_timeout_s = 30")
        .start_on()
        .await;
    let batch =
        serde_json::json!({ "site": SITE, "consent": { "plan": 3 }, "events": [load(1)] }).to_string();
    // A body padded to 2 KB, sent in `pieces` with pauses; then the expected answer and the seconds it may take.
    let check = async |what: &str, pieces: usize, pause_ms: u64, stop: usize, status: &str| {
        let body = format!("{batch:2000}");
        let mut stream = TcpStream::connect(&relay.public[7..]).await.unwrap();
        let headers = format!(
            "content-length: 2000\r\nconnection: close\r\norigin: {ORIGIN}\r\nuser-agent: {BROWSER}\r\n"
        );
        let head = http1("198.51.100.1", &headers, "");
        stream.write_all(&head).await.unwrap();
        for piece in body.as_bytes().chunks(2000 / pieces).take(stop) {
            stream.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        assert!(matches!(read, Ok(Ok(_))), "{what}: {read:?}");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{what}: {answer}"
        );
    };
    tokio::join!(
        check("a phone that stalls for three seconds", 2, 3000, 2, "202"),
        check("a phone at 700 bytes a second", 20, 140, 20, "202"),
        check("nothing", 1, 0, 0, "408"),
        check("all but the last piece", 20, 0, 19, "408"),
    );
    relay.stop().await;
}

/// Connects with a receive buffer of a few kilobytes.
async fn connect_narrowly(relay: &Relay) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    socket.connect(relay.public[7..].parse().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_do_not_read_make_room_for_others() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url())
        .with("public", "connections_max = 40")
        .start_on()
        .await;
    let get = |n: u32| {
        frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            2 * n + 1,
            &head(0x82, "/client_bg.wasm"),
        )
    };
    let all: Vec<_> = (0..100).flat_map(get).collect();
    let pipelined = "GET /client_bg.wasm HTTP/1.1\r\nhost: x\r\n\r\n"
        .repeat(400)
        .into_bytes();
    let mut open = Vec::new();
    for first in [
        [PREFACE_WITHOUT_WINDOW, &all].concat(),
        [PREFACE, &all].concat(),
        pipelined,
    ] {
        // More than the limit.
        for _ in 0..20 {
            let mut stream = connect_narrowly(&relay).await;
            stream.write_all(&first).await.unwrap();
            open.push(stream);
        }
    }
    is_open_to_others(&relay, "peers that do not read").await;
    let evicted = "connections_closed_total{listener=\"public\",reason=\"evicted\"}";
    assert!(relay.metrics().await.count(evicted) >= 20);
    relay.stop().await;
}
