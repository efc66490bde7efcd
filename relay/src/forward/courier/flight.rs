//! A batch on its way, and the interpretation of its answers.
//!
//! A batch exists only with a slot of the dispatcher and the permit of its site, so nothing is sent without them.

use super::pending::Pending;
use crate::config::{Delivery, Profile};
use crate::forward::Forwarder;
use crate::forward::breaker::Signal;
use crate::forward::dispatch::SendSlot;
use crate::forward::identify::{Answer, identify};
use crate::forward::plausible::{self, Reachability, Reply, Verdict};
use crate::forward::sites::SiteSlot;
use crate::forward::transport::{Cause, Connection, Transport};
use crate::permit::Permit;
use crate::switch::Site;
use axum::http::{Request, Response};
use bytes::Bytes;
use relay_event::Outcome;
use std::sync::Arc;
use std::time::Duration;

/// Events of one site, at most one of each lane, that leave together on one connection.
pub(super) struct Batch {
    pub(super) slot: SendSlot,
    pub(super) site: Arc<Site>,
    /// Delays the acknowledgement of a switch-off until the events are settled.
    pub(super) permit: Arc<Permit>,
    /// Held until the answers are noted: the event may be its site's one probe.
    pub(super) site_slot: SiteSlot,
    /// With their lanes.
    pub(super) events: Vec<(usize, Pending)>,
}

/// A batch that has come back.
pub(super) struct Landed<C> {
    pub(super) connection: C,
    pub(super) batch: Batch,
    /// The results of its first events; the others were cut, because the site is being switched off. `None` if nothing was
    /// sent, because the breaker opened meanwhile.
    pub(super) results: Option<Vec<Landing>>,
}

/// The result of an event that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Landing {
    pub(super) verdict: Verdict,
    pub(super) reply: Reply,
    /// The time from sending the batch to this result.
    pub(super) took: Duration,
}

/// Sends a batch and reads the answers. If the site is switched off meanwhile, it is cut.
pub(super) async fn fly<T: Transport>(
    forwarder: &Forwarder<T>,
    mut connection: T::Connection,
    mut batch: Batch,
    requests: Vec<Request<Bytes>>,
) -> Landed<T::Connection> {
    if !batch.slot.is_valid() {
        return Landed {
            connection,
            batch,
            results: None,
        };
    }
    let mut results = Vec::with_capacity(requests.len());
    let (slot, permit) = (&mut batch.slot, &batch.permit);
    let sending = connection.send_all(requests, |answer, took| {
        let is_first = results.is_empty();
        results.push(forwarder.hear(answer, took, slot, is_first));
    });
    tokio::select! {
        biased;
        // Sent in whole or in part: Plausible may have counted them.
        () = permit.cut() => {}
        () = sending => {}
    }
    let cut = batch.events.len().saturating_sub(results.len());
    forwarder.metrics.upstream_unknown.inc_by(cut as u64);
    Landed {
        connection,
        batch,
        results: Some(results),
    }
}

impl<T: Transport> Forwarder<T> {
    /// Reads what an answer means, and notes it for limiter and breaker. Only the first of a batch says how long the server
    /// takes: the others wait for it.
    fn hear(
        &self,
        answer: Result<Response<Bytes>, Cause>,
        took: Duration,
        slot: &mut SendSlot,
        is_first: bool,
    ) -> Landing {
        let (verdict, reply) = match &answer {
            Ok(answer) => {
                let (now, even) = (self.clock.now(), self.spool.ages().now());
                self.dispatcher
                    .their_clock
                    .look(answer.headers(), now, took, even);
                self.judge_answer(answer)
            }
            Err(cause) => self.judge_failure(cause),
        };
        let cause = match reply.reachability() {
            Reachability::Up => None,
            _ => Cause::of(&self.upstream.url, answer),
        };
        self.metrics.upstream_duration_seconds.observe(took.as_secs_f64());
        self.metrics.upstream_requests.with([reply.name()]).inc();
        slot.report(
            signal(verdict, reply),
            Some(reply),
            cause,
            is_first.then_some(took),
        );
        Landing { verdict, reply, took }
    }

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
