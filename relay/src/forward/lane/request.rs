//! One request of a lane and the interpretation of its answer: an event, the health probe, or the self-test.

use super::Lane;
use crate::config::{Delivery, Profile};
use crate::forward::Forwarder;
use crate::forward::breaker::Signal;
use crate::forward::dispatch::{Kind, SendSlot};
use crate::forward::identify::{Answer, identify};
use crate::forward::plausible::{self, Reachability, Reply, Verdict};
use crate::forward::self_test::recognise;
use crate::forward::transport::{Cause, Connection, Transport};
use crate::guard::Scrubbed;
use crate::permit::Permit;
use crate::switch::Site;
use axum::http::Response;
use bytes::Bytes;
use relay_event::Outcome;
use std::time::Duration;
use tokio::time::Instant;

impl<T: Transport> Lane<T> {
    /// Sends one request and reads what its answer means.
    pub(super) async fn request(&mut self, scrubbed: &Scrubbed, send_slot: SendSlot<'_>) -> (Verdict, Reply) {
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
                    .dispatcher
                    .their_clock
                    .look(answer.headers(), now, took, even);
                forwarder.judge_answer(answer)
            }
            Err(cause) => forwarder.judge_failure(cause),
        };
        let cause = match reply.reachability() {
            Reachability::Up => None,
            _ => Cause::of(&forwarder.upstream.url, answer),
        };
        let metrics = &forwarder.metrics;
        metrics.upstream_duration_seconds.observe(took.as_secs_f64());
        metrics.upstream_requests.with([reply.name()]).inc();
        send_slot.report(signal(verdict, reply), Some(reply), cause, took);
        (verdict, reply)
    }

    /// Sends the health probe or the self-test. If the server has no health endpoint, an event is tried next.
    pub(super) async fn probe(&mut self, send_slot: SendSlot<'_>, permit: &Permit, site: &Site) {
        let asked = tokio::select! {
            asked = self.ask(send_slot.kind, site) => asked,
            () = permit.cut() => return,
        };
        let Some((signal, result, cause)) = asked else {
            return send_slot.report(Signal::Success, None, None, Duration::ZERO);
        };
        self.forwarder.metrics.upstream_probes.with([result]).inc();
        send_slot.report(signal, None, cause, Duration::ZERO);
    }

    /// The signal for the breaker, its metric label, and why it failed; `None` if there is no request to send.
    async fn ask(&mut self, kind: Kind, site: &Site) -> Option<(Signal, &'static str, Option<Cause>)> {
        let forwarder = &self.forwarder;
        if kind == Kind::SelfTest {
            let (requests, upstream) = (&forwarder.requests, &forwarder.upstream);
            let (signal, cause) = recognise(
                &mut self.connection,
                requests,
                upstream,
                &site.domain,
                &forwarder.clock,
            )
            .await;
            return Some((signal, signal.name(), cause));
        }
        let url = &forwarder.upstream.url;
        Some(match self.connection.send(forwarder.requests.health()?).await {
            Err(cause) => (Signal::Failure(None), "failed", Some(cause)),
            Ok(answer) => {
                let now = forwarder.clock.now();
                let (signal, result) = plausible::judge_health(answer.status(), answer.headers(), now);
                let cause = match signal {
                    Signal::Failure(_) => Cause::of_answer(url, &answer),
                    _ => None,
                };
                (signal, result, cause)
            }
        })
    }
}

/// The signal about the server that an answer implies.
fn signal(verdict: Verdict, reply: Reply) -> Signal {
    match (reply, verdict) {
        (Reply::Unclear, _) => Signal::Unclear,
        (Reply::Misconfigured, Verdict::Retry(asked)) => Signal::Foreign(asked),
        (_, Verdict::Retry(asked)) => Signal::Failure(asked),
        (_, Verdict::Settled(Outcome::Unanswered)) => Signal::Failure(None),
        (_, Verdict::Settled(_)) => Signal::Success,
    }
}

impl<T: Transport> Forwarder<T> {
    /// Judges an answer. A 400 that does not come from the profile's server, for example from a TLS port that received
    /// plain HTTP or from a gateway, says nothing about the event: it waits. Likewise, a page with a 202 is not
    /// Plausible's acceptance.
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
        let verdict = match self.upstream.delivery {
            Delivery::AtLeastOnce => Verdict::Retry(None),
            Delivery::AtMostOnce => Verdict::Settled(Outcome::Unanswered),
        };
        (verdict, Reply::Unknown)
    }
}
