//! The circuit breaker: stops sending when Plausible is away, and tries with care whether it is back.
//!
//! A state machine without clock, randomness or IO: each call is handed the time since the relay started.
//! Closed, everything may be sent. It opens after [`FAILURES_MAX`] failures in a row, when half of the last
//! [`RECENT`] results were failures, or when Plausible asks to be left alone. Open, nothing is sent. After
//! a wait it is half open: one health probe may go, then one event, one thing at a time. Only when that
//! event was taken does it close.

use super::backoff;
use std::time::Duration;

/// Failures in a row that open it.
pub const FAILURES_MAX: u32 = 5;
/// Results looked back at. Half of them failures opens it, once there are that many.
pub const RECENT: u32 = 32;

/// What it does, for metrics and health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything may be sent.
    Closed,
    /// Nothing is sent.
    Open,
    /// One thing at a time is tried.
    HalfOpen,
}

impl State {
    /// The values of the metric label `state`.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The name in metrics and health.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The answer to "may I send?".
#[derive(Debug, PartialEq, Eq)]
pub enum Leave {
    /// Yes, an event.
    Event(Pass),
    /// Yes, but only the health probe.
    Probe(Pass),
    /// Not before this time.
    At(Duration),
    /// Not before what is under way has come back.
    Later,
}

/// Leave to send once, to be handed back with [`Breaker::report`] or [`Breaker::give_back`].
#[derive(Debug, PartialEq, Eq)]
pub struct Pass {
    /// Counts openings and closings: what comes back from before the last one says nothing about now.
    era: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Plausible answered as Plausible.
    Well,
    /// It did not; with what it asked for in `Retry-After`.
    Ill(Option<Duration>),
}

/// The breaker.
#[derive(Debug)]
pub struct Breaker {
    phase: Phase,
    era: u64,
    /// Openings since it was last closed.
    openings: u32,
    failures_in_a_row: u32,
    /// The last results, the newest lowest; a set bit is a failure.
    recent: u32,
    results: u32,
    has_health_probe: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Duration },
    HalfOpen { step: Step, is_taken: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Probe,
    Event,
}

impl Breaker {
    /// A closed one. Without a health probe, an event is the first thing that is tried.
    pub fn new(has_health_probe: bool) -> Self {
        Self {
            phase: Phase::Closed,
            era: 0,
            openings: 0,
            failures_in_a_row: 0,
            recent: 0,
            results: 0,
            has_health_probe,
        }
    }

    /// One that asks whether Plausible is well before the first event is sent: for a relay that begins with a
    /// backlog.
    pub fn careful(has_health_probe: bool) -> Self {
        Self {
            phase: Self::first_try(has_health_probe),
            ..Self::new(has_health_probe)
        }
    }

    fn first_try(has_health_probe: bool) -> Phase {
        let step = if has_health_probe {
            Step::Probe
        } else {
            Step::Event
        };
        Phase::HalfOpen {
            step,
            is_taken: false,
        }
    }

    /// What it does.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// When it will try again, while it is open.
    pub fn until(&self) -> Option<Duration> {
        match self.phase {
            Phase::Open { until } => Some(until),
            Phase::Closed | Phase::HalfOpen { .. } => None,
        }
    }

    /// How many failures there were since the last success.
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    /// Whether something may be sent now.
    pub fn ask(&mut self, now: Duration) -> Leave {
        if let Phase::Open { until } = self.phase {
            if now < until {
                return Leave::At(until);
            }
            self.phase = Self::first_try(self.has_health_probe);
        }
        let pass = Pass { era: self.era };
        match &mut self.phase {
            Phase::HalfOpen { is_taken: true, .. } => Leave::Later,
            Phase::HalfOpen { step, is_taken } => {
                *is_taken = true;
                match step {
                    Step::Probe => Leave::Probe(pass),
                    Step::Event => Leave::Event(pass),
                }
            }
            Phase::Closed | Phase::Open { .. } => Leave::Event(pass),
        }
    }

    /// Whether a pass may still be used: it has neither opened nor closed since.
    pub fn stands(&self, pass: &Pass) -> bool {
        pass.era == self.era
    }

    /// Takes back a pass that was not used.
    #[expect(clippy::needless_pass_by_value, reason = "a pass is used up")]
    pub fn give_back(&mut self, pass: Pass) {
        if let Phase::HalfOpen { is_taken, .. } = &mut self.phase
            && pass.era == self.era
        {
            *is_taken = false;
        }
    }

    /// Notes what came of a pass. `random` is for the jitter of the wait, when it opens.
    #[expect(clippy::needless_pass_by_value, reason = "a pass is used up")]
    pub fn report(&mut self, pass: Pass, sign: Sign, now: Duration, random: u32) {
        self.failures_in_a_row = match sign {
            Sign::Well => 0,
            Sign::Ill(_) => self.failures_in_a_row.saturating_add(1),
        };
        if pass.era != self.era {
            // From before it opened: a wish to be left alone is still a wish.
            if let (Phase::Open { until }, Sign::Ill(Some(asked))) = (&mut self.phase, sign) {
                *until = (*until).max(now + asked.min(backoff::RETRY_AFTER_MAX));
            }
            return;
        }
        match (self.phase, sign) {
            (Phase::Closed, _) => {
                self.recent = self.recent << 1 | u32::from(sign != Sign::Well);
                self.results = (self.results + 1).min(RECENT);
                if let Sign::Ill(asked) = sign {
                    let many = self.results == RECENT && self.recent.count_ones() >= RECENT / 2;
                    if asked.is_some() || many || self.failures_in_a_row >= FAILURES_MAX {
                        self.open(asked, now, random);
                    }
                }
            }
            (
                Phase::HalfOpen {
                    step: Step::Probe, ..
                },
                Sign::Well,
            ) => {
                self.phase = Phase::HalfOpen {
                    step: Step::Event,
                    is_taken: false,
                };
            }
            (
                Phase::HalfOpen {
                    step: Step::Event, ..
                },
                Sign::Well,
            ) => self.close(),
            (Phase::HalfOpen { .. }, Sign::Ill(asked)) => self.open(asked, now, random),
            // No pass of this era is out while it is open.
            (Phase::Open { .. }, _) => {}
        }
    }

    fn open(&mut self, asked: Option<Duration>, now: Duration, random: u32) {
        self.openings = self.openings.saturating_add(1);
        self.era += 1;
        self.phase = Phase::Open {
            until: now + backoff::wait(self.openings, asked, random),
        };
    }

    fn close(&mut self) {
        let failures_in_a_row = self.failures_in_a_row;
        *self = Self {
            era: self.era + 1,
            failures_in_a_row,
            ..Self::new(self.has_health_probe)
        };
    }
}

#[cfg(test)]
mod tests;
