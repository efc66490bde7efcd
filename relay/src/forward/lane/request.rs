//! One request of a lane and what its answer means: an event, the health probe, or the self-test.

use super::Lane;
use crate::config::Profile;
use crate::config::WhenUnknown;
use crate::forward::Forwarder;
use crate::forward::breaker::Sign;
use crate::forward::identify::{Answer, identify};
use crate::forward::plausible::{self, Reply, Verdict};
use crate::forward::self_test::recognise;
use crate::forward::traffic::{Errand, Reach, Turn};
use crate::forward::transport::{Cause, Connection, Transport};
use crate::guard::Scrubbed;
use crate::metrics::ResultLabel;
use crate::switch::{Permit, Site};
use axum::http::Response;
use bytes::Bytes;
use relay_event::Outcome;
use std::time::Duration;
use tokio::time::Instant;

impl<T: Transport> Lane<T> {
    /// Sends one request and reads what its answer means.
    pub(super) async fn send(&mut self, scrubbed: &Scrubbed, mut turn: Turn<'_>) -> (Verdict, Reply) {
        let forwarder = &self.forwarder;
        let started = Instant::now();
        let request = forwarder.requests.event(scrubbed, &mut self.buffer);
        let answer = self.connection.send(request).await;
        let took = started.elapsed();
        let (verdict, reply) = match &answer {
            Ok(answer) => {
                let now = forwarder.clock.now();
                let even = forwarder.spool.ages().now();
                forwarder
                    .metrics
                    .their_clock
                    .look(answer.headers(), now, took, even);
                forwarder.judge_answer(answer)
            }
            Err(cause) => forwarder.judge_failure(cause),
        };
        if reply.reach() != Reach::Up {
            turn.blame(Cause::of(&forwarder.upstream.url, answer));
        }
        forwarder.metrics.upstream_duration.observe(took.as_secs_f64());
        forwarder.metrics.upstream_replies[reply as usize].inc();
        turn.came_back(sign(verdict, reply), Some(reply), took);
        (verdict, reply)
    }

    /// Asks whether Plausible is well, or whether it is Plausible. If the server has no health endpoint, an event is
    /// tried next.
    pub(super) async fn probe(&mut self, mut turn: Turn<'_>, permit: &Permit, site: &Site) {
        let asked = tokio::select! {
            asked = self.ask(turn.errand, site) => asked,
            () = permit.cut() => return,
        };
        let Some((sign, result, cause)) = asked else {
            return turn.came_back(Sign::Well, None, Duration::ZERO);
        };
        turn.blame(cause);
        let label = ResultLabel { result };
        self.forwarder.metrics.upstream_probes.get_or_create(&label).inc();
        turn.came_back(sign, None, Duration::ZERO);
    }

    /// The sign for the breaker, its metric label, and why it failed; `None` when there is nothing to ask.
    async fn ask(&mut self, errand: Errand, site: &Site) -> Option<(Sign, &'static str, Option<Cause>)> {
        let forwarder = &self.forwarder;
        if errand == Errand::SelfTest {
            let (requests, upstream) = (&forwarder.requests, &forwarder.upstream);
            let (sign, cause) = recognise(
                &mut self.connection,
                requests,
                upstream,
                &site.domain,
                &forwarder.clock,
            )
            .await;
            return Some((sign, sign.name(), cause));
        }
        let url = &forwarder.upstream.url;
        Some(match self.connection.send(forwarder.requests.health()?).await {
            Err(cause) => (Sign::Ill(None), "failed", Some(cause)),
            Ok(answer) => {
                let now = forwarder.clock.now();
                let (sign, result) = plausible::judge_health(answer.status(), answer.headers(), now);
                let cause = match sign {
                    Sign::Ill(_) => Cause::of_answer(url, &answer),
                    _ => None,
                };
                (sign, result, cause)
            }
        })
    }
}

/// The sign that an answer gives of the other end.
fn sign(verdict: Verdict, reply: Reply) -> Sign {
    match (reply, verdict) {
        (Reply::Unclear, _) => Sign::Unclear,
        (Reply::Misconfigured, Verdict::Retry(asked)) => Sign::Foreign(asked),
        (_, Verdict::Retry(asked)) => Sign::Ill(asked),
        (_, Verdict::Settled(Outcome::Unanswered)) => Sign::Ill(None),
        (_, Verdict::Settled(_)) => Sign::Well,
    }
}

impl<T: Transport> Forwarder<T> {
    /// What an answer means. A 400 that is not of the profile's server, such as of a TLS port that was sent plain HTTP, or of
    /// a gateway, says nothing about the event: it waits. Nor is a page with a 202 Plausible's word that it took the event.
    fn judge_answer(&self, answer: &Response<Bytes>) -> (Verdict, Reply) {
        let judged = plausible::judge(answer.status(), answer.headers(), self.clock.now());
        match judged.1 {
            Reply::Invalid if !self.is_refusal(answer) => (Verdict::Retry(None), Reply::Misconfigured),
            Reply::Accepted | Reply::Dropped if Cause::of_answer(&self.upstream.url, answer).is_some() => {
                (Verdict::Settled(Outcome::Unclear), Reply::Unclear)
            }
            _ => judged,
        }
    }

    /// Whether the profile's server calls the event invalid.
    fn is_refusal(&self, answer: &Response<Bytes>) -> bool {
        let is_vince = |profile| profile == Profile::Vince;
        matches!(identify(answer), Answer::Refused(by) if is_vince(by) == is_vince(self.upstream.profile))
    }

    /// Judges a request without an answer.
    fn judge_failure(&self, cause: &Cause) -> (Verdict, Reply) {
        if !cause.may_have_arrived() {
            return (Verdict::Retry(None), Reply::Unreachable);
        }
        self.metrics.upstream_unknown.inc();
        let verdict = match self.upstream.when_unknown {
            WhenUnknown::Retry => Verdict::Retry(None),
            WhenUnknown::Drop => Verdict::Settled(Outcome::Unanswered),
        };
        (verdict, Reply::Unknown)
    }
}
