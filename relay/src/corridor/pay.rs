//! The cost of a request to its sender, and whether it looks like a browser's.

use super::Refused;
use crate::app::App;
use crate::budget::{ClientLoad, Payer};
use crate::gate::{Signals, Visit};
use crate::policy::InUse;
use crate::suspicion::Suspicion;
use relay_event::Outcome;
use std::net::IpAddr;

/// Charges the events to the budgets. A tool with a token has no client budget, because its operator is known, and is not a
/// browser; its events count for the site. Returns the suspicion about them, if any.
///
/// # Errors
/// If a budget is used up, the operator drops suspicious events, or the policy is out of service: the last is known
/// beforehand, so it costs neither the sender any budget nor the relay any work.
pub(super) fn pay(
    app: &App,
    signals: &Signals<'_>,
    policy: &InUse,
    visit: &Visit,
    events: usize,
) -> Result<Option<Suspicion>, Refused> {
    let site = visit.site().domain.as_str();
    let is_scrubbed = match policy.status.is_failing() {
        true => Err(Outcome::PolicyUnavailable),
        false => Ok(()),
    };
    if visit.tool().is_some() {
        is_scrubbed?;
        app.budgets.take_of_site(site, events)?;
        return Ok(None);
    }
    if let Some(suspicion) = signals.suspicion
        && app.config.budget.drop_suspicious
    {
        app.counters.suspicious(site, suspicion, events);
        return Err(Outcome::Suspicious.into());
    }
    is_scrubbed?;
    let load = app.budgets.take(payer(signals.client, visit), events)?;
    Ok(signals.suspicion.or(of_client(load)))
}

/// Refunds the day's budget for the events of a request that the sender will retry: for those that were refused
/// temporarily, and the duplicates among them. Events dropped for their content still count: the policy may have run long
/// for them.
pub(super) fn give_back(app: &App, client: IpAddr, visit: &Visit, endings: &[Result<(), Outcome>]) {
    let count = |is: fn(Outcome) -> bool| endings.iter().filter(|ending| ending.is_err_and(is)).count();
    let for_now = count(Outcome::is_temporary);
    if for_now == 0 || visit.tool().is_some() {
        return;
    }
    let repeated = count(|outcome| outcome == Outcome::Duplicate);
    app.budgets.give_back(payer(client, visit), for_now + repeated);
}

fn payer(client: IpAddr, visit: &Visit) -> Payer<'_> {
    Payer {
        client,
        site: visit.site().domain.as_str(),
        visitor: visit.visitor().address,
    }
}

/// A client near its budgets may be an office at its peak: its events are never dropped for that reason.
fn of_client(load: ClientLoad) -> Option<Suspicion> {
    match load {
        ClientLoad { is_crowd: true, .. } => Some(Suspicion::Crowd),
        ClientLoad { is_busy: true, .. } => Some(Suspicion::Busy),
        _ => None,
    }
}
