//! The forwarder: takes what the spool holds to Plausible, oldest first, each visitor's events in order.
//!
//! The spool's buckets are shared out among lanes. A lane has one request under way at a time, and a
//! visitor is always in the same lane, so order is kept without looking at visitors. A lane that
//! fails waits with exponential backoff and full jitter, or as long as Plausible's Retry-After says;
//! an event leaves the spool only when Plausible answered, or when it is too old.

pub mod backoff;
pub mod plausible;

use crate::clock::Clock;
use crate::config::Upstream;
use crate::metrics::{Metrics, ResultLabel};
use crate::spool::{Spool, Waiting};
use crate::switch::Switches;
use backoff::Backoff;
use plausible::Verdict;
use relay_event::Outcome;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Events a lane reads ahead.
const READ_AHEAD: usize = 32;
/// How often a lane looks again when nothing tells it to, and how long it waits when the database
/// cannot be read.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
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
        upstream: Upstream,
        age_max: Duration,
        spool: Spool,
        switches: Switches,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self, ClientError> {
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
            age_max,
            reach: watch::Sender::new(Reach::Unknown),
        })
    }

    /// What the last request said, for health.
    pub fn reach(&self) -> watch::Receiver<Reach> {
        self.reach.subscribe()
    }

    /// Runs all lanes until `stop`. Requests under way are finished.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut lanes = JoinSet::new();
        for lane in 0..self.upstream.concurrency {
            lanes.spawn(Arc::clone(&self).lane(lane, stop.clone()));
        }
        lanes.join_all().await;
    }

    async fn lane(self: Arc<Self>, lane: usize, stop: CancellationToken) {
        let mut arrivals = self.spool.arrivals();
        let mut done = 0;
        while !stop.is_cancelled() {
            arrivals.mark_unchanged();
            let waiting = self
                .spool
                .take(lane, self.upstream.concurrency, done, READ_AHEAD)
                .await;
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
                    _ = arrivals.changed(), if nothing.is_ok() => {}
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
            if stop.is_cancelled() {
                return false;
            }
            let verdict = match &event.scrubbed {
                None => Verdict::Settled(Outcome::Corrupt),
                Some(_) if self.clock.now().since(event.stored_at) > self.age_max => {
                    Verdict::Settled(Outcome::Expired)
                }
                Some(scrubbed) => {
                    let Some(site) = self.switches.site(scrubbed.site()) else {
                        return true;
                    };
                    // Without leave the event has been purged, or is about to be.
                    let Some(permit) = site.permit().await else {
                        return true;
                    };
                    tokio::select! {
                        verdict = self.send(scrubbed) => verdict,
                        () = permit.cut() => return true,
                    }
                }
            };
            let wait = match verdict {
                Verdict::Settled(outcome) => {
                    return self.settle(event.seq, outcome, stop).await;
                }
                Verdict::Retry(after) => backoff.next(after),
            };
            // Another lane's success is news for this one; a Retry-After is kept regardless.
            let mut reach = self.reach.subscribe();
            let asked_to_wait = matches!(verdict, Verdict::Retry(Some(_)));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = reach.wait_for(|r| *r == Reach::Up), if !asked_to_wait => {}
                () = stop.cancelled() => return false,
            }
        }
    }

    /// Takes a settled event out of the spool. While the disk refuses, the lane waits: going on would
    /// deliver events that nothing remembers as delivered. After a stop it is sent once more.
    async fn settle(&self, seq: i64, outcome: Outcome, stop: &CancellationToken) -> bool {
        while self.spool.end(seq, outcome).await.is_err() {
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
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
        let before = self.reach.send_replace(reach);
        if before != reach {
            tracing::warn!(reach = ?reach, result, "what Plausible answers changed");
        }
        answer
    }
}
