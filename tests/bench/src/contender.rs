//! The rows of the comparison: a middle, and the kind of requests sent through it.

use crate::load::Shape;

/// A program between generator and sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Middle {
    Relay,
    Nginx,
    Caddy,
    Traefik,
    Bento,
}

/// One row of the comparison, in the order in which they take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Contender {
    /// The relay, one event per request
    Relay,
    /// The relay, ten events per request
    RelayBatch,
    /// nginx, one event per request
    Nginx,
    /// nginx, one body of ten events passed on as it is: for reference, Plausible would not take it
    NginxOpaque,
    /// Caddy, one event per request
    Caddy,
    /// Traefik, one event per request
    Traefik,
    /// Bento, one event per request: a relay that one would build oneself
    Bento,
}

impl Contender {
    pub(crate) fn middle(self) -> Middle {
        match self {
            Self::Relay | Self::RelayBatch => Middle::Relay,
            Self::Nginx | Self::NginxOpaque => Middle::Nginx,
            Self::Caddy => Middle::Caddy,
            Self::Traefik => Middle::Traefik,
            Self::Bento => Middle::Bento,
        }
    }

    pub(crate) fn shape(self) -> Shape {
        match self {
            Self::RelayBatch | Self::NginxOpaque => Shape::Batch,
            _ => Shape::Single,
        }
    }

    /// Requests that arrive at the sink for one that is sent: the relay splits a batch, a proxy cannot.
    pub(crate) fn arrivals(self) -> u64 {
        match self {
            Self::RelayBatch => 10,
            _ => 1,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::RelayBatch => "relay, batches of ten",
            Self::Nginx => "nginx",
            Self::NginxOpaque => "nginx, ten in one opaque body",
            Self::Caddy => "Caddy",
            Self::Traefik => "Traefik",
            Self::Bento => "Bento, scrubbing and storing",
        }
    }
}
