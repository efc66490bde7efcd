//! Requests that go out together.

use super::*;

/// A connection of the server: it waits for this many requests, then writes this answer, and closes or stays.
struct Script {
    requests: usize,
    answer: String,
    ends: Ends,
}

#[derive(Clone, Copy)]
enum Ends {
    Closes,
    Stays,
}

async fn serve(script: Vec<Script>) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        let mut open = Vec::new();
        for one in script {
            let (mut stream, _) = listener.accept().await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            let mut buffer = Vec::new();
            while buffer.windows(4).filter(|four| four == b"body").count() < one.requests {
                assert!(stream.read_buf(&mut buffer).await.unwrap() > 0);
            }
            stream.write_all(one.answer.as_bytes()).await.unwrap();
            match one.ends {
                Ends::Closes => drop(stream),
                Ends::Stays => open.push(stream),
            }
        }
        std::future::pending::<()>().await;
    });
    (address, connections)
}

/// The results of requests that are sent together.
async fn send_all(connection: &mut HttpConnection, requests: Vec<Request<Bytes>>) -> Vec<Result<u16, Cause>> {
    let mut results = Vec::new();
    let sent = connection.send_all(requests, |answer, _| {
        results.push(answer.map(|a| a.status().as_u16()))
    });
    sent.await;
    results
}

#[tokio::test]
async fn each_request_that_goes_out_with_others_ends_in_its_own_way() {
    let check = async |what: &str, script: Vec<Script>, want: [Result<u16, Cause>; 3], connections: usize| {
        let (address, seen) = serve(script).await;
        let mut connection = Http::new(&upstream(format!("http://{address}")))
            .unwrap()
            .connection();
        let results = send_all(&mut connection, vec![request(); 3]).await;
        assert_eq!(results, want, "{what}");
        assert_eq!(seen.load(Ordering::SeqCst), connections, "{what}");
    };
    let script = |requests: usize, answer: &str, ends: Ends| Script {
        requests,
        answer: answer.to_owned(),
        ends,
    };
    const GOODBYE: &str = "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    const MOVED: &str = "HTTP/1.1 301 Moved\r\ncontent-length: 0\r\n\r\n";
    let (closes, stays) = (Ends::Closes, Ends::Stays);
    check(
        "all",
        vec![script(3, &OK.repeat(3), stays)],
        [const { Ok(202) }; 3],
        1,
    )
    .await;
    let mixed = format!("{OK}{MOVED}{OK}");
    check(
        "in order",
        vec![script(3, &mixed, stays)],
        [Ok(202), Ok(301), Ok(202)],
        1,
    )
    .await;
    // The server has not processed the others, so they go out again.
    let leaves = vec![script(3, GOODBYE, closes), script(2, &OK.repeat(2), stays)];
    check(
        "the server says that it leaves",
        leaves,
        [const { Ok(202) }; 3],
        2,
    )
    .await;
    let twice = vec![
        script(3, GOODBYE, closes),
        script(2, GOODBYE, closes),
        script(1, OK, stays),
    ];
    check("again and again", twice, [const { Ok(202) }; 3], 3).await;
    // It may have processed them.
    let lost = || Err(Cause::BrokenAfter);
    check(
        "the server leaves",
        vec![script(3, OK, closes)],
        [Ok(202), lost(), lost()],
        1,
    )
    .await;
    check(
        "without an answer",
        vec![script(3, "", closes)],
        [lost(), lost(), lost()],
        1,
    )
    .await;
    let late = || Err(Cause::AnswerTimedOut);
    check(
        "the server hangs",
        vec![script(3, OK, stays)],
        [Ok(202), late(), late()],
        1,
    )
    .await;
    let garbage = format!("{OK}\u{1} no HTTP\r\n\r\n");
    let foreign = || Err(Cause::NotHttp);
    check(
        "something else",
        vec![script(3, &garbage, stays)],
        [Ok(202), foreign(), foreign()],
        1,
    )
    .await;
    const UNTIL_END: &str = "HTTP/1.1 200 OK\r\n\r\nall that follows";
    check(
        "a body without an end",
        vec![script(3, UNTIL_END, closes)],
        [Ok(200), lost(), lost()],
        1,
    )
    .await;
}

#[tokio::test]
async fn a_connection_with_more_answers_than_requests_is_not_used_again() {
    let script = |requests, answers: usize| Script {
        requests,
        answer: OK.repeat(answers),
        ends: Ends::Stays,
    };
    let (address, seen) = serve(vec![script(2, 3), script(1, 1)]).await;
    let mut connection = Http::new(&upstream(format!("http://{address}")))
        .unwrap()
        .connection();
    assert_eq!(
        send_all(&mut connection, vec![request(); 2]).await,
        [Ok(202), Ok(202)]
    );
    assert_eq!(send(&mut connection).await, Ok(202));
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_was_not_written_was_not_sent() {
    // More than the buffers of both ends take, to a server that reads nothing.
    let large = Bytes::from(vec![b'x'; 8 << 20]);
    let script = Script {
        requests: 0,
        answer: String::new(),
        ends: Ends::Stays,
    };
    let (address, _) = serve(vec![script]).await;
    let mut connection = Http::new(&upstream(format!("http://{address}")))
        .unwrap()
        .connection();
    let results = send_all(&mut connection, vec![request().map(|_| large.clone()); 3]).await;
    assert_eq!(results[0], Err(Cause::AnswerTimedOut), "some of it was");
    assert_eq!(results[1..], [Err(Cause::BrokenBefore), Err(Cause::BrokenBefore)]);
}
