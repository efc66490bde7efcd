//! The metrics of connections and certificates.

use crate::metrics::{self, Counter, Family, Gauge};

metrics::declare! {
    /// The connections and certificates of all listeners.
    pub struct Metrics {
        /// Open connections.
        connections: Gauge["listener"],
        /// Connections that the relay closed, by reason.
        connections_closed: Counter["listener", "reason"],
        /// Requests answered 431, because their headers were too large; no other counter includes their events.
        heads_too_large: Counter["listener"],
        /// When the listener's certificate expires, in seconds since 1970.
        tls_certificate_expiry_timestamp_seconds: Gauge["listener"],
        /// Attempts to load a changed certificate, by result.
        pub(super) tls_reloads: Counter["result"] = [["ok"], ["failed"]],
    }
}

metrics::label! {
    /// Why the relay closed a connection.
    pub enum Closed {
        /// It was idle for too long.
        Silent = "silent",
        /// It was the longest-idle one when a new one needed room.
        Evicted = "evicted",
        /// Its client was at its limit: this is the client's longest-idle connection, or the new one.
        Client = "client",
        /// Its TLS handshake failed or was abandoned.
        Handshake = "handshake",
        /// Its peer did not read the responses.
        Unread = "unread",
    }
}

/// The metrics of one listener's connections.
#[derive(Clone, Debug)]
pub struct ConnectionMetrics {
    listener: &'static str,
    /// Open connections.
    pub open: Gauge,
    closed: Family<Counter, 2>,
    /// Requests whose head was too large; their events are not counted elsewhere.
    pub heads_too_large: Counter,
}

impl Metrics {
    /// The metrics of a listener's connections, with all their series.
    pub fn of(&self, listener: &'static str) -> ConnectionMetrics {
        let metrics = ConnectionMetrics {
            listener,
            open: self.connections.with([listener]),
            closed: self.connections_closed.clone(),
            heads_too_large: self.heads_too_large.with([listener]),
        };
        for why in Closed::ALL {
            metrics.closed(why);
        }
        metrics
    }

    /// Records when a listener's certificate expires, in seconds since 1970.
    pub(super) fn note_expiry(&self, listener: &str, at: i64) {
        self.tls_certificate_expiry_timestamp_seconds
            .with([listener])
            .set(at);
    }
}

impl ConnectionMetrics {
    /// Counts connections that the relay closed for this reason.
    pub fn closed(&self, why: Closed) -> Counter {
        self.closed.with([self.listener, why.name()])
    }
}
