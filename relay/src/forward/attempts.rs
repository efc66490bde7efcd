//! The tries of one event, and whether it is the event that is at fault.
//!
//! An event that Plausible answers badly while it takes others is set aside, so that it does not hold up its
//! lane. An answer that got lost says nothing about the event: losses are the affair of breaker and limiter.

use super::plausible::Reply;

/// Tries that were answered badly after which an event is at fault, when Plausible took another meanwhile.
const ANSWERED_MAX: u32 = 3;
/// Such tries after which it is in any case: it may be the only event there is.
const ANSWERED_ALONE_MAX: u32 = 8;
/// Tries without an answer after which it is, when Plausible took another meanwhile. So many are hardly ever
/// the network's fault; without a bound, an event that never gets an answer would hold up its lane until it
/// is too old.
const UNANSWERED_MAX: u32 = 16;

/// The tries of one event since it was read from the spool.
#[derive(Debug)]
pub(super) struct Tries {
    failed: u32,
    answered: u32,
    unanswered: u32,
    /// How many events Plausible had taken when the first try failed.
    taken_before: u64,
    was_parked: bool,
}

impl Tries {
    /// None yet. An event that was set aside before is at fault after one more bad answer.
    pub(super) fn new(was_parked: bool) -> Self {
        Self {
            failed: 0,
            answered: 0,
            unanswered: 0,
            taken_before: 0,
            was_parked,
        }
    }

    /// How many failed.
    pub(super) fn failed(&self) -> u32 {
        self.failed
    }

    /// Notes one that failed; Plausible has taken so many events until now.
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

    /// Whether it is the event that is at fault, and not Plausible or the way there. `all_may_send` while the
    /// breaker is closed.
    pub(super) fn blame_the_event(&self, taken: u64, all_may_send: bool) -> bool {
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
        // How many others are taken between two tries, and at which try the event is blamed.
        let check = |was_parked: bool, reply: Reply, others: u64, is_closed: bool, want: Option<u32>| {
            let (mut tries, mut taken) = (Tries::new(was_parked), 100);
            let blamed = (1..=50).find(|_| {
                tries.note(reply, taken);
                let is_blamed = tries.blame_the_event(taken, is_closed);
                taken += others;
                is_blamed
            });
            assert_eq!(blamed, want, "{was_parked} {reply:?} {others} {is_closed}");
        };
        check(false, Retry, 1, true, Some(3));
        check(false, Misconfigured, 1, true, Some(3));
        check(false, Retry, 0, true, Some(8));
        check(false, Retry, 0, false, Some(8));
        // One that was set aside gets one try, but an outage is not its fault.
        check(true, Retry, 0, true, Some(1));
        check(true, Retry, 1, true, Some(1));
        check(true, Retry, 1, false, Some(2));
        check(true, Retry, 0, false, Some(8));
        // What got lost on the way is hardly ever the event's fault, and what never left is not at all.
        check(false, Unknown, 1, true, Some(16));
        check(true, Unknown, 1, true, Some(16));
        check(false, Unknown, 0, true, None);
        check(true, Unknown, 0, true, None);
        check(false, Unreachable, 1, true, None);
        check(true, Unreachable, 1, true, None);
    }
}
