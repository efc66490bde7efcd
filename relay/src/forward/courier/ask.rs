//! Requests that count nothing: the health probe, the self-test, and the proof that the server takes requests together.

use super::{Courier, Done};
use crate::forward::Forwarder;
use crate::forward::breaker::Signal;
use crate::forward::dispatch::{Kind, SendSlot};
use crate::forward::plausible::{self, Reply};
use crate::forward::self_test::{recognise, takes_together};
use crate::forward::transport::{Cause, Connection, Transport};
use crate::permit::Permit;
use crate::switch::Site;
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use std::sync::Arc;

impl<T: Transport> Courier<T> {
    /// Sends the health probe or the self-test instead of an event, because the breaker asks for it. If the server has no
    /// health endpoint, an event is tried next. Without an event of a site that is on, nothing is sent.
    pub(super) fn ask(&mut self, mut slot: SendSlot) {
        let Some((site, permit)) = self.asks_for() else {
            return;
        };
        let (forwarder, mut connection) = (Arc::clone(&self.forwarder), self.connection());
        self.work.push(Box::pin(async move {
            if !slot.is_valid() {
                return Done::Asked(connection);
            }
            let asked = tokio::select! {
                biased;
                () = permit.cut() => None,
                asked = forwarder.ask(&mut connection, slot.kind, &site) => Some(asked),
            };
            match asked {
                None => {}
                Some(None) => slot.report(Signal::Success, None, None, None),
                Some(Some((signal, result, cause))) => {
                    forwarder.metrics.upstream_probes.with([result]).inc();
                    slot.report(signal, None, cause, None);
                }
            }
            drop(slot);
            Done::Asked(connection)
        }));
    }

    /// Asks whether the server takes requests together. The slot counts this among the requests in flight.
    pub(super) fn prove(&mut self, mut slot: SendSlot) {
        let Some((site, permit)) = self.asks_for() else {
            return;
        };
        self.pipeline.asks();
        let (forwarder, mut connection) = (Arc::clone(&self.forwarder), self.connection());
        self.work.push(Box::pin(async move {
            if !slot.is_valid() {
                return Done::Proved(connection, None);
            }
            let hear = |answer| forwarder.hear_proof(answer, &mut slot);
            let is_proven = tokio::select! {
                biased;
                () = permit.cut() => false,
                is_proven = takes_together(&mut connection, &forwarder.requests, &site.domain, hear) => is_proven,
            };
            drop(slot);
            Done::Proved(connection, Some(is_proven))
        }));
    }

    /// The site of the next event that may be sent, and a permit of it. The event stays.
    fn asks_for(&mut self) -> Option<(Arc<Site>, Permit)> {
        let (lane, pending, site, permit) = self.next_permitted()?;
        self.lanes.put_back(lane, pending);
        Some((site, permit))
    }
}

impl<T: Transport> Forwarder<T> {
    /// The status of an answer to the proof. `None` if the request failed, which is reported, or the breaker has opened.
    fn hear_proof(&self, answer: Result<Response<Bytes>, Cause>, slot: &mut SendSlot) -> Option<StatusCode> {
        let (signal, cause) = match answer {
            Err(cause) => (Signal::Failure(None), Some(cause)),
            Ok(answer) => match plausible::read(answer.status(), answer.headers()) {
                Reply::Retry => {
                    let asked = plausible::retry_after(answer.headers(), self.clock.now());
                    (
                        Signal::Failure(asked),
                        Cause::of_answer(&self.upstream.url, &answer),
                    )
                }
                _ => return slot.is_valid().then_some(answer.status()),
            },
        };
        slot.report(signal, None, cause, None);
        None
    }

    /// The signal for the breaker, its metric label, and why it failed; `None` if there is no request to send.
    async fn ask(
        &self,
        connection: &mut T::Connection,
        kind: Kind,
        site: &Site,
    ) -> Option<(Signal, &'static str, Option<Cause>)> {
        if kind == Kind::SelfTest {
            let asked = recognise(
                connection,
                &self.requests,
                &self.upstream,
                &site.domain,
                &self.clock,
            );
            let (signal, cause) = asked.await;
            return Some((signal, signal.name(), cause));
        }
        let url = &self.upstream.url;
        Some(match connection.send(self.requests.health()?).await {
            Err(cause) => (Signal::Failure(None), "failed", Some(cause)),
            Ok(answer) => {
                let now = self.clock.now();
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
