//! One event on its way through a lane: judged without sending, let in, sent, and settled or kept.

use super::held::Place;
use super::{Halt, LOOK_AGAIN, Lane};
use crate::clock::Moment;
use crate::forward::acceptance::{Dropped, Leave};
use crate::forward::acks::Slot;
use crate::forward::delivered::Delivered;
use crate::forward::plausible::{Reply, Verdict};
use crate::forward::sites::Asked;
use crate::forward::traffic::{Errand, Turn};
use crate::forward::transport::Transport;
use crate::forward::tries::Tries;
use crate::forward::{Forwarder, backoff};
use crate::guard::Scrubbed;
use crate::spool::Waiting;
use crate::switch::{Permit, Site};
use relay_event::Outcome;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// How old an engagement may be. Plausible throws one away whose session of 30 minutes has ended
/// (contract c.3), and it takes a moment to arrive.
const ENGAGEMENT_MAX: Duration = Duration::from_secs(25 * 60);
/// Shortest time an event is set aside. It grows with the event's age; the spool bounds it.
const PARK_MIN: Duration = Duration::from_secs(60);
/// The failed try from which the wait of a lane no longer grows: from there on it is the breaker that waits.
const REST_TRIES_MAX: u32 = 3;

/// An event in a lane's hand.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) seq: i64,
    stored_at: Moment,
    was_parked: bool,
    purges: u64,
    pub(super) scrubbed: Scrubbed,
    /// In how many probes of its site it was dropped.
    pub(super) probes: u32,
    /// Among the events that are held.
    pub(super) is_counted: bool,
}

/// How a lane is done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is settled, set aside, or no longer the lane's.
    Gone,
    /// Plausible does not accept its site's events: it stays, and the lane goes on with those of other sites.
    Held,
}

/// The result of one try.
enum Tried {
    Done(Fate),
    /// Something changed meanwhile, or a probe had to go first: from the beginning.
    Again,
    /// It failed.
    Failed(Reply),
}

impl Pending {
    /// Of an event that was read from the spool; its number when it has no content.
    pub(super) fn of(event: Waiting) -> Result<Self, i64> {
        Ok(Self {
            seq: event.seq,
            stored_at: event.stored_at,
            was_parked: event.was_parked,
            purges: event.purges,
            scrubbed: event.scrubbed.ok_or(event.seq)?,
            probes: 0,
            is_counted: false,
        })
    }
}

impl<T: Transport> Lane<T> {
    /// Delivers an event that was read from the spool.
    pub(super) async fn deliver_read(&mut self, event: Waiting) -> Result<Fate, Halt> {
        match Pending::of(event) {
            Ok(pending) => self.deliver(pending).await,
            Err(seq) => {
                let slot = self.slot().await?;
                self.acks.settle(seq, Outcome::Corrupt, None, None, slot).await;
                Ok(Fate::Gone)
            }
        }
    }

    /// Sends one event until it is settled, set aside, held, or no longer ours to send.
    pub(super) async fn deliver(&mut self, mut pending: Pending) -> Result<Fate, Halt> {
        let forwarder = Arc::clone(&self.forwarder);
        let mut tries = Tries::new(pending.was_parked);
        loop {
            let reply = match self.try_once(&forwarder, &mut pending).await? {
                Tried::Done(Fate::Held) => return Ok(self.hold(pending)),
                Tried::Done(Fate::Gone) => return Ok(Fate::Gone),
                Tried::Again => continue,
                Tried::Failed(reply) => reply,
            };
            let traffic = &forwarder.traffic;
            tries.note(reply, traffic.taken());
            if tries.blame_the_event(traffic.taken(), traffic.all_may_send())
                && let Some(due) = forwarder.park(pending.seq, pending.stored_at).await
            {
                self.next_parked = Some(self.next_parked.map_or(due, |next| next.min(due)));
                return Ok(Fate::Gone);
            }
            let tried = tries.failed().min(REST_TRIES_MAX);
            let rest = backoff::wait(tried, None, (forwarder.random)());
            self.pause(rest).await?;
        }
    }

    /// One try, from the first look to the answer.
    async fn try_once(
        &mut self,
        forwarder: &Arc<Forwarder<T>>,
        pending: &mut Pending,
    ) -> Result<Tried, Halt> {
        let slot = self.slot().await?;
        let site = match self.look_at(pending) {
            ControlFlow::Continue(site) => site,
            ControlFlow::Break(None) => return Ok(Tried::Done(Fate::Gone)),
            ControlFlow::Break(Some(outcome)) => {
                self.acks.settle(pending.seq, outcome, None, None, slot).await;
                return Ok(Tried::Done(Fate::Gone));
            }
        };
        if self.has_to_wait(pending)? {
            return Ok(Tried::Done(Fate::Held));
        }
        let turn = tokio::select! {
            turn = forwarder.traffic.enter() => turn,
            () = self.stop.cancelled() => return Err(Halt::Stopped),
        };
        // Without leave the event has been purged, or is about to be.
        let Some(permit) = site.permit().await else {
            return Ok(self.skip(&site));
        };
        if site.has_purged(pending.seq, &permit) {
            return Ok(Tried::Done(Fate::Gone));
        }
        if self.skipped.contains(&site.domain) {
            return Err(Halt::BeginAgain);
        }
        match forwarder.spool.has_purged(pending.seq, &mut pending.purges).await {
            Ok(false) => {}
            Ok(true) => return Ok(Tried::Done(Fate::Gone)),
            Err(_) => {
                // Nobody knows. Nothing later goes before it meanwhile.
                drop((turn, permit, slot));
                self.pause(LOOK_AGAIN).await?;
                return Ok(Tried::Again);
            }
        }
        // That may have waited for the switch or the disk, and the disk refused meanwhile.
        if !turn.stands() || self.acks.are_refused() {
            return Ok(Tried::Again);
        }
        if turn.errand != Errand::Event {
            self.probe(turn, &permit, &site).await;
            return Ok(Tried::Again);
        }
        // It may have waited long for its turn.
        if forwarder.too_old(pending.stored_at, &pending.scrubbed).is_some() {
            return Ok(Tried::Again);
        }
        self.send_and_settle(forwarder, pending, &site, turn, permit, slot)
            .await
    }

    /// Sends the event, unless its site is held, and does what the answer says.
    async fn send_and_settle(
        &mut self,
        forwarder: &Forwarder<T>,
        pending: &mut Pending,
        site: &Arc<Site>,
        turn: Turn<'_>,
        permit: Permit,
        slot: Slot,
    ) -> Result<Tried, Halt> {
        let Pending { scrubbed, .. } = pending;
        // Held until the answer is noted: it may be the site's one probe.
        let asked = forwarder.sites.ask(&site.domain, pending.probes);
        if matches!(asked, Asked::Held) {
            return Ok(Tried::Done(Fate::Held));
        }
        if forwarder.is_late(pending.stored_at) && scrubbed.mark_late(&site.plan) {
            forwarder.metrics.upstream_late.inc();
        }
        let (verdict, reply) = tokio::select! {
            sent = self.send(scrubbed, turn) => sent,
            () = permit.cut() => {
                // Sent or half sent when the switch was turned off: Plausible may have counted it.
                forwarder.metrics.upstream_unknown.inc();
                return Ok(self.skip(site));
            }
        };
        match reply {
            Reply::Accepted => forwarder.sites.accepted(&site.domain, forwarder.clock.now()),
            Reply::Dropped => {
                let is_engagement = scrubbed.engagement().is_some();
                let dropped = forwarder
                    .sites
                    .dropped(&site.domain, is_engagement, pending.probes);
                if dropped == Dropped::Hold {
                    pending.probes = pending.probes.saturating_add(1);
                    drop((permit, slot));
                    forwarder.sites.write().await;
                    return Ok(Tried::Done(Fate::Held));
                }
            }
            _ => {}
        }
        drop(asked);
        match verdict {
            Verdict::Settled(outcome) => {
                let now = forwarder.clock.now();
                let delivered = (outcome == Outcome::Delivered)
                    .then(|| Delivered::of(site, pending.scrubbed.name(), now))
                    .flatten();
                self.acks
                    .settle(pending.seq, outcome, delivered, Some(permit), slot)
                    .await;
                Ok(Tried::Done(Fate::Gone))
            }
            Verdict::Retry(_) => Ok(Tried::Failed(reply)),
        }
    }

    /// Room for one more event that is settled.
    async fn slot(&mut self) -> Result<Slot, Halt> {
        tokio::select! {
            slot = self.acks.slot() => slot.ok_or(Halt::Stopped),
            () = self.stop.cancelled() => Err(Halt::Stopped),
        }
    }

    async fn pause(&mut self, pause: Duration) -> Result<(), Halt> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.stop.cancelled() => Err(Halt::Stopped),
        }
    }

    /// Leaves an event out whose site is off, and notes of which site it is.
    fn skip(&mut self, site: &Site) -> Tried {
        self.skipped.insert(site.domain.clone());
        Tried::Done(Fate::Gone)
    }

    /// Leaves an event out whose site is held.
    fn hold(&mut self, pending: Pending) -> Fate {
        let site = pending.scrubbed.site().to_owned();
        if self.held.keep(pending) {
            self.forwarder.sites.count_held(&site, 1);
        }
        Fate::Held
    }

    /// Whether an event has to wait because its site is held. If the hold is over, what is held here goes first.
    fn has_to_wait(&self, pending: &Pending) -> Result<bool, Halt> {
        let leave = self.forwarder.sites.look(pending.scrubbed.site(), pending.probes);
        match (self.held.place(pending), leave) {
            (Place::Free, Leave::Go) => Ok(false),
            (_, Leave::Go) => Err(Halt::BeginAgain),
            (Place::Behind, _) => Ok(true),
            (Place::Free | Place::First, leave) => Ok(leave != Leave::Probe),
        }
    }

    /// Judges an event without sending it: it ends, is not the lane's to send any more, or belongs to this site.
    fn look_at(&self, pending: &Pending) -> ControlFlow<Option<Outcome>, Arc<Site>> {
        let Pending {
            scrubbed, stored_at, ..
        } = pending;
        if let Some(outcome) = self.forwarder.too_old(*stored_at, scrubbed) {
            return ControlFlow::Break(Some(outcome));
        }
        // A site that is not configured any more was purged at the start.
        let Some(site) = self.forwarder.switches.site(scrubbed.site()) else {
            return ControlFlow::Break(None);
        };
        if !scrubbed.is_within(&site.plan) {
            return ControlFlow::Break(Some(Outcome::Purged));
        }
        // Stored under another profile.
        if let Some(outcome) = site.profile.leaves_out(scrubbed.name()) {
            return ControlFlow::Break(Some(outcome));
        }
        ControlFlow::Continue(Arc::clone(site))
    }
}

impl<T: Transport> Forwarder<T> {
    /// How an event that waited too long ends.
    fn too_old(&self, stored_at: Moment, scrubbed: &Scrubbed) -> Option<Outcome> {
        let age = self.spool.ages().age(stored_at);
        if age > self.age_max {
            return Some(Outcome::Expired);
        }
        (scrubbed.engagement().is_some() && age > ENGAGEMENT_MAX).then_some(Outcome::EngagementExpired)
    }

    fn is_late(&self, stored_at: Moment) -> bool {
        self.spool.ages().age(stored_at) > self.upstream.late_after
    }

    /// Sets an event aside that Plausible fails at, so that it does not hold up its lane. It is tried again
    /// after a time that grows with its age, until it is too old. Gives back when; nothing when the disk
    /// refuses.
    async fn park(&self, seq: i64, stored_at: Moment) -> Option<Moment> {
        let ages = self.spool.ages();
        let due = ages.now().plus(PARK_MIN.max(ages.age(stored_at) / 2));
        self.spool.park(seq, due).await.ok()?;
        self.metrics.upstream_parked.inc();
        Some(due)
    }
}
