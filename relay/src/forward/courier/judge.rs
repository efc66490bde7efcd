//! Whether an event may be sent: by its age, its plan, its site's switch and hold, and the operator's purges.

use super::Courier;
use super::held::{Held, Position};
use super::pending::Pending;
use crate::clock::Timestamp;
use crate::forward::Forwarder;
use crate::forward::acceptance::Eligibility;
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

impl<T: Transport> Courier<T> {
    /// Judges a lane's first event, which was taken out. Returns it with its site if it may be sent; otherwise it ended, is
    /// passed over, or its lane starts again.
    pub(super) fn judge(&mut self, lane: usize, pending: Pending) -> Option<(Pending, Arc<Site>)> {
        let forwarder = Arc::clone(&self.forwarder);
        if pending.event.purges != forwarder.spool.purges() {
            // An operator purged meanwhile: what is still there is read again.
            self.start_again(lane);
            return None;
        }
        let site = match forwarder.find_site(&pending) {
            Ok(site) => site,
            Err(outcome) => {
                if let Some(outcome) = outcome {
                    self.settle(lane, &pending, outcome, None, None);
                }
                self.go_on(lane);
                return None;
            }
        };
        let eligibility = forwarder.sites.look(&site.domain, pending.probes);
        let position = self
            .held
            .get(&lane)
            .map_or(Position::Free, |held: &Held| held.position(&pending));
        match (position, eligibility) {
            (Position::Free, Eligibility::Eligible)
            | (Position::Free | Position::First, Eligibility::Probe) => Some((pending, site)),
            // The hold is over: the lane's held events go first.
            (_, Eligibility::Eligible) => {
                self.start_again(lane);
                None
            }
            _ => {
                self.hold(lane, pending);
                self.go_on(lane);
                None
            }
        }
    }

    /// Whether a judged event may be sent under this permit of its site. If it was purged, or earlier ones of its site were
    /// passed over, it is not the lane's any more.
    pub(super) fn is_permitted(
        &mut self,
        lane: usize,
        pending: &Pending,
        site: &Site,
        permit: &Permit,
    ) -> bool {
        if site.has_purged(pending.event.seq, permit) {
            self.go_on(lane);
            return false;
        }
        let was_skipped = self
            .skipped
            .get(&site.domain)
            .is_some_and(|lanes| lanes.contains(&lane));
        if was_skipped {
            self.start_again(lane);
        }
        !was_skipped
    }

    /// A lane whose first event was taken out starts again at its oldest event.
    fn start_again(&mut self, lane: usize) {
        self.rewind(lane);
        self.go_on(lane);
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

    pub(super) fn is_late(&self, stored_at: Timestamp) -> bool {
        self.spool.ages().age(stored_at) > self.upstream.late_after
    }
}
