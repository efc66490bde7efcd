//! Checks whether the server is Plausible, with the self-test's event, which is never counted: for a breaker that got
//! another server's answers.

use super::question;
use crate::clock::Clock;
use crate::config::Upstream;
use crate::forward::breaker::Signal;
use crate::forward::identify::{Answer, identify};
use crate::forward::plausible::{self, Requests};
use crate::forward::transport::{Cause, Connection};

/// Asks, and reads the answer as a signal for the breaker, with the cause of a bad one.
pub(in crate::forward) async fn recognise(
    connection: &mut impl Connection,
    requests: &Requests,
    upstream: &Upstream,
    site: &str,
    clock: &Clock,
) -> (Signal, Option<Cause>) {
    let mut answer = connection.send(question(requests, site, true)).await;
    if answer
        .as_ref()
        .is_ok_and(|answer| matches!(identify(answer), Answer::SeesAddress { .. }))
    {
        // Plausible Cloud answers like this, and so does a server that echoes requests.
        answer = connection.send(question(requests, site, false)).await;
    }
    let answer = match answer {
        Err(cause) => return (Signal::Failure(None), Some(cause)),
        Ok(answer) => answer,
    };
    let asked = plausible::retry_after(answer.headers(), clock.now());
    let signal = match identify(&answer) {
        // A stand-in that accepts anything with a 202 accepts events as well.
        Answer::Refused(_) | Answer::TakesAnything => Signal::Success,
        Answer::Unwell(_) => Signal::Failure(asked),
        Answer::SeesAddress { .. } | Answer::OtherJson(_) | Answer::Other(_) => Signal::Foreign(asked),
    };
    let cause = match signal {
        Signal::Success => None,
        _ => Cause::of_answer(&upstream.url, &answer),
    };
    (signal, cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::config::Config;
    use axum::http::{Request, Response};
    use bytes::Bytes;
    use std::collections::VecDeque;
    use std::time::Duration;

    /// Answers what is queued.
    struct Script(VecDeque<Result<Response<Bytes>, Cause>>, usize);

    impl Connection for Script {
        async fn send_all(
            &mut self,
            requests: Vec<Request<Bytes>>,
            mut ended: impl FnMut(Result<Response<Bytes>, Cause>, Duration) + Send,
        ) {
            for _ in requests {
                self.1 += 1;
                ended(self.0.pop_front().unwrap(), Duration::ZERO);
            }
        }

        fn tidy(&mut self) -> Option<Duration> {
            None
        }
    }

    #[tokio::test]
    async fn only_what_answers_as_plausible_does_is_recognised() {
        let text = "[upstream]\nurl = \"http://127.0.0.1:9\"\n[[site]]\ndomain = \"a.example\"\n";
        let config = Config::parse("relay.toml", text, std::path::Path::new(""), &|_| None).unwrap();
        let (requests, clock) = (
            Requests::new(&config.upstream).unwrap(),
            Clock::standing_at(Timestamp(0)),
        );
        let check = async |what: &str, answers: &[(u16, &'static str)], want: Signal| {
            let answer = |(status, body): &(u16, &'static str)| {
                let answer = Response::builder().status(*status);
                Ok(answer
                    .header("retry-after", "7")
                    .body(Bytes::from_static(body.as_bytes()))
                    .unwrap())
            };
            let mut script = Script(answers.iter().map(answer).collect(), 0);
            let (signal, _) = recognise(&mut script, &requests, &config.upstream, "a.example", &clock).await;
            assert_eq!((signal, script.1), (want, answers.len()), "{what}");
        };
        let asked = Some(Duration::from_secs(7));
        let (ill, foreign) = (Signal::Failure(asked), Signal::Foreign(asked));
        let errors = r#"{"errors":{"event_name":["should be at most 120 character(s)"]}}"#;
        let address = r#"{"ip":"2001:db8::5e1f:7e57"}"#;
        check("Plausible", &[(400, errors)], Signal::Success).await;
        check("Vince", &[(400, r#"{"error":"invalid"}"#)], Signal::Success).await;
        check(
            "Plausible Cloud",
            &[(200, address), (400, errors)],
            Signal::Success,
        )
        .await;
        check("a stand-in", &[(202, "ok")], Signal::Success).await;
        check("an echo", &[(200, address), (200, address)], foreign).await;
        check("a worker", &[(200, "")], foreign).await;
        check("a JSON API", &[(200, r#"{"ok":true}"#)], foreign).await;
        check("a login page", &[(200, "<html>")], foreign).await;
        check("no content", &[(204, "")], foreign).await;
        check(
            "another JSON API",
            &[(400, r#"{"message":"bad request"}"#)],
            foreign,
        )
        .await;
        check("a firewall", &[(400, "<h1>Bad Request</h1>")], foreign).await;
        check("a small proxy", &[(413, "{}")], foreign).await;
        check("a redirect", &[(302, "")], foreign).await;
        check("a login", &[(401, "{}")], foreign).await;
        check("another path", &[(404, "{}")], foreign).await;
        check("one that is not well", &[(503, "")], ill).await;
        check("one that is busy", &[(429, "")], ill).await;
        let mut refused = Script(VecDeque::from([Err(Cause::Refused)]), 0);
        let (signal, _) = recognise(&mut refused, &requests, &config.upstream, "a.example", &clock).await;
        assert_eq!(signal, Signal::Failure(None));
    }
}
