//! What a request costs its sender, and whether it looks like a browser's.

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
/// When a budget is used up, or the operator drops what is suspicious.
pub(super) fn pay(
    app: &App,
    signals: &Signals,
    visit: &Visit,
    events: usize,
) -> Result<Option<Suspicion>, Refusal> {
    let site = visit.site().domain.as_str();
    let limited = |refused: Refused| (refused.outcome, Some(refused.wait));
    if visit.tool().is_some() {
        let taken = app.budgets.take_of_site(site, events);
        return taken.map(|()| None).map_err(limited);
    }
    if let Some(suspicion) = signals.suspicion
        && app.config.budget.drop_suspicious
    {
        app.metrics.suspicious.count(site, suspicion, events);
        return Err((Outcome::Suspicious, None));
    }
    let payer = Payer {
        client: signals.client,
        site,
        visitor: visit.visitor().address,
    };
    let standing = app.budgets.take(payer, events).map_err(limited)?;
    Ok(signals.suspicion.or(of_client(standing)))
}

/// A client near its budgets may be an office at its peak: its events are never dropped for that.
fn of_client(standing: Standing) -> Option<Suspicion> {
    match standing {
        Standing { is_crowd: true, .. } => Some(Suspicion::Crowd),
        Standing { is_busy: true, .. } => Some(Suspicion::Busy),
        _ => None,
    }
}
