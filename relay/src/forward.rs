//! The forwarder: delivers the spool's events to Plausible, oldest first, each visitor's events in order.
//!
//! Each of the spool's buckets is a lane with one event on its way at a time. A visitor is always in the same lane, so
//! order is kept without tracking visitors. One task, the courier, sends for all lanes over a few connections, whose
//! number adapts to Plausible's response time ([`limiter`]); while it is away nothing is sent ([`breaker`]). An event
//! leaves the spool only when Plausible has answered, or when it is too old; an event that Plausible fails repeatedly is
//! parked, so that the others of its lane continue.

pub mod acceptance;
pub mod acks;
mod attempts;
pub mod backoff;
pub mod breaker;
mod courier;
pub mod dashboard;
pub mod delivered;
mod dispatch;
mod identify;
pub mod limiter;
pub mod metrics;
#[cfg(test)]
mod overload;
pub mod plausible;
pub mod self_test;
#[cfg(test)]
mod simulation;
pub mod sites;
pub mod stats;
pub mod their_clock;
pub mod transport;
pub mod two_visitors;

pub use dispatch::{DispatchStatus, Dispatcher};

use crate::clock::Clock;
use crate::config::{Config, Upstream};
use crate::finding::Grade;
use crate::spool::Spool;
use crate::switch::{Site, Switches};
use breaker::Breaker;
use courier::Courier;
pub use metrics::Metrics;
pub use plausible::Reachability;
use plausible::Requests;
use sites::Sites;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use transport::Transport;
use transport::http::TransportError;

/// The wait before the server is tested again if no known server answered; doubles each time.
const TEST_AGAIN_MIN: Duration = Duration::from_secs(60);
/// Longest time between two such tests.
const TEST_AGAIN_MAX: Duration = Duration::from_secs(60 * 60);

/// The parts of the relay that delivery uses.
#[derive(Debug)]
pub struct Dependencies {
    /// The waiting events.
    pub spool: Spool,
    /// The sites whose events may be sent.
    pub switches: Switches,
    /// The sites whose events Plausible accepts.
    pub sites: Arc<Sites>,
    /// The metrics of delivery.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
}

/// Delivers until it is stopped.
#[derive(Debug)]
pub struct Forwarder<T> {
    spool: Spool,
    switches: Switches,
    metrics: Arc<Metrics>,
    clock: Clock,
    transport: T,
    requests: Requests,
    upstream: Upstream,
    age_max: Duration,
    dispatcher: Arc<Dispatcher>,
    sites: Arc<Sites>,
    /// For jitter.
    random: fn() -> u32,
}

impl<T: Transport> Forwarder<T> {
    /// Over this transport; `random` draws the jitter of waits. Nothing is sent yet.
    ///
    /// # Errors
    /// When the upstream's address is none.
    pub fn new(
        config: &Config,
        transport: T,
        parts: Dependencies,
        random: fn() -> u32,
    ) -> Result<Self, TransportError> {
        let upstream = config.upstream.clone();
        let has_health_probe = upstream.health_path.is_some();
        // A backlog may have waited for just this Plausible: probe before sending it.
        let breaker = match parts.spool.ledger().counts().spooled {
            0 => Breaker::new(has_health_probe),
            _ => Breaker::careful(has_health_probe),
        };
        let dispatcher = Dispatcher::new(upstream.concurrency, breaker, Arc::clone(&parts.metrics), random);
        Ok(Self {
            spool: parts.spool,
            switches: parts.switches,
            metrics: parts.metrics,
            clock: parts.clock,
            transport,
            requests: Requests::new(&upstream).ok_or(TransportError::Address)?,
            upstream,
            age_max: config.spool.age_max,
            dispatcher: Arc::new(dispatcher),
            sites: parts.sites,
            random,
        })
    }

    /// The state of delivery, for health.
    pub fn dispatcher(&self) -> Arc<Dispatcher> {
        Arc::clone(&self.dispatcher)
    }

    /// Delivers until `stop`. Requests in flight are finished, and their outcomes are booked.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        // Ends when this is dropped.
        let mut probing = JoinSet::new();
        probing.spawn(Arc::clone(&self).probe_sites_switched_on(stop.clone()));
        Courier::new(self, stop).run().await;
        probing.join_all().await;
    }

    /// Probes a site at once when it is switched on: its operator may just have fixed it.
    async fn probe_sites_switched_on(self: Arc<Self>, stop: CancellationToken) {
        // Before the first check, so that no change is missed.
        let mut switched = self.switches.changed();
        let is_on = |site: &Arc<Site>| (site.domain.clone(), site.is_on());
        let mut were_on: BTreeMap<String, bool> = self.switches.sites().map(is_on).collect();
        loop {
            tokio::select! {
                changed = switched.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            for (domain, is_on) in self.switches.sites().map(is_on) {
                let was_on = were_on.insert(domain.clone(), is_on);
                if is_on && was_on == Some(false) {
                    self.sites.probe_now(&domain);
                }
            }
        }
    }

    /// Tests the server for each site as soon as it is on, at the start or later, until a known server has answered.
    /// While a site is off nothing is sent for it. Ends once every site is tested, and early at `stop`. Adds at most
    /// one concurrent request to those of the lanes.
    pub async fn test_itself(self: Arc<Self>, stop: CancellationToken) {
        // Before the first check, so that no change is missed.
        let mut switched = self.switches.changed();
        let asking = async {
            let mut left: Vec<Arc<Site>> = self.switches.sites().cloned().collect();
            let mut again = TEST_AGAIN_MIN;
            while !left.is_empty() {
                // Ends with this round: nothing is left open while a site is off.
                let mut connection = self.transport.connection();
                let (mut still_left, mut is_unknown) = (Vec::new(), false);
                for site in left {
                    match self.test_site(&mut connection, &site).await {
                        Tested::Known => continue,
                        Tested::Unknown => is_unknown = true,
                        Tested::Off => {}
                    }
                    still_left.push(site);
                }
                left = still_left;
                drop(connection);
                tokio::select! {
                    changed = switched.changed(), if !left.is_empty() => if changed.is_err() {
                        return;
                    },
                    () = self.until_it_answers(again), if is_unknown => again = (again * 2).min(TEST_AGAIN_MAX),
                    else => {}
                }
            }
        };
        tokio::select! {
            () = asking => {}
            () = stop.cancelled() => {}
        }
    }

    /// Waits, and longer while the breaker keeps events from being sent: an outage gets no further requests.
    async fn until_it_answers(&self, wait: Duration) {
        loop {
            tokio::time::sleep(wait).await;
            if self.dispatcher.all_may_send() {
                return;
            }
        }
    }

    /// Tests the server for one site.
    async fn test_site(&self, connection: &mut T::Connection, site: &Site) -> Tested {
        let Some(permit) = site.permit() else {
            return Tested::Off;
        };
        let report = tokio::select! {
            report = self_test::run(connection, &self.upstream, &site.domain) => report,
            () = permit.cut() => return Tested::Off,
        };
        // A server that counts all visitors as one is tested again: a proxy in between may be fixed meanwhile.
        let tested = match report.is_known && report.mismatch.is_none() {
            true => Tested::Known,
            false => Tested::Unknown,
        };
        let findings = report.findings.clone();
        if self.dispatcher.note_self_test(&site.domain, report) {
            for finding in findings.iter().filter(|finding| finding.grade >= Grade::Warning) {
                let advice = finding.advice.as_deref();
                tracing::warn!(site = site.domain, advice, "{}: {}", finding.what, finding.says);
            }
        }
        tested
    }
}

/// The result of a test of the server.
enum Tested {
    /// The site is off, or was switched off meanwhile: nothing was asked, or no answer awaited.
    Off,
    /// No known server answered, or one that counts all visitors as one.
    Unknown,
    /// A known server answered.
    Known,
}
