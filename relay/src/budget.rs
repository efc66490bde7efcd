//! Budgets: limits on the events and new visitors of each client, and on the events of each site.
//!
//! Events are first charged to a budget of their visitor, sized for one person; the rest is charged to a budget of
//! the client, which all its visitors share. So an office may send as much as its people produce, and one program no
//! more than one person plus that rest. The number of people behind an address is limited as well: a *new visitor* is
//! a pseudonym that its client has not shown today. Clients are charged before sites, so events refused here use up
//! no site's rate. The limits of a minute bound the work that events cause; those of a day bound the data that is
//! kept, so [`Budgets::give_back`] returns them for events that the relay could not store ([ADR
//! 0020](../../docs/adr/0020-budgets-per-client-and-shares-per-site.md)).

mod bill;
mod known;
mod limit;
#[cfg(test)]
mod tests;

pub(crate) use limit::{Left, Limit};

use crate::clock;
use crate::config::{BudgetConfig, Rate};
use crate::network::{client_of, network_around};
use bill::Bill;
use governor::clock::{Clock, MonotonicClock, Reference};
use ipnet::IpNet;
use known::Known;
use relay_event::Outcome;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Buckets for clients: half a megabyte for each limit. If 1 000 clients are at their limit at once, one in 65 other
/// clients shares a cell with one of them.
const CLIENT_CELLS: usize = 64 * 1024;
/// Buckets for the networks around clients.
const NETWORK_CELLS: usize = 16 * 1024;
/// Cells for visitors: one megabyte. Two visitors that share a cell charge the rest to their clients' budgets.
const VISITOR_CELLS: usize = 128 * 1024;
/// Buckets for sites. Sites are configured, so there are few.
const SITE_CELLS: usize = 4 * 1024;
/// The limits of an IPv6 /48, as a multiple of a client's. A /48 may belong to one stranger, with 65 536 clients to
/// choose from, or to the customers of a provider.
const NETWORK_FACTOR: u32 = 8;

/// The budgets of one relay.
pub struct Budgets<C: Clock = MonotonicClock> {
    visitors_events: Limit<C>,
    clients_events: PerClient<C>,
    clients_events_day: PerClient<C>,
    new_visitors: PerClient<C>,
    new_visitors_day: PerClient<C>,
    sites_events: Limit<C>,
    known: Known,
    exempt: Vec<IpNet>,
    clock: C,
    began: C::Instant,
}

impl<C: Clock> std::fmt::Debug for Budgets<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Budgets(hidden)")
    }
}

/// The client, site and visitor that the events of a request are charged to.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "an address is never shown")]
pub struct Payer<'r> {
    /// The client's address.
    pub client: IpAddr,
    /// The site's domain.
    pub site: &'r str,
    /// The pseudonym of the visitor.
    pub visitor: Ipv6Addr,
}

/// How close a client is to its limits after a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientLoad {
    /// Less than a quarter of its new visitors is left, and this was one.
    pub is_crowd: bool,
    /// Less than a quarter of its events is left.
    pub is_busy: bool,
}

/// A refusal of all events of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The outcome of the events: one of `limited`.
    pub outcome: Outcome,
    /// Time until a retry may succeed.
    pub wait: Duration,
}

impl Budgets {
    /// Creates the budgets as configured.
    pub fn new(config: &BudgetConfig, per_site: Rate) -> Self {
        Self::with(config, per_site, &MonotonicClock, clock::random())
    }
}

impl<C: Clock + Clone> Budgets<C> {
    fn with(config: &BudgetConfig, per_site: Rate, clock: &C, seed: [u8; 16]) -> Self {
        let limit = |rate, cells| Limit::new(rate, cells, clock.clone(), seed);
        let per_client = |rate: Rate| PerClient {
            client: limit(rate, CLIENT_CELLS),
            network: limit(rate.times(NETWORK_FACTOR), NETWORK_CELLS),
        };
        Self {
            visitors_events: limit(config.events_per_visitor, VISITOR_CELLS),
            clients_events: per_client(config.events_per_client),
            clients_events_day: per_client(config.events_per_client_day),
            new_visitors: per_client(config.new_visitors_per_client),
            new_visitors_day: per_client(config.new_visitors_per_client_day),
            sites_events: limit(per_site, SITE_CELLS),
            known: Known::new(),
            exempt: config.exempt.clone(),
            began: clock.now(),
            clock: clock.clone(),
        }
    }

    /// Charges a batch to all limits or, if one refuses, to none. The order is: the visitor, its events, the site's
    /// events.
    ///
    /// # Errors
    /// If a limit is exceeded.
    pub fn take(&self, payer: Payer<'_>, events: usize) -> Result<ClientLoad, Refused> {
        let (mut bill, mut load, mut is_new) = (Bill::default(), ClientLoad::default(), false);
        if !self.is_exempt(payer.client) {
            let limited = |outcome| move |wait| Refused { outcome, wait };
            let of_visitors = self
                .take_visitor(&mut bill, payer)
                .map_err(limited(Outcome::LimitedVisitors))?;
            let of_events = self
                .take_events(&mut bill, payer, events)
                .map_err(limited(Outcome::LimitedEvents))?;
            is_new = of_visitors.is_some();
            load.is_crowd = of_visitors.is_some_and(|left| left.is_scarce);
            load.is_busy = of_events.is_scarce;
        }
        self.take_of_site(payer.site, events)?;
        bill.paid();
        if is_new {
            self.known.add(payer.visitor);
        }
        Ok(load)
    }

    /// Returns the day's part of a charge for events that could not be stored after all, so that their sender may
    /// send them again. The rest stays charged: it stands for work that was done, and comes back within minutes.
    pub fn give_back(&self, payer: Payer<'_>, events: usize) {
        if !self.is_exempt(payer.client) {
            self.clients_events_day.give_back(payer.client, "", events);
        }
    }

    /// Charges a batch to its site alone: for senders without a client's budgets.
    ///
    /// # Errors
    /// If the site exceeds its rate.
    pub fn take_of_site(&self, site: &str, events: usize) -> Result<(), Refused> {
        let taken = self.sites_events.take(site, events);
        let outcome = Outcome::LimitedSite;
        taken.map(drop).map_err(|wait| Refused { outcome, wait })
    }

    fn is_exempt(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.exempt.iter().any(|network| network.contains(&client))
    }

    /// `None` if the visitor is known.
    fn take_visitor<'b>(&'b self, bill: &mut Bill<'b>, payer: Payer<'_>) -> Result<Option<Left>, Duration> {
        let now = self.clock.now().duration_since(self.began).into();
        if self.known.has(payer.visitor, now) {
            return Ok(None);
        }
        let at_once = self.new_visitors.take(bill, payer.client, payer.site, 1)?;
        let in_a_day = self.new_visitors_day.take(bill, payer.client, payer.site, 1)?;
        Ok(Some(at_once.or(in_a_day)))
    }

    fn take_events<'b>(
        &'b self,
        bill: &mut Bill<'b>,
        payer: Payer<'_>,
        events: usize,
    ) -> Result<Left, Duration> {
        let own = match self.visitors_events.can_hold(events) {
            true => bill.take(&self.visitors_events, &payer.visitor, events),
            false => Err(Duration::MAX),
        };
        let at_once = match own {
            Ok(_) => Left::default(),
            Err(wait) => self
                .clients_events
                .take(bill, payer.client, "", events)
                .map_err(|clients| clients.min(wait))?,
        };
        let in_a_day = self.clients_events_day.take(bill, payer.client, "", events)?;
        Ok(at_once.or(in_a_day))
    }
}

/// A limit for each client, and a larger one for the network around it.
struct PerClient<C: Clock> {
    client: Limit<C>,
    network: Limit<C>,
}

impl<C: Clock> PerClient<C> {
    /// The client's limit comes first: a refusal there uses up nothing of its neighbours' limit.
    fn take<'b>(
        &'b self,
        bill: &mut Bill<'b>,
        client: IpAddr,
        site: &str,
        cells: usize,
    ) -> Result<Left, Duration> {
        let own = bill.take(&self.client, &(client_of(client), site), cells)?;
        match network_around(client) {
            Some(network) => Ok(own.or(bill.take(&self.network, &(network, site), cells)?)),
            None => Ok(own),
        }
    }

    fn give_back(&self, client: IpAddr, site: &str, cells: usize) {
        self.client.give_back(&(client_of(client), site), cells);
        if let Some(network) = network_around(client) {
            self.network.give_back(&(network, site), cells);
        }
    }
}
