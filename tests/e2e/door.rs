//! The front door against connections that send nothing.

use feedback_tests::{MiniPlausible, Setup};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_never_sends_a_whole_head_is_closed() {
    let plausible = MiniPlausible::start().await;
    let relay = Setup::new(&plausible.url()).start_on().await;
    let http2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let silent = ["", "P", "POST /api/event HTTP/1.1\r\nHost: x\r\n", http2].map(|start| {
        let address = relay.public.strip_prefix("http://").unwrap().to_owned();
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(start.as_bytes()).await.unwrap();
            let closed =
                tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut Vec::new())).await;
            assert!(closed.is_ok(), "still open after {start:?}");
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    silent.into_iter().for_each(|one| drop(tasks.spawn(one)));
    tasks.join_all().await;
    relay.stop().await;
}
