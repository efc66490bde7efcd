//! `[budget]`: how many events and visitors one client may send.

use crate::config::Rate;
use crate::config::network::network;
use crate::config::toml::Table;
use ipnet::IpNet;

/// The budgets of one client. A client is an IPv4 address or an IPv6 /64.
#[derive(Clone, Debug)]
pub struct BudgetConfig {
    /// Events per visitor and minute that do not count against the client's budget.
    pub events_per_visitor: Rate,
    /// Events per client and minute beyond those of `events_per_visitor`. Above it: 429 with Retry-After.
    pub events_per_client: Rate,
    /// All events per client and day. Above it: 429 with Retry-After.
    pub events_per_client_day: Rate,
    /// Visitors per client and minute that are new to a site. Above it: 429 with Retry-After.
    pub new_visitors_per_client: Rate,
    /// The same per day.
    pub new_visitors_per_client_day: Rate,
    /// Clients without budgets: exit addresses of offices too large for the budgets.
    pub exempt: Vec<IpNet>,
    /// Whether suspicious events are dropped instead of marked.
    pub drop_suspicious: bool,
}

impl BudgetConfig {
    pub(super) fn read(section: &Table<'_>) -> Self {
        let rate = |key, default| Rate::read(section, key, default);
        let day = |key, default| Rate::read_day(section, key, default);
        Self {
            events_per_visitor: rate("events_per_visitor", Rate::per_minute(30, 30)),
            events_per_client: rate("events_per_client", Rate::per_minute(1_800, 3_000)),
            events_per_client_day: day("events_per_client_day", 2_000_000),
            new_visitors_per_client: rate("new_visitors_per_client", Rate::per_minute(180, 100)),
            new_visitors_per_client_day: day("new_visitors_per_client_day", 5_000),
            exempt: section
                .list("exempt", "networks such as \"198.51.100.7\"", network)
                .unwrap_or_default(),
            drop_suspicious: section
                .choice("suspicious", &[("mark", false), ("drop", true)])
                .unwrap_or(false),
        }
    }
}
