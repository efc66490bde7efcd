//! What a request costs its sender, and whether it looks like a browser's.

use super::Ending;
use crate::app::App;
use crate::budget::{Payer, Refused, Standing};
use crate::gate::{Signals, Visit};
use crate::suspicion::Suspicion;
use relay_event::Outcome;
use std::time::Duration;

/// Why all events of a request end, and when to come back if that helps.
pub(super) type Refusal = (Outcome, Option<Duration>);

/// Takes the events into account. A tool with a token has no client's budgets, because its operator is known, and is no
/// browser; its events count for the site. Says what is suspicious about them, if they may go on.
///
/// # Errors
/// When a budget is used up, the operator drops what is suspicious, or the policy is out of service: that is known
/// beforehand, so it costs neither the sender anything nor the relay work.
pub(super) fn pay(
    app: &App,
    signals: &Signals,
    visit: &Visit,
    events: usize,
) -> Result<Option<Suspicion>, Refusal> {
    let site = visit.site().domain.as_str();
    let limited = |refused: Refused| (refused.outcome, Some(refused.wait));
    let is_scrubbed = match app.policy.current().standing.is_failing() {
        true => Err((Outcome::PolicyUnavailable, None)),
        false => Ok(()),
    };
    if visit.tool().is_some() {
        is_scrubbed?;
        let taken = app.budgets.take_of_site(site, events);
        return taken.map(|()| None).map_err(limited);
    }
    if let Some(suspicion) = signals.suspicion
        && app.config.budget.drop_suspicious
    {
        app.metrics.suspicious.count(site, suspicion, events);
        return Err((Outcome::Suspicious, None));
    }
    is_scrubbed?;
    let standing = app.budgets.take(payer(signals, visit), events).map_err(limited)?;
    Ok(signals.suspicion.or(of_client(standing)))
}

/// Gives back the day's budget for the events of a request that is to be brought again: for those that could not be taken
/// for now, and the repetitions among them. What was dropped for what it is counts: the policy may have run long for it.
pub(super) fn give_back(app: &App, signals: &Signals, visit: &Visit, endings: &[Ending]) {
    let for_now = endings.iter().filter(|ending| ending.for_now().is_some()).count();
    if for_now == 0 || visit.tool().is_some() {
        return;
    }
    let repeated = |ending: &&Ending| matches!(ending, Ending::Ended(Outcome::Duplicate, _));
    let repeated = endings.iter().filter(repeated).count();
    app.budgets.give_back(payer(signals, visit), for_now + repeated);
}

fn payer<'v>(signals: &Signals, visit: &'v Visit) -> Payer<'v> {
    Payer {
        client: signals.client,
        site: visit.site().domain.as_str(),
        visitor: visit.visitor().address,
    }
}

/// A client near its budgets may be an office at its peak: its events are never dropped for that.
fn of_client(standing: Standing) -> Option<Suspicion> {
    match standing {
        Standing { is_crowd: true, .. } => Some(Suspicion::Crowd),
        Standing { is_busy: true, .. } => Some(Suspicion::Busy),
        _ => None,
    }
}
