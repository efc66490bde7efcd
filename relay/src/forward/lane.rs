//! A lane: one bucket of visitors, one request in flight, each visitor's events in order.

mod deliver;
mod held;
mod pending;
mod request;
mod steps;

use super::Forwarder;
use super::acceptance::Eligibility;
use super::acks::LaneAcks;
use super::transport::{Connection, Transport};
use crate::clock::Timestamp;
use bytes::BytesMut;
use deliver::Disposition;
use held::Held;
use pending::Pending;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Interval at which a lane rereads the spool after it passed over an event, or if the database cannot be read.
const RECHECK_AFTER: Duration = Duration::from_secs(5);
/// Interval at which it rereads the spool without a reason.
const RECHECK_IDLE_AFTER: Duration = Duration::from_secs(600);
/// Events a lane reads ahead.
const READ_AHEAD: usize = 32;

/// Why a lane does not continue with its next event.
#[derive(Debug)]
enum Interrupt {
    /// The relay is stopping.
    Stopped,
    /// An event that the lane passed over comes first now: its site is on again, or Plausible accepts it again.
    Rewind,
}

pub(super) struct Lane<T: Transport> {
    forwarder: Arc<Forwarder<T>>,
    number: usize,
    connection: T::Connection,
    /// The buffer for request bodies.
    buffer: BytesMut,
    acks: LaneAcks,
    /// Sites whose events the lane passed over because they were off: the switch has purged them, will purge them, or the
    /// disk refused.
    skipped: BTreeSet<String>,
    /// Events passed over because Plausible does not accept their site.
    held: Held,
    /// Changes when a held site's probe came back, or its hold ended.
    sites_changed: watch::Receiver<()>,
    /// When the first parked event is due, if known.
    next_parked: Option<Timestamp>,
    stop: CancellationToken,
}

impl<T: Transport> Lane<T> {
    pub(super) fn new(
        forwarder: Arc<Forwarder<T>>,
        number: usize,
        acks: LaneAcks,
        stop: CancellationToken,
    ) -> Self {
        Self {
            connection: forwarder.transport.connection(),
            sites_changed: forwarder.sites.changed(),
            held: Held::default(),
            forwarder,
            number,
            buffer: BytesMut::new(),
            acks,
            skipped: BTreeSet::new(),
            // An earlier process may have parked some: read at the first opportunity.
            next_parked: Some(Timestamp(i64::MIN)),
            stop,
        }
    }

    /// Delivers until the relay stops. A request in flight is finished first.
    pub(super) async fn run(mut self) {
        let mut done = 0;
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            match self.tend_held().await {
                Ok(()) => {}
                Err(Interrupt::Stopped) => return,
                Err(Interrupt::Rewind) => done = self.rewind().await,
            }
            let waiting = self.forwarder.spool.take(self.number, done, READ_AHEAD).await;
            match waiting {
                Ok(waiting) if !waiting.is_empty() => {
                    for event in waiting {
                        let (seq, was_parked) = (event.seq, event.was_parked);
                        match self.deliver(Pending::of(event)).await {
                            // A parked event that is due again has a lower number.
                            Ok(_) => done = done.max(seq),
                            Err(Interrupt::Stopped) => return,
                            Err(Interrupt::Rewind) => {
                                done = self.rewind().await;
                                break;
                            }
                        }
                        if was_parked {
                            // A replay, or a clock that is set back, returns it again until it is booked.
                            self.acks.all_booked().await;
                        }
                    }
                }
                // Empty or unreadable: wait for an arrival, or read again after a while.
                nothing => {
                    let idle = self.idle_for(nothing.is_ok()).await;
                    let closes_in = self.connection.tidy();
                    let (probe_at, holds) = (self.next_probe(), !self.held.is_empty());
                    tokio::select! {
                        () = self.forwarder.spool.arrival(self.number), if nothing.is_ok() => {}
                        () = tokio::time::sleep(idle) => done = self.rewind().await,
                        // Only closes the connection.
                        () = tokio::time::sleep(closes_in.unwrap_or_default()), if closes_in.is_some() => {}
                        () = tokio::time::sleep_until(probe_at.unwrap_or_else(Instant::now)), if probe_at.is_some() => {}
                        // Fails when the relay has gone.
                        _ = self.sites_changed.changed(), if holds => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
    }

    /// Tends held sites: rewinds if a site is accepted, and sends a probe that is due.
    async fn tend_held(&mut self) -> Result<(), Interrupt> {
        if self.held.is_empty() {
            return Ok(());
        }
        // Before the check, so that no change is missed.
        self.sites_changed.borrow_and_update();
        for site in self.held.sites() {
            let Some(probes) = self.held.fewest_probes(&site) else {
                continue;
            };
            match self.forwarder.sites.look(&site, probes) {
                Eligibility::Eligible => return Err(Interrupt::Rewind),
                Eligibility::NotBefore(_) | Eligibility::Wait => {}
                Eligibility::Probe => {
                    if let Some(pending) = self.held.take_least_tried(&site)
                        && self.deliver(pending).await? == Disposition::Gone
                    {
                        // Its followers are on disk.
                        return Err(Interrupt::Rewind);
                    }
                }
            }
        }
        Ok(())
    }

    /// When the first probe of a held site is due, if known.
    fn next_probe(&self) -> Option<Instant> {
        let sites = &self.forwarder.sites;
        let due = self.held.sites().into_iter().filter_map(|site| {
            match sites.look(&site, self.held.fewest_probes(&site)?) {
                Eligibility::NotBefore(at) => Some(sites.instant(at)),
                // It was not due a moment ago.
                Eligibility::Eligible | Eligibility::Probe => Some(Instant::now()),
                Eligibility::Wait => None,
            }
        });
        due.min()
    }

    /// Rewinds the lane to its oldest event, parked and passed-over ones included, once all settled ones are off the disk.
    /// Returns the number to read after.
    async fn rewind(&mut self) -> i64 {
        self.acks.all_booked().await;
        self.skipped.clear();
        for (site, events) in self.held.clear() {
            self.forwarder.sites.count_held(&site, -events);
        }
        0
    }

    /// How long to wait if no event arrives.
    async fn idle_for(&mut self, is_readable: bool) -> Duration {
        let now = self.forwarder.spool.ages().now();
        if self.next_parked.is_some_and(|due| due <= now) {
            // If it cannot be read, the next round reads it again.
            if let Ok(next) = self.forwarder.spool.next_parked(self.number).await {
                self.next_parked = next;
            }
        }
        let mut idle = match !self.skipped.is_empty() || !is_readable {
            true => RECHECK_AFTER,
            false => RECHECK_IDLE_AFTER,
        };
        if let Some(due) = self.next_parked {
            // A little later, so that it is due by then, and a record that cannot be read causes no busy loop.
            idle = idle.min(due.since(now) + RECHECK_AFTER);
        }
        idle
    }
}
