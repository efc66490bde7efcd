//! What becomes of the events of a batch that has come back: settled, sent again later, parked, or passed over.

use super::flight::{Landed, Landing};
use super::pending::Pending;
use super::{Courier, Done};
use crate::forward::acceptance::Dropped;
use crate::forward::backoff;
use crate::forward::delivered::Delivered;
use crate::forward::plausible::{Reply, Verdict};
use crate::forward::sites::SiteSlot;
use crate::forward::transport::Transport;
use crate::permit::Permit;
use crate::switch::Site;
use relay_event::Outcome;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Shortest time for which an event is parked. The time grows with the event's age; the spool bounds it.
const PARK_MIN: Duration = Duration::from_secs(60);
/// Failed attempts after which a lane's wait no longer grows: from there on the breaker waits.
const BACKOFF_ATTEMPTS_MAX: u32 = 3;

impl<T: Transport> Courier<T> {
    pub(super) fn land(&mut self, landed: Landed<T::Connection>) {
        let Landed {
            connection,
            batch,
            results,
        } = landed;
        self.connections.push(connection);
        self.in_flight -= batch.events.len();
        let Some(results) = results else {
            let events = batch.events.into_iter().rev();
            return events.for_each(|(lane, pending)| self.lanes.put_back(lane, pending));
        };
        self.pipeline.landed(&results, batch.events.len(), Instant::now());
        // Frees its place among the requests in flight.
        drop(batch.slot);
        let mut site_slot = Some(batch.site_slot);
        let mut results = results.into_iter();
        for (lane, pending) in batch.events {
            match results.next() {
                Some(landing) => {
                    self.land_one(lane, pending, landing, &batch.site, &batch.permit, &mut site_slot)
                }
                None => {
                    self.skip(&batch.site, lane);
                    self.go_on(lane);
                }
            }
        }
    }

    /// Notes what the answer says about the site, and what becomes of the event.
    fn land_one(
        &mut self,
        lane: usize,
        mut pending: Pending,
        landing: Landing,
        site: &Arc<Site>,
        permit: &Arc<Permit>,
        site_slot: &mut Option<SiteSlot>,
    ) {
        let forwarder = Arc::clone(&self.forwarder);
        match landing.reply {
            Reply::Accepted => forwarder.sites.accepted(&site.domain, forwarder.clock.now()),
            Reply::Dropped => {
                let is_engagement = pending.event.scrubbed.engagement().is_some();
                let dropped = forwarder
                    .sites
                    .dropped(&site.domain, is_engagement, pending.probes);
                if dropped == Dropped::Hold {
                    pending.probes = pending.probes.saturating_add(1);
                    return self.note_hold(lane, pending, site_slot.take());
                }
            }
            _ => {}
        }
        match landing.verdict {
            Verdict::Settled(outcome) => {
                let delivered = (outcome == Outcome::Delivered)
                    .then(|| Delivered::of(site, pending.event.scrubbed.name(), forwarder.clock.now()))
                    .flatten();
                self.settle(lane, &pending, outcome, delivered, Some(Arc::clone(permit)));
                self.go_on(lane);
            }
            Verdict::Retry(_) => self.failed(lane, pending, landing.reply),
        }
    }

    /// Writes down that the site is held before its event is passed over.
    fn note_hold(&mut self, lane: usize, pending: Pending, site_slot: Option<SiteSlot>) {
        let sites = Arc::clone(&self.forwarder.sites);
        self.work.push(Box::pin(async move {
            sites.write().await;
            drop(site_slot);
            Done::Noted(lane, pending)
        }));
    }

    /// An event failed. One that is itself at fault is parked, so that it does not block its lane: the lane sends it again
    /// after a time that grows with its age, until it expires.
    fn failed(&mut self, lane: usize, mut pending: Pending, reply: Reply) {
        let dispatcher = &self.forwarder.dispatcher;
        pending.attempts.note(reply, dispatcher.taken());
        let is_at_fault = pending
            .attempts
            .is_event_at_fault(dispatcher.taken(), dispatcher.all_may_send());
        if !is_at_fault {
            return self.rest(lane, pending);
        }
        let spool = self.forwarder.spool.clone();
        self.work.push(Box::pin(async move {
            let ages = spool.ages();
            let age = ages.age(pending.event.stored_at);
            let due = ages.now().plus(PARK_MIN.max(age / 2));
            let is_parked = spool.park(pending.event.seq, due).await.is_ok();
            Done::Parked(lane, pending, is_parked)
        }));
    }

    /// An event was parked; if the disk refused, its lane sends it again later.
    pub(super) fn was_parked(&mut self, lane: usize, pending: Pending, is_parked: bool) {
        match is_parked {
            true => {
                self.forwarder.metrics.upstream_parked.inc();
                self.go_on(lane);
            }
            false => self.rest(lane, pending),
        }
    }

    fn rest(&mut self, lane: usize, pending: Pending) {
        let failed = pending.attempts.failed().min(BACKOFF_ATTEMPTS_MAX);
        let wait = backoff::wait(failed, None, (self.forwarder.random)());
        self.lanes.rest(lane, pending, Instant::now() + wait);
    }
}
