//! The front door's metrics: connections, admission, certificates, and how requests arrive.

mod oddity;

use crate::metrics::ResultLabel;
pub use oddity::Oddity;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Why the relay closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It was silent for too long.
    Silent,
    /// It was the one silent longest when a new one needed room.
    Room,
    /// Its client had as many as it may: the client's one silent longest, or the new one.
    Client,
    /// Its TLS handshake failed or was given up.
    Handshake,
    /// Its peer did not read the answers.
    Unread,
}

const CLOSED: [(Closed, &str); 5] = [
    (Closed::Silent, "silent"),
    (Closed::Room, "room"),
    (Closed::Client, "client"),
    (Closed::Handshake, "handshake"),
    (Closed::Unread, "unread"),
];

/// A listener: `public` or `admin`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ListenerLabel {
    /// Its section in the configuration.
    pub listener: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClosedLabel {
    listener: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OddityLabel {
    oddity: &'static str,
}

/// The connections of one listener.
#[derive(Clone, Debug, Default)]
pub struct ConnectionMetrics {
    /// How many are open.
    pub open: Gauge,
    closed: [Counter; CLOSED.len()],
    /// Requests whose head was too large; each may have brought events that nothing else counts.
    pub heads_too_large: Counter,
}

impl ConnectionMetrics {
    /// Counts a connection that the relay closed.
    pub fn closed(&self, why: Closed) {
        self.closed[why as usize].inc();
    }

    /// How many connections the relay closed for this reason.
    pub fn count(&self, why: Closed) -> u64 {
        self.closed[why as usize].get()
    }
}

/// The front door's metrics.
#[derive(Debug)]
pub struct DoorMetrics {
    connections: Family<ListenerLabel, Gauge>,
    closed: Family<ClosedLabel, Counter>,
    heads_too_large: Family<ListenerLabel, Counter>,
    /// Requests that arrived in an odd way, by its number.
    pub odd: [Counter; Oddity::ALL.len()],
    /// Most requests that are worked on at once at present; see `http::shed`.
    pub requests_limit: Gauge,
    /// Requests whose events are on their way to the spool.
    pub requests_in_progress: Gauge,
    /// Requests whose bodies have not arrived; see `http::slow_bodies`.
    pub bodies_waiting: Gauge,
    /// When a listener's certificate expires, in seconds since 1970.
    pub certificate_expiry: Family<ListenerLabel, Gauge>,
    /// Attempts to put a changed certificate to use, by what came of them: `ok` or `failed`.
    pub certificate_reloads: Family<ResultLabel, Counter>,
}

impl DoorMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let odd = Family::<OddityLabel, Counter>::default();
        let metrics = Self {
            connections: Family::default(),
            closed: Family::default(),
            heads_too_large: Family::default(),
            odd: Oddity::ALL.map(|oddity| {
                let label = OddityLabel {
                    oddity: oddity.name(),
                };
                odd.get_or_create(&label).clone()
            }),
            requests_limit: Gauge::default(),
            requests_in_progress: Gauge::default(),
            bodies_waiting: Gauge::default(),
            certificate_expiry: Family::default(),
            certificate_reloads: Family::default(),
        };
        registry.register("connections", "Open connections", metrics.connections.clone());
        registry.register(
            "connections_closed",
            "Connections the relay closed, by why",
            metrics.closed.clone(),
        );
        registry.register(
            "heads_too_large",
            "Requests answered 431, because their headers were too large; events they brought are not counted elsewhere",
            metrics.heads_too_large.clone(),
        );
        registry.register(
            "requests_odd",
            "Requests that arrived in a way that hides visitors or keeps pages out; `doctor` says what to do",
            odd,
        );
        registry.register(
            "requests_limit",
            "Most requests worked on at once at present; it falls while answers take too long",
            metrics.requests_limit.clone(),
        );
        registry.register(
            "requests_in_progress",
            "Requests whose events are on their way to the spool",
            metrics.requests_in_progress.clone(),
        );
        registry.register(
            "bodies_waiting",
            "Requests whose bodies have not arrived; they take no place among those worked on",
            metrics.bodies_waiting.clone(),
        );
        registry.register(
            "tls_certificate_expiry_timestamp_seconds",
            "When the listener's certificate expires, in seconds since 1970",
            metrics.certificate_expiry.clone(),
        );
        registry.register(
            "tls_reloads",
            "Attempts to put a changed certificate to use, by what came of them",
            metrics.certificate_reloads.clone(),
        );
        for result in ["ok", "failed"] {
            drop(metrics.certificate_reloads.get_or_create(&ResultLabel { result }));
        }
        for listener in ["public", "admin"] {
            drop(metrics.connections(listener));
        }
        metrics
    }

    /// The counters of a listener's connections.
    pub fn connections(&self, listener: &'static str) -> ConnectionMetrics {
        let closed = CLOSED.map(|(_, reason)| {
            let label = ClosedLabel { listener, reason };
            self.closed.get_or_create(&label).clone()
        });
        let listener = ListenerLabel { listener };
        ConnectionMetrics {
            open: self.connections.get_or_create(&listener).clone(),
            closed,
            heads_too_large: self.heads_too_large.get_or_create(&listener).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_to_close_a_connection_has_its_place() {
        for (i, (why, _)) in CLOSED.iter().enumerate() {
            assert_eq!(*why as usize, i);
        }
    }
}
