//! Whether the server takes requests together: it answers requests that arrive at once each with its own answer, in order.
//!
//! Some servers and proxies mixed up POST requests that arrived behind each other. The requests are of two kinds with
//! different answers, and count nothing.

use super::question;
use crate::clock::Clock;
use crate::forward::breaker::Signal;
use crate::forward::plausible::{self, Reply, Requests};
use crate::forward::transport::{Cause, Connection};
use axum::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;

/// The kinds of the requests that are sent together: `true` is the question, `false` a page that does not exist.
const TOGETHER: [bool; 6] = [true, false, true, true, false, true];

/// Asks one after the other first, and then together, as long as `may_ask`. `false` if the answers differ from each other
/// too little to tell.
///
/// # Errors
/// The signal of a request that failed, with its cause.
pub(in crate::forward) async fn takes_together(
    connection: &mut impl Connection,
    requests: &Requests,
    site: &str,
    clock: &Clock,
    may_ask: impl Fn() -> bool,
) -> Result<bool, (Signal, Option<Cause>)> {
    let request = |is_question: bool| match is_question {
        true => question(requests, site, true),
        false => page(requests, site),
    };
    let read = |answer| status(answer, clock);
    let mut alone = Vec::with_capacity(2);
    for is_question in [true, false] {
        if !may_ask() {
            return Ok(false);
        }
        alone.push(read(connection.send(request(is_question)).await)?);
    }
    let (question, page) = (alone[0], alone[1]);
    if question == page || !may_ask() {
        return Ok(false);
    }
    let mut answers = Vec::with_capacity(TOGETHER.len());
    let sent = TOGETHER.map(request).into();
    connection
        .send_all(sent, |answer, _| answers.push(read(answer)))
        .await;
    let answers: Vec<StatusCode> = answers.into_iter().collect::<Result<_, _>>()?;
    Ok(answers == TOGETHER.map(|is_question| if is_question { question } else { page }))
}

fn status(
    answer: Result<Response<Bytes>, Cause>,
    clock: &Clock,
) -> Result<StatusCode, (Signal, Option<Cause>)> {
    let answer = answer.map_err(|cause| (Signal::Failure(None), Some(cause)))?;
    match plausible::read(answer.status(), answer.headers()) {
        Reply::Retry => Err((
            Signal::Failure(plausible::retry_after(answer.headers(), clock.now())),
            None,
        )),
        _ => Ok(answer.status()),
    }
}

/// A request for the events API with the method of pages, which it does not have.
fn page(requests: &Requests, site: &str) -> Request<Bytes> {
    let mut request = question(requests, site, false).map(|_| Bytes::new());
    *request.method_mut() = Method::GET;
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::config::Config;
    use std::collections::VecDeque;
    use std::time::Duration;

    /// Answers with these statuses.
    struct Script(VecDeque<u16>);

    impl Connection for Script {
        async fn send(&mut self, _: Request<Bytes>) -> Result<Response<Bytes>, Cause> {
            let status = self.0.pop_front().ok_or(Cause::BrokenAfter)?;
            let answer = Response::builder().status(status).header("retry-after", "7");
            Ok(answer.body(Bytes::new()).unwrap())
        }

        fn tidy(&mut self) -> Option<Duration> {
            None
        }
    }

    #[tokio::test]
    async fn a_server_takes_requests_together_if_each_gets_its_own_answer() {
        let text = "[upstream]\nurl = \"http://127.0.0.1:9\"\n[[site]]\ndomain = \"a.example\"\n";
        let config = Config::parse("relay.toml", text, std::path::Path::new(""), &|_| None).unwrap();
        let (requests, clock) = (
            Requests::new(&config.upstream).unwrap(),
            Clock::standing_at(Timestamp(0)),
        );
        let check = async |what: &str, statuses: &[u16], want: Result<bool, Signal>| {
            let mut script = Script(statuses.iter().copied().collect());
            let asked = takes_together(&mut script, &requests, "a.example", &clock, || true).await;
            assert_eq!(asked.map_err(|(signal, _)| signal), want, "{what}");
            assert!(script.0.is_empty(), "{what}: {:?} was not asked for", script.0);
        };
        check("Plausible", &[400, 404, 400, 404, 400, 400, 404, 400], Ok(true)).await;
        check("mixed up", &[400, 404, 400, 400, 404, 400, 404, 400], Ok(false)).await;
        check("one answer for all", &[202, 202], Ok(false)).await;
        let busy = Err(Signal::Failure(Some(Duration::from_secs(7))));
        check("busy", &[429], busy).await;
        check("busy meanwhile", &[400, 404, 400, 404, 503, 400, 404, 400], busy).await;
        check(
            "a connection that breaks",
            &[400, 404, 400],
            Err(Signal::Failure(None)),
        )
        .await;
        let mut script = Script([400, 404].into());
        let asked = takes_together(&mut script, &requests, "a.example", &clock, || false).await;
        assert_eq!((asked, script.0.len()), (Ok(false), 2), "the breaker opened");
    }
}
