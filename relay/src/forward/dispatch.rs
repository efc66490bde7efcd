//! Dispatch: the breaker, and the limit of connections with requests in flight.

use super::breaker::{Breaker, Decision, Signal, State, Token};
use super::limiter::Limiter;
use super::metrics::Metrics;
use super::plausible::{Reachability, Reply};
use super::self_test::Report;
use super::their_clock::TheirClock;
use super::transport::Cause;
use crate::finding::Finding;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Shortest time between two logged changes, so that a Plausible that comes and goes does not fill the log.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Shortest time between two logged causes of the same outage.
const LOG_CAUSE_EVERY: Duration = Duration::from_secs(60);
/// The name of no cause.
const NO_CAUSE: &str = "none";

/// The state of delivery, for health.
#[derive(Clone, Debug)]
pub struct DispatchStatus {
    /// By the last request.
    pub reachability: Reachability,
    /// Why the last request failed; nothing once one was answered.
    pub cause: Option<Cause>,
    /// The breaker's state.
    pub breaker: State,
    /// When it tries again, while it is open.
    pub retry_in: Option<Duration>,
    /// Failures since the last success.
    pub failures_in_a_row: u32,
    /// The limiter's present limit of connections with requests in flight.
    pub limit: usize,
    /// Connections with requests in flight.
    pub in_flight: usize,
}

/// Dispatches requests.
#[derive(Debug)]
pub struct Dispatcher {
    inner: Mutex<Inner>,
    started: Instant,
    taken: AtomicU64,
    metrics: Arc<Metrics>,
    /// How far this machine's clock is from Plausible's.
    pub their_clock: TheirClock,
    random: fn() -> u32,
}

#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    limiter: Limiter,
    in_flight: usize,
    reachability: Reachability,
    cause: Option<Cause>,
    /// The last logged reachability, whether the breaker was closed, and the cause's name.
    logged: (Reachability, bool, &'static str),
    logged_at: Option<Instant>,
    /// The self-test's reports, by site.
    self_test: BTreeMap<String, Report>,
}

/// The request that a slot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An event may be sent.
    Event,
    /// Only the health probe may be sent.
    Probe,
    /// Only the self-test may be sent.
    SelfTest,
}

/// One of the connections with requests in flight. Dropping it without a report means that it was not used.
#[derive(Debug)]
pub(super) struct SendSlot {
    dispatcher: Arc<Dispatcher>,
    pub(super) kind: Kind,
    token: Token,
    is_reported: bool,
}

impl Dispatcher {
    /// With this breaker, and a limit that may grow to `concurrency`.
    pub(super) fn new(
        concurrency: usize,
        breaker: Breaker,
        metrics: Arc<Metrics>,
        random: fn() -> u32,
    ) -> Self {
        let dispatcher = Self {
            inner: Mutex::new(Inner {
                breaker,
                limiter: Limiter::new(concurrency),
                in_flight: 0,
                reachability: Reachability::Unknown,
                cause: None,
                logged: (Reachability::Unknown, true, NO_CAUSE),
                logged_at: None,
                self_test: BTreeMap::new(),
            }),
            started: Instant::now(),
            taken: AtomicU64::new(0),
            metrics,
            their_clock: TheirClock::default(),
            random,
        };
        dispatcher.show(&dispatcher.lock());
        dispatcher
    }

    /// The state of delivery.
    pub fn status(&self) -> DispatchStatus {
        let now = self.started.elapsed();
        let inner = self.lock();
        DispatchStatus {
            reachability: inner.reachability,
            cause: inner.cause.clone(),
            breaker: inner.breaker.state(),
            retry_in: inner.breaker.until().map(|until| until.saturating_sub(now)),
            failures_in_a_row: inner.breaker.failures_in_a_row(),
            limit: inner.limiter.limit(),
            in_flight: inner.in_flight,
        }
    }

    /// The findings of the self-test, for each site that was on since the start.
    pub fn self_test(&self) -> BTreeMap<String, Vec<Finding>> {
        let inner = self.lock();
        let found = |(site, report): (&String, &Report)| (site.clone(), report.findings.clone());
        inner.self_test.iter().map(found).collect()
    }

    /// Why the server that answers counts all visitors as one, if the self-test found that.
    pub fn mismatch(&self) -> Option<String> {
        self.lock()
            .self_test
            .values()
            .find_map(|report| report.mismatch.clone())
    }

    /// Notes a report of the self-test. Returns whether it has other findings than the one before.
    pub(super) fn note_self_test(&self, site: &str, report: Report) -> bool {
        let findings = report.findings.clone();
        let before = self.lock().self_test.insert(site.to_owned(), report);
        before.is_none_or(|before| before.findings != findings)
    }

    /// Events that Plausible has answered successfully so far. If it grows while an event fails, that event is at
    /// fault.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether all lanes may send: the breaker is closed.
    pub(super) fn all_may_send(&self) -> bool {
        self.lock().breaker.state() == State::Closed
    }

    /// A slot, or the time of the next attempt; `None`: once a request has come back.
    pub(super) fn try_acquire(self: &Arc<Self>) -> Result<SendSlot, Option<Instant>> {
        let mut inner = self.lock();
        if inner.in_flight >= inner.limiter.limit() {
            return Err(None);
        }
        let before = inner.breaker.state();
        let (kind, token) = match inner.breaker.ask(self.started.elapsed()) {
            Decision::Event(token) => (Kind::Event, token),
            Decision::Probe(token) => (Kind::Probe, token),
            Decision::SelfTest(token) => (Kind::SelfTest, token),
            Decision::NotBefore(at) => return Err(Some(self.started + at)),
            Decision::Wait => return Err(None),
        };
        inner.in_flight += 1;
        self.metrics.upstream_requests_in_flight.inc();
        if inner.breaker.state() != before {
            self.show(&inner);
        }
        Ok(SendSlot {
            dispatcher: Arc::clone(self),
            kind,
            token,
            is_reported: false,
        })
    }

    fn show(&self, inner: &Inner) {
        for state in State::ALL {
            self.metrics
                .upstream_breaker
                .with([state.name()])
                .set(i64::from(state == inner.breaker.state()));
        }
        self.metrics
            .upstream_concurrency_limit
            .set(i64::try_from(inner.limiter.limit()).unwrap_or(i64::MAX));
    }

    /// Logs that Plausible went away or came back, within [`LOG_EVERY`].
    fn log_change(inner: &mut Inner, reply: Option<Reply>) {
        let is_closed = inner.breaker.state() == State::Closed;
        let cause = inner.cause.as_ref().map_or(NO_CAUSE, Cause::name);
        let now = (inner.reachability, is_closed, cause);
        let is_other_cause = (now.0, now.1) == (inner.logged.0, inner.logged.1);
        let wait = if is_other_cause {
            LOG_CAUSE_EVERY
        } else {
            LOG_EVERY
        };
        let is_due = inner.logged_at.is_none_or(|at| at.elapsed() >= wait);
        if now == inner.logged || !is_due {
            return;
        }
        inner.logged = now;
        inner.logged_at = Some(Instant::now());
        let result = reply.map(Reply::name);
        let failures = inner.breaker.failures_in_a_row();
        let why = inner.cause.as_ref();
        let why = why.map_or_else(String::new, |why| format!(": {why}; {}", why.advice()));
        let warning = match (inner.reachability, is_closed) {
            (Reachability::Misconfigured, _) => "the answer is not from Plausible's events API; events wait",
            (Reachability::Unclear, _) => {
                "an event was answered with a 2xx that is not Plausible's 202: it may have been counted and is not \
                 resent; events wait until Plausible answers the self-test"
            }
            // Half open after a successful probe, or at the start: nothing has failed.
            (Reachability::Up | Reachability::Unknown, false) if failures == 0 => {
                return tracing::info!("trying Plausible with one event at a time");
            }
            (_, false) => "Plausible is unavailable; events wait until it answers again",
            (Reachability::Down, true) => "a request to Plausible failed and is retried",
            (Reachability::Up | Reachability::Unknown, true) => {
                return tracing::info!("Plausible answers; sending the backlog");
            }
        };
        tracing::warn!(result, failures, cause, "{warning}{why}");
    }

    /// Plain values, which a panic elsewhere leaves usable.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SendSlot {
    /// Whether requests may still be sent: the breaker has not opened meanwhile.
    pub(super) fn is_valid(&self) -> bool {
        self.dispatcher.lock().breaker.is_valid(&self.token)
    }

    /// Notes the result of a request, with the cause of a failure. `took` is how long the server took, if that is known.
    pub(super) fn report(
        &mut self,
        signal: Signal,
        reply: Option<Reply>,
        cause: Option<Cause>,
        took: Option<Duration>,
    ) {
        self.is_reported = true;
        let dispatcher = &self.dispatcher;
        let now = dispatcher.started.elapsed();
        // Only a failure needs one, for the wait after it: a draw is a system call.
        let random = match signal {
            Signal::Success => 0,
            _ => (dispatcher.random)(),
        };
        let mut inner = dispatcher.lock();
        let before = (inner.breaker.state(), inner.limiter.limit());
        inner.breaker.report(&self.token, signal, now, random);
        let after = inner.breaker.state();
        if self.kind == Kind::Event {
            let in_flight = inner.in_flight;
            match (signal, took) {
                (Signal::Success, took) => {
                    dispatcher.taken.fetch_add(1, Ordering::Relaxed);
                    took.inspect(|took| inner.limiter.answered(*took, in_flight, now));
                }
                _ => inner.limiter.failed(now),
            }
        }
        if before.0 != State::Closed && after == State::Closed {
            inner.limiter.start_slowly();
        }
        if let Some(reply) = reply {
            inner.reachability = reply.reachability();
        }
        if cause.is_some() || inner.reachability == Reachability::Up {
            inner.cause = cause;
        }
        if before != (after, inner.limiter.limit()) {
            dispatcher.show(&inner);
        }
        Dispatcher::log_change(&mut inner, reply);
    }
}

impl Drop for SendSlot {
    fn drop(&mut self) {
        let mut inner = self.dispatcher.lock();
        if !self.is_reported {
            inner.breaker.give_back(&self.token);
        }
        inner.in_flight -= 1;
        drop(inner);
        self.dispatcher.metrics.upstream_requests_in_flight.dec();
    }
}
