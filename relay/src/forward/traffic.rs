//! Who may send, and when: the breaker, the limit of requests under way, and a fair queue in front of them.
//!
//! Lanes that want to send stand in one queue and are let in one after the other, so a lane with a long
//! backlog does not push the others aside.

use super::breaker::{Breaker, Leave, Pass, Sign, State};
use super::limiter::Limiter;
use super::plausible::Reply;
use super::self_test::{Asked, Finding};
use super::transport::Cause;
use crate::metrics::{Metrics, StateLabel};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

/// How often a change is logged at most, so that a Plausible that comes and goes does not fill the log.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// How often another cause of the same outage is logged at most.
const LOG_CAUSE_EVERY: Duration = Duration::from_secs(60);
/// The name of no cause.
const NO_CAUSE: &str = "none";

/// What the last request to Plausible said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nothing was sent yet.
    Unknown,
    /// Plausible answered.
    Up,
    /// Plausible did not answer, or said that it cannot.
    Down,
    /// Plausible answered in a way that waiting does not mend: a wrong address, a redirect, a login.
    Misconfigured,
    /// Something answered an event with a 2xx that is not Plausible's 202: it has probably taken the event.
    Unclear,
}

/// How delivery stands, for health.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What the last request said.
    pub reach: Reach,
    /// Why the last request failed; nothing once one was answered.
    pub cause: Option<Cause>,
    /// What the breaker does.
    pub breaker: State,
    /// When it tries again, while it is open.
    pub retry_in: Option<Duration>,
    /// Failures since the last success.
    pub failures_in_a_row: u32,
    /// Most requests under way at once, as things are.
    pub limit: usize,
    /// Requests under way.
    pub under_way: usize,
}

/// Lets requests go. One for all lanes.
#[derive(Debug)]
pub struct Traffic {
    inner: Mutex<Inner>,
    /// One permit: its holder is the first of the queue.
    queue: Semaphore,
    /// Rung when something came back.
    freed: Notify,
    started: Instant,
    taken: AtomicU64,
    metrics: Arc<Metrics>,
    random: fn() -> u32,
}

#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    limiter: Limiter,
    under_way: usize,
    reach: Reach,
    cause: Option<Cause>,
    /// What was logged last, with the cause's name, and when.
    logged: (Reach, bool, &'static str),
    logged_at: Option<Instant>,
    /// What the self-test found, by site.
    self_test: BTreeMap<String, Asked>,
}

/// What a turn is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// An event may be sent.
    Event,
    /// Only the health probe may be sent.
    Probe,
    /// Only the self-test may be sent.
    SelfTest,
}

/// Leave to send one request. Dropped without a report it was not used.
#[derive(Debug)]
pub(super) struct Turn<'t> {
    traffic: &'t Traffic,
    pub(super) errand: Errand,
    pass: Option<Pass>,
    cause: Option<Cause>,
}

impl Traffic {
    /// With this breaker, and a limit that may grow to `concurrency`.
    pub(super) fn new(
        concurrency: usize,
        breaker: Breaker,
        metrics: Arc<Metrics>,
        random: fn() -> u32,
    ) -> Self {
        let traffic = Self {
            inner: Mutex::new(Inner {
                breaker,
                limiter: Limiter::new(concurrency),
                under_way: 0,
                reach: Reach::Unknown,
                cause: None,
                logged: (Reach::Unknown, true, NO_CAUSE),
                logged_at: None,
                self_test: BTreeMap::new(),
            }),
            queue: Semaphore::new(1),
            freed: Notify::new(),
            started: Instant::now(),
            taken: AtomicU64::new(0),
            metrics,
            random,
        };
        traffic.show(&traffic.lock());
        traffic
    }

    /// How delivery stands.
    pub fn standing(&self) -> Standing {
        let now = self.started.elapsed();
        let inner = self.lock();
        Standing {
            reach: inner.reach,
            cause: inner.cause.clone(),
            breaker: inner.breaker.state(),
            retry_in: inner.breaker.until().map(|until| until.saturating_sub(now)),
            failures_in_a_row: inner.breaker.failures_in_a_row(),
            limit: inner.limiter.limit(),
            under_way: inner.under_way,
        }
    }

    /// What the self-test found, for each site that was on since the start.
    pub fn self_test(&self) -> BTreeMap<String, Vec<Finding>> {
        let inner = self.lock();
        let found = |(site, asked): (&String, &Asked)| (site.clone(), asked.findings.clone());
        inner.self_test.iter().map(found).collect()
    }

    /// Why the server that answers counts all visitors as one, if the self-test found that.
    pub fn mismatch(&self) -> Option<String> {
        self.lock()
            .self_test
            .values()
            .find_map(|asked| asked.mismatch.clone())
    }

    /// Notes what the self-test found. Returns whether that is news.
    pub(super) fn note_self_test(&self, site: &str, asked: Asked) -> bool {
        let findings = asked.findings.clone();
        let before = self.lock().self_test.insert(site.to_owned(), asked);
        before.is_none_or(|before| before.findings != findings)
    }

    /// How many events Plausible answered well so far. One that fails while this grows is itself at fault.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether all lanes may send: the breaker is closed.
    pub(super) fn all_may_send(&self) -> bool {
        self.lock().breaker.state() == State::Closed
    }

    /// Waits for leave to send one request.
    pub(super) async fn enter(&self) -> Turn<'_> {
        // The semaphore is never closed; an error could only mean that nobody queues.
        let _first = self.queue.acquire().await;
        loop {
            match self.try_enter() {
                Ok(turn) => return turn,
                Err(Some(at)) => tokio::select! {
                    () = tokio::time::sleep_until(self.started + at) => {}
                    () = self.freed.notified() => {}
                },
                Err(None) => self.freed.notified().await,
            }
        }
    }

    /// A turn, or when to ask again, or nothing: when something comes back.
    fn try_enter(&self) -> Result<Turn<'_>, Option<Duration>> {
        let mut inner = self.lock();
        if inner.under_way >= inner.limiter.limit() {
            return Err(None);
        }
        let before = inner.breaker.state();
        let (errand, pass) = match inner.breaker.ask(self.started.elapsed()) {
            Leave::Event(pass) => (Errand::Event, pass),
            Leave::Probe(pass) => (Errand::Probe, pass),
            Leave::SelfTest(pass) => (Errand::SelfTest, pass),
            Leave::At(at) => return Err(Some(at)),
            Leave::Later => return Err(None),
        };
        inner.under_way += 1;
        self.metrics.upstream_under_way.inc();
        if inner.breaker.state() != before {
            self.show(&inner);
        }
        Ok(Turn {
            traffic: self,
            errand,
            pass: Some(pass),
            cause: None,
        })
    }

    fn show(&self, inner: &Inner) {
        for state in State::ALL {
            self.metrics
                .upstream_breaker
                .get_or_create(&StateLabel { state: state.name() })
                .set(i64::from(state == inner.breaker.state()));
        }
        self.metrics
            .upstream_limit
            .set(i64::try_from(inner.limiter.limit()).unwrap_or(i64::MAX));
    }

    /// Says that Plausible went away or came back, but not over and over.
    fn log_change(inner: &mut Inner, reply: Option<Reply>) {
        let is_closed = inner.breaker.state() == State::Closed;
        let cause = inner.cause.as_ref().map_or(NO_CAUSE, Cause::name);
        let now = (inner.reach, is_closed, cause);
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
        let why = inner
            .cause
            .as_ref()
            .map(|why| format!(": {why}; {}", why.advice()));
        let why = why.unwrap_or_default();
        match (inner.reach, is_closed) {
            (Reach::Misconfigured, _) => tracing::warn!(
                result,
                failures,
                cause,
                "what answers is not Plausible's events API, events wait{why}"
            ),
            (Reach::Unclear, _) => tracing::warn!(
                result,
                cause,
                "an event was answered with a 2xx that is not Plausible's 202, so it may have been counted and is not repeated; nothing more is sent until the self-test is answered as Plausible answers it, events wait{why}"
            ),
            // Half open after a probe that went well, or at the start: nothing has failed.
            (Reach::Up | Reach::Unknown, false) if failures == 0 => {
                tracing::info!("Plausible is asked with care, one event at a time")
            }
            (_, false) => tracing::warn!(
                result,
                failures,
                cause,
                "Plausible is away, events wait until it answers again{why}"
            ),
            (Reach::Down, true) => {
                tracing::warn!(
                    result,
                    failures,
                    cause,
                    "Plausible failed at a request, which is tried again{why}"
                );
            }
            (Reach::Up | Reach::Unknown, true) => {
                tracing::info!("Plausible answers; what waits is sent")
            }
        }
    }

    /// Plain values, which a panic elsewhere leaves usable.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Whether it may still be used: the breaker may have opened since.
    pub(super) fn stands(&self) -> bool {
        let inner = self.traffic.lock();
        self.pass.as_ref().is_some_and(|pass| inner.breaker.stands(pass))
    }

    /// Names why the request failed, before it is noted that it came back.
    pub(super) fn blame(&mut self, cause: Option<Cause>) {
        self.cause = cause;
    }

    /// Notes what came of the request.
    pub(super) fn came_back(mut self, sign: Sign, reply: Option<Reply>, took: Duration) {
        let Some(pass) = self.pass.take() else { return };
        let traffic = self.traffic;
        let now = traffic.started.elapsed();
        // Drawn for a failure alone, which may have to be waited after: a draw is a system call.
        let random = match sign {
            Sign::Well => 0,
            _ => (traffic.random)(),
        };
        let mut inner = traffic.lock();
        let before = (inner.breaker.state(), inner.limiter.limit());
        inner.breaker.report(pass, sign, now, random);
        let after = inner.breaker.state();
        if self.errand == Errand::Event {
            let under_way = inner.under_way;
            match sign {
                Sign::Well => {
                    traffic.taken.fetch_add(1, Ordering::Relaxed);
                    inner.limiter.answered(took, under_way, now);
                }
                _ => inner.limiter.failed(now),
            }
        }
        if before.0 != State::Closed && after == State::Closed {
            inner.limiter.start_slowly();
        }
        if let Some(reply) = reply {
            inner.reach = reply.reach();
        }
        if self.cause.is_some() || inner.reach == Reach::Up {
            inner.cause = self.cause.take();
        }
        if before != (after, inner.limiter.limit()) {
            traffic.show(&inner);
        }
        Traffic::log_change(&mut inner, reply);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut inner = self.traffic.lock();
        if let Some(pass) = self.pass.take() {
            inner.breaker.give_back(pass);
        }
        inner.under_way -= 1;
        drop(inner);
        self.traffic.metrics.upstream_under_way.dec();
        self.traffic.freed.notify_one();
    }
}
