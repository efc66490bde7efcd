//! The forwarder: takes what the spool holds to Plausible, oldest first, each visitor's events in order.
//!
//! Each of the spool's buckets is a lane with one request under way at a time and a connection of
//! its own, and a visitor is always in the same lane, so order is kept without looking at visitors. How
//! many lanes send at once follows how fast Plausible answers ([`limiter`]); while it is away nothing is
//! sent ([`breaker`]). An event leaves the spool only when Plausible answered, or when it is too old; one
//! that Plausible fails at again and again is set aside, so that the others of its lane go on.

pub mod acceptance;
pub mod acks;
pub mod backoff;
pub mod breaker;
pub mod dashboard;
pub mod delivered;
mod identify;
mod lane;
pub mod limiter;
pub mod plausible;
pub mod self_test;
#[cfg(test)]
mod simulation;
pub mod sites;
pub mod stats;
pub mod their_clock;
mod traffic;
pub mod transport;
mod tries;
pub mod two_visitors;

pub use traffic::{Reach, Standing, Traffic};

use crate::clock::Clock;
use crate::config::{Config, Upstream};
use crate::metrics::Metrics;
use crate::spool::Spool;
use crate::switch::{Site, Switches};
use breaker::Breaker;
use lane::Lane;
use plausible::Requests;
use self_test::Grade;
use sites::Sites;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use transport::Transport;
use transport::http::TransportError;

/// How soon the server is tested again after no known one answered; twice as long each time after that.
const TEST_AGAIN_MIN: Duration = Duration::from_secs(60);
/// Longest time between two such tests.
const TEST_AGAIN_MAX: Duration = Duration::from_secs(60 * 60);

/// The rooms that delivery uses.
#[derive(Debug)]
pub struct Rooms {
    /// What waits.
    pub spool: Spool,
    /// Whose events may leave.
    pub switches: Switches,
    /// Whose events Plausible accepts.
    pub sites: Arc<Sites>,
    /// Where everything is counted.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
}

/// Delivers until told to stop.
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
    traffic: Arc<Traffic>,
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
        rooms: Rooms,
        random: fn() -> u32,
    ) -> Result<Self, TransportError> {
        let Rooms {
            spool,
            switches,
            sites,
            metrics,
            clock,
        } = rooms;
        let upstream = config.upstream.clone();
        let has_health_probe = upstream.health_path.is_some();
        // A backlog is not sent at a Plausible that may be just what it waited for.
        let breaker = match metrics.ledger.counts().spooled {
            0 => Breaker::new(has_health_probe),
            _ => Breaker::careful(has_health_probe),
        };
        let traffic = Traffic::new(upstream.concurrency, breaker, Arc::clone(&metrics), random);
        Ok(Self {
            spool,
            switches,
            metrics,
            clock,
            transport,
            requests: Requests::new(&upstream).ok_or(TransportError::Address)?,
            upstream,
            age_max: config.spool.age_max,
            traffic: Arc::new(traffic),
            sites,
            random,
        })
    }

    /// How delivery stands, for health.
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// Runs all lanes until `stop`. Requests under way are finished, and what they settled is booked.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let (acks, acker) = acks::acks(self.spool.clone(), Arc::clone(&self.sites), &self.upstream.url);
        // Sets, so that all of it ends when this is dropped.
        let mut booking = JoinSet::new();
        booking.spawn(acker.run(stop.clone()));
        let hurrying = Arc::clone(&self).hurry_what_is_turned_on(stop.clone());
        booking.spawn(hurrying);
        let mut lanes = JoinSet::new();
        for lane in 0..self.spool.lanes() {
            let lane = Lane::new(Arc::clone(&self), lane, acks.lane(), stop.clone());
            lanes.spawn(lane.run());
        }
        // The acker ends when no lane can hand it anything any more.
        drop(acks);
        lanes.join_all().await;
        booking.join_all().await;
    }

    /// A site that is turned on is probed at once: its operator has just looked after it.
    async fn hurry_what_is_turned_on(self: Arc<Self>, stop: CancellationToken) {
        // Before the first look, so that no turn is missed.
        let mut turned = self.switches.turned();
        let is_on = |site: &Arc<Site>| (site.domain.clone(), site.is_on());
        let mut were_on: BTreeMap<String, bool> = self.switches.sites().map(is_on).collect();
        loop {
            tokio::select! {
                changed = turned.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            for (domain, is_on) in self.switches.sites().map(is_on) {
                if is_on && were_on.insert(domain.clone(), is_on) == Some(false) {
                    self.sites.hurry(&domain);
                } else {
                    were_on.insert(domain, is_on);
                }
            }
        }
    }

    /// Tests the server for each site as soon as it is on, at the start or later, until a known server has
    /// answered. Off means that nothing is sent. Ends when that is so for all sites, and early at `stop`. Beside
    /// the lanes: one more request at once than they make.
    pub async fn test_itself(self: Arc<Self>, stop: CancellationToken) {
        // Before the first look, so that no turn is missed.
        let mut turned = self.switches.turned();
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
                    changed = turned.changed(), if !left.is_empty() => if changed.is_err() {
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
            if self.traffic.all_may_send() {
                return;
            }
        }
    }

    /// Tests the server for one site.
    async fn test_site(&self, connection: &mut T::Connection, site: &Site) -> Tested {
        let Some(permit) = site.permit().await else {
            return Tested::Off;
        };
        let asked = tokio::select! {
            asked = self_test::ask(connection, &self.upstream, &site.domain) => asked,
            () = permit.cut() => return Tested::Off,
        };
        // One that counts all visitors as one is tested again: a proxy in between may be mended meanwhile.
        let tested = match asked.is_known && asked.mismatch.is_none() {
            true => Tested::Known,
            false => Tested::Unknown,
        };
        let findings = asked.findings.clone();
        if self.traffic.note_self_test(&site.domain, asked) {
            for finding in findings.iter().filter(|finding| finding.grade >= Grade::Warning) {
                let advice = finding.advice.as_deref().unwrap_or_default();
                tracing::warn!(site = site.domain, "{}: {}; {advice}", finding.what, finding.says);
            }
        }
        tested
    }
}

/// What a test of the server showed.
enum Tested {
    /// The site is off, or was turned off meanwhile: nothing was asked, or no answer awaited.
    Off,
    /// No known server answered, or one that counts all visitors as one.
    Unknown,
    /// A known server answered.
    Known,
}
