//! `[budget]`: what one client may bring.

use crate::config::Rate;
use crate::config::network::network;
use crate::document::Section;
use ipnet::IpNet;

/// The budgets of one client. A client is an IPv4 address or an IPv6 /64.
#[derive(Clone, Debug)]
pub struct BudgetConfig {
    /// Events that a visitor may bring on its own account, a minute.
    pub events_per_visitor: Rate,
    /// Events beyond their visitors' own that a client may bring, a minute. Above it: 429 with Retry-After.
    pub events_per_client: Rate,
    /// All events of a client, a day. Above it: 429 with Retry-After.
    pub events_per_client_day: Rate,
    /// Visitors that a client has not shown a site before, a minute. Above it: 429 with Retry-After.
    pub new_visitors_per_client: Rate,
    /// The same, a day.
    pub new_visitors_per_client_day: Rate,
    /// Clients without budgets: the exits of offices that are larger than the budgets allow for.
    pub exempt: Vec<IpNet>,
    /// Whether suspicious events are dropped instead of marked.
    pub drop_suspicious: bool,
}

impl BudgetConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
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
                .parsed("suspicious", "\"mark\" or \"drop\"", drop_suspicious)
                .unwrap_or(false),
        }
    }
}

fn drop_suspicious(text: &str) -> Option<bool> {
    match text {
        "mark" => Some(false),
        "drop" => Some(true),
        _ => None,
    }
}
