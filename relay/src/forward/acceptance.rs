//! Whether Plausible accepts a site's events, learned from its answers.
//!
//! Plausible answers 202 to an event of an unknown site and drops the event, which it reports in `x-plausible-dropped`
//! (contract c.2). A site whose events were never accepted, or were dropped [`DROPS_MAX`] times in a row, is *held*:
//! its events stay in the spool, and one event at a time probes whether Plausible accepts them again, with exponential
//! back-off. A state machine without clock, randomness or IO.

use super::backoff;
use crate::clock::Timestamp;
use crate::metrics;
use std::time::Duration;

/// Consecutive drops after which a site's events are held. Single drops are normal: a bot, a shielded page, a referrer
/// on the spam list. One visit to a shielded page has a few events; with more drops than that and no acceptance in
/// between, the site itself is suspected: removed, renamed, unpaid. Fewer than this many events are lost before that is
/// noticed, and a false alarm costs a second: the next accepted probe ends it.
pub const DROPS_MAX: u32 = 8;
/// A hold that ends sooner than this was a false alarm: Plausible accepts events again without a repair.
const FALSE_ALARM_MAX: Duration = Duration::from_secs(300);
/// Consecutive false alarms after which each further one doubles the number of drops that hold the site: most of its
/// events are dropped all the time, for example by a rate limit in Plausible, and holds would only delay the others.
const FALSE_ALARMS_FREE: u32 = 2;
/// Bound of these doublings: 256 drops.
const DOUBLINGS_MAX: u32 = 5;
/// How much later than an untried event an event asks to probe, for each probe in which it was dropped: another
/// visitor's event goes first, and a visitor whose events are all dropped does not hold the others.
const TRIED_PENALTY: Duration = Duration::from_millis(50);
/// The wait after a dropped probe, if its event was not tried before and the site was accepted once. A sender can
/// produce events that Plausible drops, for instance with a referrer on the spam list; they must not lengthen the wait
/// of others. The wait grows again once only tried events are left; a lane tries the events of a few visitors only.
const UNTRIED_WAIT: Duration = Duration::from_secs(1);
/// Beyond this number, further probes do not change the order.
pub(super) const PENALTIES_MAX: u32 = 10;

/// The facts about a site that survive a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// When Plausible accepted an event for the first time.
    pub first_accepted: Option<Timestamp>,
    /// When it last did.
    pub last_accepted: Option<Timestamp>,
    /// Drops since then, scaled so that [`DROPS_MAX`] is a complete run.
    pub drops: u32,
}

metrics::label! {
    /// Whether Plausible accepts a site's events, with its name in health and status.
    pub enum AcceptanceState {
        /// Plausible never accepted an event, and never dropped one: nothing was observed.
        Untested = "not checked",
        /// Plausible dropped every event so far. Events are held.
        NeverAccepted = "never",
        /// Plausible accepts events.
        Accepting = "yes",
        /// Plausible accepted events, and then dropped [`DROPS_MAX`] in a row. Events are held.
        Dropping = "no longer",
    }
}

impl AcceptanceState {
    /// Whether Plausible was seen to drop the site's events, so that they wait.
    pub fn is_refused(self) -> bool {
        matches!(self, Self::NeverAccepted | Self::Dropping)
    }
}

impl Record {
    /// The state of a site with this record.
    pub fn state(&self) -> AcceptanceState {
        match (self.first_accepted, self.drops) {
            (None, 0) => AcceptanceState::Untested,
            (None, _) => AcceptanceState::NeverAccepted,
            (Some(_), drops) if drops >= DROPS_MAX => AcceptanceState::Dropping,
            (Some(_), _) => AcceptanceState::Accepting,
        }
    }
}

/// Whether an event may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eligibility {
    /// Yes: the site's events are accepted.
    Eligible,
    /// Yes, as the one probe. To be reported or given back.
    Probe,
    /// Not before this time.
    NotBefore(Duration),
    /// Not before the probe in flight has come back.
    Wait,
}

/// The fate of an event that Plausible dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It is settled as rejected: the site's other events are accepted.
    Settle,
    /// It stays in the spool: the site is held.
    Hold,
}

/// One site.
#[derive(Debug)]
pub struct Acceptance {
    record: Record,
    /// Drops since the last acceptance.
    run: u32,
    /// Holds in a row that were false alarms.
    false_alarms: u32,
    /// When the hold began.
    held_since: Duration,
    /// Probes that were dropped since the hold began, or since the last [`Acceptance::probe_now`].
    probes: u32,
    /// When the next probe may go.
    due: Duration,
    is_probing: bool,
}

impl Acceptance {
    /// With what an earlier relay learned.
    pub fn new(record: Record) -> Self {
        Self {
            record,
            run: record.drops,
            false_alarms: 0,
            held_since: Duration::ZERO,
            probes: 0,
            due: Duration::ZERO,
            is_probing: false,
        }
    }

    /// The facts to keep.
    pub fn record(&self) -> Record {
        self.record
    }

    /// The state of the site.
    pub fn state(&self) -> AcceptanceState {
        self.record.state()
    }

    /// Whether events are held.
    pub fn is_held(&self) -> bool {
        self.state() != AcceptanceState::Accepting
    }

    /// Whether an event that was dropped in `probes` probes may be sent. A probe is not taken yet.
    pub fn look(&self, probes: u32, now: Duration) -> Eligibility {
        let due = self.due + TRIED_PENALTY * probes.min(PENALTIES_MAX);
        match () {
            () if !self.is_held() => Eligibility::Eligible,
            () if self.is_probing => Eligibility::Wait,
            () if now < due => Eligibility::NotBefore(due),
            () => Eligibility::Probe,
        }
    }

    /// The same, and the probe is the caller's.
    pub fn ask(&mut self, probes: u32, now: Duration) -> Eligibility {
        let eligibility = self.look(probes, now);
        self.is_probing |= eligibility == Eligibility::Probe;
        eligibility
    }

    /// Returns a probe, whatever its result.
    pub fn give_back(&mut self) {
        self.is_probing = false;
    }

    /// Plausible accepted an event. Returns whether that ended a hold.
    pub fn accepted(&mut self, at: Timestamp, now: Duration) -> bool {
        let was_held = self.is_held();
        if self.state() == AcceptanceState::Dropping {
            let is_false_alarm = now.saturating_sub(self.held_since) < FALSE_ALARM_MAX;
            self.false_alarms = if is_false_alarm {
                self.false_alarms.saturating_add(1)
            } else {
                0
            };
        }
        self.run = 0;
        self.record = Record {
            first_accepted: self.record.first_accepted.or(Some(at)),
            last_accepted: Some(at),
            drops: 0,
        };
        self.probes = 0;
        was_held
    }

    /// Plausible dropped an event. A dropped engagement says nothing about the site, because Plausible drops each
    /// one whose session has ended. The event was dropped in `probes` probes before; `random` is for the jitter of the
    /// wait.
    pub fn dropped(&mut self, is_engagement: bool, probes: u32, now: Duration, random: u32) -> Dropped {
        let was_held = self.is_held();
        if is_engagement && !was_held {
            return Dropped::Settle;
        }
        if !is_engagement {
            let doublings = self.false_alarms.saturating_sub(FALSE_ALARMS_FREE);
            let whole = DROPS_MAX << doublings.min(DOUBLINGS_MAX);
            self.run = (self.run + 1).min(whole);
            self.record.drops = (self.run * DROPS_MAX / whole).max(1);
        }
        if !self.is_held() {
            return Dropped::Settle;
        }
        if !was_held {
            self.held_since = now;
        }
        let is_untried = was_held && probes == 0 && self.record.first_accepted.is_some();
        if self.is_probing && is_untried {
            self.due = now + UNTRIED_WAIT;
        } else if self.is_probing || !was_held {
            self.probes = self.probes.saturating_add(1);
            self.due = now + backoff::wait(self.probes, None, random);
        }
        Dropped::Hold
    }

    /// Lets the next probe go at once: the site was switched on, so the operator has just looked after the site.
    pub fn probe_now(&mut self) {
        self.probes = 0;
        self.due = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests;
