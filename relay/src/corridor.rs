//! The corridor from a readable request to the spool: gate, sandbox, guard, disk.
//!
//! Each step takes one type and returns the next; each event ends in exactly one `Result<(), Outcome>`.

mod pay;

use crate::app::App;
use crate::app::metrics::event_label;
use crate::budget;
use crate::config::SitePlan;
use crate::gate::{self, Admitted, Signals, Visit};
use crate::guard;
use crate::metrics::Histogram;
use crate::metrics::ledger::Ticket;
use crate::permit::Permit;
use crate::policy::InUse;
use crate::policy::sandbox::threads::NotRun;
use crate::spool::Incoming;
use crate::suspicion::Suspicion;
use relay_event::scrub::Visible;
use relay_event::wire::Batch;
use relay_event::{Consent, DayValues, Event, Malformed, Outcome};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The results of a request's events, in order: `Ok` is on disk.
pub type Endings = Vec<Result<(), Outcome>>;

/// A request that was refused as a whole: all its events ended in the same way.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// The outcome of all its events.
    pub outcome: Outcome,
    /// How the sender can succeed, if there is more to say than the outcome.
    pub hint: Option<Hint>,
}

/// How the sender of a refused request can succeed.
#[derive(Clone, Copy, Debug)]
pub enum Hint {
    /// Retry after at least this long: a budget is used up.
    RetryIn(Duration),
    /// Ask the user for consent to this version of the site's plan.
    Plan(u32),
}

impl From<Outcome> for Refused {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, hint: None }
    }
}

impl From<budget::Refused> for Refused {
    fn from(budget::Refused { outcome, wait }: budget::Refused) -> Self {
        let hint = Some(Hint::RetryIn(wait));
        Self { outcome, hint }
    }
}

/// Takes a request's events through the corridor. Returns when all events that will be stored are on disk. `held` is
/// dropped at that moment, or earlier if no event is stored.
///
/// # Errors
/// The request is refused as a whole.
pub async fn walk(
    app: &App,
    signals: &Signals,
    batch: Batch,
    held: impl Send + 'static,
) -> Result<Endings, Refused> {
    let Batch {
        site,
        consent,
        visitor,
        events,
        page_token: _,
    } = batch;
    let tickets = app.ledger.receive(events.len());
    let who = (consent, visitor);
    let (visit, suspicion) = match enter(app, signals, &site, who, events.len()).await {
        Ok(entered) => entered,
        Err(refused) => return Err(refuse_all(tickets, refused)),
    };
    // An event that no step below ends is lost.
    let mut endings = vec![Err(Outcome::Lost); events.len()];
    // The gate checks all events first, so that the policy gets the admitted ones in one call.
    let admitted = admit(&visit, events, tickets, &mut endings);
    if admitted.is_empty() {
        return Ok(endings);
    }
    let proposed = propose(app, &visit, &admitted).await;
    let passing = admitted.into_iter().zip(proposed);
    let permit = match visit.permit() {
        Ok(permit) => permit,
        Err(outcome) => {
            let tickets = passing.map(|(passing, _)| passing.ticket);
            return Err(refuse_all(tickets, outcome.into()));
        }
    };
    let storing = prove_each(app, &visit, permit, passing, suspicion.is_some(), &mut endings);
    store(app, storing, &mut endings, held).await;
    pay::give_back(app, signals, &visit, &endings);
    if let Some(suspicion) = suspicion {
        let stored = endings.iter().filter(|ending| ending.is_ok()).count();
        app.counters.suspicious(&site, suspicion, stored);
    }
    Ok(endings)
}

/// Takes a request through the gate and charges its events to the budgets. Returns the suspicion about them, if any.
async fn enter(
    app: &App,
    signals: &Signals,
    site: &str,
    (consent, visitor): (Option<Consent>, DayValues),
    events: usize,
) -> Result<(Visit, Option<Suspicion>), Refused> {
    let now = app.clock.now();
    let asked = gate::Asked {
        switches: &app.switches,
        sources: &app.sources,
        visitors: &app.visitors,
    };
    let entered = gate::enter(site, consent, visitor, signals, asked, now).await;
    let visit = entered.map_err(|outcome| {
        let site = app
            .switches
            .site(site)
            .filter(|_| outcome == Outcome::ConsentOutdated);
        let hint = site.map(|site| Hint::Plan(site.plan.version));
        Refused { outcome, hint }
    })?;
    let suspicion = pay::pay(app, signals, &visit, events)?;
    app.visitors.note(visit.visitor(), now);
    if let Some(tool) = visit.tool() {
        app.counters.tool_events.with([tool]).inc_by(events as u64);
    }
    Ok((visit, suspicion))
}

/// Ends all events of a request with the same outcome.
fn refuse_all(tickets: impl IntoIterator<Item = Ticket>, refused: Refused) -> Refused {
    tickets.into_iter().for_each(|ticket| ticket.end(refused.outcome));
    refused
}

/// Counts events that are refused together before the gate.
pub fn refuse(app: &App, events: usize, outcome: Outcome) {
    refuse_all(app.ledger.receive(events), outcome.into());
}

/// An admitted event on its way.
struct Passing {
    /// Its place in the request.
    place: usize,
    event: Admitted,
    ticket: Ticket,
}

/// Takes each event through the gate. Records the outcome of those that it refuses.
fn admit(
    visit: &Visit,
    events: Vec<Result<Event, Malformed>>,
    tickets: Vec<Ticket>,
    endings: &mut [Result<(), Outcome>],
) -> Vec<Passing> {
    let mut admitted = Vec::with_capacity(endings.len());
    for (place, (event, ticket)) in events.into_iter().zip(tickets).enumerate() {
        let event = event.map_err(|_| Outcome::Malformed);
        match event.and_then(|event| visit.admit(event)) {
            Ok(event) => admitted.push(Passing { place, event, ticket }),
            Err(outcome) => {
                ticket.end(outcome);
                endings[place] = Err(outcome);
            }
        }
    }
    admitted
}

/// The policy's input for an event, and its proposal.
type Proposed = Result<(Visible, Visible), Outcome>;

/// The policy's result for a request's events, and whether it failed. `None` if it did not run, or got no time.
type Answered = (Vec<Proposed>, Option<bool>);

/// Takes a request's events through the sandbox, on one of its threads. No permit is held meanwhile.
async fn propose(app: &App, visit: &Visit, admitted: &[Passing]) -> Vec<Proposed> {
    let visible = |passing: &Passing| {
        let event = &passing.event;
        let mut visible = Visible::of(event.event(), event.plan());
        visible.referrer = visible.referrer.filter(|from| !event.is_own_page(from));
        visible
    };
    let events: Vec<Visible> = admitted.iter().map(visible).collect();
    let plan = visit.site().plan.clone();
    // One policy for the whole request, even if a reload replaces it meanwhile.
    let policy = app.policy.current();
    let duration = app.policy.metrics().policy_duration_seconds.clone();
    let in_use = Arc::clone(&policy);
    let scrub = move || scrub_all(&in_use, &plan, events, &duration);
    match app.guests.run(scrub).await {
        Ok((proposed, failed)) => {
            if let Some(failed) = failed {
                app.policy.note(&policy, failed);
            }
            proposed
        }
        Err(NotRun::Busy) => vec_of(Outcome::Overloaded, admitted.len()),
        Err(NotRun::Lost) => vec_of(Outcome::Lost, admitted.len()),
    }
}

/// Runs the policy on a request's events. Must run on a guest thread.
fn scrub_all(policy: &InUse, plan: &SitePlan, events: Vec<Visible>, duration: &Histogram) -> Answered {
    // Requests that waited while it failed do not run it again.
    let begun = match policy.status.is_failing() {
        true => Err(Outcome::PolicyUnavailable),
        false => policy.sandbox.begin(plan),
    };
    let mut request = match begun {
        Ok(request) => request,
        Err(outcome) => {
            return (vec_of(outcome, events.len()), None);
        }
    };
    let scrub = |event: Visible| {
        if let Some(outcome) = request.over() {
            return Err(outcome);
        }
        let started = Instant::now();
        let proposed = request.scrub(&event);
        duration.observe(started.elapsed().as_secs_f64());
        Ok((event, proposed?))
    };
    let proposed: Vec<Proposed> = events.into_iter().map(scrub).collect();
    let ended = |wanted: &[Outcome]| {
        let mut outcomes = proposed.iter().filter_map(|proposed| proposed.as_ref().err());
        outcomes.any(|outcome| wanted.contains(outcome))
    };
    use Outcome as O;
    let failed = match ended(&[O::PolicyTrap, O::PolicyTimeout, O::PolicyUnavailable]) {
        true => Some(true),
        false if ended(&[O::Overloaded]) => None,
        false => Some(false),
    };
    (proposed, failed)
}

fn vec_of(outcome: Outcome, events: usize) -> Vec<Proposed> {
    (0..events).map(|_| Err(outcome)).collect()
}

/// An event that is on its way to the disk, with its place in the request and its label in metrics.
type Storing = ((usize, String), Incoming);

/// Has the guard prove each proposal. Records the outcome of those that it drops.
fn prove_each(
    app: &App,
    visit: &Visit,
    permit: Permit,
    passing: impl Iterator<Item = (Passing, Proposed)>,
    is_suspicious: bool,
    endings: &mut [Result<(), Outcome>],
) -> Vec<Storing> {
    let permit = Arc::new(permit);
    let is_held = app.sites.is_refused(&visit.site().domain);
    let mut storing = Vec::with_capacity(endings.len());
    for (Passing { place, event, ticket }, proposed) in passing {
        match proposed.and_then(|(shown, proposed)| prove(app, &event, &shown, proposed)) {
            Ok(mut scrubbed) => {
                if is_suspicious {
                    scrubbed.mark_suspicious(event.plan());
                }
                let label = event_label(event.plan(), &event.event().name);
                let incoming = Incoming {
                    scrubbed,
                    id: event.event().id,
                    ticket,
                    permit: Arc::clone(&permit),
                    is_held,
                };
                storing.push(((place, label), incoming));
            }
            Err(outcome) => {
                ticket.end(outcome);
                endings[place] = Err(outcome);
            }
        }
    }
    storing
}

/// Has the guard prove the policy's proposal.
fn prove(
    app: &App,
    event: &Admitted,
    shown: &Visible,
    proposed: Visible,
) -> Result<guard::Scrubbed, Outcome> {
    let (raw, plan) = (event.event(), event.plan());
    let scrubbed = guard::prove(shown, raw, event.site(), event.sender(), proposed, plan)?;
    let dropped = raw.props.len() - scrubbed.props().len();
    app.counters.props_dropped.inc_by(dropped as u64);
    if raw.revenue.is_some() && scrubbed.revenue().is_none() {
        app.counters.revenue_dropped.inc();
    }
    Ok(scrubbed)
}

/// Stores the proven events and records their outcomes.
async fn store(
    app: &App,
    storing: Vec<Storing>,
    endings: &mut [Result<(), Outcome>],
    held: impl Send + 'static,
) {
    if storing.is_empty() {
        return;
    }
    let (places, batch): (Vec<_>, Vec<_>) = storing.into_iter().unzip();
    let stored = app.spool.append(batch, held).await;
    for ((place, label), ending) in places.into_iter().zip(stored) {
        if ending.is_ok() {
            app.counters.events_accepted.with([&label]).inc();
        }
        endings[place] = ending;
    }
}
