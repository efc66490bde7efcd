//! The attempts of one event, and whether the event itself is at fault.
//!
//! An event that fails while Plausible accepts others is parked, so that it does not block its lane. A lost answer says
//! nothing about the event: breaker and limiter handle losses.

use super::plausible::Reply;

/// Failed attempts after which an event is at fault, if Plausible accepted another meanwhile.
const ANSWERED_MAX: u32 = 3;
/// Failed attempts after which it is at fault in any case: there may be no other event.
const ANSWERED_ALONE_MAX: u32 = 8;
/// Attempts without an answer after which it is at fault, if Plausible accepted another meanwhile. The network rarely
/// fails that often; without a bound, an event that never gets an answer would block its lane until it expires.
const UNANSWERED_MAX: u32 = 16;

/// The attempts of one event since it was read from the spool.
#[derive(Debug)]
pub(super) struct Attempts {
    failed: u32,
    answered: u32,
    unanswered: u32,
    /// Events that Plausible had taken when the first attempt failed.
    taken_before: u64,
    was_parked: bool,
}

impl Attempts {
    /// None yet. An event that was parked before is at fault after one more bad answer.
    pub(super) fn new(was_parked: bool) -> Self {
        Self {
            failed: 0,
            answered: 0,
            unanswered: 0,
            taken_before: 0,
            was_parked,
        }
    }

    /// Failed ones.
    pub(super) fn failed(&self) -> u32 {
        self.failed
    }

    /// Records a failed attempt. `taken`: events that Plausible has accepted so far.
    pub(super) fn note(&mut self, reply: Reply, taken: u64) {
        if self.failed == 0 {
            self.taken_before = taken;
        }
        self.failed = self.failed.saturating_add(1);
        match reply {
            Reply::Unreachable => {}
            Reply::Unknown => self.unanswered = self.unanswered.saturating_add(1),
            _ => self.answered = self.answered.saturating_add(1),
        }
    }

    /// Whether the event is at fault, and not Plausible or the network. `all_may_send` is true while the breaker is
    /// closed.
    pub(super) fn is_event_at_fault(&self, taken: u64, all_may_send: bool) -> bool {
        let others_are_taken = taken > self.taken_before;
        let again = self.was_parked && self.answered > 0 && (all_may_send || others_are_taken);
        let amid_others = self.answered >= ANSWERED_MAX || self.unanswered >= UNANSWERED_MAX;
        again || (amid_others && others_are_taken) || self.answered >= ANSWERED_ALONE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Reply::{Misconfigured, Retry, Unknown, Unreachable};

    #[test]
    fn an_event_is_at_fault_when_it_is_answered_badly_and_others_are_not() {
        // Others taken between two attempts, and the attempt at which the event is at fault.
        let check = |was_parked: bool, reply: Reply, others: u64, is_closed: bool, want: Option<u32>| {
            let (mut attempts, mut taken) = (Attempts::new(was_parked), 100);
            let blamed = (1..=50).find(|_| {
                attempts.note(reply, taken);
                let is_at_fault = attempts.is_event_at_fault(taken, is_closed);
                taken += others;
                is_at_fault
            });
            assert_eq!(blamed, want, "{was_parked} {reply:?} {others} {is_closed}");
        };
        check(false, Retry, 1, true, Some(3));
        check(false, Misconfigured, 1, true, Some(3));
        check(false, Retry, 0, true, Some(8));
        check(false, Retry, 0, false, Some(8));
        // A parked one gets one attempt, but an outage is not its fault.
        check(true, Retry, 0, true, Some(1));
        check(true, Retry, 1, true, Some(1));
        check(true, Retry, 1, false, Some(2));
        check(true, Retry, 0, false, Some(8));
        // A lost answer is rarely the event's fault, and a request that was not sent never is.
        check(false, Unknown, 1, true, Some(16));
        check(true, Unknown, 1, true, Some(16));
        check(false, Unknown, 0, true, None);
        check(true, Unknown, 0, true, None);
        check(false, Unreachable, 1, true, None);
        check(true, Unreachable, 1, true, None);
    }
}
