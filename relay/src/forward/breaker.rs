//! The circuit breaker: stops sending when Plausible is away, and tries with care whether it is back.
//!
//! A state machine without clock, randomness or IO: each call is handed the time since the relay started.
//! Closed, everything may be sent. It opens after [`FAILURES_MAX`] failures in a row, when half of the last
//! [`RECENT`] results were failures, or when Plausible asks to be left alone. Open, nothing is sent. After
//! a wait it is half open: one health probe may go, then one event, one thing at a time. Only when that
//! event was taken does it close.
//!
//! If the answers were not Plausible's, the health probe proves nothing: some other server may answer it just as
//! well. Then the self-test goes instead, which counts nowhere, and no event before it was answered as Plausible does.

use super::backoff;
use std::time::Duration;

/// Failures in a row that open it.
pub const FAILURES_MAX: u32 = 5;
/// How long nothing goes when an event was answered as if it were taken, and the self-test as Plausible does: the
/// self-test does not show then what becomes of events, and each try may cost one. Four times as long each time.
pub const UNCLEAR_MIN: Duration = Duration::from_secs(5);
/// The bound of that wait.
pub const UNCLEAR_MAX: Duration = Duration::from_secs(3600);
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
    /// Yes, but only the self-test, which counts nowhere.
    SelfTest(Pass),
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
    /// Something else answered, and did not take the event: a redirect, a login, another server; with what it asked
    /// for in `Retry-After`.
    Foreign(Option<Duration>),
    /// Something else answered, and has probably taken the event, so that another try costs another event.
    Unclear,
}

impl Sign {
    /// The name of a self-test's result in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Ill(_) => "failed",
            Self::Foreign(_) | Self::Unclear => "foreign",
        }
    }
}

/// The relay's knowledge of the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// It answered as Plausible.
    Plausible,
    /// Nothing was sent since the start.
    Unseen,
    /// The last answer was not Plausible's.
    Foreign,
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
    trust: Trust,
    /// Events in a row that were answered as if they were taken, one for each time it opened.
    unclear: u32,
    /// The last of them was not explained by the self-test yet.
    is_unexplained: bool,
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
    SelfTest,
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
            trust: Trust::Plausible,
            unclear: 0,
            is_unexplained: false,
        }
    }

    /// One that asks whether Plausible is well, and whether it is Plausible, before the first event is sent: for a
    /// relay that begins with a backlog. An earlier process may have found another server there.
    pub fn careful(has_health_probe: bool) -> Self {
        let mut breaker = Self {
            trust: Trust::Unseen,
            ..Self::new(has_health_probe)
        };
        breaker.phase = breaker.first_try();
        breaker
    }

    fn first_try(&self) -> Phase {
        let step = match self.trust {
            Trust::Foreign => Step::SelfTest,
            _ if self.has_health_probe => Step::Probe,
            Trust::Unseen => Step::SelfTest,
            Trust::Plausible => Step::Event,
        };
        Phase::HalfOpen {
            step,
            is_taken: false,
        }
    }

    /// The step after one that was answered well; `None` after the last.
    fn next_step(&self, step: Step) -> Option<Step> {
        match step {
            Step::Probe if self.trust == Trust::Unseen => Some(Step::SelfTest),
            Step::Probe | Step::SelfTest => Some(Step::Event),
            Step::Event => None,
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
            self.phase = self.first_try();
        }
        let pass = Pass { era: self.era };
        match &mut self.phase {
            Phase::HalfOpen { is_taken: true, .. } => Leave::Later,
            Phase::HalfOpen { step, is_taken } => {
                *is_taken = true;
                match step {
                    Step::Probe => Leave::Probe(pass),
                    Step::SelfTest => Leave::SelfTest(pass),
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
            _ => self.failures_in_a_row.saturating_add(1),
        };
        if pass.era != self.era {
            // From before it opened: a wish to be left alone is still a wish.
            if let (Phase::Open { until }, Sign::Ill(Some(asked)) | Sign::Foreign(Some(asked))) =
                (&mut self.phase, sign)
            {
                *until = (*until).max(now + asked.min(backoff::RETRY_AFTER_MAX));
            }
            return;
        }
        match self.phase {
            Phase::Closed => {
                self.recent = self.recent << 1 | u32::from(sign != Sign::Well);
                self.results = (self.results + 1).min(RECENT);
                if sign != Sign::Well && self.is_enough(sign) {
                    self.open(sign, now, random);
                }
            }
            Phase::HalfOpen {
                step: Step::SelfTest, ..
            } if sign == Sign::Well && std::mem::take(&mut self.is_unexplained) => {
                let factor = 1 << (2 * self.unclear.saturating_sub(1).min(8));
                self.wait_until(now + UNCLEAR_MIN.saturating_mul(factor).min(UNCLEAR_MAX));
            }
            Phase::HalfOpen { step, .. } if sign == Sign::Well => {
                let next = self.next_step(step);
                if step != Step::Probe {
                    self.trust = Trust::Plausible;
                }
                match next {
                    Some(step) => {
                        self.phase = Phase::HalfOpen {
                            step,
                            is_taken: false,
                        }
                    }
                    None => self.close(),
                }
            }
            Phase::HalfOpen { .. } => self.open(sign, now, random),
            // No pass of this era is out while it is open.
            Phase::Open { .. } => {}
        }
    }

    /// Whether a failure opens it. One that may have cost an event does at once.
    fn is_enough(&self, sign: Sign) -> bool {
        let many = self.results == RECENT && self.recent.count_ones() >= RECENT / 2;
        many || self.failures_in_a_row >= FAILURES_MAX
            || matches!(sign, Sign::Unclear | Sign::Ill(Some(_)) | Sign::Foreign(Some(_)))
    }

    fn open(&mut self, sign: Sign, now: Duration, random: u32) {
        let asked = match sign {
            Sign::Ill(asked) | Sign::Foreign(asked) => asked,
            Sign::Well | Sign::Unclear => None,
        };
        match sign {
            Sign::Foreign(_) => {
                self.trust = Trust::Foreign;
                self.is_unexplained = false;
            }
            Sign::Unclear => {
                self.trust = Trust::Foreign;
                self.unclear = self.unclear.saturating_add(1);
                self.is_unexplained = true;
            }
            Sign::Well | Sign::Ill(_) => {}
        }
        self.openings = self.openings.saturating_add(1);
        self.wait_until(now + backoff::wait(self.openings, asked, random));
    }

    fn wait_until(&mut self, until: Duration) {
        self.era += 1;
        self.phase = Phase::Open { until };
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
