//! Judges a policy before it goes into service: its answers to ordinary and to hostile events, their cost, and
//! whether the answers depend on earlier events.
//!
//! `policy check`, startup and reload all use [`judge`].

pub mod corpus;
pub mod explain;
pub mod patience;
mod probe;
pub mod tally;
mod traffic;

use crate::config::SitePlan;
use crate::guard::{self, Sender};
use crate::policy::sandbox::trial::Trial;
use crate::policy::sandbox::{CALLS_MAX, LoadError, Sandbox};
use patience::{Impatient, Patience};
use relay_event::scrub::{self, Visible};
use relay_event::{Event, Group, Outcome, Plan};
use std::net::Ipv6Addr;
use std::time::Duration;
use tally::Tally;
use traffic::Traffic;

/// Generated events for the first plan: as many as one instance handles in service, so that leaks and counters show
/// up. The check misses a failure of one event in 500 with a probability of 2 in 1 000 000 000.
pub const TRAFFIC_EVENTS: usize = CALLS_MAX as usize;
/// Generated events shared by all further plans. With many sites, each site lengthens the check only by
/// [`TRAFFIC_EVENTS_MIN`].
const TRAFFIC_EVENTS_FURTHER: usize = 10_000;
/// Minimum number of generated events per plan.
const TRAFFIC_EVENTS_MIN: usize = 500;
/// Events per chunk: one instance sees a chunk in order, the other backwards, before both continue.
const CHUNK: usize = 250;
/// Maximum number of retries of an event that ended because the machine is busy.
const BUSY_TRIES: u32 = 20;
/// Largest share of ordinary events, in percent, that a policy may refuse although the plan's rules allow them. A
/// policy is allowed to refuse events, and the check reports each share. Above one half the policy no longer tightens
/// the plan but replaces it, and that plan should be written down, because users read it and agree to it.
pub const REFUSED_MAX_PERCENT: usize = 50;

/// Why a policy could not be judged to the end.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The policy rejects the plan.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The check took too long, or the relay is stopping.
    #[error(transparent)]
    Impatient(#[from] Impatient),
}

/// The corpora of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corpus {
    /// A file of ordinary events, plus one event per value of the plan.
    Ordinary,
    /// Generated ordinary events.
    Traffic,
    /// Events with personal data in every field.
    Hostile,
}

impl Corpus {
    /// The label in the check's output.
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
    /// Each corpus and its tally.
    pub tallies: Vec<(Corpus, Tally)>,
}

/// Runs every corpus through sandbox and guard. `nth` is this plan's index among the `plans` plans that are judged.
/// Blocks the thread. `progress` receives the number of calls made and the total.
///
/// # Errors
/// If the policy rejects the plan, or the check exceeds its time limits.
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
        // A hostile event must not leave an instance in a state that slows the next ordinary event.
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

/// The seed of the generated events for one component: stable across runs, so that the verdict is too, and different
/// for each policy.
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

/// Runs events through sandbox and guard on two instances that see them in different orders: one in the given order,
/// the other with each chunk reversed and an event of `between` after each chunk.
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
                // The machine's load or lack of memory says nothing about the policy.
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
            // The shorter of both times, to reduce noise from other processes.
            times.push(first.took.min(second.took));
            count(&mut tally, event, first.result, plan);
        }
        if let Some(event) = between.next() {
            // The result is counted when the hostile corpus runs.
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

/// Calls the policy with one event. Retries a call that ended because the machine is busy.
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

/// Counts an event's result and compares it with the result of the built-in rules.
fn count(tally: &mut Tally, event: &Event, proposed: Result<Visible, Outcome>, plan: &Plan) {
    tally.events += 1;
    let most = scrub::scrub(&Visible::of(event, plan), plan);
    if most.is_ok() && proposed == most.clone().map_err(|_| Outcome::Unwanted) {
        // The guard consumes its argument.
        tally.whole += 1;
        return;
    }
    match ending(event, proposed, plan) {
        Ok(_) => tally.reduced += 1,
        Err(outcome) => {
            let refused = outcome.group() == Group::PolicyRefused;
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

/// Returns the event after the guard, or the outcome that ended it.
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
