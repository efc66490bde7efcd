//! The four steps of an attempt: judge, permit, send, settle.
//!
//! The types between them have private fields, so nothing outside this file makes one, and no step can be skipped:
//! an event is sent only with a slot for its acknowledgement, a dispatch slot and the permit of its site, and it is
//! settled only after it was sent. A step that ends the attempt drops all that it holds.

use super::deliver::Ended;
use super::held::Position;
use super::pending::Pending;
use super::{Interrupt, Lane};
use crate::clock::Timestamp;
use crate::forward::Forwarder;
use crate::forward::acceptance::{Dropped, Eligibility};
use crate::forward::acks::AckSlot;
use crate::forward::delivered::Delivered;
use crate::forward::dispatch::{Kind, SendSlot};
use crate::forward::plausible::{Reply, Verdict};
use crate::forward::sites::SiteSlot;
use crate::forward::transport::Transport;
use crate::guard::Scrubbed;
use crate::permit::Permit;
use crate::switch::Site;
use relay_event::Outcome;
use std::sync::Arc;
use std::time::Duration;

/// Oldest age of an engagement that is sent. Plausible drops one whose session of 30 minutes has ended
/// (contract c.3), and the request takes a moment to arrive.
const ENGAGEMENT_MAX: Duration = Duration::from_secs(25 * 60);

/// An event that may be sent by its age, its plan and the hold of its site. Its acknowledgement has a slot.
pub(super) struct Judged {
    slot: AckSlot,
    site: Arc<Site>,
}

/// An event that goes out now.
pub(super) struct Permitted<'f>(Going<'f>, SendSlot<'f>);

/// All that an event holds from its permission until it is settled.
struct Going<'f> {
    judged: Judged,
    /// Delays the acknowledgement of a switch-off until the event is settled.
    permit: Permit,
    /// Held until the answer is noted: the event may be its site's one probe.
    site_slot: SiteSlot<'f>,
}

/// An event that was sent, and its result.
pub(super) struct Sent<'f>(Going<'f>, Verdict, Reply);

impl<T: Transport> Lane<T> {
    /// Step 1: judges an event without a request. One that must no longer be sent ends here.
    pub(super) async fn judge(&mut self, pending: &Pending) -> Result<Judged, Ended> {
        let slot = self.slot().await?;
        match self.forwarder.find_site(pending) {
            Ok(site) => {
                self.check_hold(pending)?;
                Ok(Judged { slot, site })
            }
            Err(outcome) => {
                if let Some(outcome) = outcome {
                    self.acks
                        .settle(pending.event.seq, outcome, None, None, slot)
                        .await;
                }
                Err(Ended::Gone)
            }
        }
    }

    /// Step 2: waits for a dispatch slot and the permit of the site, and checks all that may have changed meanwhile. If
    /// the breaker asks for a probe, it is sent instead.
    pub(super) async fn permit<'f>(
        &mut self,
        forwarder: &'f Forwarder<T>,
        pending: &mut Pending,
        judged: Judged,
    ) -> Result<Permitted<'f>, Ended> {
        let send_slot = tokio::select! {
            send_slot = forwarder.dispatcher.acquire() => send_slot,
            () = self.stop.cancelled() => return Err(Interrupt::Stopped.into()),
        };
        let site = &judged.site;
        // Without a permit the event has been purged, or is about to be.
        let Some(permit) = site.permit() else {
            return Err(self.skip(site));
        };
        self.check_purges(pending, site, &permit).await?;
        // Waiting for the switch or the disk may have taken long. Meanwhile the breaker may have opened, or the disk
        // refused.
        if !send_slot.is_valid() || self.acks.are_refused() {
            return Err(Ended::Again);
        }
        if send_slot.kind != Kind::Event {
            self.probe(send_slot, &permit, site).await;
            return Err(Ended::Again);
        }
        if forwarder
            .too_old(pending.event.stored_at, &pending.event.scrubbed)
            .is_some()
        {
            return Err(Ended::Again);
        }
        match forwarder.sites.acquire(&site.domain, pending.probes) {
            SiteSlot::Held => Err(Ended::Held),
            site_slot => {
                let going = Going {
                    judged,
                    permit,
                    site_slot,
                };
                Ok(Permitted(going, send_slot))
            }
        }
    }

    /// Step 3: sends the event and reads the answer. If the site is switched off, the request is cut.
    pub(super) async fn send<'f>(
        &mut self,
        pending: &mut Pending,
        Permitted(going, send_slot): Permitted<'f>,
    ) -> Result<Sent<'f>, Ended> {
        let (forwarder, site) = (&self.forwarder, &going.judged.site);
        if forwarder.is_late(pending.event.stored_at) && pending.event.scrubbed.mark_late(&site.plan) {
            forwarder.metrics.upstream_late.inc();
        }
        tokio::select! {
            (verdict, reply) = self.request(&pending.event.scrubbed, send_slot) => Ok(Sent(going, verdict, reply)),
            () = going.permit.cut() => {
                // Sent in whole or in part: Plausible may have counted it.
                self.forwarder.metrics.upstream_unknown.inc();
                Err(self.skip(&going.judged.site))
            }
        }
    }

    /// Step 4: notes what the answer says about the site, and hands a settled event to the acks.
    pub(super) async fn settle(&mut self, pending: &mut Pending, sent: Sent<'_>) -> Result<(), Ended> {
        let Sent(going, verdict, reply) = sent;
        let (Judged { slot, site }, permit) = (going.judged, going.permit);
        let forwarder = &self.forwarder;
        match reply {
            Reply::Accepted => forwarder.sites.accepted(&site.domain, forwarder.clock.now()),
            Reply::Dropped => {
                let is_engagement = pending.event.scrubbed.engagement().is_some();
                let dropped = forwarder
                    .sites
                    .dropped(&site.domain, is_engagement, pending.probes);
                if dropped == Dropped::Hold {
                    pending.probes = pending.probes.saturating_add(1);
                    drop((permit, slot));
                    forwarder.sites.write().await;
                    return Err(Ended::Held);
                }
            }
            _ => {}
        }
        drop(going.site_slot);
        let Verdict::Settled(outcome) = verdict else {
            return Err(Ended::Failed(reply));
        };
        let delivered = (outcome == Outcome::Delivered)
            .then(|| Delivered::of(&site, pending.event.scrubbed.name(), forwarder.clock.now()))
            .flatten();
        self.acks
            .settle(pending.event.seq, outcome, delivered, Some(permit), slot)
            .await;
        Ok(())
    }

    /// Waits for a place for one more acknowledgement.
    async fn slot(&mut self) -> Result<AckSlot, Interrupt> {
        tokio::select! {
            slot = self.acks.slot() => slot.ok_or(Interrupt::Stopped),
            () = self.stop.cancelled() => Err(Interrupt::Stopped),
        }
    }

    /// Whether the site's hold lets the event go. If the hold is over, the lane's held events go first.
    fn check_hold(&self, pending: &Pending) -> Result<(), Ended> {
        let eligibility = self
            .forwarder
            .sites
            .look(pending.event.scrubbed.site(), pending.probes);
        match (self.held.position(pending), eligibility) {
            (Position::Free, Eligibility::Eligible)
            | (Position::Free | Position::First, Eligibility::Probe) => Ok(()),
            (_, Eligibility::Eligible) => Err(Interrupt::Rewind.into()),
            _ => Err(Ended::Held),
        }
    }

    /// Whether the event was purged since the lane read it, by the switch or by an operator.
    async fn check_purges(
        &mut self,
        pending: &mut Pending,
        site: &Site,
        permit: &Permit,
    ) -> Result<(), Ended> {
        if site.has_purged(pending.event.seq, permit) {
            return Err(Ended::Gone);
        }
        if self.skipped.contains(&site.domain) {
            return Err(Interrupt::Rewind.into());
        }
        let spool = &self.forwarder.spool;
        match spool
            .has_purged(pending.event.seq, &mut pending.event.purges)
            .await
        {
            Ok(false) => Ok(()),
            Ok(true) => Err(Ended::Gone),
            Err(_) => Err(Ended::Unreadable),
        }
    }

    /// Passes over an event whose site is off, and remembers the site.
    fn skip(&mut self, site: &Site) -> Ended {
        self.skipped.insert(site.domain.clone());
        Ended::Gone
    }
}

impl<T: Transport> Forwarder<T> {
    /// The site of an event that may be sent; otherwise how the event ends. No outcome means that the spool has already
    /// removed it.
    fn find_site(&self, pending: &Pending) -> Result<Arc<Site>, Option<Outcome>> {
        let scrubbed = &pending.event.scrubbed;
        if let Some(outcome) = self.too_old(pending.event.stored_at, scrubbed) {
            return Err(Some(outcome));
        }
        // The start purges the events of a site that is no longer configured.
        let site = self.switches.site(scrubbed.site()).ok_or(None)?;
        if !scrubbed.is_within(&site.plan) {
            return Err(Some(Outcome::Purged));
        }
        // Stored under another profile.
        match site.profile.leaves_out(scrubbed.name()) {
            Some(outcome) => Err(Some(outcome)),
            None => Ok(Arc::clone(site)),
        }
    }

    /// How an event that waited too long ends.
    fn too_old(&self, stored_at: Timestamp, scrubbed: &Scrubbed) -> Option<Outcome> {
        let age = self.spool.ages().age(stored_at);
        if age > self.age_max {
            return Some(Outcome::Expired);
        }
        (scrubbed.engagement().is_some() && age > ENGAGEMENT_MAX).then_some(Outcome::EngagementExpired)
    }

    fn is_late(&self, stored_at: Timestamp) -> bool {
        self.spool.ages().age(stored_at) > self.upstream.late_after
    }
}
