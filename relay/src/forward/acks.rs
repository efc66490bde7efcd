//! Acknowledgements in groups: one task removes the events that Plausible answered from the spool, in one transaction
//! for all that queued during the last fsync. A lane sends its next event meanwhile.
//!
//! After a crash, events that were answered but not yet deleted are delivered twice: at most [`UNACKED_MAX`] per lane.
//! Therefore the task books at once while the load is low, and pauses longer the more there is to book.

use super::delivered::{Delivered, Tally};
use super::sites::{Sites, record};
use crate::permit::Permit;
use crate::spool::{BUCKETS, Spool};
use relay_event::Outcome;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Limit of a lane's events that are settled but still in the spool. At the limit the lane waits.
pub const UNACKED_MAX: u32 = 16;
/// Capacity for all slots of all lanes, so that a send never waits.
const QUEUE_MAX: usize = BUCKETS as usize * UNACKED_MAX as usize;
/// Limit of events per transaction. It bounds the wait of the first.
const GROUP_MAX: usize = 256;
/// The pause after a group of [`GROUP_BUSY`] or more, in milliseconds. Each group costs an fsync, and only a lane that
/// is out of slots and a switch that is being set wait for it.
const PAUSE_MAX_MS: usize = 10;
/// Size of a group from which on the pause is the longest: about 3000 events a second. Below it, fsyncs are cheap
/// compared with duplicate deliveries after a crash.
const GROUP_BUSY: usize = 32;
/// Retry interval while the disk refuses.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// An event that is settled.
#[derive(Debug)]
struct Ack {
    seq: i64,
    outcome: Outcome,
    /// The count for the dashboard's comparison, if it was delivered.
    delivered: Option<Delivered>,
    /// Held until the outcome is booked, so that an event that was delivered is not purged in between.
    permit: Option<Permit>,
    _slot: AckSlot,
}

/// A slot for one more settled event of a lane.
#[derive(Debug)]
pub(super) struct AckSlot(#[expect(dead_code, reason = "held for its permit")] OwnedSemaphorePermit);

/// The queue of acknowledgements. All lanes share it.
#[derive(Clone, Debug)]
pub(super) struct Acks {
    queue: mpsc::Sender<Ack>,
    refused: watch::Receiver<bool>,
}

/// One lane's side of it.
#[derive(Debug)]
pub(super) struct LaneAcks {
    acks: Acks,
    slots: Arc<Semaphore>,
}

/// The task that books them.
#[derive(Debug)]
pub(super) struct Acker {
    queue: mpsc::Receiver<Ack>,
    refused: watch::Sender<bool>,
    spool: Spool,
    sites: Arc<Sites>,
    /// Where events go.
    upstream: Arc<str>,
}

/// The queue, and the task that books what is in it.
pub(super) fn acks(spool: Spool, sites: Arc<Sites>, upstream: &str) -> (Acks, Acker) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let (refused, is_refused) = watch::channel(false);
    let acks = Acks {
        queue: sender,
        refused: is_refused,
    };
    let acker = Acker {
        queue: receiver,
        refused,
        spool,
        sites,
        upstream: upstream.into(),
    };
    (acks, acker)
}

impl Acks {
    /// For one more lane.
    pub(super) fn lane(&self) -> LaneAcks {
        LaneAcks {
            acks: self.clone(),
            slots: Arc::new(Semaphore::new(UNACKED_MAX as usize)),
        }
    }
}

impl LaneAcks {
    /// Waits until one more event may be settled: the lane has a free slot, and the disk takes acknowledgements.
    /// `None` if the task that books them has ended.
    pub(super) async fn slot(&mut self) -> Option<AckSlot> {
        self.acks.refused.wait_for(|refused| !refused).await.ok()?;
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        Some(AckSlot(slot))
    }

    /// Whether the disk refuses acknowledgements: an event sent now would be sent again after a crash.
    pub(super) fn are_refused(&self) -> bool {
        *self.acks.refused.borrow()
    }

    /// Hands over a settled event.
    pub(super) async fn settle(
        &self,
        seq: i64,
        outcome: Outcome,
        delivered: Option<Delivered>,
        permit: Option<Permit>,
        slot: AckSlot,
    ) {
        let ack = Ack {
            seq,
            outcome,
            delivered,
            permit,
            _slot: slot,
        };
        // If the relay stops while the disk refuses, the task has ended: the event is sent again after the restart.
        let _ = self.acks.queue.send(ack).await;
    }

    /// Waits until everything this lane settled is booked.
    pub(super) async fn all_booked(&self) {
        let _ = self.slots.acquire_many(UNACKED_MAX).await;
    }
}

impl Acker {
    /// Books until every lane has ended. While the disk refuses, it retries and no lane sends: otherwise a crash would
    /// repeat every event delivered meanwhile.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while self.queue.recv_many(&mut group, GROUP_MAX).await > 0 {
            while !self.book(&group).await {
                // At a stop there is one more attempt: the disk may have recovered.
                if stop.is_cancelled() {
                    return;
                }
                self.refused
                    .send_if_modified(|refused| !std::mem::replace(refused, true));
                tokio::select! {
                    () = tokio::time::sleep(TRY_AGAIN) => {}
                    () = stop.cancelled() => {}
                }
                // Those that queued meanwhile too, or their permits would keep the site from being switched off. The
                // lanes' slots bound how many there are.
                while let Ok(ack) = self.queue.try_recv() {
                    group.push(ack);
                }
                // The site is being switched off and will purge these.
                group.retain(|ack| !ack.permit.as_ref().is_some_and(Permit::is_cut));
            }
            self.refused
                .send_if_modified(|refused| std::mem::replace(refused, false));
            let pause = pause_after(group.len());
            group.clear();
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }

    async fn book(&self, group: &[Ack]) -> bool {
        let settled = group.iter().map(|ack| (ack.seq, ack.outcome)).collect();
        // In the same transaction, so that a crash cannot separate them: a dropped event counts in its site's run, and
        // a delivered one counts for the dashboard.
        let records = self.sites.unwritten();
        let written = records.clone();
        let tally = Tally::of(group.iter().filter_map(|ack| ack.delivered.as_ref()));
        let upstream = Arc::clone(&self.upstream);
        let also = move |db: &rusqlite::Connection| {
            record::write(db, &upstream, &written)?;
            tally.write(db, &upstream)
        };
        let is_booked = self.spool.settle(settled, also).await.is_ok();
        self.sites.note_written(&records, is_booked);
        is_booked
    }
}

/// How long to wait before the next group, in whole milliseconds because timers have no finer ones. After a full group
/// more may be queued already: no pause.
fn pause_after(group: usize) -> Duration {
    if group >= GROUP_MAX {
        return Duration::ZERO;
    }
    let ms = PAUSE_MAX_MS * group.min(GROUP_BUSY) / GROUP_BUSY;
    Duration::from_millis(ms as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::spool::tests::{Desk, SITE, START};
    use crate::store::{self, Store};

    const UPSTREAM: &str = "http://127.0.0.1:9";

    #[test]
    fn the_pause_grows_with_the_group_and_a_full_one_has_none() {
        let check = |group: usize, ms: u64| {
            assert_eq!(pause_after(group), Duration::from_millis(ms), "after {group}");
        };
        check(1, 0);
        check(3, 0);
        check(4, 1);
        check(16, 5);
        check(GROUP_BUSY, 10);
        check(GROUP_MAX - 1, 10);
        check(GROUP_MAX, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_switch_can_be_turned_off_while_the_disk_refuses_what_was_settled() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::inline(store::open(folder.path()).unwrap());
        let desk = Desk::open(store, &Clock::standing_at(Timestamp(START)), 1 << 20, 1).await;
        desk.switches.set(SITE, true, "test").await.unwrap();
        let site = desk.switches.site(SITE).unwrap();
        let sites = Arc::new(desk.sites().await);
        let (acks, acker) = acks(desk.spool.clone(), sites, UPSTREAM);
        tokio::spawn(acker.run(CancellationToken::new()));
        let mut lane = acks.lane();
        let mut settled = Vec::new();
        for seq in 1..=2 {
            desk.append("e", 1).await.unwrap();
            settled.push((seq, site.permit(), lane.slot().await.unwrap()));
        }
        let (database, aside) = (store::path(folder.path()), folder.path().join("aside"));
        std::fs::rename(&database, &aside).unwrap();
        for (seq, permit, slot) in settled {
            lane.settle(seq, Outcome::Delivered, None, permit, slot).await;
            // So that the second queues behind one that cannot be booked.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let off = desk.switches.set(SITE, false, "test");
        let off = tokio::time::timeout(Duration::from_secs(60), off).await;
        assert!(off.expect("it is answered").is_err(), "it could not be recorded");
        assert!(site.permit().is_none(), "and yet nothing leaves");
        std::fs::rename(&aside, &database).unwrap();
        assert_eq!(desk.switches.set(SITE, false, "test").await.unwrap(), 2);
        assert_eq!(desk.metrics.ledger.counts().difference(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_delivered_is_counted_by_the_transaction_that_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::inline(store::open(folder.path()).unwrap());
        let desk = Desk::open(store.clone(), &Clock::standing_at(Timestamp(START)), 1 << 20, 1).await;
        desk.switches.set(SITE, true, "test").await.unwrap();
        let site = desk.switches.site(SITE).unwrap();
        let sites = Arc::new(desk.sites().await);
        let (acks, acker) = acks(desk.spool.clone(), sites, UPSTREAM);
        tokio::spawn(acker.run(CancellationToken::new()));
        let mut lane = acks.lane();
        let counted = async || {
            let read = |db: &rusqlite::Connection| {
                super::super::delivered::read(db, UPSTREAM, SITE, Timestamp(START).utc_day())
            };
            store
                .run(read)
                .await
                .map(|counts| counts.values().map(|c| c.all).sum::<u64>())
        };
        let settle = async |lane: &mut LaneAcks, seq: i64, outcome: Outcome| {
            // It fails while the database is gone; the event is settled all the same.
            let _ = desk.append("pageview", 1).await;
            let delivered = Delivered::of(site, "pageview", Timestamp(START));
            let delivered = delivered.filter(|_| outcome == Outcome::Delivered);
            let slot = lane.slot().await.unwrap();
            lane.settle(seq, outcome, delivered, site.permit(), slot).await;
        };
        settle(&mut lane, 1, Outcome::Delivered).await;
        settle(&mut lane, 2, Outcome::DroppedByPlausible).await;
        lane.all_booked().await;
        assert_eq!(
            counted().await.unwrap(),
            1,
            "what Plausible dropped is not in its counts"
        );
        let (database, aside) = (store::path(folder.path()), folder.path().join("aside"));
        std::fs::rename(&database, &aside).unwrap();
        settle(&mut lane, 3, Outcome::Delivered).await;
        tokio::time::sleep(TRY_AGAIN * 3).await;
        std::fs::rename(&aside, &database).unwrap();
        lane.all_booked().await;
        assert_eq!(counted().await.unwrap(), 2, "tried again, and counted once");
    }
}
