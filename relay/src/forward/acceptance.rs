//! Whether Plausible takes a site's events, learned from its answers.
//!
//! Plausible answers 202 to an event of a site that it does not know, and drops the event; it says so in
//! `x-plausible-dropped` (contract c.2). A site whose events were never accepted, or were dropped
//! [`DROPS_MAX`] times in a row, is *held*: its events stay in the spool, and one event at a time probes whether
//! Plausible takes them now, with growing waits. A state machine without clock, randomness or IO.

use super::backoff;
use crate::clock::Moment;
use std::time::Duration;

/// Drops in a row from which on a site's events are held. Single drops are normal: a bot, a shielded page, a
/// referrer on the spam list. One visit to a shielded page has a few events; with more drops than that and no
/// acceptance in between, the site itself is suspected: removed, renamed, unpaid. Fewer than this many events are
/// lost before that is noticed, and a wrong suspicion costs a second: the next accepted probe ends it.
pub const DROPS_MAX: u32 = 8;
/// A hold that ends sooner than this was a false alarm: Plausible accepts events again without a repair.
const FALSE_ALARM_MAX: Duration = Duration::from_secs(300);
/// False alarms in a row after which each further one doubles how many drops hold the site: most of its events are
/// dropped all the time, as by a rate limit in Plausible, and holds would only delay the others.
const FALSE_ALARMS_FREE: u32 = 2;
/// Bound of these doublings: 256 drops.
const DOUBLINGS_MAX: u32 = 5;
/// How much later than an untried event an event asks to probe, for each probe it was dropped in: so that another
/// visitor's event goes first, and one visitor whose events are all dropped does not hold the others.
const TRIED_PENALTY: Duration = Duration::from_millis(50);
/// Wait after a probe was dropped, if its event was not tried before and the site was accepted once. A sender can make
/// events that Plausible drops, by a referrer on the spam list for instance; they must not lengthen the wait of others.
/// The wait grows again once only events are left that were tried; a lane tries the events of a few visitors only.
const UNTRIED_WAIT: Duration = Duration::from_secs(1);
/// From here on more probes make no difference to the order.
pub(super) const PENALTIES_MAX: u32 = 10;

/// The facts about a site that survive a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// When Plausible accepted an event for the first time.
    pub first_accepted: Option<Moment>,
    /// When it last did.
    pub last_accepted: Option<Moment>,
    /// How much of a run of drops there was since then, up to [`DROPS_MAX`] for a whole one.
    pub drops: u32,
}

/// How a site stands with Plausible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Plausible never accepted an event, and never dropped one: nothing was observed.
    Untested,
    /// Plausible dropped every event so far. Events are held.
    NeverAccepted,
    /// Plausible accepts events.
    Accepting,
    /// Plausible accepted events, and then dropped [`DROPS_MAX`] in a row. Events are held.
    Dropping,
}

impl Standing {
    /// Whether Plausible was seen to drop the site's events, so that they wait.
    pub fn is_refused(self) -> bool {
        matches!(self, Self::NeverAccepted | Self::Dropping)
    }

    /// Its name in health and status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Untested => "not checked",
            Self::NeverAccepted => "never",
            Self::Accepting => "yes",
            Self::Dropping => "no longer",
        }
    }
}

impl Record {
    /// How a site with this record stands.
    pub fn standing(&self) -> Standing {
        match (self.first_accepted, self.drops) {
            (None, 0) => Standing::Untested,
            (None, _) => Standing::NeverAccepted,
            (Some(_), drops) if drops >= DROPS_MAX => Standing::Dropping,
            (Some(_), _) => Standing::Accepting,
        }
    }
}

/// The answer to "may this event be sent?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Yes: the site's events are accepted.
    Go,
    /// Yes, as the one probe. To be reported or given back.
    Probe,
    /// Not before this time.
    At(Duration),
    /// Not before the probe under way has come back.
    Later,
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
    /// Probes that were dropped since the hold began, or since the last [`Acceptance::hurry`].
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

    /// How the site stands.
    pub fn standing(&self) -> Standing {
        self.record.standing()
    }

    /// Whether events are held.
    pub fn is_held(&self) -> bool {
        self.standing() != Standing::Accepting
    }

    /// Whether an event may be sent that was dropped in so many probes before. A probe is not taken yet.
    pub fn look(&self, probes: u32, now: Duration) -> Leave {
        let due = self.due + TRIED_PENALTY * probes.min(PENALTIES_MAX);
        match () {
            () if !self.is_held() => Leave::Go,
            () if self.is_probing => Leave::Later,
            () if now < due => Leave::At(due),
            () => Leave::Probe,
        }
    }

    /// The same, and the probe is the caller's.
    pub fn ask(&mut self, probes: u32, now: Duration) -> Leave {
        let leave = self.look(probes, now);
        self.is_probing |= leave == Leave::Probe;
        leave
    }

    /// Takes back a probe, whatever came of it.
    pub fn give_back(&mut self) {
        self.is_probing = false;
    }

    /// Plausible accepted an event. Returns whether that ended a hold.
    pub fn accepted(&mut self, at: Moment, now: Duration) -> bool {
        let was_held = self.is_held();
        if self.standing() == Standing::Dropping {
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
    /// one whose session has ended. The event was dropped in so many probes before; `random` is for the jitter of the
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

    /// Lets the next probe go at once: the switch was turned on, so the operator has just looked after the site.
    pub fn hurry(&mut self) {
        self.probes = 0;
        self.due = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests;
