//! The corridor from a readable request to the spool: gate, sandbox, guard, disk.
//!
//! Each step takes one type and gives the next; each event ends in exactly one [`Ending`].

use crate::app::App;
use crate::gate::{self, Admitted, Signals};
use crate::guard;
use crate::metrics::EventLabel;
use crate::metrics::ledger::Ticket;
use crate::sandbox::Sandbox;
use crate::spool::Incoming;
use crate::switch::Permit;
use relay_event::scrub::Visible;
use relay_event::wire::Batch;
use relay_event::{Event, EventId, Malformed, Outcome};
use std::sync::Arc;
use std::time::Instant;

/// What became of one event of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is on disk.
    Stored,
    /// It ended, with what is wrong where the sender can mend it.
    Ended(Outcome, Option<Malformed>),
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
    let tickets = app.metrics.ledger.receive(batch.events.len());
    let now = app.clock.now();
    let entered = gate::enter(
        &batch.site,
        batch.consent,
        batch.visitor,
        signals,
        &app.switches,
        &app.visitors,
        now,
    )
    .await;
    let visit = match entered {
        Ok(visit) => visit,
        Err(outcome) => {
            tickets.into_iter().for_each(|ticket| ticket.end(outcome));
            let site = app.switches.site(&batch.site);
            let plan = site
                .filter(|_| outcome == Outcome::ConsentOutdated)
                .map(|site| site.plan.version);
            return Walk::Refused { outcome, plan };
        }
    };
    // One policy for the whole request, though another may take its place meanwhile.
    let policy = app.policy.current();
    let is_held = app.sites.is_refused(&batch.site);
    let mut endings = Vec::with_capacity(tickets.len());
    let mut storing = Vec::new();
    for (event, ticket) in batch.events.into_iter().zip(tickets) {
        match pass(app, &policy.sandbox, event, |event| visit.admit(event)) {
            Ok((passed, scrubbed)) => {
                let incoming = Incoming {
                    scrubbed,
                    id: passed.id,
                    ticket,
                    permit: passed.permit,
                    is_held,
                };
                storing.push((endings.len(), incoming, passed.label));
                endings.push(Ending::Stored);
            }
            Err((outcome, why)) => {
                ticket.end(outcome);
                endings.push(Ending::Ended(outcome, why));
            }
        }
    }
    drop(visit);
    store(app, storing, &mut endings, on_disk).await;
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

/// What is left of an admitted event once its content is scrubbed.
struct Passed {
    id: Option<EventId>,
    permit: Arc<Permit>,
    label: EventLabel,
}

type Refused = (Outcome, Option<Malformed>);

/// Takes one event through gate, sandbox and guard.
fn pass(
    app: &App,
    sandbox: &Sandbox,
    event: Result<Event, Malformed>,
    admit: impl FnOnce(Event) -> Result<Admitted, Outcome>,
) -> Result<(Passed, guard::Scrubbed), Refused> {
    let event = event.map_err(|why| (Outcome::Malformed, Some(why)))?;
    let admitted = admit(event).map_err(|outcome| (outcome, None))?;
    let event = admitted.event();
    let mut visible = Visible::of(event, admitted.plan());
    visible.referrer = visible.referrer.filter(|from| !admitted.is_own_page(from));
    let started = Instant::now();
    let proposed = sandbox.scrub(admitted.plan(), &visible);
    app.metrics
        .policy_duration
        .observe(started.elapsed().as_secs_f64());
    let proved = proposed.and_then(|proposed| {
        guard::prove(
            &visible,
            event,
            admitted.site(),
            admitted.sender(),
            proposed,
            admitted.plan(),
        )
    });
    let scrubbed = proved.map_err(|outcome| (outcome, None))?;
    app.metrics
        .props_dropped
        .inc_by((event.props.len() - scrubbed.props().len()) as u64);
    if event.revenue.is_some() && scrubbed.revenue().is_none() {
        app.metrics.revenue_dropped.inc();
    }
    let passed = Passed {
        id: event.id,
        permit: Arc::clone(admitted.permit()),
        label: EventLabel::of(admitted.plan(), &event.name),
    };
    Ok((passed, scrubbed))
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
