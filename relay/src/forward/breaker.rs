//! The circuit breaker: stops sending when Plausible is away, and tests carefully whether it is back.
//!
//! A state machine without clock, randomness or IO: each call receives the time since the relay started. While closed,
//! everything may be sent. It opens after [`FAILURES_MAX`] failures in a row, when half of the last [`RECENT`] results
//! were failures, or when Plausible sends `Retry-After`. While open, nothing is sent. After a wait it is half open: one
//! health probe may go, then one event, one request at a time. It closes only when that event was accepted.
//!
//! If the answers were not Plausible's, the health probe proves nothing: another server may answer it just as well.
//! Then the self-test is sent instead, which is never counted, and no event before Plausible's answer to it.

use super::backoff;
use crate::metrics;
use std::time::Duration;

/// Failures in a row that open it.
pub const FAILURES_MAX: u32 = 5;
/// The wait after an event was answered as if it were accepted while the self-test was answered by Plausible: then the
/// self-test does not explain the fate of events, and each attempt may cost one. Four times as long each time.
pub const UNCLEAR_MIN: Duration = Duration::from_secs(5);
/// The bound of that wait.
pub const UNCLEAR_MAX: Duration = Duration::from_secs(3600);
/// Results looked back at. Half of them failures opens it, once there are that many.
pub const RECENT: u32 = 32;

metrics::label! {
    /// The breaker's state, for metrics and health.
    pub enum State {
        /// Everything may be sent.
        Closed = "closed",
        /// Nothing is sent.
        Open = "open",
        /// One request at a time is tried.
        HalfOpen = "half_open",
    }
}

/// The breaker's answer to a lane that wants to send.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes, an event.
    Event(Token),
    /// Yes, but only the health probe.
    Probe(Token),
    /// Yes, but only the self-test, which is never counted.
    SelfTest(Token),
    /// Not before this time.
    NotBefore(Duration),
    /// Not before the request in flight has come back.
    Wait,
}

/// Permission to send: any number of events while it is closed, otherwise one request. Its results go to
/// [`Breaker::report`]; if there are none, it goes back with [`Breaker::give_back`].
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    /// Counts openings and closings: an answer from an earlier era is outdated.
    era: u64,
}

/// The result of a request, as the breaker counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Plausible answered as Plausible.
    Success,
    /// It did not; with what it asked for in `Retry-After`.
    Failure(Option<Duration>),
    /// Another server answered and did not accept the event, such as a redirect or a login; with its `Retry-After`.
    Foreign(Option<Duration>),
    /// Another server answered and has probably accepted the event, so another attempt costs another event.
    Unclear,
}

impl Signal {
    /// The name of a self-test's result in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "ok",
            Self::Failure(_) => "failed",
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
    /// Consecutive events that were answered as if they were accepted, one for each opening.
    unclear: u32,
    /// The self-test has not explained the last of them yet.
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

    /// A breaker that checks Plausible's health and identity before the first event, for a relay that starts with a
    /// backlog. An earlier process may have found another server there.
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

    /// The step after one that succeeded; `None` after the last.
    fn next_step(&self, step: Step) -> Option<Step> {
        match step {
            Step::Probe if self.trust == Trust::Unseen => Some(Step::SelfTest),
            Step::Probe | Step::SelfTest => Some(Step::Event),
            Step::Event => None,
        }
    }

    /// Its state.
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
    pub fn ask(&mut self, now: Duration) -> Decision {
        if let Phase::Open { until } = self.phase {
            if now < until {
                return Decision::NotBefore(until);
            }
            self.phase = self.first_try();
        }
        let token = Token { era: self.era };
        match &mut self.phase {
            Phase::HalfOpen { is_taken: true, .. } => Decision::Wait,
            Phase::HalfOpen { step, is_taken } => {
                *is_taken = true;
                match step {
                    Step::Probe => Decision::Probe(token),
                    Step::SelfTest => Decision::SelfTest(token),
                    Step::Event => Decision::Event(token),
                }
            }
            Phase::Closed | Phase::Open { .. } => Decision::Event(token),
        }
    }

    /// Whether a token may still be used: it has neither opened nor closed since.
    pub fn is_valid(&self, token: &Token) -> bool {
        token.era == self.era
    }

    /// Takes back a token that was not used.
    pub fn give_back(&mut self, token: &Token) {
        if let Phase::HalfOpen { is_taken, .. } = &mut self.phase
            && token.era == self.era
        {
            *is_taken = false;
        }
    }

    /// Notes the result of a token's request. `random` is for the jitter of the wait, when it opens.
    pub fn report(&mut self, token: &Token, signal: Signal, now: Duration, random: u32) {
        self.failures_in_a_row = match signal {
            Signal::Success => 0,
            _ => self.failures_in_a_row.saturating_add(1),
        };
        if token.era != self.era {
            // From before it opened: a Retry-After still counts.
            if let (Phase::Open { until }, Signal::Failure(Some(asked)) | Signal::Foreign(Some(asked))) =
                (&mut self.phase, signal)
            {
                *until = (*until).max(now + asked.min(backoff::RETRY_AFTER_MAX));
            }
            return;
        }
        match self.phase {
            Phase::Closed => {
                self.recent = self.recent << 1 | u32::from(signal != Signal::Success);
                self.results = (self.results + 1).min(RECENT);
                if signal != Signal::Success && self.is_enough(signal) {
                    self.open(signal, now, random);
                }
            }
            Phase::HalfOpen {
                step: Step::SelfTest, ..
            } if signal == Signal::Success && std::mem::take(&mut self.is_unexplained) => {
                let factor = 1 << (2 * self.unclear.saturating_sub(1).min(8));
                self.wait_until(now + UNCLEAR_MIN.saturating_mul(factor).min(UNCLEAR_MAX));
            }
            Phase::HalfOpen { step, .. } if signal == Signal::Success => {
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
            Phase::HalfOpen { .. } => self.open(signal, now, random),
            // No token of this era is out while it is open.
            Phase::Open { .. } => {}
        }
    }

    /// Whether a failure opens it. One that may have cost an event opens it at once.
    fn is_enough(&self, signal: Signal) -> bool {
        let many = self.results == RECENT && self.recent.count_ones() >= RECENT / 2;
        many || self.failures_in_a_row >= FAILURES_MAX
            || matches!(
                signal,
                Signal::Unclear | Signal::Failure(Some(_)) | Signal::Foreign(Some(_))
            )
    }

    fn open(&mut self, signal: Signal, now: Duration, random: u32) {
        let asked = match signal {
            Signal::Failure(asked) | Signal::Foreign(asked) => asked,
            Signal::Success | Signal::Unclear => None,
        };
        match signal {
            Signal::Foreign(_) => {
                self.trust = Trust::Foreign;
                self.is_unexplained = false;
            }
            Signal::Unclear => {
                self.trust = Trust::Foreign;
                self.unclear = self.unclear.saturating_add(1);
                self.is_unexplained = true;
            }
            Signal::Success | Signal::Failure(_) => {}
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
