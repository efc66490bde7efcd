//! State that the listeners share: the relay behind them, and their own parts.

use super::admission::rate::Rates;
use super::admission::shed::Admission;
use super::admission::slow_bodies::SlowBodies;
use super::arrivals::Arrivals;
use super::places::Bodies;
use super::scrapes::Scrapes;
use super::server::{self, tls};
use crate::app::App;
use crate::metrics::Registry;
use std::sync::Arc;

/// The state of all handlers.
#[derive(Debug)]
pub struct Door {
    /// The relay behind the listeners.
    pub app: Arc<App>,
    /// All metrics.
    pub metrics: Arc<Registry>,
    /// The metrics of connections.
    pub connections: server::Metrics,
    /// The listeners' certificates.
    pub tls: tls::Listeners,
    /// Counters of how requests arrive.
    pub arrivals: Arrivals,
    /// The limit on each client's requests.
    pub(super) rates: Rates,
    /// Request bodies that have not arrived.
    pub(super) slow_bodies: Arc<SlowBodies>,
    /// The limit on requests in flight.
    pub(super) admission: Admission,
    /// Login bodies that have not arrived.
    pub(super) logins: Bodies,
    /// The guard of `/metrics`.
    pub(super) scrapes: Scrapes,
}

impl Door {
    /// Creates the state for this relay's listeners.
    pub fn new(
        app: Arc<App>,
        tls: tls::Listeners,
        connections: server::Metrics,
        mut registry: Registry,
    ) -> Self {
        let limits = &app.config.public;
        Self {
            arrivals: Arrivals::new(connections.of("public"), &mut registry),
            rates: Rates::new(limits.rate_per_client),
            slow_bodies: Arc::new(SlowBodies::new(limits, &mut registry)),
            admission: Admission::new(limits.requests_max, &mut registry),
            logins: Bodies::default(),
            scrapes: Scrapes::new(&app.clock, &mut registry),
            metrics: Arc::new(registry),
            connections,
            tls,
            app,
        }
    }
}
