//! Judges a policy before it is put to use: what it does to ordinary and to hostile events, what that costs, and
//! whether it answers the same whatever it saw before.
//!
//! [`judge`] is the one judgement: `policy check`, the start and a reload all use it.

pub mod corpus;
pub mod explain;
pub mod patience;
mod probe;
pub mod tally;
mod traffic;

use crate::config::SitePlan;
use crate::guard::{self, Sender};
use crate::sandbox::trial::Trial;
use crate::sandbox::{CALLS_MAX, LoadError, Sandbox};
use patience::{Impatient, Patience};
use relay_event::scrub::{self, Visible};
use relay_event::{Event, Outcome, Plan};
use std::net::Ipv6Addr;
use std::time::Duration;
use tally::Tally;
use traffic::Traffic;

/// Made-up events tried under the first plan: as many as an instance sees in service, so that what it leaks or
/// counts shows. A failure of one event in 500 is missed with a probability of 2 in 1 000 000 000.
pub const TRAFFIC_EVENTS: usize = CALLS_MAX as usize;
/// Made-up events that all further plans share. With many sites the check takes longer only by
/// [`TRAFFIC_EVENTS_MIN`] each.
const TRAFFIC_EVENTS_FURTHER: usize = 10_000;
/// Fewest made-up events under each plan.
const TRAFFIC_EVENTS_MIN: usize = 500;
/// Events that one instance sees in their order and the other backwards, before both go on.
const CHUNK: usize = 250;
/// How often an event is tried again that ended because the machine is busy.
const BUSY_TRIES: u32 = 20;
/// Largest share of ordinary events, in percent, that a policy may refuse although the plan's rules let them
/// through. Refusing is a policy's right, and the check reports each share. Above a half it is no stricter reading
/// of the plan, but another plan, and that one should be written down, because users read it and agree to it.
pub const REFUSED_MAX_PERCENT: usize = 50;

/// Why a policy could not be judged to the end.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It does not take the plan.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It took too long, or the relay stops.
    #[error(transparent)]
    Impatient(#[from] Impatient),
}

/// Which events were tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corpus {
    /// A file of ordinary events, and each value of the plan.
    Ordinary,
    /// Made-up ordinary events.
    Traffic,
    /// Events with personal data in every place.
    Hostile,
}

impl Corpus {
    /// The word for it in the check's output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Traffic => "traffic",
            Self::Hostile => "hostile",
        }
    }
}

/// The result of judging a policy under one plan.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Each corpus and what became of it.
    pub tallies: Vec<(Corpus, Tally)>,
}

/// Runs every corpus through sandbox and guard. `nth` is the plan's place among all that are judged, `plans` their
/// number. Blocks the thread. `progress` gets the number of calls made and of all calls.
///
/// # Errors
/// When the policy does not take the plan, or the patience is over.
pub fn judge(
    sandbox: &Sandbox,
    plan: &SitePlan,
    (nth, plans): (usize, usize),
    seed: u64,
    patience: &Patience,
    progress: &mut dyn FnMut(Corpus, usize, usize),
) -> Result<Report, CheckError> {
    let made_up = Traffic::new(plan, seed).take(traffic_events(nth, plans));
    let mut report = Report::default();
    let hostile = corpus::hostile(plan);
    for (corpus, events) in [
        (Corpus::Ordinary, corpus::friendly(plan)),
        (Corpus::Traffic, made_up.collect()),
        (Corpus::Hostile, hostile.clone()),
    ] {
        // A hostile event must not leave an instance in a state that costs the ordinary event after it.
        let between = if corpus == Corpus::Traffic {
            &hostile[..]
        } else {
            &[]
        };
        let mut progress = |done, all| progress(corpus, done, all);
        let tally = run(sandbox, plan, &events, between, patience, &mut progress)?;
        report.tallies.push((corpus, tally));
    }
    Ok(report)
}

/// The seed of the made-up events for one component: the same verdict each time, and not the same events for each
/// policy.
pub fn seed_of(sha256: &str) -> u64 {
    sha256
        .get(..16)
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .unwrap_or(0)
}

fn traffic_events(nth: usize, plans: usize) -> usize {
    match nth {
        0 => TRAFFIC_EVENTS,
        _ => (TRAFFIC_EVENTS_FURTHER / plans.saturating_sub(1).max(1))
            .clamp(TRAFFIC_EVENTS_MIN, TRAFFIC_EVENTS),
    }
}

/// Runs events through sandbox and guard on two instances that see them in different orders: one as they come, the
/// other each chunk backwards, with an event of `between` after each chunk.
fn run(
    sandbox: &Sandbox,
    plan: &SitePlan,
    events: &[Event],
    between: &[Event],
    patience: &Patience,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Tally, CheckError> {
    let mut tally = Tally::default();
    let mut times = Vec::with_capacity(events.len());
    let mut between = between.iter().cycle();
    let (mut forwards, mut backwards) = (sandbox.trial(plan)?, sandbox.trial(plan)?);
    for chunk in events.chunks(CHUNK) {
        let mut call = |trial: &mut Trial<'_>, event: &Event| -> Result<Answer, CheckError> {
            let answer = answer(trial, event, plan, &mut tally);
            progress(tally.calls, events.len() * 2);
            patience.call()?;
            match answer.result {
                // Neither the machine's load nor its lack of memory says anything about the policy.
                Err(Outcome::Overloaded) => Err(Impatient::Busy.into()),
                _ => Ok(answer),
            }
        };
        let first: Vec<_> = chunk
            .iter()
            .map(|event| call(&mut forwards, event))
            .collect::<Result<_, _>>()?;
        let second = chunk.iter().rev().map(|event| call(&mut backwards, event));
        let second: Vec<_> = second.collect::<Result<_, _>>()?;
        for ((event, first), second) in chunk.iter().zip(first).zip(second.into_iter().rev()) {
            tally.unstable += usize::from(first.result != second.result);
            // The shorter time, so that what else the machine does counts less.
            times.push(first.took.min(second.took));
            count(&mut tally, event, first.result, plan);
        }
        if let Some(event) = between.next() {
            // The hostile corpus counts how it ends.
            backwards.scrub(&Visible::of(event, plan));
        }
    }
    times.sort_unstable();
    tally.median = times.get(times.len() / 2).copied().unwrap_or_default();
    tally.longest = times.last().copied().unwrap_or_default();
    Ok(tally)
}

struct Answer {
    result: Result<Visible, Outcome>,
    took: Duration,
}

/// Calls the policy with one event. A call that ends because the machine is busy is repeated.
fn answer(trial: &mut Trial<'_>, event: &Event, plan: &Plan, tally: &mut Tally) -> Answer {
    let visible = Visible::of(event, plan);
    let mut tries = BUSY_TRIES;
    loop {
        let attempt = trial.scrub(&visible);
        tries -= 1;
        if attempt.result == Err(Outcome::Overloaded) && tries > 0 {
            continue;
        }
        tally.calls += 1;
        tally.fuel = tally.fuel.max(attempt.fuel);
        tally.memory_bytes = tally.memory_bytes.max(attempt.memory_bytes);
        return Answer {
            result: attempt.result,
            took: attempt.took,
        };
    }
}

/// Counts what became of an event, beside what the rules leave of it.
fn count(tally: &mut Tally, event: &Event, proposed: Result<Visible, Outcome>, plan: &Plan) {
    tally.events += 1;
    let most = scrub::scrub(&Visible::of(event, plan), plan);
    if most.is_ok() && proposed == most.clone().map_err(|_| Outcome::Unwanted) {
        // The guard takes its own result.
        tally.whole += 1;
        return;
    }
    match ending(event, proposed, plan) {
        Ok(_) => tally.reduced += 1,
        Err(outcome) => {
            let refused = outcome.label() == Outcome::Unwanted.label();
            if refused && most.is_ok() {
                *tally.refused.entry(event.name.clone()).or_default() += 1;
            }
            *tally
                .ended
                .entry((outcome.label(), outcome.reason()))
                .or_default() += 1;
        }
    }
}

/// Returns the event after the guard, or how it ended.
fn ending(event: &Event, proposed: Result<Visible, Outcome>, plan: &Plan) -> Result<Visible, Outcome> {
    let proposed = proposed?;
    let out = proposed.clone();
    let nobody = Sender {
        visitor: Ipv6Addr::UNSPECIFIED,
        user_agent: None,
    };
    guard::prove(
        &Visible::of(event, plan),
        event,
        &event.site,
        &nobody,
        proposed,
        plan,
    )?;
    Ok(out)
}

#[cfg(test)]
mod lossy;
#[cfg(test)]
mod tests;
