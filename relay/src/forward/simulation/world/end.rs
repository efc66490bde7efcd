//! The end of a simulation: everything comes to rest, and the totals are checked.

use super::super::script::Mood;
use super::super::watch::SITES;
use super::World;
use crate::forward::breaker;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long Plausible may get no requests after the last fault: the longest accepted Retry-After, the breaker's longest
/// wait, and a margin.
const REST_MAX: Duration = Duration::from_secs(3600 + 60 + 60);
/// Time limit for the delivery of waiting events after that, except parked ones.
const SEND_MAX: Duration = Duration::from_secs(120);
/// Time limit for parked ones: twice the longest time for which an event is parked, and a margin.
const DRAIN_MAX: Duration = Duration::from_secs(2 * 3600 + 600);

impl World {
    /// Lets everything come to rest and checks the totals.
    pub(in crate::forward::simulation) async fn end(mut self) -> Result<(), TestCaseError> {
        self.script.set(Mood::Well);
        self.script.heal();
        (0..SITES.len()).for_each(|site| self.script.know(site, true));
        self.set_disk(true).await;
        let rested = tokio::time::Instant::now() + REST_MAX;
        // Requests in flight come back first, and may bring a Retry-After.
        self.wait(Duration::from_secs(20)).await;
        while tokio::time::Instant::now() < rested && !self.may_send() {
            self.wait(Duration::from_secs(20)).await;
        }
        self.wait(SEND_MAX).await;
        prop_assert_eq!(self.unsent().await, 0, "of {} that wait", self.waiting());
        self.wait(DRAIN_MAX).await;
        prop_assert_eq!(self.waiting(), 0, "{:?} after all was well", DRAIN_MAX);
        prop_assert_eq!(self.broken(), None);
        self.stop_relay(true).await;
        let ended = |label: &str| -> u64 {
            let group = self.ended.iter().filter(|((outcome, _), _)| *outcome == label);
            group.map(|(_, count)| count).sum()
        };
        prop_assert_eq!(ended("lost"), 0);
        // Delivered or purged; other endings are counted one by one.
        let missing = self.script.watch(|watch| {
            let missing = watch
                .events
                .values()
                .filter(|event| !event.is_taken && !event.is_purged);
            missing.count() as u64
        });
        let dropped = self.ended[&("rejected", "plausible_dropped")];
        let may_be_dropped = self.script.watch(|watch| watch.may_be_dropped);
        prop_assert!(
            dropped <= may_be_dropped,
            "{} of {} dropped",
            dropped,
            may_be_dropped
        );
        let counted = ended("expired") + ended("rejected");
        prop_assert!(missing <= counted, "{} missing, {} counted", missing, counted);
        // Each stored event ended exactly once.
        let all: u64 = self.ended.values().sum();
        prop_assert_eq!(all, self.stored + self.refused, "{:?}", self.ended);
        Ok(())
    }

    /// The number of events that wait to be sent and are not parked. One that was settled and could not be recorded has
    /// time until its lane next rereads the spool.
    async fn unsent(&self) -> usize {
        let waiting = self
            .numbers("SELECT seq FROM spool WHERE not_before IS NULL")
            .await;
        self.script.watch(|watch| {
            let open = watch.events.values().filter(|event| !event.is_over);
            open.filter(|event| event.is_among(&waiting)).count()
        })
    }

    /// The numbers in the spool that a query gives.
    pub(super) async fn numbers(&self, query: &'static str) -> BTreeSet<i64> {
        let numbers = move |db: &rusqlite::Connection| {
            let mut numbers = db.prepare(query)?;
            let rows = numbers.query_map([], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<BTreeSet<i64>>>()
        };
        self.store.run(numbers).await.unwrap()
    }

    /// Plausible is known to be healthy, or there is no health probe.
    fn may_send(&self) -> bool {
        let is_closed = self.script.watch(|watch| {
            let dispatcher = watch.dispatcher.upgrade();
            dispatcher.is_some_and(|dispatcher| dispatcher.status().breaker == breaker::State::Closed)
        });
        is_closed || self.waiting() == 0
    }
}
