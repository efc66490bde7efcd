//! The gate: decides whether a request, and each of its events, may go further.
//!
//! The order is the design's: site, source (origin or tool), operator lock, admin switch, page token, privacy signals
//! and consent, tracking plan. The first check that fails names the outcome. Only the gate makes [`Visit`] and
//! [`Admitted`], so no later room has to check again.

pub mod page_token;
pub mod source;

use crate::clock::Timestamp;
use crate::guard::Sender;
use crate::hidden::hidden_debug;
use crate::permit::{Paused, Permit};
use crate::suspicion::Suspicion;
use crate::switch::{Site, Switches};
use crate::visitor::{Pseudonym, Visitors};
use relay_event::address::{Address, is_same_host};
use relay_event::scrub::Visible;
use relay_event::user_agent::{self, UserAgent};
use relay_event::{Consent, DayValues, Event, Outcome, Plan};
use source::{Source, SourceRules};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// The properties of a request besides its body. In memory only.
pub struct Signals<'r> {
    /// The client's address.
    pub client: IpAddr,
    /// The `User-Agent` header, empty when missing.
    pub user_agent: Cow<'r, str>,
    /// The headers that identify its source.
    pub source: Source<'r>,
    /// Whether a `Sec-GPC` or `DNT` header says 1.
    pub privacy_signal: bool,
    /// Evidence that the request does not come from a browser.
    pub suspicion: Option<Suspicion>,
}

hidden_debug!(Signals<'_>);

/// A request that may bring events.
#[derive(Debug)]
pub struct Visit {
    site: Arc<Site>,
    paused: Paused,
    consent: Consent,
    visitor: Pseudonym,
    sender: Sender,
    tool: Option<String>,
}

/// An event of a [`Visit`] that may go on to the policy.
#[derive(Debug)]
pub struct Admitted(Event);

/// The rooms that the gate consults.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The sites, and whether they are on.
    pub switches: &'a Switches,
    /// The rules for the sources of events.
    pub sources: &'a SourceRules,
    /// Pseudonyms of visitors.
    pub visitors: &'a Visitors,
}

/// Checks a request.
///
/// # Errors
/// The outcome of all its events.
pub fn enter(
    site: &str,
    consent: Option<Consent>,
    values: DayValues,
    signals: &Signals<'_>,
    asked: Asked<'_>,
    now: Timestamp,
) -> Result<Visit, Outcome> {
    let site = asked.switches.site(site).ok_or(Outcome::UnknownSite)?;
    let from = asked.sources.judge(site, &signals.source)?;
    if site.operator_lock {
        return Err(Outcome::OperatorLock);
    }
    let permit = site.permit().ok_or(Outcome::SwitchedOff)?;
    // After the switch: a page of a site that is off need not fetch a newer token.
    asked.sources.check_page_token(site, &signals.source, from)?;
    let consent = consented(consent, signals.privacy_signal, &site.plan)?;
    let (visitor, sender) = sender(
        &site.domain,
        signals.client,
        &signals.user_agent,
        values,
        asked.visitors,
        now,
    )?;
    Ok(Visit {
        site: Arc::clone(site),
        // The policy may be slow, and switching off must not wait for it.
        paused: permit.pause(),
        consent,
        visitor,
        sender,
        tool: match from {
            source::From::Tool(tool) => Some(tool.name.clone()),
            source::From::Page(_) => None,
        },
    })
}

/// The sender of a request, reduced to the fields that may leave.
///
/// # Errors
/// [`Outcome::Bot`].
pub fn sender(
    site: &str,
    client: IpAddr,
    user_agent: &str,
    values: DayValues,
    visitors: &Visitors,
    now: Timestamp,
) -> Result<(Pseudonym, Sender), Outcome> {
    let coarse = match user_agent::coarsen(user_agent) {
        UserAgent::Browser(text) => Some(text),
        UserAgent::Unknown => None,
        // A bot is never disguised as a browser, which would hide it from Plausible's own filter.
        UserAgent::Bot => return Err(Outcome::Bot),
    };
    let visitor = visitors.pseudonym(site, client, user_agent, values, now);
    let sender = Sender {
        visitor: visitor.address,
        user_agent: coarse,
    };
    Ok((visitor, sender))
}

/// Consent must be present, be for the current version of the plan, and have been given in person if the browser asks not
/// to be tracked.
fn consented(consent: Option<Consent>, privacy_signal: bool, plan: &Plan) -> Result<Consent, Outcome> {
    let consent = consent.ok_or(if privacy_signal {
        Outcome::PrivacySignal
    } else {
        Outcome::NoConsent
    })?;
    if privacy_signal && !consent.in_person {
        return Err(Outcome::PrivacySignal);
    }
    if consent.plan != plan.version {
        return Err(Outcome::ConsentOutdated);
    }
    Ok(consent)
}

impl Visit {
    /// The site.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The pseudonym of its sender.
    pub fn visitor(&self) -> Pseudonym {
        self.visitor
    }

    /// The sender, reduced to the fields that may leave.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// The name of the tool that sent it, if a tool did.
    pub fn tool(&self) -> Option<&str> {
        self.tool.as_deref()
    }

    /// Checks one event of the request.
    ///
    /// # Errors
    /// The event's outcome.
    pub fn admit(&self, event: Event) -> Result<Admitted, Outcome> {
        let category = self.site.plan.category_of(&event.name);
        if !self.consent.covers(category.ok_or(Outcome::UnknownEvent)?) {
            return Err(Outcome::CategoryRefused);
        }
        // Refused here and not later by the forwarder, so that no event is stored that can never leave.
        if let Some(outcome) = self.site.profile.leaves_out(&event.name) {
            return Err(outcome);
        }
        Ok(Admitted(event))
    }

    /// The part of an admitted event that the policy sees. A page of the site, by its origins, is no referrer: Plausible
    /// ignores one only if the page has the same host, and between two hosts of one site it would count as a source of
    /// visits.
    pub fn visible(&self, Admitted(event): &Admitted) -> Visible {
        let mut visible = Visible::of(event, &self.site.plan);
        visible.referrer = visible.referrer.filter(|from| !self.is_own_page(from));
        visible
    }

    fn is_own_page(&self, address: &str) -> bool {
        let is_of = |page: &Address<'_>, origin: &String| {
            Address::parse(origin).is_some_and(|own| is_same_host(own.host, page.host))
        };
        Address::parse(address).is_some_and(|page| self.site.origins.iter().any(|own| is_of(&page, own)))
    }

    /// A permit to store the scrubbed events of the request.
    ///
    /// # Errors
    /// [`Outcome::SwitchedOff`]: the site was switched off since the request entered.
    pub fn permit(&self) -> Result<Permit, Outcome> {
        let again = self.site.permit_again(&self.paused);
        again.ok_or(Outcome::SwitchedOff)
    }
}

impl Admitted {
    /// The event, not yet scrubbed.
    pub fn event(&self) -> &Event {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_event::plan::Unmatched;

    fn plan() -> Plan {
        Plan {
            version: 3,
            categories: Vec::new(),
            routes: Vec::new().into(),
            events: Vec::new(),
            unmatched: Unmatched::Other,
            campaigns: false,
        }
    }

    #[test]
    fn the_truth_table_of_consent() {
        let check = |consent: Option<(u32, bool)>, signal: bool, want: Option<Outcome>| {
            let given = consent.map(|(plan, in_person)| Consent {
                plan,
                categories: None,
                in_person,
            });
            assert_eq!(
                consented(given, signal, &plan()).err(),
                want,
                "{consent:?} signal {signal}"
            );
        };
        //    consent (plan, in person)  GPC or DNT  refused as
        check(None, /*                */ false, Some(Outcome::NoConsent));
        check(None, /*                */ true, Some(Outcome::PrivacySignal));
        check(Some((3, false)), /*    */ false, None);
        check(Some((3, false)), /*    */ true, Some(Outcome::PrivacySignal));
        check(Some((3, true)), /*     */ false, None);
        check(Some((3, true)), /*     */ true, None);
        check(
            Some((2, true)),
            /*     */ false,
            Some(Outcome::ConsentOutdated),
        );
        check(
            Some((4, true)),
            /*     */ false,
            Some(Outcome::ConsentOutdated),
        );
        check(Some((2, false)), /*    */ true, Some(Outcome::PrivacySignal));
    }
}
