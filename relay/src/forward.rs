//! The forwarder: takes what the spool holds to Plausible, oldest first, each visitor's events in order.
//!
//! The spool's buckets are shared out among lanes. A lane has one request under way at a time, and a
//! visitor is always in the same lane, so order is kept without looking at visitors. A lane that
//! fails waits with exponential backoff and full jitter, or as long as Plausible's Retry-After says;
//! an event leaves the spool only when Plausible answered, or when it is too old.

pub mod backoff;
pub mod plausible;

use crate::clock::{Clock, Moment};
use crate::config::{Config, Upstream};
use crate::metrics::{Metrics, ResultLabel};
use crate::spool::{Spool, Waiting};
use crate::switch::{Permit, Switches};
use backoff::Backoff;
use plausible::Verdict;
use relay_event::Outcome;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Events a lane reads ahead.
const READ_AHEAD: usize = 32;
/// How often a lane looks again when nothing tells it to, and how long it waits when the database
/// cannot be read.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Tries after which another lane's success no longer ends a wait early.
const EARLY_TRIES: u32 = 20;
/// How often a change of what Plausible answers is logged at most.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// How long to establish a connection to Plausible.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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
}

/// Delivers until told to stop.
#[derive(Debug)]
pub struct Forwarder {
    spool: Spool,
    switches: Switches,
    metrics: Arc<Metrics>,
    clock: Clock,
    client: reqwest::Client,
    upstream: Upstream,
    age_max: Duration,
    reach: watch::Sender<Reach>,
    /// Until when Plausible asked to be left alone.
    held_until: Mutex<Option<tokio::time::Instant>>,
    /// When a change of `reach` was last logged.
    logged: Mutex<Option<Moment>>,
}

/// Why the forwarder cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the client for Plausible cannot be made: {0}")]
pub struct ClientError(#[from] reqwest::Error);

impl Forwarder {
    /// Makes the one connection pool. Nothing is sent yet.
    ///
    /// # Errors
    /// When the machine has no usable certificates.
    pub fn new(
        config: &Config,
        spool: Spool,
        switches: Switches,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        let upstream = config.upstream.clone();
        let client = reqwest::Client::builder()
            // A redirect could take an event somewhere nobody agreed to; it counts as misconfiguration.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(upstream.timeout)
            .pool_max_idle_per_host(upstream.concurrency)
            .pool_idle_timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self {
            spool,
            switches,
            metrics,
            clock,
            client,
            upstream,
            age_max: config.spool.age_max,
            reach: watch::Sender::new(Reach::Unknown),
            held_until: Mutex::default(),
            logged: Mutex::default(),
        })
    }

    /// What the last request said, for health.
    pub fn reach(&self) -> watch::Receiver<Reach> {
        self.reach.subscribe()
    }

    /// Runs all lanes until `stop`. Requests under way are finished.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut lanes = JoinSet::new();
        for lane in 0..self.spool.lanes() {
            lanes.spawn(Arc::clone(&self).lane(lane, stop.clone()));
        }
        lanes.join_all().await;
    }

    async fn lane(self: Arc<Self>, lane: usize, stop: CancellationToken) {
        let mut done = 0;
        while !stop.is_cancelled() {
            let waiting = self.spool.take(lane, done, READ_AHEAD).await;
            match waiting {
                Ok(waiting) if !waiting.is_empty() => {
                    for event in waiting {
                        let seq = event.seq;
                        if !self.deliver(event, &stop).await {
                            return;
                        }
                        done = seq;
                    }
                }
                // Nothing there, or unreadable: wait for an arrival, or look again after a while.
                nothing => tokio::select! {
                    () = self.spool.arrival(lane), if nothing.is_ok() => {}
                    // From the beginning, in case something was skipped while a switch was turned.
                    () = tokio::time::sleep(LOOK_AGAIN) => done = 0,
                    () = stop.cancelled() => {}
                },
            }
        }
    }

    /// Sends one event until it is settled. `false` when the relay stops first; the event then stays.
    async fn deliver(&self, event: Waiting, stop: &CancellationToken) -> bool {
        let mut backoff = Backoff::default();
        loop {
            if !self.wait_out_hold(stop).await {
                return false;
            }
            let Some(scrubbed) = &event.scrubbed else {
                return self.settle(event.seq, Outcome::Corrupt, None, stop).await;
            };
            if self.clock.now().since(event.stored_at) > self.age_max {
                return self.settle(event.seq, Outcome::Expired, None, stop).await;
            }
            let Some(site) = self.switches.site(scrubbed.site()) else {
                return true;
            };
            if !scrubbed.is_within(&site.plan) {
                return self.settle(event.seq, Outcome::Purged, None, stop).await;
            }
            // Without leave the event has been purged, or is about to be.
            let Some(permit) = site.permit().await else {
                return true;
            };
            if site.has_purged(event.seq, &permit) {
                return true;
            }
            let verdict = tokio::select! {
                verdict = self.send(scrubbed) => verdict,
                () = permit.cut() => {
                    // Sent or half sent when the switch was turned off: Plausible may have counted it.
                    self.metrics.upstream_unknown.inc();
                    return true;
                }
            };
            let retry_after = match verdict {
                // The permit is held until the outcome is booked, so that an event that was delivered
                // is not purged in between.
                Verdict::Settled(outcome) => {
                    return self.settle(event.seq, outcome, Some(&permit), stop).await;
                }
                Verdict::Retry(retry_after) => retry_after,
            };
            drop(permit);
            let wait = backoff.next(retry_after);
            if retry_after.is_some() {
                self.hold(wait);
            } else if !self.rest(wait, backoff.tries() <= EARLY_TRIES, stop).await {
                return false;
            }
        }
    }

    /// Plausible asked to be left alone: all lanes wait, not only the one that was told.
    fn hold(&self, wait: Duration) {
        let until = tokio::time::Instant::now() + wait;
        let mut held = lock(&self.held_until);
        *held = Some(held.map_or(until, |held| held.max(until)));
    }

    /// Waits while Plausible asked to be left alone. `false` when the relay stops.
    async fn wait_out_hold(&self, stop: &CancellationToken) -> bool {
        let held_until = *lock(&self.held_until);
        if let Some(until) = held_until {
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = stop.cancelled() => {}
            }
        }
        !stop.is_cancelled()
    }

    /// Waits before the next try. After a second at most, another lane's success ends the wait: then it
    /// was Plausible that was away, and it is back. Not for ever: an event that fails while others
    /// succeed is itself at fault and waits in full. `false` when the relay stops.
    async fn rest(&self, wait: Duration, may_end_early: bool, stop: &CancellationToken) -> bool {
        let at_least = wait.min(backoff::FIRST);
        let mut reach = self.reach.subscribe();
        let resting = async {
            tokio::time::sleep(at_least).await;
            tokio::select! {
                () = tokio::time::sleep(wait - at_least) => {}
                // An error means that nobody will ever tell; the sleep ends the wait then.
                Ok(_) = reach.wait_for(|reach| *reach == Reach::Up), if may_end_early => {}
            }
        };
        tokio::select! {
            () = resting => true,
            () = stop.cancelled() => false,
        }
    }

    /// Takes a settled event out of the spool. While the disk refuses, the lane waits: going on would
    /// deliver events that nothing remembers as delivered. After a stop it is sent once more.
    async fn settle(
        &self,
        seq: i64,
        outcome: Outcome,
        permit: Option<&Permit>,
        stop: &CancellationToken,
    ) -> bool {
        let cut = async {
            match permit {
                Some(permit) => permit.cut().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(cut);
        while self.spool.end(seq, outcome).await.is_err() {
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                // The switch is being turned off and will purge the event.
                () = &mut cut => return true,
                () = stop.cancelled() => return false,
            }
        }
        true
    }

    /// Sends one request and reads what its answer means.
    async fn send(&self, scrubbed: &crate::guard::Scrubbed) -> Verdict {
        let started = Instant::now();
        let request = plausible::request(&self.client, &self.upstream, scrubbed);
        let (answer, result) = match request.send().await {
            Ok(response) => plausible::read(response).await,
            Err(error) => {
                if !error.is_connect() {
                    // Sent, and no answer: it may have been counted.
                    self.metrics.upstream_unknown.inc();
                }
                (Verdict::Retry(None), "unreachable")
            }
        };
        self.metrics
            .upstream_duration
            .observe(started.elapsed().as_secs_f64());
        self.metrics
            .upstream_requests
            .get_or_create(&ResultLabel { result })
            .inc();
        let reach = match result {
            "unreachable" | "retry" => Reach::Down,
            "misconfigured" => Reach::Misconfigured,
            _ => Reach::Up,
        };
        if self.reach.send_replace(reach) != reach {
            self.log_change(reach, result);
        }
        answer
    }

    /// Says that Plausible went away or came back, but not over and over: one event that Plausible
    /// cannot digest must not fill the log.
    fn log_change(&self, reach: Reach, result: &str) {
        let now = self.clock.now();
        let mut logged = lock(&self.logged);
        if logged.is_none_or(|at| now.since(at) >= LOG_EVERY) {
            *logged = Some(now);
            tracing::warn!(?reach, result, "Plausible's answers changed");
        }
    }
}

/// These hold plain values, which a panic elsewhere leaves usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
