//! One event on its way through a lane: attempts until it is settled, parked, held, or no longer the lane's.

use super::pending::Pending;
use super::{Interrupt, Lane, RECHECK_AFTER};
use crate::forward::attempts::Attempts;
use crate::forward::plausible::Reply;
use crate::forward::transport::Transport;
use crate::forward::{Forwarder, backoff};
use std::sync::Arc;
use std::time::Duration;

/// Shortest time for which an event is parked. The time grows with the event's age; the spool bounds it.
const PARK_MIN: Duration = Duration::from_secs(60);
/// Failed attempts after which a lane's wait no longer grows: from there on the breaker waits.
const BACKOFF_ATTEMPTS_MAX: u32 = 3;

/// How processing of an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    /// It is settled, parked, or no longer the lane's.
    Gone,
    /// Plausible does not accept its site's events: it stays, and the lane goes on with those of other sites.
    Held,
}

/// Why an attempt ended before Plausible's answer settled the event.
#[derive(Debug)]
pub(super) enum Ended {
    /// The event must not be sent: it was purged, it ended without a request, or its site is off.
    Gone,
    /// Its site is held.
    Held,
    /// Something changed meanwhile, or a probe had to go first: judge the event again.
    Again,
    /// The database does not say whether the event was purged. The lane waits, so nothing later overtakes it.
    Unreadable,
    /// The request failed.
    Failed(Reply),
    /// The lane does not go on.
    Interrupted(Interrupt),
}

impl From<Interrupt> for Ended {
    fn from(interrupt: Interrupt) -> Self {
        Self::Interrupted(interrupt)
    }
}

impl<T: Transport> Lane<T> {
    /// Attempts to send one event until it is settled, parked, held, or no longer the lane's.
    pub(super) async fn deliver(&mut self, mut pending: Pending) -> Result<Disposition, Interrupt> {
        let forwarder = Arc::clone(&self.forwarder);
        let mut attempts = Attempts::new(pending.event.was_parked);
        loop {
            match self.attempt(&forwarder, &mut pending).await {
                Ok(()) | Err(Ended::Gone) => return Ok(Disposition::Gone),
                Err(Ended::Held) => return Ok(self.hold(pending)),
                Err(Ended::Interrupted(interrupt)) => return Err(interrupt),
                Err(Ended::Again) => {}
                Err(Ended::Unreadable) => self.pause(RECHECK_AFTER).await?,
                Err(Ended::Failed(reply)) => {
                    let dispatcher = &forwarder.dispatcher;
                    attempts.note(reply, dispatcher.taken());
                    if attempts.is_event_at_fault(dispatcher.taken(), dispatcher.all_may_send())
                        && self.park(&pending).await
                    {
                        return Ok(Disposition::Gone);
                    }
                    let failed = attempts.failed().min(BACKOFF_ATTEMPTS_MAX);
                    let rest = backoff::wait(failed, None, (forwarder.random)());
                    self.pause(rest).await?;
                }
            }
        }
    }

    /// One attempt, step by step. Each step takes the result of the previous one, which only that step can create.
    async fn attempt(&mut self, forwarder: &Forwarder<T>, pending: &mut Pending) -> Result<(), Ended> {
        let judged = self.judge(pending).await?;
        let permitted = self.permit(forwarder, pending, judged).await?;
        let sent = self.send(pending, permitted).await?;
        self.settle(pending, sent).await
    }

    async fn pause(&mut self, pause: Duration) -> Result<(), Interrupt> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.stop.cancelled() => Err(Interrupt::Stopped),
        }
    }

    /// Passes over an event whose site is held.
    fn hold(&mut self, pending: Pending) -> Disposition {
        let site = pending.event.scrubbed.site().to_owned();
        if self.held.keep(pending) {
            self.forwarder.sites.count_held(&site, 1);
        }
        Disposition::Held
    }

    /// Parks an event that is itself at fault, so that it does not block its lane. The lane retries it after a time
    /// that grows with its age, until it expires. Returns `false` if the disk refuses.
    async fn park(&mut self, pending: &Pending) -> bool {
        let forwarder = &self.forwarder;
        let ages = forwarder.spool.ages();
        let due = ages
            .now()
            .plus(PARK_MIN.max(ages.age(pending.event.stored_at) / 2));
        if forwarder.spool.park(pending.event.seq, due).await.is_err() {
            return false;
        }
        forwarder.metrics.upstream_parked.inc();
        self.next_parked = Some(self.next_parked.map_or(due, |next| next.min(due)));
        true
    }
}
