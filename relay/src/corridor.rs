//! The corridor from a readable request to the spool: gate, sandbox, guard, disk.
//!
//! Each step takes one type and gives the next; each event ends in exactly one [`Ending`].

mod pay;

use crate::app::App;
use crate::config::SitePlan;
use crate::gate::{self, Admitted, Signals, Visit};
use crate::guard;
use crate::metrics::ledger::Ticket;
use crate::metrics::{EventLabel, Metrics};
use crate::policy::InUse;
use crate::sandbox::threads::NotRun;
use crate::spool::Incoming;
use relay_event::scrub::Visible;
use relay_event::wire::Batch;
use relay_event::{Event, Malformed, Outcome};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What became of one event of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is on disk.
    Stored,
    /// It ended, with what is wrong where the sender can mend it.
    Ended(Outcome, Option<Malformed>),
}

impl Ending {
    /// Why the relay could not take it for now: its sender is to bring the whole request again. `None` for all else.
    pub fn for_now(&self) -> Option<Outcome> {
        match self {
            Self::Ended(outcome, _)
                if outcome.label() == Outcome::SpoolFull.label()
                    || *outcome == Outcome::PolicyUnavailable =>
            {
                Some(*outcome)
            }
            _ => None,
        }
    }
}

/// What became of a request.
#[derive(Debug)]
pub enum Walk {
    /// The request was refused as a whole.
    Refused {
        /// Why.
        outcome: Outcome,
        /// The version of the site's plan, if the consent is for another one.
        plan: Option<u32>,
        /// When to come back at the earliest, if a budget is used up.
        wait: Option<Duration>,
    },
    /// Each event ended on its own, in the request's order.
    Events(Vec<Ending>),
}

/// Walks a request's events through the corridor. Returns when all that will be stored is on disk; `on_disk` is
/// called at that moment, unless that is nothing.
pub async fn walk(
    app: &App,
    signals: &Signals,
    batch: Batch,
    on_disk: impl FnOnce() + Send + 'static,
) -> Walk {
    let count = batch.events.len();
    let tickets = app.metrics.ledger.receive(count);
    let now = app.clock.now();
    let entered = gate::enter(
        &batch.site,
        batch.consent,
        batch.visitor,
        signals,
        gate::Asked {
            switches: &app.switches,
            sources: &app.sources,
            visitors: &app.visitors,
        },
        now,
    )
    .await;
    let paid = entered
        .map_err(|outcome| (outcome, None))
        .and_then(|visit| pay::pay(app, signals, &visit, count).map(|suspicion| (visit, suspicion)));
    let (visit, suspicion) = match paid {
        Ok(paid) => paid,
        Err((outcome, wait)) => {
            tickets.into_iter().for_each(|ticket| ticket.end(outcome));
            let site = app.switches.site(&batch.site);
            let plan = site
                .filter(|_| outcome == Outcome::ConsentOutdated)
                .map(|site| site.plan.version);
            return Walk::Refused { outcome, plan, wait };
        }
    };
    app.visitors.note(visit.visitor(), now);
    if let Some(tool) = visit.tool() {
        app.metrics.tools.sent(tool, count);
    }
    // The gate judges each event first, so that the policy gets those that remain at once.
    let mut endings = Vec::with_capacity(tickets.len());
    let mut admitted = Vec::with_capacity(tickets.len());
    for (event, ticket) in batch.events.into_iter().zip(tickets) {
        let place = endings.len();
        match admit(&visit, event) {
            Ok(event) => {
                admitted.push(Passing { place, event, ticket });
                endings.push(Ending::Stored);
            }
            Err((outcome, why)) => {
                ticket.end(outcome);
                endings.push(Ending::Ended(outcome, why));
            }
        }
    }
    if admitted.is_empty() {
        return Walk::Events(endings);
    }
    let proposed = propose(app, &admitted).await;
    let permit = match visit.permit().await {
        Ok(permit) => Arc::new(permit),
        Err(outcome) => {
            admitted
                .into_iter()
                .for_each(|passing| passing.ticket.end(outcome));
            let (plan, wait) = (None, None);
            return Walk::Refused { outcome, plan, wait };
        }
    };
    let is_held = app.sites.is_refused(&batch.site);
    let mut storing = Vec::with_capacity(admitted.len());
    for (Passing { place, event, ticket }, proposed) in admitted.into_iter().zip(proposed) {
        match proposed.and_then(|(shown, proposed)| prove(app, &event, &shown, proposed)) {
            Ok(mut scrubbed) => {
                if suspicion.is_some() {
                    scrubbed.mark_suspicious(event.plan());
                }
                let label = EventLabel::of(event.plan(), &event.event().name);
                let incoming = Incoming {
                    scrubbed,
                    id: event.event().id,
                    ticket,
                    permit: Arc::clone(&permit),
                    is_held,
                };
                storing.push((place, incoming, label));
            }
            Err(outcome) => {
                ticket.end(outcome);
                endings[place] = Ending::Ended(outcome, None);
            }
        }
    }
    drop(permit);
    store(app, storing, &mut endings, on_disk).await;
    pay::give_back(app, signals, &visit, &endings);
    if let Some(suspicion) = suspicion {
        let stored = endings.iter().filter(|ending| **ending == Ending::Stored);
        app.metrics
            .suspicious
            .count(&batch.site, suspicion, stored.count());
    }
    Walk::Events(endings)
}

/// Counts a request whose body never became events.
pub fn refuse_unread(app: &App, outcome: Outcome) {
    refuse(app, 1, outcome);
}

/// Counts events that are refused together before the gate.
pub fn refuse(app: &App, events: usize, outcome: Outcome) {
    app.metrics
        .ledger
        .receive(events)
        .into_iter()
        .for_each(|ticket: Ticket| ticket.end(outcome));
}

/// An admitted event on its way.
struct Passing {
    /// Its place in the request.
    place: usize,
    event: Admitted,
    ticket: Ticket,
}

type Refused = (Outcome, Option<Malformed>);

/// Takes one event through the gate.
fn admit(visit: &Visit, event: Result<Event, Malformed>) -> Result<Admitted, Refused> {
    let event = event.map_err(|why| (Outcome::Malformed, Some(why)))?;
    visit.admit(event).map_err(|outcome| (outcome, None))
}

/// What the policy was shown of an event, and what it proposes.
type Proposed = Result<(Visible, Visible), Outcome>;

/// What came of a request's events at the policy.
struct Answered {
    proposed: Vec<Proposed>,
    /// Whether the policy failed. `None` if it did not run, or was not given the time to.
    failed: Option<bool>,
}

/// Takes a request's events through the sandbox, on one of its threads. No permit is held meanwhile.
async fn propose(app: &App, admitted: &[Passing]) -> Vec<Proposed> {
    let visible = |passing: &Passing| {
        let event = &passing.event;
        let mut visible = Visible::of(event.event(), event.plan());
        visible.referrer = visible.referrer.filter(|from| !event.is_own_page(from));
        visible
    };
    let events: Vec<Visible> = admitted.iter().map(visible).collect();
    let Some(plan) = admitted.first().map(|passing| passing.event.plan().clone()) else {
        return Vec::new();
    };
    // One policy for the whole request, though another may take its place meanwhile.
    let (policy, metrics) = (app.policy.current(), Arc::clone(&app.metrics));
    let in_use = Arc::clone(&policy);
    let scrub = move || scrub_all(&in_use, &plan, events, &metrics);
    match app.guests.run(scrub).await {
        Ok(Answered { proposed, failed }) => {
            if let Some(failed) = failed {
                app.policy.note(&policy, failed);
            }
            proposed
        }
        Err(NotRun::Busy) => vec_of(Outcome::Overloaded, admitted.len()),
        Err(NotRun::Lost) => vec_of(Outcome::Lost, admitted.len()),
    }
}

/// Runs the policy on a request's events. Belongs on a thread for guests.
fn scrub_all(policy: &InUse, plan: &SitePlan, events: Vec<Visible>, metrics: &Metrics) -> Answered {
    // Requests that waited while it failed do not run it once more.
    let begun = match policy.standing.is_failing() {
        true => Err(Outcome::PolicyUnavailable),
        false => policy.sandbox.begin(plan),
    };
    let mut request = match begun {
        Ok(request) => request,
        Err(outcome) => {
            return Answered {
                proposed: vec_of(outcome, events.len()),
                failed: None,
            };
        }
    };
    let scrub = |event: Visible| {
        if let Some(outcome) = request.over() {
            return Err(outcome);
        }
        let started = Instant::now();
        let proposed = request.scrub(&event);
        metrics.policy_duration.observe(started.elapsed().as_secs_f64());
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
    Answered { proposed, failed }
}

fn vec_of(outcome: Outcome, events: usize) -> Vec<Proposed> {
    (0..events).map(|_| Err(outcome)).collect()
}

/// Lets the guard prove what the policy proposes.
fn prove(
    app: &App,
    event: &Admitted,
    shown: &Visible,
    proposed: Visible,
) -> Result<guard::Scrubbed, Outcome> {
    let (raw, plan) = (event.event(), event.plan());
    let scrubbed = guard::prove(shown, raw, event.site(), event.sender(), proposed, plan)?;
    let dropped = raw.props.len() - scrubbed.props().len();
    app.metrics.props_dropped.inc_by(dropped as u64);
    if raw.revenue.is_some() && scrubbed.revenue().is_none() {
        app.metrics.revenue_dropped.inc();
    }
    Ok(scrubbed)
}

/// Stores what got through and corrects the endings of what could not be stored.
async fn store(
    app: &App,
    storing: Vec<(usize, Incoming, EventLabel)>,
    endings: &mut [Ending],
    on_disk: impl FnOnce() + Send + 'static,
) {
    if storing.is_empty() {
        return;
    }
    let (places, batch): (Vec<_>, Vec<_>) = storing
        .into_iter()
        .map(|(place, incoming, label)| ((place, label), incoming))
        .unzip();
    let outcomes = app.spool.append(batch, on_disk).await;
    for ((place, label), outcome) in places.into_iter().zip(outcomes) {
        match outcome {
            None => {
                app.metrics.accepted.get_or_create(&label).inc();
            }
            Some(outcome) => endings[place] = Ending::Ended(outcome, None),
        }
    }
}
