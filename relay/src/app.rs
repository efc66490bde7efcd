//! The rooms below the listeners, as a request uses them.

pub mod metrics;

use crate::accounts::Accounts;
use crate::budget::Budgets;
use crate::clock::Clock;
use crate::config::Config;
use crate::forward::Dispatcher;
use crate::forward::dashboard::Dashboard;
use crate::forward::sites::Sites;
use crate::forward::transport::http::InUse;
use crate::gate::source::SourceRules;
use crate::metrics::ledger::Ledger;
use crate::policy::Policy;
use crate::policy::sandbox::threads::Threads;
use crate::spool::Spool;
use crate::switch::Switches;
use crate::visitor::Visitors;
use metrics::Metrics;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The state below the listeners that outlives a request.
#[derive(Debug)]
pub struct App {
    /// The checked configuration.
    pub config: Config,
    /// The clock.
    pub clock: Clock,
    /// Counts every event.
    pub ledger: Arc<Ledger>,
    /// Metrics of the content of requests.
    pub counters: Metrics,
    /// The policy.
    pub policy: Arc<Policy>,
    /// The threads that run it.
    pub guests: Threads,
    /// The admin switches.
    pub switches: Switches,
    /// The events on disk.
    pub spool: Spool,
    /// The rules for who may send events.
    pub sources: SourceRules,
    /// Pseudonymous visitors.
    pub visitors: Visitors,
    /// Limits of events and new visitors per client, and of events per site.
    pub budgets: Budgets,
    /// Local accounts and sessions.
    pub accounts: Accounts,
    /// The state of delivery to Plausible.
    pub dispatcher: Arc<Dispatcher>,
    /// Which sites' events Plausible accepts.
    pub sites: Arc<Sites>,
    /// Whether the dashboard shows delivered events.
    pub dashboard: Arc<Dashboard>,
    /// The upstream connection to Plausible, and the files it was made from.
    pub upstream: Arc<InUse>,
    /// Set when the relay is stopping.
    pub stop: CancellationToken,
}
