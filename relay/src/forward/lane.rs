//! A lane: one bucket of visitors, one request under way, each visitor's events in their order.

use super::Forwarder;
use super::acks::LaneAcks;
use super::backoff;
use super::breaker::Sign;
use super::plausible::{self, Reply, Verdict};
use super::traffic::{Errand, Reach, Turn};
use super::transport::{Cause, Connection, Transport};
use super::tries::Tries;
use crate::clock::Moment;
use crate::config::WhenUnknown;
use crate::guard::Scrubbed;
use crate::metrics::ResultLabel;
use crate::spool::Waiting;
use crate::switch::{Permit, Site};
use bytes::BytesMut;
use relay_event::Outcome;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How soon a lane looks again when it left something out, or when the database cannot be read.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How soon it looks again when nothing tells it to.
const LOOK_AGAIN_IDLE: Duration = Duration::from_secs(600);
/// Events a lane reads ahead.
const READ_AHEAD: usize = 32;
/// How old an engagement may be. Plausible throws one away whose session of 30 minutes has ended
/// (contract c.3), and it takes a moment to arrive.
const ENGAGEMENT_MAX: Duration = Duration::from_secs(25 * 60);
/// Shortest time an event is set aside. It grows with the event's age; the spool bounds it.
const PARK_MIN: Duration = Duration::from_secs(60);
/// The failed try from which the wait of a lane no longer grows: from there on it is the breaker that waits.
const REST_TRIES_MAX: u32 = 3;

/// Why a lane does not go on to its next event.
#[derive(Debug)]
enum Halt {
    /// The relay is stopping, or nobody books any more.
    Stopped,
    /// An earlier event of the site was left out while its switch was off, and is first now that it is on.
    Overtakes,
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
            let waiting = self.forwarder.spool.take(self.number, done, READ_AHEAD).await;
            match waiting {
                Ok(waiting) if !waiting.is_empty() => {
                    for event in waiting {
                        let (seq, was_parked) = (event.seq, event.was_parked);
                        match self.deliver(event).await {
                            // One that was set aside and came back has a lower number.
                            Ok(()) => done = done.max(seq),
                            Err(Halt::Stopped) => return,
                            Err(Halt::Overtakes) => {
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
                    tokio::select! {
                        () = self.forwarder.spool.arrival(self.number), if nothing.is_ok() => {}
                        () = tokio::time::sleep(idle) => done = self.begin_again().await,
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
    }

    /// From the beginning, with what was set aside or left out; but with nothing that is settled already.
    /// Gives back where that is.
    async fn begin_again(&mut self) -> i64 {
        self.acks.all_booked().await;
        self.skipped.clear();
        0
    }

    /// How long to wait when nobody rings.
    async fn idle_for(&mut self, is_readable: bool) -> Duration {
        let now = self.forwarder.clock.now();
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
        self.connection.tidy().map_or(idle, |left| idle.min(left))
    }

    /// Sends one event until it is settled, set aside, or no longer ours to send.
    async fn deliver(&mut self, event: Waiting) -> Result<(), Halt> {
        let forwarder = Arc::clone(&self.forwarder);
        let stop = self.stop.clone();
        let Waiting {
            seq,
            stored_at,
            was_parked,
            mut scrubbed,
            mut purges,
        } = event;
        let mut tries = Tries::new(was_parked);
        loop {
            let slot = tokio::select! {
                slot = self.acks.slot() => slot.ok_or(Halt::Stopped)?,
                () = stop.cancelled() => return Err(Halt::Stopped),
            };
            let (site, scrubbed) = match self.look_at(stored_at, &mut scrubbed) {
                ControlFlow::Continue(sendable) => sendable,
                ControlFlow::Break(None) => return Ok(()),
                ControlFlow::Break(Some(outcome)) => {
                    self.acks.settle(seq, outcome, None, slot).await;
                    return Ok(());
                }
            };
            let turn = tokio::select! {
                turn = forwarder.traffic.enter() => turn,
                () = stop.cancelled() => return Err(Halt::Stopped),
            };
            // Without leave the event has been purged, or is about to be.
            let Some(permit) = site.permit().await else {
                return self.skip(&site);
            };
            if site.has_purged(seq, &permit) {
                return Ok(());
            }
            if self.skipped.contains(&site.domain) {
                return Err(Halt::Overtakes);
            }
            match forwarder.spool.has_purged(seq, &mut purges).await {
                Ok(false) => {}
                Ok(true) => return Ok(()),
                Err(_) => {
                    // Nobody knows. Nothing later goes before it meanwhile.
                    drop((turn, permit, slot));
                    tokio::select! {
                        () = tokio::time::sleep(LOOK_AGAIN) => continue,
                        () = stop.cancelled() => return Err(Halt::Stopped),
                    }
                }
            }
            // That may have waited for the switch or the disk, and the disk refused meanwhile.
            if !turn.stands() || self.acks.are_refused() {
                continue;
            }
            if turn.errand == Errand::Probe {
                self.probe(turn, &permit).await;
                continue;
            }
            // It may have waited long for its turn.
            if forwarder.is_too_old(stored_at, scrubbed) {
                continue;
            }
            if forwarder.is_late(stored_at) && scrubbed.mark_late(&site.plan) {
                self.forwarder.metrics.upstream_late.inc();
            }
            let (verdict, reply) = tokio::select! {
                sent = self.send(scrubbed, turn) => sent,
                () = permit.cut() => {
                    // Sent or half sent when the switch was turned off: Plausible may have counted it.
                    self.forwarder.metrics.upstream_unknown.inc();
                    return self.skip(&site);
                }
            };
            if let Verdict::Settled(outcome) = verdict {
                self.acks.settle(seq, outcome, Some(permit), slot).await;
                return Ok(());
            }
            drop((permit, slot));
            let traffic = &forwarder.traffic;
            tries.note(reply, traffic.taken());
            if tries.blame_the_event(traffic.taken(), traffic.all_may_send())
                && let Some(due) = forwarder.park(seq, stored_at).await
            {
                self.next_parked = Some(self.next_parked.map_or(due, |next| next.min(due)));
                return Ok(());
            }
            let tried = tries.failed().min(REST_TRIES_MAX);
            let rest = backoff::wait(tried, None, (forwarder.random)());
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stop.cancelled() => return Err(Halt::Stopped),
            }
        }
    }

    /// Leaves an event out and notes of which site it is.
    fn skip(&mut self, site: &Site) -> Result<(), Halt> {
        self.skipped.insert(site.domain.clone());
        Ok(())
    }

    /// What can be told without sending: how the event ends, that it is not ours to send any more, or where
    /// it belongs.
    fn look_at<'e>(
        &self,
        stored_at: Moment,
        scrubbed: &'e mut Option<Scrubbed>,
    ) -> ControlFlow<Option<Outcome>, (Arc<Site>, &'e mut Scrubbed)> {
        let Some(scrubbed) = scrubbed else {
            return ControlFlow::Break(Some(Outcome::Corrupt));
        };
        if let Some(outcome) = self.forwarder.too_old(stored_at, scrubbed) {
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
        ControlFlow::Continue((Arc::clone(site), scrubbed))
    }

    /// Sends one request and reads what its answer means.
    async fn send(&mut self, scrubbed: &Scrubbed, mut turn: Turn<'_>) -> (Verdict, Reply) {
        let forwarder = &self.forwarder;
        let started = Instant::now();
        let request = forwarder.requests.event(scrubbed, &mut self.buffer);
        let answer = self.connection.send(request).await;
        let took = started.elapsed();
        let (verdict, reply) = match &answer {
            Ok(answer) => plausible::judge(answer.status(), answer.headers(), forwarder.clock.now()),
            Err(cause) => forwarder.judge_failure(cause),
        };
        if reply.reach() != Reach::Up {
            turn.blame(Cause::of(&forwarder.upstream.url, answer));
        }
        let sign = match verdict {
            Verdict::Retry(asked) => Sign::Ill(asked),
            Verdict::Settled(Outcome::Unanswered) => Sign::Ill(None),
            Verdict::Settled(_) => Sign::Well,
        };
        forwarder.metrics.upstream_duration.observe(took.as_secs_f64());
        forwarder.metrics.upstream_replies[reply as usize].inc();
        turn.came_back(sign, Some(reply), took);
        (verdict, reply)
    }

    /// Asks whether Plausible is well. Where nothing there answers that, an event is tried next.
    async fn probe(&mut self, mut turn: Turn<'_>, permit: &Permit) {
        let Some(request) = self.forwarder.requests.health() else {
            return turn.came_back(Sign::Well, None, Duration::ZERO);
        };
        let answer = tokio::select! {
            answer = self.connection.send(request) => answer,
            () = permit.cut() => return,
        };
        let (sign, result) = match answer {
            Err(cause) => {
                turn.blame(Some(cause));
                (Sign::Ill(None), "failed")
            }
            Ok(answer) => {
                let now = self.forwarder.clock.now();
                let judged = plausible::judge_health(answer.status(), answer.headers(), now);
                if let (Sign::Ill(_), _) = judged {
                    turn.blame(Cause::of_answer(&self.forwarder.upstream.url, &answer));
                }
                judged
            }
        };
        let label = ResultLabel { result };
        self.forwarder.metrics.upstream_probes.get_or_create(&label).inc();
        turn.came_back(sign, None, Duration::ZERO);
    }
}

impl<T: Transport> Forwarder<T> {
    /// How an event that waited too long ends.
    fn too_old(&self, stored_at: Moment, scrubbed: &Scrubbed) -> Option<Outcome> {
        let age = self.clock.now().since(stored_at);
        if age > self.age_max {
            return Some(Outcome::Expired);
        }
        (scrubbed.engagement().is_some() && age > ENGAGEMENT_MAX).then_some(Outcome::EngagementExpired)
    }

    fn is_too_old(&self, stored_at: Moment, scrubbed: &Scrubbed) -> bool {
        self.too_old(stored_at, scrubbed).is_some()
    }

    fn is_late(&self, stored_at: Moment) -> bool {
        self.clock.now().since(stored_at) > self.upstream.late_after
    }

    /// Sets an event aside that Plausible fails at, so that it does not hold up its lane. It is tried again
    /// after a time that grows with its age, until it is too old. Gives back when; nothing when the disk
    /// refuses.
    async fn park(&self, seq: i64, stored_at: Moment) -> Option<Moment> {
        let now = self.clock.now();
        let due = now.plus(PARK_MIN.max(now.since(stored_at) / 2));
        self.spool.park(seq, due).await.ok()?;
        self.metrics.upstream_parked.inc();
        Some(due)
    }

    /// What a request without an answer means.
    fn judge_failure(&self, cause: &Cause) -> (Verdict, Reply) {
        if !cause.may_have_arrived() {
            return (Verdict::Retry(None), Reply::Unreachable);
        }
        self.metrics.upstream_unknown.inc();
        let verdict = match self.upstream.when_unknown {
            WhenUnknown::Retry => Verdict::Retry(None),
            WhenUnknown::Drop => Verdict::Settled(Outcome::Unanswered),
        };
        (verdict, Reply::Unknown)
    }
}
