//! Who is compared: a middle, and what is sent through it.

/// What stands between generator and sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Middle {
    Relay,
    Nginx,
    Caddy,
    Traefik,
}

/// One row of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Contender {
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
}

impl Contender {
    /// In the order in which they take turns.
    pub(super) const ALL: [Self; 6] = [
        Self::Relay,
        Self::RelayBatch,
        Self::Nginx,
        Self::NginxOpaque,
        Self::Caddy,
        Self::Traefik,
    ];

    pub(super) fn middle(self) -> Middle {
        match self {
            Self::Relay | Self::RelayBatch => Middle::Relay,
            Self::Nginx | Self::NginxOpaque => Middle::Nginx,
            Self::Caddy => Middle::Caddy,
            Self::Traefik => Middle::Traefik,
        }
    }

    /// Whether ten events go in one request.
    pub(super) fn batches(self) -> bool {
        matches!(self, Self::RelayBatch | Self::NginxOpaque)
    }

    /// Requests that the sink gets for one that is sent: the relay takes a batch apart, a proxy cannot.
    pub(super) fn arrivals(self) -> u64 {
        match self {
            Self::RelayBatch => 10,
            _ => 1,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::RelayBatch => "relay, batches of ten",
            Self::Nginx => "nginx",
            Self::NginxOpaque => "nginx, ten in one opaque body",
            Self::Caddy => "Caddy",
            Self::Traefik => "Traefik",
        }
    }
}
