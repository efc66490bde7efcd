//! Acknowledgements in groups: events that Plausible answered are removed from the spool in one transaction for all that
//! came back during the last fsync. The courier sends meanwhile.
//!
//! After a crash, events that were answered but not yet deleted are delivered twice: at most [`UNACKED_MAX`]. Therefore
//! the courier books at once while the load is low, and pauses longer the more there is to book.

use super::delivered::{Delivered, Tally};
use super::sites::{Sites, record};
use crate::permit::Permit;
use crate::spool::Spool;
use futures_util::future::BoxFuture;
use relay_event::Outcome;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Limit of the events that are in flight, or settled but still in the spool. At the limit nothing is sent.
pub const UNACKED_MAX: usize = 1024;
/// Limit of events per transaction. It bounds the wait of the first.
const GROUP_MAX: usize = 256;
/// The pause after a group of [`GROUP_BUSY`] or more, in milliseconds. Each group costs an fsync, and only a courier at
/// the limit and a switch that is being set wait for it.
const PAUSE_MAX_MS: usize = 10;
/// Size of a group from which on the pause is the longest: about 3000 events a second. Below it, fsyncs are cheap
/// compared with duplicate deliveries after a crash.
const GROUP_BUSY: usize = 32;
/// Retry interval while the disk refuses.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// An event that is settled.
#[derive(Debug)]
pub(super) struct Ack {
    pub(super) seq: i64,
    pub(super) lane: usize,
    pub(super) outcome: Outcome,
    /// The count for the dashboard's comparison, if it was delivered.
    pub(super) delivered: Option<Delivered>,
    /// Held until the outcome is booked, so that an event that was delivered is not purged in between.
    pub(super) permit: Option<Arc<Permit>>,
}

/// The settled events that are still in the spool.
pub(super) struct Acks {
    /// In the order in which they were settled. The first ones are being booked, if any are.
    settled: Vec<Ack>,
    /// The transaction that is running, and the number of events in it.
    booking: Option<(BoxFuture<'static, bool>, usize)>,
    /// When the next transaction may begin.
    next_at: Instant,
    /// The disk refused the last one.
    is_refused: bool,
    spool: Spool,
    sites: Arc<Sites>,
    /// Where events go.
    upstream: Arc<str>,
}

impl Acks {
    /// Without events.
    pub(super) fn new(spool: Spool, sites: Arc<Sites>, upstream: &str) -> Self {
        Self {
            settled: Vec::new(),
            booking: None,
            next_at: Instant::now(),
            is_refused: false,
            spool,
            sites,
            upstream: upstream.into(),
        }
    }

    /// Whether so many further events may be settled. Not while the disk refuses: a crash would repeat every event that is
    /// delivered meanwhile.
    pub(super) fn has_space_for(&self, events: usize) -> bool {
        !self.is_refused && self.settled.len() + events <= UNACKED_MAX
    }

    /// Takes a settled event.
    pub(super) fn settle(&mut self, ack: Ack) {
        self.settled.push(ack);
    }

    /// Books a group, and returns the lanes of the events that are no longer to be booked. Waits until there are any, or
    /// tries whether the disk still refuses. Cancel safe.
    pub(super) async fn booked(&mut self) -> Vec<usize> {
        if self.settled.is_empty() && !self.is_refused {
            return pending().await;
        }
        if self.booking.is_none() {
            tokio::time::sleep_until(self.next_at).await;
        }
        self.book().await
    }

    /// Books everything that is settled. If the disk refuses there is one more attempt: it may have recovered. Events that
    /// it still refuses are sent again after the restart.
    pub(super) async fn finish(&mut self) {
        let mut attempts = 0..2;
        while !self.settled.is_empty() {
            self.book().await;
            if self.is_refused && attempts.next().is_none() {
                return;
            }
        }
    }

    async fn book(&mut self) -> Vec<usize> {
        if self.booking.is_none() {
            let group = self.settled.len().min(GROUP_MAX);
            self.booking = Some((self.transaction(&self.settled[..group]), group));
        }
        let Some((running, group)) = &mut self.booking else {
            return Vec::new();
        };
        let (is_booked, group) = (running.await, *group);
        self.booking = None;
        self.is_refused = !is_booked;
        if is_booked {
            self.next_at = Instant::now() + pause_after(group);
            return self.settled.drain(..group).map(|ack| ack.lane).collect();
        }
        self.next_at = Instant::now() + TRY_AGAIN;
        // A site that is being switched off will purge these, and waits for their permits.
        let is_cut = |ack: &mut Ack| ack.permit.as_ref().is_some_and(|permit| permit.is_cut());
        self.settled.extract_if(.., is_cut).map(|ack| ack.lane).collect()
    }

    fn transaction(&self, group: &[Ack]) -> BoxFuture<'static, bool> {
        let settled = group.iter().map(|ack| (ack.seq, ack.outcome)).collect();
        // In the same transaction, so that a crash cannot separate them: a dropped event counts in its site's run, and
        // a delivered one counts for the dashboard.
        let records = self.sites.unwritten();
        let written = records.clone();
        let tally = Tally::of(group.iter().filter_map(|ack| ack.delivered.as_ref()));
        let (spool, sites, upstream) = (
            self.spool.clone(),
            Arc::clone(&self.sites),
            Arc::clone(&self.upstream),
        );
        Box::pin(async move {
            let also = move |db: &rusqlite::Connection| {
                record::write(db, &upstream, &written)?;
                tally.write(db, &upstream)
            };
            let is_booked = spool.settle(settled, also).await.is_ok();
            sites.note_written(&records, is_booked);
            is_booked
        })
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

    /// The acks of a desk with one lane, and its site's permits.
    struct Bench {
        desk: Desk,
        acks: Acks,
        folder: tempfile::TempDir,
    }

    impl Bench {
        async fn open() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::inline(store::open(folder.path()).unwrap());
            let desk = Desk::open(store, &Clock::standing_at(Timestamp(START)), 1 << 20, 1).await;
            desk.switches.set(SITE, true, "test").await.unwrap();
            let sites = Arc::new(desk.sites().await);
            let acks = Acks::new(desk.spool.clone(), sites, UPSTREAM);
            Self { desk, acks, folder }
        }

        /// Stores an event, unless the database is gone, and settles one with this number.
        async fn settle(&mut self, seq: i64, outcome: Outcome) {
            let _ = self.desk.append("pageview", 1).await;
            let site = self.desk.switches.site(SITE).unwrap();
            let delivered = Delivered::of(site, "pageview", Timestamp(START));
            self.acks.settle(Ack {
                seq,
                lane: 7,
                outcome,
                delivered: delivered.filter(|_| outcome == Outcome::Delivered),
                permit: site.permit().map(Arc::new),
            });
        }

        /// Moves the database away, so that the disk refuses, or back.
        fn refuse(&self, refuses: bool) {
            let (database, aside) = (store::path(self.folder.path()), self.folder.path().join("aside"));
            let (from, to) = if refuses {
                (database, aside)
            } else {
                (aside, database)
            };
            std::fs::rename(from, to).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_switch_can_be_turned_off_while_the_disk_refuses_what_was_settled() {
        let mut bench = Bench::open().await;
        for seq in 1..=2 {
            bench.settle(seq, Outcome::Delivered).await;
        }
        bench.refuse(true);
        let switches = bench.desk.switches.clone();
        let off = tokio::spawn(async move { switches.set(SITE, false, "test").await });
        let mut gone = Vec::new();
        while gone.len() < 2 {
            gone.extend(bench.acks.booked().await);
            assert!(
                !bench.acks.has_space_for(1),
                "nothing is sent that could not be booked"
            );
        }
        assert_eq!(gone, [7, 7], "they wait no longer");
        let off = tokio::time::timeout(Duration::from_secs(60), off).await.unwrap();
        assert!(off.expect("it is answered").is_err(), "it could not be recorded");
        let site = bench.desk.switches.site(SITE).unwrap();
        assert!(site.permit().is_none(), "and yet nothing leaves");
        bench.refuse(false);
        assert_eq!(bench.desk.switches.set(SITE, false, "test").await.unwrap(), 2);
        assert_eq!(bench.desk.metrics.ledger.counts().difference(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_delivered_is_counted_by_the_transaction_that_ends_it() {
        let mut bench = Bench::open().await;
        let store = bench.desk.spool.store.clone();
        let counted = async || {
            let read = |db: &rusqlite::Connection| {
                super::super::delivered::read(db, UPSTREAM, SITE, Timestamp(START).utc_day())
            };
            let counts = store.run(read).await.unwrap();
            counts.values().map(|c| c.all).sum::<u64>()
        };
        bench.settle(1, Outcome::Delivered).await;
        bench.settle(2, Outcome::DroppedByPlausible).await;
        assert_eq!(bench.acks.booked().await, [7, 7], "in one group");
        assert_eq!(counted().await, 1, "what Plausible dropped is not in its counts");
        bench.settle(3, Outcome::Delivered).await;
        bench.refuse(true);
        for _ in 0..3 {
            assert_eq!(bench.acks.booked().await, [0; 0]);
        }
        bench.refuse(false);
        assert_eq!(bench.acks.booked().await, [7]);
        assert_eq!(counted().await, 2, "tried again, and counted once");
        assert!(bench.acks.has_space_for(UNACKED_MAX) && !bench.acks.has_space_for(UNACKED_MAX + 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_books_what_is_settled_and_does_not_wait_for_a_disk_that_refuses() {
        let check = async |refuses: bool, want: u64| {
            let mut bench = Bench::open().await;
            bench.settle(1, Outcome::Delivered).await;
            if refuses {
                bench.refuse(true);
            }
            bench.acks.finish().await;
            let counts = bench.desk.metrics.ledger.counts();
            assert_eq!(counts.ended(Outcome::Delivered), want, "{refuses}");
        };
        check(false, 1).await;
        check(true, 0).await;
    }
}
