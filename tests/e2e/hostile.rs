//! Hand-written HTTP/1: oversized heads, contradictory framing, pipelined requests, slow senders, and senders that hang
//! up.

use feedback_tests::{MiniPlausible, ORIGIN, Relay, SITE, Setup, load, raw};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

fn request(framing: &str, body: &str) -> String {
    format!(
        "POST /api/events HTTP/1.1\r\nhost: relay\r\norigin: {ORIGIN}\r\ncontent-type: application/json\r\n\
         {framing}\r\n\r\n{body}"
    )
}

fn batch(n: usize) -> String {
    json!({ "site": SITE, "consent": { "plan": 3 }, "events": [load(n)] }).to_string()
}

/// The statuses of all answers, in order.
fn statuses(answer: &str) -> Vec<u16> {
    answer
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|rest| rest[..3].parse().unwrap())
        .collect()
}

async fn is_well(relay: &Relay) {
    relay.accept(&[load(0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_and_framing_that_are_not_right_are_refused() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url())
        .with("public", "body_timeout_s = 2")
        .start_on()
        .await;
    let check = async |what: &str, sent: &str, want: &[u16]| {
        let answer = raw(&relay.public, sent.as_bytes(), false).await;
        assert_eq!(statuses(&answer), want, "{what}: {answer}");
    };
    let close = "connection: close\r\n";
    let many = |n: usize| {
        format!(
            "GET /version HTTP/1.1\r\nhost: x\r\n{}{close}\r\n",
            "a: b\r\n".repeat(n - 2)
        )
    };
    check("as many headers as may be", &many(128), &[200]).await;
    check("a header more", &many(129), &[431]).await;
    let long = |n: usize| {
        format!(
            "GET /version HTTP/1.1\r\nhost: x\r\na: {}\r\n{close}\r\n",
            "x".repeat(n)
        )
    };
    check("a long header", &long(64 << 10), &[200]).await;
    check("a header too long", &long(90_000), &[431]).await;
    let path = |n: usize| format!("GET /{} HTTP/1.1\r\nhost: x\r\n{close}\r\n", "x".repeat(n));
    check("a long path", &path(17_000), &[404]).await;
    check("a path too long", &path(70_000), &[414]).await;
    check("no HTTP", "hello\r\n\r\n", &[400]).await;
    check("another version", "GET / HTTP/3.0\r\n\r\n", &[400]).await;
    check(
        "a name with a space",
        "GET / HTTP/1.1\r\nhost: x\r\na b: c\r\n\r\n",
        &[400],
    )
    .await;
    check(
        "a folded header",
        "GET / HTTP/1.1\r\nhost: x\r\na: b\r\n c: d\r\n\r\n",
        &[400],
    )
    .await;
    check("a nul", "GET / HTTP/1.1\r\nhost: x\r\na: \0\r\n\r\n", &[400]).await;

    let (body, length) = (batch(1), batch(1).len());
    let (cl, te) = (format!("content-length: {length}"), "transfer-encoding: chunked");
    let chunked = |size: &str| format!("{size}\r\n{body}\r\n0\r\n\r\n");
    let hex = format!("{length:x}");
    let lies = async |what: &str, framing: &str, body: &str, want: &[u16]| {
        check(what, &request(&format!("{close}{framing}"), body), want).await;
    };
    lies("chunks", te, &chunked(&hex), &[202]).await;
    lies(
        "a size in capitals, with zeros",
        te,
        &chunked(&format!("00{hex:X>2}")),
        &[202],
    )
    .await;
    lies("a size that is negative", te, &chunked("-1"), &[408]).await;
    lies("a size with a sign", te, &chunked(&format!("+{hex}")), &[408]).await;
    lies(
        "a size in another base",
        te,
        &chunked(&format!("0x{hex}")),
        &[408],
    )
    .await;
    lies("a size beyond all", te, &chunked("fffffffffffffffff"), &[408]).await;
    lies("a size that is huge", te, &chunked("7fffffffffffffff"), &[408]).await;
    let extended = format!("{hex};{}", "x".repeat(20_000));
    lies("an extension without end", te, &chunked(&extended), &[408]).await;
    let trailed = format!("{hex}\r\n{body}\r\n0\r\n{}\r\n", "a: b\r\n".repeat(5_000));
    lies("trailers without end", te, &trailed, &[408]).await;
    let endless = format!("{hex}\r\n{body}\r\n");
    lies("no last chunk", te, &endless, &[408]).await;
    lies(
        "a line feed alone",
        te,
        &chunked(&hex).replace("\r\n", "\n"),
        &[408],
    )
    .await;
    lies(
        "two lengths that differ",
        &format!("{cl}\r\ncontent-length: 1"),
        &body,
        &[400],
    )
    .await;
    lies("a length that is negative", "content-length: -1", &body, &[400]).await;
    lies(
        "a length with a sign",
        &format!("content-length: +{length}"),
        &body,
        &[400],
    )
    .await;
    lies(
        "a list of lengths",
        &format!("content-length: {length}, 1"),
        &body,
        &[400],
    )
    .await;
    lies(
        "an encoding that is not the last",
        "transfer-encoding: chunked, gzip",
        &body,
        &[400],
    )
    .await;
    lies(
        "an encoding nobody knows",
        "transfer-encoding: xchunked",
        &body,
        &[400],
    )
    .await;
    let old = request(&format!("{close}{te}"), &chunked(&hex)).replace("HTTP/1.1", "HTTP/1.0");
    check("chunks in HTTP/1.0", &old, &[400]).await;
    is_well(&relay).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_two_framings_smuggles_nothing_in() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let body = batch(1);
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let smuggled = request(&format!("content-length: {}", batch(2).len()), &batch(2));
    let all = format!("{chunked}{smuggled}");
    // Whichever of the two lengths a proxy in front believes: the bytes after the request are not parsed as another
    // request, and the connection ends.
    for (what, length) in [
        ("short", 3),
        ("the chunks'", chunked.len()),
        ("everything", all.len()),
    ] {
        for lines in [
            format!("content-length: {length}\r\ntransfer-encoding: chunked"),
            format!("transfer-encoding: chunked\r\ncontent-length: {length}"),
        ] {
            let answer = raw(&relay.public, request(&lines, &all).as_bytes(), false).await;
            assert_eq!(statuses(&answer).len(), 1, "{what}: {lines}: {answer}");
        }
    }
    relay.drained().await;
    assert!(
        plausible.numbers().iter().all(|n| *n == 1),
        "{:?}",
        plausible.numbers()
    );
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_a_row_are_answered_in_order() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let one = |body: &str| request(&format!("content-length: {}", body.len()), body);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let last = "GET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let row = [
        one(&batch(1)),
        get("/nowhere"),
        one("{"),
        one(&batch(2)),
        last.into(),
    ]
    .concat();
    let answer = raw(&relay.public, row.as_bytes(), false).await;
    assert_eq!(statuses(&answer), [202, 404, 400, 202, 200], "{answer}");
    // A client that keeps sending without reading is no longer read: the relay does not accept all 60 megabytes of
    // requests.
    let mut flood = TcpStream::connect(&relay.public[7..]).await.unwrap();
    let rows = get("/version").repeat(1000);
    let sending = async {
        for _ in 0..1800 {
            if flood.write_all(rows.as_bytes()).await.is_err() {
                return;
            }
        }
        panic!("all of it was taken");
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(5), sending)
            .await
            .is_err(),
        "it was closed"
    );
    is_well(&relay).await;
    drop(flood);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_that_dawdle_or_leave_hold_nothing_up() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url())
        .with("public", "body_timeout_s = 1")
        .with("public", "requests_max = 8")
        .start_on()
        .await;
    // A byte now and then does not extend the deadline of a body.
    let mut dawdling = JoinSet::new();
    for framing in ["content-length: 500", "transfer-encoding: chunked"] {
        let (address, head) = (relay.public[7..].to_owned(), request(framing, ""));
        dawdling.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let (mut reading, mut writing) = stream.split();
            let drip = async {
                loop {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    if writing.write_all(b"1").await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            };
            let mut answer = [0; 12];
            let read = reading.read_exact(&mut answer);
            tokio::select! {
                read = read => { read.unwrap(); }
                () = drip => {}
                () = tokio::time::sleep(feedback_tests::PATIENCE) => panic!("no answer"),
            }
            assert_eq!(&answer, b"HTTP/1.1 408");
        });
    }
    dawdling.join_all().await;
    // Many clients that hang up in the middle of a head, of a body, and before their answer; each frees its slot.
    for round in 0..30 {
        let whole = request(&format!("content-length: {}", batch(1).len()), &batch(1));
        for end in [1, 40, whole.len() - 10, whole.len()] {
            let mut stream = TcpStream::connect(&relay.public[7..]).await.unwrap();
            stream.write_all(&whole.as_bytes()[..end]).await.unwrap();
            match round % 3 {
                0 => drop(stream),
                1 => stream.shutdown().await.unwrap(),
                _ => stream.set_zero_linger().unwrap(),
            }
        }
    }
    feedback_tests::eventually("there is room again", async || {
        let sent = relay.send(&feedback_tests::Post::batch(&[load(9)])).await;
        (sent.status == 202).then_some(())
    })
    .await;
    relay.drained().await;
    relay.stop().await;
}
