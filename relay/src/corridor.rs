//! The corridor from a readable request to the spool: gate, sandbox, guard, disk.
//!
//! Each step takes one type and returns the next; each event ends in exactly one `Result<(), Outcome>`.

mod pay;

use crate::app::App;
use crate::budget;
use crate::gate::{self, Admitted, Signals, Visit};
use crate::guard::{self, Scrubbed};
use crate::metrics::Counter;
use crate::metrics::ledger::Ticket;
use crate::policy::InUse;
use crate::policy::sandbox::threads::Busy;
use crate::spool::Incoming;
use crate::suspicion::Suspicion;
use relay_event::scrub::Visible;
use relay_event::wire::Batch;
use relay_event::{Consent, DayValues, Event, Outcome};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The results of a batch's events, in order: `Ok` is on disk.
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

/// The result of one batch of a request.
pub type Walked = Result<Endings, Refused>;

/// Takes a request's batches through the gate and has the rest done elsewhere, whatever happens to the caller: one job on a
/// guest thread scrubs and proves the events and queues them for the writer, which commits them. The receiver gets the
/// results when all events that will be stored are on disk. `held` is dropped at that moment.
pub fn walk(
    app: &Arc<App>,
    signals: &Signals<'_>,
    batches: Vec<Batch>,
    held: impl Send + 'static,
) -> oneshot::Receiver<Vec<Walked>> {
    let (reply, walked) = oneshot::channel();
    // One policy for the whole request, even if a reload replaces it meanwhile.
    let policy = app.policy.current();
    let enter = |batch| Crossing::enter(app, signals, &policy, batch);
    let walk = Walk {
        app: Arc::clone(app),
        client: signals.client,
        batches: batches.into_iter().map(enter).collect(),
        reply,
        held,
    };
    match walk.is_over() {
        true => walk.end(),
        false => app.guests.run(move |may_run| walk.go_on(&policy, may_run)),
    }
    walked
}

/// A request behind the gate, with all that the rest of its way needs.
struct Walk<H> {
    app: Arc<App>,
    client: IpAddr,
    batches: Vec<Result<Crossing, Refused>>,
    reply: oneshot::Sender<Vec<Walked>>,
    held: H,
}

impl<H: Send + 'static> Walk<H> {
    /// Whether the gate admitted no event.
    fn is_over(&self) -> bool {
        self.batches
            .iter()
            .flatten()
            .all(|batch| batch.admitted.is_empty())
    }

    /// Scrubs and proves the events and queues them for the writer. `may_run` says whether the policy may run.
    fn go_on(mut self, policy: &Arc<InUse>, may_run: Result<(), Busy>) {
        let app = Arc::clone(&self.app);
        let (mut places, mut storing) = (Vec::new(), Vec::new());
        for (number, entered) in self.batches.iter_mut().enumerate() {
            let Ok(batch) = entered else { continue };
            let store = |place, accepted, incoming| {
                places.push((number, place, accepted));
                storing.push(incoming);
            };
            if let Err(refused) = batch.scrub(&app, policy, may_run, store) {
                *entered = Err(refused);
            }
        }
        if storing.is_empty() {
            return self.end();
        }
        app.spool.enqueue(storing, move |stored| {
            for ((number, place, accepted), ending) in places.into_iter().zip(stored) {
                if ending.is_ok() {
                    accepted.inc();
                }
                if let Ok(batch) = &mut self.batches[number] {
                    batch.endings[place] = ending;
                }
            }
            self.end();
        });
    }

    /// Frees the request's place, refunds and answers.
    fn end(self) {
        let Self {
            app,
            client,
            batches,
            reply,
            held,
        } = self;
        drop(held);
        let end = |batch: Crossing| batch.end(&app, client);
        // The caller may be gone.
        let _ = reply.send(batches.into_iter().map(|batch| batch.map(end)).collect());
    }
}

/// A batch behind the gate.
struct Crossing {
    visit: Visit,
    suspicion: Option<Suspicion>,
    admitted: Vec<Passing>,
    endings: Endings,
}

/// An admitted event on its way.
struct Passing {
    /// Its place in the batch.
    place: usize,
    event: Admitted,
    ticket: Ticket,
}

impl Crossing {
    /// Takes a batch through the gate and charges its events to the budgets.
    fn enter(app: &App, signals: &Signals<'_>, policy: &InUse, batch: Batch) -> Result<Self, Refused> {
        let Batch {
            site,
            consent,
            visitor,
            events,
            page_token: _,
        } = batch;
        let tickets = app.ledger.receive(events.len());
        let (visit, suspicion) = match enter(app, signals, policy, &site, (consent, visitor), events.len()) {
            Ok(entered) => entered,
            Err(refused) => return Err(refuse_all(tickets, refused)),
        };
        let mut batch = Self {
            visit,
            suspicion,
            admitted: Vec::with_capacity(events.len()),
            // An event that no step below ends is lost.
            endings: vec![Err(Outcome::Lost); events.len()],
        };
        for (place, (event, ticket)) in events.into_iter().zip(tickets).enumerate() {
            let event = event.map_err(|_| Outcome::Malformed);
            match event.and_then(|event| batch.visit.admit(event)) {
                Ok(event) => batch.admitted.push(Passing { place, event, ticket }),
                Err(outcome) => batch.endings[place] = drop_event(ticket, outcome),
            }
        }
        Ok(batch)
    }

    /// Has the policy scrub the admitted events and the guard prove each proposal. Passes each proven one on, with its
    /// place and the counter of stored events of its name. No permit is held while the policy runs.
    ///
    /// # Errors
    /// The site was switched off meanwhile.
    fn scrub(
        &mut self,
        app: &App,
        policy: &Arc<InUse>,
        may_run: Result<(), Busy>,
        mut store: impl FnMut(usize, Counter, Incoming),
    ) -> Result<(), Refused> {
        let visit = &self.visit;
        let proposed = propose(app, policy, visit, &self.admitted, may_run);
        let passing = self.admitted.drain(..).zip(proposed);
        let permit = match visit.permit() {
            Ok(permit) => Arc::new(permit),
            Err(outcome) => {
                let tickets = passing.map(|(passing, _)| passing.ticket);
                return Err(refuse_all(tickets, outcome.into()));
            }
        };
        let site = visit.site();
        let is_held = app.sites.is_refused(&site.domain);
        for (Passing { place, event, ticket }, proposed) in passing {
            let raw = event.event();
            let proven = proposed.and_then(|(shown, proposed)| prove(app, visit, raw, &shown, proposed));
            let mut scrubbed = match proven {
                Ok(scrubbed) => scrubbed,
                Err(outcome) => {
                    self.endings[place] = drop_event(ticket, outcome);
                    continue;
                }
            };
            if self.suspicion.is_some() {
                scrubbed.mark_suspicious(&site.plan);
            }
            let incoming = Incoming {
                scrubbed,
                id: raw.id,
                ticket,
                permit: Arc::clone(&permit),
                is_held,
            };
            store(place, app.counters.accepted(&site.plan, &raw.name), incoming);
        }
        Ok(())
    }

    fn end(self, app: &App, client: IpAddr) -> Endings {
        let Self {
            visit,
            suspicion,
            endings,
            ..
        } = self;
        pay::give_back(app, client, &visit, &endings);
        if let Some(suspicion) = suspicion {
            let stored = endings.iter().filter(|ending| ending.is_ok()).count();
            app.counters.suspicious(&visit.site().domain, suspicion, stored);
        }
        endings
    }
}

/// Takes a request through the gate and charges its events to the budgets. Returns the suspicion about them, if any.
fn enter(
    app: &App,
    signals: &Signals<'_>,
    policy: &InUse,
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
    let entered = gate::enter(site, consent, visitor, signals, asked, now);
    let visit = entered.map_err(|outcome| {
        let site = app
            .switches
            .site(site)
            .filter(|_| outcome == Outcome::ConsentOutdated);
        let hint = site.map(|site| Hint::Plan(site.plan.version));
        Refused { outcome, hint }
    })?;
    let suspicion = pay::pay(app, signals, policy, &visit, events)?;
    app.visitors.note(visit.visitor(), now);
    if let Some(tool) = visit.tool() {
        app.counters.tool_events.with([tool]).inc_by(events as u64);
    }
    Ok((visit, suspicion))
}

fn drop_event(ticket: Ticket, outcome: Outcome) -> Result<(), Outcome> {
    ticket.end(outcome);
    Err(outcome)
}

/// Ends all events of a request with the same outcome.
fn refuse_all(tickets: impl IntoIterator<Item = Ticket>, refused: Refused) -> Refused {
    tickets.into_iter().for_each(|ticket| ticket.end(refused.outcome));
    refused
}

/// The policy's input for an event, and its proposal.
type Proposed = Result<(Visible, Visible), Outcome>;

/// Takes a batch's events through the sandbox, if the policy may run.
fn propose(
    app: &App,
    policy: &Arc<InUse>,
    visit: &Visit,
    admitted: &[Passing],
    may_run: Result<(), Busy>,
) -> Vec<Proposed> {
    let begun = match may_run {
        Err(Busy) => Err(Outcome::Overloaded),
        // Requests that waited while it failed do not run it again.
        Ok(()) if policy.status.is_failing() => Err(Outcome::PolicyUnavailable),
        Ok(()) => policy.sandbox.begin(&visit.site().plan),
    };
    let mut request = match begun {
        Ok(request) => request,
        Err(outcome) => return admitted.iter().map(|_| Err(outcome)).collect(),
    };
    let duration = &app.policy.metrics().policy_duration_seconds;
    let scrub = |passing: &Passing| {
        let event = visit.visible(&passing.event);
        if let Some(outcome) = request.over() {
            return Err(outcome);
        }
        let started = Instant::now();
        let proposed = request.scrub(&event);
        duration.observe(started.elapsed().as_secs_f64());
        Ok((event, proposed?))
    };
    let proposed: Vec<Proposed> = admitted.iter().map(scrub).collect();
    if let Some(failed) = has_failed(&proposed) {
        app.policy.note(policy, failed);
    }
    proposed
}

/// Whether the policy failed on a request; `None` if it got no time.
fn has_failed(proposed: &[Proposed]) -> Option<bool> {
    use Outcome as O;
    let ended = |wanted: &[Outcome]| {
        let mut outcomes = proposed.iter().filter_map(|proposed| proposed.as_ref().err());
        outcomes.any(|outcome| wanted.contains(outcome))
    };
    match ended(&[O::PolicyTrap, O::PolicyTimeout, O::PolicyUnavailable]) {
        true => Some(true),
        false if ended(&[O::Overloaded]) => None,
        false => Some(false),
    }
}

/// Has the guard prove the policy's proposal.
fn prove(
    app: &App,
    visit: &Visit,
    raw: &Event,
    shown: &Visible,
    proposed: Visible,
) -> Result<Scrubbed, Outcome> {
    let site = visit.site();
    let scrubbed = guard::prove(shown, raw, &site.domain, visit.sender(), proposed, &site.plan)?;
    let dropped = raw.props.len() - scrubbed.props().len();
    if dropped > 0 {
        app.counters.props_dropped.inc_by(dropped as u64);
    }
    if raw.revenue.is_some() && scrubbed.revenue().is_none() {
        app.counters.revenue_dropped.inc();
    }
    Ok(scrubbed)
}
