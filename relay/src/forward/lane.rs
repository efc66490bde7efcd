//! A lane: one bucket of visitors, one request under way, each visitor's events in their order.

mod attempt;
mod deliver;
mod held;

use super::Forwarder;
use super::acceptance::Leave;
use super::acks::LaneAcks;
use super::transport::{Connection, Transport};
use crate::clock::Moment;
use bytes::BytesMut;
use deliver::Fate;
use held::Held;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How soon a lane looks again when it left something out, or when the database cannot be read.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How soon it looks again when nothing tells it to.
const LOOK_AGAIN_IDLE: Duration = Duration::from_secs(600);
/// Events a lane reads ahead.
const READ_AHEAD: usize = 32;
/// Why a lane does not go on to its next event.
#[derive(Debug)]
enum Halt {
    /// The relay is stopping, or nobody books any more.
    Stopped,
    /// An earlier event was left out, and is first now: its site's switch was off and is on, or its site was held
    /// and is accepted.
    BeginAgain,
}

pub(super) struct Lane<T: Transport> {
    forwarder: Arc<Forwarder<T>>,
    number: usize,
    connection: T::Connection,
    /// Where bodies are written, one after the other.
    buffer: BytesMut,
    acks: LaneAcks,
    /// Sites of which something was left out because they were off: it has been purged, or will be, or the disk
    /// refused.
    skipped: BTreeSet<String>,
    /// Events passed over because Plausible does not accept their site.
    held: Held,
    /// Changes when a held site's probe came back, or its hold ended.
    sites_changed: watch::Receiver<()>,
    /// When the first event that was set aside comes due, as far as is known.
    next_parked: Option<Moment>,
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
            // Perhaps there are some from before: asked at the first occasion.
            next_parked: Some(Moment(i64::MIN)),
            stop,
        }
    }

    /// Delivers until the relay stops. A request under way is finished.
    pub(super) async fn run(mut self) {
        let mut done = 0;
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            match self.tend().await {
                Ok(()) => {}
                Err(Halt::Stopped) => return,
                Err(Halt::BeginAgain) => done = self.begin_again().await,
            }
            let waiting = self.forwarder.spool.take(self.number, done, READ_AHEAD).await;
            match waiting {
                Ok(waiting) if !waiting.is_empty() => {
                    for event in waiting {
                        let (seq, was_parked) = (event.seq, event.was_parked);
                        match self.deliver_read(event).await {
                            // One that was set aside and came back has a lower number.
                            Ok(_) => done = done.max(seq),
                            Err(Halt::Stopped) => return,
                            Err(Halt::BeginAgain) => {
                                done = self.begin_again().await;
                                break;
                            }
                        }
                        if was_parked {
                            // A replay, or a clock that is set back, makes it news again while it waits.
                            self.acks.all_booked().await;
                        }
                    }
                }
                // Nothing there, or unreadable: wait for an arrival, or look again after a while.
                nothing => {
                    let idle = self.idle_for(nothing.is_ok()).await;
                    let closes_in = self.connection.tidy();
                    let (probe_at, holds) = (self.next_probe(), !self.held.is_empty());
                    tokio::select! {
                        () = self.forwarder.spool.arrival(self.number), if nothing.is_ok() => {}
                        () = tokio::time::sleep(idle) => done = self.begin_again().await,
                        // Closes it, and forgets nothing of what was tried.
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

    /// Looks after what is held: begins again when its site is accepted, and sends a probe that is due.
    async fn tend(&mut self) -> Result<(), Halt> {
        if self.held.is_empty() {
            return Ok(());
        }
        // Before the look, so that no change is missed.
        self.sites_changed.borrow_and_update();
        for site in self.held.sites() {
            let Some(probes) = self.held.fewest_probes(&site) else {
                continue;
            };
            match self.forwarder.sites.look(&site, probes) {
                Leave::Go => return Err(Halt::BeginAgain),
                Leave::At(_) | Leave::Later => {}
                Leave::Probe => {
                    if let Some(pending) = self.held.take_least_tried(&site)
                        && self.deliver(pending).await? == Fate::Gone
                    {
                        // Its followers are on disk.
                        return Err(Halt::BeginAgain);
                    }
                }
            }
        }
        Ok(())
    }

    /// When the first probe of what is held is due, as far as is known.
    fn next_probe(&self) -> Option<Instant> {
        let sites = &self.forwarder.sites;
        let due = self.held.sites().into_iter().filter_map(|site| {
            match sites.look(&site, self.held.fewest_probes(&site)?) {
                Leave::At(at) => Some(sites.instant(at)),
                // It was not due a moment ago.
                Leave::Go | Leave::Probe => Some(Instant::now()),
                Leave::Later => None,
            }
        });
        due.min()
    }

    /// From the beginning, with what was set aside or left out; but with nothing that is settled already.
    /// Gives back where that is.
    async fn begin_again(&mut self) -> i64 {
        self.acks.all_booked().await;
        self.skipped.clear();
        for (site, events) in self.held.clear() {
            self.forwarder.sites.count_held(&site, -events);
        }
        0
    }

    /// How long to wait when nobody rings.
    async fn idle_for(&mut self, is_readable: bool) -> Duration {
        let now = self.forwarder.spool.ages().now();
        if self.next_parked.is_some_and(|due| due <= now) {
            // When it cannot be read, it is asked again the next time.
            if let Ok(next) = self.forwarder.spool.next_parked(self.number).await {
                self.next_parked = next;
            }
        }
        let mut idle = match !self.skipped.is_empty() || !is_readable {
            true => LOOK_AGAIN,
            false => LOOK_AGAIN_IDLE,
        };
        if let Some(due) = self.next_parked {
            // A little more, so that it is due then; and not at once for one that cannot be read.
            idle = idle.min(due.since(now) + LOOK_AGAIN);
        }
        idle
    }
}
