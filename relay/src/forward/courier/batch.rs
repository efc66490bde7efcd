//! Fills batches with the first events of the lanes that are ready, and sends them.

use super::flight::{self, Batch};
use super::pending::Pending;
use super::{Courier, Done};
use crate::config::Delivery;
use crate::forward::dispatch::{Kind, SendSlot};
use crate::forward::sites::SiteSlot;
use crate::forward::transport::Transport;
use crate::permit::Permit;
use crate::switch::Site;
use axum::http::Request;
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

/// Most lanes that wait for a batch of their own site while the batch of another is filled.
const OTHERS_MAX: usize = 64;

impl<T: Transport> Courier<T> {
    /// Sends the first events of the lanes that are ready, as many as may be in flight.
    pub(super) fn send_what_is_ready(&mut self) {
        self.send_at = None;
        while self.lanes.ready() > 0 && self.has_space() {
            let slot = match self.forwarder.dispatcher.try_acquire() {
                Ok(slot) => slot,
                // `None`: once a request has come back.
                Err(at) => {
                    self.send_at = at;
                    return;
                }
            };
            match slot.kind {
                Kind::Event if self.wants_proof() => self.prove(slot),
                Kind::Event => {
                    if let Some(batch) = self.batch(slot) {
                        self.send(batch);
                    }
                }
                Kind::Probe | Kind::SelfTest => self.ask(slot),
            }
        }
    }

    /// Whether one more event may be settled.
    fn has_space(&self) -> bool {
        self.acks.has_space_for(self.in_flight + 1)
    }

    /// The most events of a batch now. Without repetition, a connection that breaks costs as many events: one.
    fn depth(&self) -> usize {
        match (
            self.forwarder.dispatcher.all_may_send(),
            self.forwarder.upstream.delivery,
        ) {
            (true, Delivery::AtLeastOnce) => self.pipeline.depth(),
            (false, _) | (_, Delivery::AtMostOnce) => 1,
        }
    }

    /// Fills a batch; `None` if no lane has an event that may be sent.
    fn batch(&mut self, slot: SendSlot) -> Option<Batch> {
        let depth = self.depth();
        let mut batch = self.first(slot)?;
        let mut others = Vec::new();
        let is_probe = matches!(batch.site_slot, SiteSlot::Probe(_));
        while !is_probe && batch.events.len() < depth && others.len() < OTHERS_MAX && self.has_space() {
            let Some((lane, pending)) = self.lanes.take() else {
                break;
            };
            let Some((pending, site)) = self.judge(lane, pending) else {
                continue;
            };
            if !Arc::ptr_eq(&site, &batch.site) {
                others.push((lane, pending));
            } else if self.is_permitted(lane, &pending, &site, &batch.permit) {
                batch.events.push((lane, pending));
                self.in_flight += 1;
            }
        }
        for (lane, pending) in others.into_iter().rev() {
            self.lanes.put_back(lane, pending);
        }
        Some(batch)
    }

    /// A batch with its first event.
    fn first(&mut self, slot: SendSlot) -> Option<Batch> {
        let (lane, pending, site, permit) = self.next_permitted()?;
        match self.forwarder.sites.acquire(&site.domain, pending.probes) {
            SiteSlot::Held => {
                self.hold(lane, pending);
                self.go_on(lane);
                None
            }
            site_slot => {
                self.in_flight += 1;
                Some(Batch {
                    slot,
                    site,
                    permit: Arc::new(permit),
                    site_slot,
                    events: vec![(lane, pending)],
                })
            }
        }
    }

    /// The first event that may be sent, with the permit of its site.
    pub(super) fn next_permitted(&mut self) -> Option<(usize, Pending, Arc<Site>, Permit)> {
        while self.has_space()
            && let Some((lane, pending)) = self.lanes.take()
        {
            let Some((pending, site)) = self.judge(lane, pending) else {
                continue;
            };
            let Some(permit) = site.permit() else {
                // The event has been purged, or is about to be.
                self.skip(&site, lane);
                self.go_on(lane);
                continue;
            };
            if self.is_permitted(lane, &pending, &site, &permit) {
                return Some((lane, pending, site, permit));
            }
        }
        None
    }

    fn send(&mut self, mut batch: Batch) {
        let forwarder = Arc::clone(&self.forwarder);
        let requests = self.render(&mut batch);
        let connection = self.connection();
        let flight = async move {
            Done::Landed(Box::new(
                flight::fly(&forwarder, connection, batch, requests).await,
            ))
        };
        self.work.push(Box::pin(flight));
    }

    /// The requests of a batch.
    fn render(&mut self, batch: &mut Batch) -> Vec<Request<Bytes>> {
        let forwarder = &self.forwarder;
        let (site, buffer) = (&batch.site, &mut self.buffer);
        let requests = batch.events.iter_mut().map(|(_, pending)| {
            let event = &mut pending.event;
            if forwarder.is_late(event.stored_at) && event.scrubbed.mark_late(&site.plan) {
                forwarder.metrics.upstream_late.inc();
            }
            forwarder.requests.event(&event.scrubbed, buffer)
        });
        requests.collect()
    }

    /// A connection that is not in use: the one used last, so that the others become idle and are closed.
    pub(super) fn connection(&mut self) -> T::Connection {
        let kept = self.connections.pop();
        kept.unwrap_or_else(|| self.forwarder.transport.connection())
    }

    /// Whether to ask now if the server takes requests together: more than one event is ready.
    fn wants_proof(&self) -> bool {
        self.lanes.ready() > 1
            && self.pipeline.wants_proof(Instant::now())
            && self.forwarder.upstream.delivery == Delivery::AtLeastOnce
            && self.forwarder.dispatcher.all_may_send()
    }
}
