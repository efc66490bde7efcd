//! Whether the server takes requests together: it answers requests that arrive at once each with its own answer, in order.
//!
//! Some servers and proxies mixed up POST requests that arrived behind each other. The requests are of two kinds with
//! different answers, and count nothing.

use super::question;
use crate::forward::plausible::Requests;
use crate::forward::transport::{Cause, Connection};
use axum::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;

/// The kinds of the requests that are sent together: `true` is the question, `false` a page that does not exist.
const TOGETHER: [bool; 6] = [true, false, true, true, false, true];

/// Asks one after the other first, and then together. `false` if the answers differ from each other too little to tell.
/// `hear` reads each answer's status at once; if it returns none, nothing more is sent.
pub(in crate::forward) async fn takes_together(
    connection: &mut impl Connection,
    requests: &Requests,
    site: &str,
    mut hear: impl FnMut(Result<Response<Bytes>, Cause>) -> Option<StatusCode> + Send,
) -> bool {
    let request = |is_question: bool| match is_question {
        true => question(requests, site, true),
        false => page(requests, site),
    };
    let Some(question) = hear(connection.send(request(true)).await) else {
        return false;
    };
    let page = hear(connection.send(request(false)).await);
    if page.is_none_or(|page| page == question) {
        return false;
    }
    let mut answers = Vec::with_capacity(TOGETHER.len());
    let sent = TOGETHER.map(request).into();
    connection
        .send_all(sent, |answer, _| answers.push(hear(answer)))
        .await;
    answers == TOGETHER.map(|is_question| if is_question { Some(question) } else { page })
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
    use crate::config::Config;
    use std::collections::VecDeque;
    use std::time::Duration;

    /// Answers with these statuses.
    struct Script(VecDeque<u16>);

    impl Connection for Script {
        async fn send_all(
            &mut self,
            requests: Vec<Request<Bytes>>,
            mut ended: impl FnMut(Result<Response<Bytes>, Cause>, Duration) + Send,
        ) {
            for _ in requests {
                let answer = |status| Response::builder().status(status).body(Bytes::new()).unwrap();
                let status = self.0.pop_front().ok_or(Cause::BrokenAfter);
                ended(status.map(answer), Duration::ZERO);
            }
        }

        fn tidy(&mut self) -> Option<Duration> {
            None
        }
    }

    #[tokio::test]
    async fn a_server_takes_requests_together_if_each_gets_its_own_answer() {
        let text = "[upstream]\nurl = \"http://127.0.0.1:9\"\n[[site]]\ndomain = \"a.example\"\n";
        let config = Config::parse("relay.toml", text, std::path::Path::new(""), &|_| None).unwrap();
        let requests = Requests::new(&config.upstream).unwrap();
        let check = async |what: &str, statuses: &[u16], want: bool| {
            let mut script = Script(statuses.iter().copied().collect());
            let hear = |answer: Result<Response<Bytes>, Cause>| {
                let status = answer.ok()?.status();
                (!status.is_server_error()).then_some(status)
            };
            let is_proven = takes_together(&mut script, &requests, "a.example", hear).await;
            assert_eq!(is_proven, want, "{what}");
            assert!(script.0.is_empty(), "{what}: {:?} was not asked for", script.0);
        };
        check("Plausible", &[400, 404, 400, 404, 400, 400, 404, 400], true).await;
        check("mixed up", &[400, 404, 400, 400, 404, 400, 404, 400], false).await;
        check("one answer for all", &[202, 202], false).await;
        check("away", &[503], false).await;
        check("away at the second", &[400, 503], false).await;
        check("away meanwhile", &[400, 404, 400, 404, 503, 400, 404, 400], false).await;
        check("a connection that breaks", &[400, 404, 400], false).await;
    }
}
