//! The courier: one task that delivers the spool's events over a few connections, each visitor's events in order.
//!
//! It reads events into lanes, takes the first event of each lane that is ready, and sends them in batches: one batch per
//! connection at a time, of one site. What takes time (reads, requests, writes) runs in futures that this task polls, so
//! it needs no locks.

mod ask;
mod batch;
mod flight;
mod held;
mod judge;
mod land;
mod lanes;
mod pending;
mod pipeline;

use super::Forwarder;
use super::acceptance::Eligibility;
use super::acks::{Ack, Acks};
use super::delivered::Delivered;
use super::transport::{Connection, Transport};
use crate::permit::Permit;
use crate::spool::Waiting;
use crate::store::StoreError;
use crate::switch::Site;
use bytes::BytesMut;
use flight::Landed;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use held::Held;
use lanes::Lanes;
use pending::Pending;
#[cfg(test)]
pub(super) use pipeline::DEPTH_MAX;
use pipeline::Pipeline;
use relay_event::Outcome;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Interval at which a lane rereads the spool after it passed over an event, or if the database cannot be read.
const RECHECK_AFTER: Duration = Duration::from_secs(5);
/// Interval at which idle lanes reread the spool without a reason, if events wait.
const RECHECK_IDLE_AFTER: Duration = Duration::from_secs(600);

pub(super) struct Courier<T: Transport> {
    forwarder: Arc<Forwarder<T>>,
    lanes: Lanes,
    /// Events passed over because Plausible does not accept their site, by lane.
    held: BTreeMap<usize, Held>,
    /// When the next probe of a held site is due, if known.
    probe_at: Option<Instant>,
    /// Sites whose events were passed over because they were off, with the lanes: the switch has purged them, will purge
    /// them, or the disk refused.
    skipped: BTreeMap<String, BTreeSet<usize>>,
    /// Connections that are not in use, the last used one last.
    connections: Vec<T::Connection>,
    pipeline: Pipeline,
    /// The buffer for request bodies.
    buffer: BytesMut,
    acks: Acks,
    /// Events in flight.
    in_flight: usize,
    work: FuturesUnordered<BoxFuture<'static, Done<T::Connection>>>,
    /// When the breaker lets the next request go, while it lets none go.
    send_at: Option<Instant>,
    recheck_at: Instant,
    /// Changes when a held site's probe came back, or its hold ended.
    sites_changed: watch::Receiver<()>,
    stop: CancellationToken,
}

/// Work that is done.
enum Done<C> {
    /// A lane has read the disk.
    Read(usize, Result<Vec<Waiting>, StoreError>),
    /// A batch has come back.
    Landed(Box<Landed<C>>),
    /// The health probe or the self-test has come back.
    Asked(C),
    /// The server was asked whether it takes requests together, unless the breaker opened before.
    Proved(C, Option<bool>),
    /// An event was parked, unless the disk refused.
    Parked(usize, Pending, bool),
    /// The disk knows that a site is held: its event can be passed over.
    Noted(usize, Pending),
}

impl<T: Transport> Courier<T> {
    pub(super) fn new(forwarder: Arc<Forwarder<T>>, stop: CancellationToken) -> Self {
        let acks = Acks::new(
            forwarder.spool.clone(),
            Arc::clone(&forwarder.sites),
            &forwarder.upstream.url,
        );
        Self {
            lanes: Lanes::new(forwarder.spool.lanes()),
            held: BTreeMap::new(),
            probe_at: None,
            skipped: BTreeMap::new(),
            connections: Vec::new(),
            pipeline: Pipeline::default(),
            buffer: BytesMut::new(),
            acks,
            in_flight: 0,
            work: FuturesUnordered::new(),
            send_at: None,
            recheck_at: Instant::now() + RECHECK_IDLE_AFTER,
            sites_changed: forwarder.sites.changed(),
            forwarder,
            stop,
        }
    }

    /// Delivers until the relay stops. Requests in flight are finished first, and their outcomes booked.
    pub(super) async fn run(mut self) {
        let (stop, forwarder) = (self.stop.clone(), Arc::clone(&self.forwarder));
        // An earlier process may have left some.
        (0..self.lanes.count()).for_each(|lane| self.lanes.arrived(lane, &forwarder.spool));
        while !stop.is_cancelled() {
            self.send_what_is_ready();
            self.read_what_is_next();
            let (next, holds) = (self.next_time(), !self.held.is_empty());
            tokio::select! {
                // The rarest first, so that none is kept waiting.
                biased;
                () = stop.cancelled() => {}
                booked = self.acks.booked() => {
                    booked.into_iter().for_each(|lane| self.lanes.booked(lane, &forwarder.spool));
                }
                arrived = forwarder.spool.arrivals() => {
                    arrived.into_iter().for_each(|lane| self.lanes.arrived(lane, &forwarder.spool));
                }
                Some(done) = self.work.next(), if !self.work.is_empty() => self.note(done),
                // Fails when the relay has gone.
                _ = self.sites_changed.changed(), if holds => self.tend_held(),
                () = tokio::time::sleep_until(next) => self.tick(Instant::now()),
            }
        }
        while let Some(done) = self.work.next().await {
            self.note(done);
        }
        self.acks.finish().await;
    }

    /// Starts the reads of lanes that wait for the disk.
    fn read_what_is_next(&mut self) {
        while let Some((lane, after)) = self.lanes.next_read() {
            let spool = self.forwarder.spool.clone();
            let read = async move { Done::Read(lane, spool.take(lane, after, lanes::READ_AHEAD).await) };
            self.work.push(Box::pin(read));
        }
    }

    fn note(&mut self, done: Done<T::Connection>) {
        match done {
            Done::Read(lane, read) => self.was_read(lane, read),
            Done::Landed(landed) => self.land(*landed),
            Done::Asked(connection) => self.connections.push(connection),
            Done::Proved(connection, is_proven) => {
                self.connections.push(connection);
                self.pipeline.was_asked(is_proven, Instant::now());
            }
            Done::Parked(lane, pending, is_parked) => self.was_parked(lane, pending, is_parked),
            Done::Noted(lane, pending) => {
                self.hold(lane, pending);
                self.go_on(lane);
            }
        }
    }

    fn was_read(&mut self, lane: usize, read: Result<Vec<Waiting>, StoreError>) {
        let is_readable = read.is_ok();
        let events = read.unwrap_or_default().into_iter().map(Pending::of).collect();
        let is_idle = self.lanes.was_read(lane, events, &self.forwarder.spool);
        if !is_readable {
            self.lanes.rewind_at(lane, Instant::now() + RECHECK_AFTER);
        } else if is_idle {
            self.await_parked(lane);
        }
    }

    /// An idle lane reads again once its next parked event is due: a little later, so that it is due by then, and a record
    /// that cannot be read causes no busy loop.
    fn await_parked(&mut self, lane: usize) {
        let spool = &self.forwarder.spool;
        if let Some(due) = spool.next_due(lane) {
            let wait = due.since(spool.ages().now()) + RECHECK_AFTER;
            self.lanes.rewind_at(lane, Instant::now() + wait);
        }
    }

    /// Goes on with a lane of which nothing is on its way.
    fn go_on(&mut self, lane: usize) {
        self.lanes.go_on(lane, &self.forwarder.spool);
        if self.held.contains_key(&lane) {
            self.tend(lane);
        }
        if self.lanes.is_idle(lane) {
            self.await_parked(lane);
        }
    }

    /// A lane starts again at its oldest event, parked and passed-over ones included.
    fn rewind(&mut self, lane: usize) {
        if let Some(mut held) = self.held.remove(&lane) {
            for (site, events) in held.clear() {
                self.forwarder.sites.count_held(&site, -events);
            }
        }
        self.skipped.retain(|_, lanes| {
            lanes.remove(&lane);
            !lanes.is_empty()
        });
        self.lanes.rewind(lane, &self.forwarder.spool);
    }

    /// Passes over an event whose site is off, and remembers that.
    fn skip(&mut self, site: &Site, lane: usize) {
        let lanes = self.skipped.entry(site.domain.clone()).or_default();
        lanes.insert(lane);
        self.lanes.rewind_at(lane, Instant::now() + RECHECK_AFTER);
    }

    /// Passes over an event whose site is held.
    fn hold(&mut self, lane: usize, pending: Pending) {
        let site = pending.event.scrubbed.site().to_owned();
        if self.held.entry(lane).or_default().keep(pending) {
            self.forwarder.sites.count_held(&site, 1);
        }
    }

    /// Tends the held sites of all lanes.
    fn tend_held(&mut self) {
        self.sites_changed.borrow_and_update();
        self.probe_at = None;
        let lanes: Vec<usize> = self.held.keys().copied().collect();
        lanes.into_iter().for_each(|lane| self.tend(lane));
    }

    /// Tends the held sites of a lane: it starts again if a site is accepted, and sends a probe that is due.
    fn tend(&mut self, lane: usize) {
        let (true, Some(held)) = (self.lanes.is_free(lane), self.held.get_mut(&lane)) else {
            return;
        };
        for site in held.sites() {
            let Some(probes) = held.fewest_probes(&site) else {
                // The probe is gone, and its followers are on disk; or it is the lane's next event.
                match self.lanes.is_next_held(lane) {
                    true => continue,
                    false => return self.rewind(lane),
                }
            };
            match self.forwarder.sites.look(&site, probes) {
                Eligibility::Eligible => return self.rewind(lane),
                Eligibility::Wait => {}
                Eligibility::NotBefore(at) => {
                    let at = self.forwarder.sites.instant(at);
                    self.probe_at = Some(self.probe_at.map_or(at, |earlier| earlier.min(at)));
                }
                Eligibility::Probe => {
                    if let Some(probe) = held.take_least_tried(&site) {
                        return self.lanes.go_first(lane, probe);
                    }
                }
            }
        }
    }

    /// An event is settled: it is removed from the spool and counted.
    fn settle(
        &mut self,
        lane: usize,
        pending: &Pending,
        outcome: Outcome,
        delivered: Option<Delivered>,
        permit: Option<Arc<Permit>>,
    ) {
        // A replay, or a clock that is set back, returns a parked event until it is booked.
        self.lanes.settled(lane, pending.event.was_parked);
        self.acks.settle(Ack {
            seq: pending.event.seq,
            lane,
            outcome,
            delivered,
            permit,
        });
    }

    fn next_time(&mut self) -> Instant {
        let times = [self.lanes.next_time(), self.probe_at, self.send_at];
        let closes_in = self.connections.iter_mut().filter_map(Connection::tidy).min();
        let closes_at = closes_in.map(|closes_in| Instant::now() + closes_in);
        let first = times.into_iter().chain([closes_at]).flatten().min();
        first.map_or(self.recheck_at, |first| first.min(self.recheck_at))
    }

    fn tick(&mut self, now: Instant) {
        while let Some(lane) = self.lanes.tick(now) {
            self.rewind(lane);
        }
        if self.probe_at.is_some_and(|at| at <= now) {
            self.tend_held();
        }
        if self.recheck_at <= now {
            self.recheck_at = now + RECHECK_IDLE_AFTER;
            if self.forwarder.spool.ledger().counts().spooled > 0 {
                self.lanes.idle().into_iter().for_each(|lane| self.rewind(lane));
            }
        }
    }
}
