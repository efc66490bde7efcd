//! The front door's limits: rates, compressed bodies, connections, and concurrent requests.

use crate::LONG;
use feedback_tests::{MiniPlausible, ORIGIN, Post, Relay, SITE, Sent, Setup, eventually, load, within};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use std::io::Write;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

fn pack(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Sends many requests at once, repeatedly, until one is refused, and returns that one.
async fn until_limited(relay: &Relay, post: impl Fn() -> Post) -> Sent {
    eventually("one too many is refused", async || {
        let mut sending = JoinSet::new();
        for _ in 0..8 {
            let (client, base, post) = (relay.client.clone(), relay.public.clone(), post());
            sending.spawn(async move { post.try_send(&client, &base).await.unwrap() });
        }
        sending
            .join_all()
            .await
            .into_iter()
            .find(|sent| sent.status == 429)
    })
    .await
}

fn must_wait(sent: &Sent, reason: &str) {
    assert_eq!((sent.status, sent.problem().as_str()), (429, reason), "{sent:?}");
    let seconds: u64 = sent.header("retry-after").parse().unwrap();
    assert!((1..=10).contains(&seconds), "{seconds}");
    assert_eq!(sent.header("access-control-allow-origin"), ORIGIN);
    assert_eq!(sent.header("access-control-expose-headers"), "retry-after");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_too_much_must_wait_and_others_need_not() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url())
        .without("public", "rate_per_client")
        .with("public", "rate_per_client = 1")
        .with("public", "rate_per_client_burst = 3")
        .start_on()
        .await;
    let of = |address: &str| Post::batch(&[load(1)]).from(address);
    let sent = until_limited(&relay, || of("198.51.100.1")).await;
    must_wait(&sent, "client");
    let before = relay.metrics().await.ended("limited", "client");
    // Refused by its head alone: the relay does not wait for a body that never comes.
    let (mut status, mut tries) = (String::new(), 0);
    while !status.starts_with("HTTP/1.1 429") && tries < 100 {
        tries += 1;
        let head = "POST /api/events HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 198.51.100.1\r\n\
             content-type: text/plain\r\ncontent-length: 99\r\nconnection: close\r\n\r\n";
        let mut stream = TcpStream::connect(&relay.public[7..]).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        let read = tokio::time::timeout(Duration::from_millis(500), stream.read_exact(&mut answer)).await;
        status = read.map_or_else(
            |_| String::new(),
            |_| String::from_utf8_lossy(&answer).into_owned(),
        );
    }
    assert!(tries < 100, "never refused by its head");
    for other in ["198.51.100.2", "2001:db8:0:1::1"] {
        assert_eq!(relay.send(&of(other)).await.status, 202, "{other}");
    }
    let of_network = until_limited(&relay, || of("2001:db8:0:1::ffff")).await;
    must_wait(&of_network, "client");
    let after = relay.metrics().await.ended("limited", "client");
    assert!(after > before, "{after} {before}");
    // The limits apply to events; health and configuration are exempt.
    assert_eq!(relay.get("/version").await.status, 200);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_with_too_many_events_must_wait_and_others_need_not() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url())
        .without("public", "rate_per_site")
        .with("public", "rate_per_site = 1")
        .with("public", "rate_per_site_burst = 4")
        .with_site("domain = \"other.example.com\"\norigins = [\"https://panel.example.com\"]")
        .start_on()
        .await;
    relay
        .app()
        .switches
        .set("other.example.com", true, "test")
        .await
        .unwrap();
    let sent = until_limited(&relay, || Post::batch(&[load(1), load(2), load(3)])).await;
    must_wait(&sent, "site");
    let refused = relay.metrics().await.ended("limited", "site");
    assert!(
        refused > 0 && refused % 3 == 0,
        "a batch is refused whole: {refused}"
    );
    let of = |site: &str| {
        Post::plausible(&json!({ "n": "Load", "u": "https://x/#/home", "d": site, "p": { "n": 1 } }))
    };
    assert_eq!(relay.send(&of("other.example.com")).await.status, 202);
    let unknown = relay.send(&of("unknown.example.com")).await;
    assert_eq!(
        (unknown.status, unknown.header("x-plausible-dropped")),
        (202, "1")
    );
    let again = until_limited(&relay, || of(SITE)).await;
    must_wait(&again, "site");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_bodies_are_unpacked_within_the_limit() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url())
        .with("public", "body_bytes_max = 4096")
        .start_on()
        .await;
    let check = async |what: &str, body: Vec<u8>, status: u16, problem: &str| {
        let post = Post::batch(&[]).body(body).with("content-encoding", "gzip");
        let sent = relay.send(&post).await;
        assert_eq!(
            (sent.status, sent.problem().as_str()),
            (status, problem),
            "{what}: {sent:?}"
        );
    };
    let batch = |n: usize| json!({ "site": SITE, "consent": { "plan": 3 }, "events": [load(n)] }).to_string();
    let (whole, full) = (pack(batch(1).as_bytes()), format!("{:4096}", batch(2)));
    check("a batch", whole.clone(), 202, "").await;
    check("as large as may be", pack(full.as_bytes()), 202, "").await;
    check(
        "a byte larger",
        pack(format!("{full} ").as_bytes()),
        413,
        "too_large",
    )
    .await;
    let bomb = pack(&vec![b' '; 4 << 20]);
    assert!(bomb.len() > 4096);
    check("a bomb too large to take", bomb, 413, "too_large").await;
    let bomb = pack(&vec![b' '; 2 << 20]);
    assert!(bomb.len() < 4096, "{}", bomb.len());
    check("a bomb", bomb, 413, "too_large").await;
    check("no gzip", batch(3).into_bytes(), 400, "invalid").await;
    check("half of it", whole[..whole.len() / 2].to_vec(), 400, "invalid").await;
    check("more behind it", [whole.clone(), whole].concat(), 400, "invalid").await;
    relay.drained().await;
    assert_eq!(plausible.count(), 2);
    relay.stop().await;
}

/// Connections that are open and send nothing.
async fn silent(base: &str, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::with_capacity(count);
    while open.len() < count {
        let mut opening = JoinSet::new();
        for _ in 0..(count - open.len()).min(100) {
            opening.spawn(TcpStream::connect(base[7..].to_owned()));
        }
        open.extend(opening.join_all().await.into_iter().map(Result::unwrap));
    }
    open
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_silent_connections_keep_no_client_out() {
    // Both ends need a descriptor, so the relay is a separate process.
    feedback_relay::os::rlimit::raise();
    let count = feedback_relay::os::rlimit::connections_max(12_000) - 2_000;
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url());
    let relay = setup.spawn(crate::EXE).await;
    let on = ["switch", "on", "--site", SITE];
    assert_eq!(setup.command(crate::EXE, &on, "").await.code, Some(0));
    let open = silent(&relay.public, count).await;
    // They are closed after ten seconds; on a slow machine the first may end while the last are being opened.
    let still = relay.metrics().await.count("connections{listener=\"public\"}");
    assert!(still > 1000, "{still}");
    // Until then, events are accepted on new connections.
    for n in 0..20 {
        let client = feedback_tests::http_client();
        let sent = Post::batch(&[load(n)])
            .try_send(&client, &relay.public)
            .await
            .unwrap();
        assert_eq!(sent.status, 202, "{sent:?}");
    }
    let silent = "connections_closed_total{listener=\"public\",reason=\"silent\"}";
    within(
        Duration::from_secs(60),
        "the silent ones are closed",
        async || {
            let closed = usize::try_from(relay.metrics().await.count(silent)).unwrap();
            (closed >= count).then_some(())
        },
    )
    .await;
    drop(open);
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_silent_longest_makes_room_for_a_new_one() {
    let relay = Setup::new("http://127.0.0.1:9")
        .with("public", "connections_max = 20")
        .start_on()
        .await;
    // Ten times the limit; each of these requests comes after them and is answered.
    let mut open = silent(&relay.public, 200).await;
    for _ in 0..5 {
        let client = feedback_tests::http_client();
        let answer = client
            .get(format!("{}/version", relay.public))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
    let metrics = relay.metrics().await;
    let made = metrics.count("connections_closed_total{listener=\"public\",reason=\"evicted\"}");
    assert!(made >= 180, "{made}");
    assert!(metrics.count("connections{listener=\"public\"}") <= 20);
    // The oldest are closed.
    assert_closed(&mut open[0]).await;
    relay.stop().await;
}

async fn assert_closed(stream: &mut TcpStream) {
    let closed = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0])).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
}

async fn ask(stream: &mut TcpStream, request: &[u8], want: &str) {
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with(want), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_its_share_of_connections_and_no_more() {
    let relay = Setup::new("http://127.0.0.1:9")
        .without("public", "trusted_proxies")
        .with("public", "connections_per_client_max = 3")
        .start_on()
        .await;
    // Sequentially, so that the first is the longest-idle connection.
    let mut open = Vec::new();
    for _ in 0..3 {
        open.extend(silent(&relay.public, 1).await);
    }
    // For the fourth, the client's own longest-idle connection is closed.
    open.extend(silent(&relay.public, 1).await);
    assert_closed(&mut open.remove(0)).await;
    let client = "connections_closed_total{listener=\"public\",reason=\"client\"}";
    assert_eq!(relay.metrics().await.count(client), 1);
    // Another address is not affected.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(relay.public[7..].parse().unwrap()).await.unwrap();
    let request = b"GET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    for stream in [&mut other, &mut open[2]] {
        ask(stream, request, "HTTP/1.1 200").await;
    }
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stalls_sheds_load_and_everything_comes_back() {
    let plausible = MiniPlausible::start().await;
    let setup = Setup::new(&plausible.url()).with("public", "requests_max = 8");
    let relay = setup.start_on().await;
    // The writer waits a second for the lock. On a busy machine the requests may be refused before it is released.
    within(LONG, "a request that waited is accepted", async || {
        stall(&relay, &setup).await.contains(&202).then_some(())
    })
    .await;
    let scrape = relay.metrics().await;
    assert!(scrape.ended("overloaded", "") > 0, "{:?}", scrape.endings());
    let sent = relay.send(&Post::batch(&[load(1)])).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    eventually("every place is free", async || {
        (relay.metrics().await.count("requests_in_progress") == 0).then_some(())
    })
    .await;
    relay.stop().await;
}

/// Sends requests while another connection holds the database's write lock, so that nothing can be stored, until one is
/// shed. Then releases the lock, and returns how the others were answered.
async fn stall(relay: &Relay, setup: &Setup) -> Vec<u16> {
    let db = rusqlite::Connection::open(setup.data_dir().join("relay.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut taken = JoinSet::new();
    let shed = within(Duration::from_secs(30), "some are shed", async || {
        for n in 0..8 {
            let (client, base) = (relay.client.clone(), relay.public.clone());
            taken.spawn(async move { Post::batch(&[load(n)]).try_send(&client, &base).await.unwrap() });
        }
        tokio::time::timeout(
            Duration::from_millis(100),
            relay.send_once(&Post::batch(&[load(9)])),
        )
        .await
        .ok()
        .filter(|sent| sent.problem() == "overloaded")
    })
    .await;
    assert_eq!(shed.status, 503);
    assert_eq!(shed.header("retry-after"), "1");
    db.execute_batch("ROLLBACK").unwrap();
    drop(db);
    // Requests that were admitted are answered now: accepted, or refused with a Retry-After.
    let answers = tokio::time::timeout(feedback_tests::PATIENCE, taken.join_all())
        .await
        .unwrap();
    assert!(
        answers.iter().all(|sent| matches!(sent.status, 202 | 503)),
        "{answers:?}"
    );
    answers.iter().map(|sent| sent.status).collect()
}
