//! Tests of the tests' own tools: a fault injection without effect would prove nothing.

use feedback_tests::{Answer, Dice, Fault, FaultProxy, MiniPlausible, PATIENCE, eventually};
use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const EVENT: &[u8] =
    b"POST /api/event HTTP/1.1\r\ncontent-length: 24\r\n\r\n{\"props\":{\"n\":7},\"x\":1} \n";
/// How long to watch before concluding that nothing happens.
const A_WHILE: Duration = Duration::from_millis(300);

/// A client's view of a sent event: the answer's first bytes, or how the connection ended.
#[derive(Debug, PartialEq, Eq)]
enum Sees {
    Answer,
    /// The connection breaks after this many bytes of an answer.
    Broken(usize),
    Refused,
    /// Neither an answer nor the end of the connection.
    Nothing,
}

async fn send(url: &str, patience: Duration) -> Sees {
    let mut stream = match TcpStream::connect(url.strip_prefix("http://").unwrap()).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Sees::Refused,
        Err(_) => return Sees::Broken(0),
    };
    // A connection that has already been reset is noticed at the read.
    let _ = stream.write_all(EVENT).await;
    let mut answer = Vec::new();
    loop {
        match tokio::time::timeout(patience, stream.read_buf(&mut answer)).await {
            Err(_) => return Sees::Nothing,
            Ok(Err(_) | Ok(0)) => return Sees::Broken(answer.len()),
            Ok(Ok(_)) if answer.ends_with(b"\r\n\r\nok") => return Sees::Answer,
            Ok(Ok(_)) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_the_network_is_one() {
    let mut dice = Dice::new();
    let plausible = MiniPlausible::start().await;
    let network = FaultProxy::to(&plausible.url(), &mut dice);
    let check = async |fault: Fault, sees: Sees, arrives: bool| {
        let before = plausible.count();
        network.set(fault.clone());
        let patience = if sees == Sees::Nothing { A_WHILE } else { PATIENCE };
        // A listener needs a moment to close and to reopen.
        eventually(&format!("{fault:?}: {sees:?}"), async || {
            (send(&network.url(), patience).await == sees).then_some(())
        })
        .await;
        assert_eq!(plausible.count() > before, arrives, "{fault:?}");
    };
    check(Fault::None, Sees::Answer, true).await;
    check(
        Fault::Late(Duration::from_millis(5), Duration::from_millis(5)),
        Sees::Answer,
        true,
    )
    .await;
    check(Fault::CutAnswer(10), Sees::Broken(10), true).await;
    check(Fault::CutAnswer(0), Sees::Broken(0), true).await;
    check(Fault::CutRequest(50), Sees::Broken(0), false).await;
    check(Fault::CutRequest(500), Sees::Answer, true).await;
    check(Fault::NoAnswers, Sees::Nothing, true).await;
    check(Fault::BlackHole, Sees::Nothing, false).await;
    check(Fault::Reset, Sees::Broken(0), false).await;
    check(Fault::Refuse, Sees::Refused, false).await;
    check(Fault::None, Sees::Answer, true).await;
    let start = Instant::now();
    check(Fault::Narrow(NonZeroU32::new(1000).unwrap()), Sees::Answer, true).await;
    let least = Duration::from_secs_f64(EVENT.len() as f64 / 1000.0);
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_counts_for_connections_that_are_open() {
    let mut dice = Dice::new();
    let plausible = MiniPlausible::start().await;
    let network = FaultProxy::to(&plausible.url(), &mut dice);
    let mut stream = TcpStream::connect(network.url().strip_prefix("http://").unwrap())
        .await
        .unwrap();
    stream.write_all(EVENT).await.unwrap();
    assert!(stream.read(&mut [0; 200]).await.unwrap() > 0);
    network.set(Fault::BlackHole);
    stream.write_all(EVENT).await.unwrap();
    assert!(
        tokio::time::timeout(A_WHILE, stream.read(&mut [0; 200]))
            .await
            .is_err(),
        "swallowed"
    );
    network.set(Fault::None);
    stream.write_all(EVENT).await.unwrap();
    let rest = tokio::time::timeout(A_WHILE, stream.read(&mut [0; 200])).await;
    assert!(rest.is_err(), "nothing follows what was swallowed");
    network.set(Fault::Reset);
    assert!(
        stream.read(&mut [0; 200]).await.is_err(),
        "reset while it was open"
    );
    assert_eq!((plausible.count(), network.connections()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_after_health_are_counted_apart_and_answered_on_their_own() {
    let plausible = MiniPlausible::start().await;
    plausible.rule(|_| Answer::Status(500, &[], ""));
    let client = feedback_tests::http_client();
    let ask = async || {
        client
            .get(format!("{}/api/health", plausible.url()))
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(ask().await, 200);
    plausible.health(500);
    assert_eq!(ask().await, 500);
    plausible.queue([Answer::Accept]);
    assert_eq!(
        send(&plausible.url(), PATIENCE).await,
        Sees::Answer,
        "a question takes no answer of an event"
    );
    assert_eq!(plausible.probes(), 2);
    assert_eq!((plausible.count(), plausible.numbers()), (1, vec![7]));
}
