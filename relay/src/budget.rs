//! Budgets: how many events and how many new visitors one client may bring, and how many events one site.
//!
//! A visitor pays for its events first, from an account that suits one person; its client pays for the rest, from one
//! that all its visitors share. So an office may bring as much as its people, and one program no more than one person
//! and that rest. How many people an address has is budgeted as well: a *new visitor* is a pseudonym that its client
//! has not shown today. Clients pay before sites, so events that are refused here use up no site's rate. The limits of a
//! minute pay for the work that events make; those of a day count what is kept, so [`Budgets::give_back`] returns them for
//! events that the relay could not take ([ADR 0020](../../docs/adr/0020-budgets-per-client-and-shares-per-site.md)).

mod bill;
mod known;
mod limit;
mod network;
#[cfg(test)]
mod tests;

pub(crate) use limit::{Left, Limit, place_of};
pub use network::client_of;

use crate::clock;
use crate::config::{BudgetConfig, Rate};
use bill::Bill;
use governor::clock::{Clock, MonotonicClock, Reference};
use ipnet::IpNet;
use known::Known;
use network::network_around;
use relay_event::Outcome;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Buckets for clients: half a megabyte for each limit. With 1 000 clients at their limit at once, one in 65 others
/// shares a bucket with one of them.
const CLIENT_BUCKETS: usize = 64 * 1024;
/// Buckets for the networks around clients.
const NETWORK_BUCKETS: usize = 16 * 1024;
/// Buckets for visitors: a megabyte. Two visitors that share one pay the rest from their clients' accounts.
const VISITOR_BUCKETS: usize = 128 * 1024;
/// Buckets for sites, which are configured, so there are few.
const SITE_BUCKETS: usize = 4 * 1024;
/// How many clients' budgets an IPv6 /48 has. It may be one stranger's, with 65 536 clients to choose from, or hold a
/// provider's customers.
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

/// Who pays for the events of a request.
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

/// What a client has left after it paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Less than a quarter of its new visitors, and this was one.
    pub is_crowd: bool,
    /// Less than a quarter of its events.
    pub is_busy: bool,
}

/// Events that were refused, all of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How they end: one of `limited`.
    pub outcome: Outcome,
    /// When to come back at the earliest.
    pub wait: Duration,
}

impl Budgets {
    /// Budgets as configured.
    pub fn new(config: &BudgetConfig, per_site: Rate) -> Self {
        Self::with(config, per_site, &MonotonicClock, clock::random())
    }
}

impl<C: Clock + Clone> Budgets<C> {
    fn with(config: &BudgetConfig, per_site: Rate, clock: &C, seed: [u8; 16]) -> Self {
        let limit = |rate, buckets| Limit::new(rate, buckets, clock.clone(), seed);
        let per_client = |rate: Rate| PerClient {
            client: limit(rate, CLIENT_BUCKETS),
            network: limit(rate.times(NETWORK_FACTOR), NETWORK_BUCKETS),
        };
        Self {
            visitors_events: limit(config.events_per_visitor, VISITOR_BUCKETS),
            clients_events: per_client(config.events_per_client),
            clients_events_day: per_client(config.events_per_client_day),
            new_visitors: per_client(config.new_visitors_per_client),
            new_visitors_day: per_client(config.new_visitors_per_client_day),
            sites_events: limit(per_site, SITE_BUCKETS),
            known: Known::new(),
            exempt: config.exempt.clone(),
            began: clock.now(),
            clock: clock.clone(),
        }
    }

    /// Takes a batch into account: all of it or, when a limit refuses, nothing of any. The visitor comes first, then its
    /// events, then the site's.
    ///
    /// # Errors
    /// When one of them has brought too much.
    pub fn take(&self, payer: Payer<'_>, events: usize) -> Result<Standing, Refused> {
        let (mut bill, mut standing, mut is_new) = (Bill::default(), Standing::default(), false);
        if !self.is_exempt(payer.client) {
            let limited = |outcome| move |wait| Refused { outcome, wait };
            let of_visitors = self
                .take_visitor(&mut bill, payer)
                .map_err(limited(Outcome::LimitedVisitors))?;
            let of_events = self
                .take_events(&mut bill, payer, events)
                .map_err(limited(Outcome::LimitedEvents))?;
            is_new = of_visitors.is_some();
            standing.is_crowd = of_visitors.is_some_and(|left| left.is_scarce);
            standing.is_busy = of_events.is_scarce;
        }
        self.take_of_site(payer.site, events)?;
        bill.paid();
        if is_new {
            self.known.add(payer.visitor);
        }
        Ok(standing)
    }

    /// Gives back the day's part for events that were taken into account and could not be taken after all, so that their
    /// sender may bring them again. The rest stays taken: it pays for the work that was done, and comes back within
    /// minutes.
    pub fn give_back(&self, payer: Payer<'_>, events: usize) {
        if !self.is_exempt(payer.client) {
            self.clients_events_day.give_back(payer.client, "", events);
        }
    }

    /// Takes a batch into account at its site alone: for senders that have no client's budgets.
    ///
    /// # Errors
    /// When the site has brought too much.
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

/// A limit of each client, and a larger one of the network around it.
struct PerClient<C: Clock> {
    client: Limit<C>,
    network: Limit<C>,
}

impl<C: Clock> PerClient<C> {
    /// The client pays first: what it is refused uses up nothing of its neighbours'.
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
