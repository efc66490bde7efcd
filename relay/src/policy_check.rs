//! Judges a policy before it is put to use: what it is made of, what it does to ordinary and to hostile
//! events, what that costs, and whether it answers the same whatever it saw before.

pub mod corpus;
pub mod explain;
mod probe;

use crate::config::SitePlan;
use crate::guard::{self, Sender};
use crate::sandbox::trial::Trial;
use crate::sandbox::{LoadError, Sandbox};
use relay_event::scrub::{self, Visible};
use relay_event::{Event, Outcome, Plan};
use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

/// What became of one corpus.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Events tried.
    pub events: usize,
    /// Events of which as much was left as the built-in rules leave.
    pub whole: usize,
    /// Events of which less was left.
    pub reduced: usize,
    /// Events that did not get through, by the outcome each would be counted as.
    pub ended: BTreeMap<(&'static str, &'static str), usize>,
    /// Events to which two instances, in two orders, gave different answers.
    pub unstable: usize,
    /// The middle one of the events' times.
    pub median: Duration,
    /// The longest of the events' times.
    pub longest: Duration,
    /// The most fuel of a call.
    pub fuel: u64,
    /// The largest memory of an instance, in bytes.
    pub memory_bytes: usize,
}

impl Tally {
    /// How many events ended so.
    pub fn ended_as(&self, label: &str, reason: &str) -> usize {
        self.ended
            .iter()
            .filter(|((l, r), _)| *l == label && (reason.is_empty() || *r == reason))
            .map(|(_, n)| n)
            .sum()
    }

    /// Events that were left with something to forward.
    pub fn forwarded(&self) -> usize {
        self.whole + self.reduced
    }
}

/// Runs a corpus through sandbox and guard: once in its order on one instance, once backwards on
/// another. `progress` is told how many calls of how many are done.
///
/// # Errors
/// When the policy does not take the plan.
pub fn run(
    sandbox: &Sandbox,
    plan: &SitePlan,
    events: &[Event],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Tally, LoadError> {
    let mut tally = Tally {
        events: events.len(),
        ..Tally::default()
    };
    let mut calls = 0;
    let mut call = |trial: &mut Trial<'_>, event: &Event| {
        let attempt = trial.scrub(&Visible::of(event, plan));
        tally.fuel = tally.fuel.max(attempt.fuel);
        tally.memory_bytes = tally.memory_bytes.max(attempt.memory_bytes);
        calls += 1;
        progress(calls, events.len() * 2);
        (attempt.result, attempt.took)
    };
    let mut forwards = sandbox.trial(plan)?;
    let first: Vec<_> = events.iter().map(|event| call(&mut forwards, event)).collect();
    let mut backwards = sandbox.trial(plan)?;
    let mut second: Vec<_> = events
        .iter()
        .rev()
        .map(|event| call(&mut backwards, event))
        .collect();
    second.reverse();
    tally.unstable = first.iter().zip(&second).filter(|(a, b)| a.0 != b.0).count();
    // Of an event's two times the shorter one, so that what else the machine does counts less.
    let mut times: Vec<_> = first.iter().zip(&second).map(|(a, b)| a.1.min(b.1)).collect();
    times.sort_unstable();
    tally.median = times.get(times.len() / 2).copied().unwrap_or_default();
    tally.longest = times.last().copied().unwrap_or_default();
    for (event, (proposed, _)) in events.iter().zip(first) {
        match ending(event, proposed, plan) {
            Ok(out) if scrub::scrub(&Visible::of(event, plan), plan).is_ok_and(|all| all == out) => {
                tally.whole += 1
            }
            Ok(_) => tally.reduced += 1,
            Err(outcome) => {
                *tally
                    .ended
                    .entry((outcome.label(), outcome.reason()))
                    .or_default() += 1
            }
        }
    }
    Ok(tally)
}

/// Why a policy should not be used, from what it did; empty when it may.
pub fn objections(friendly: &Tally, hostile: &Tally) -> Vec<String> {
    let mut all = Vec::new();
    let mut object = |count: usize, what: &str| {
        if count > 0 {
            all.push(format!("{count} {what}"));
        }
    };
    object(
        friendly.ended_as("policy_rejected", ""),
        "ordinary event(s) were stopped by the guard: the policy adds or changes something",
    );
    for (name, tally) in [("ordinary", friendly), ("hostile", hostile)] {
        object(
            tally.ended_as("policy_failed", "trap"),
            &format!("{name} event(s) made it trap"),
        );
        object(
            tally.ended_as("policy_failed", "timeout"),
            &format!("{name} event(s) used up its fuel"),
        );
        object(
            tally.ended_as("policy_failed", "unavailable"),
            &format!("{name} event(s) found no instance"),
        );
        object(
            tally.unstable,
            &format!("{name} event(s) were answered differently in another order: it remembers or guesses"),
        );
    }
    if friendly.events > 0 && friendly.forwarded() == 0 {
        all.push("it lets no ordinary event through".to_owned());
    }
    all
}

/// Tries the ordinary events only, quickly, before a policy replaces one that serves.
///
/// # Errors
/// Why it should not.
pub fn smoke(sandbox: &Sandbox, plan: &SitePlan) -> Result<(), String> {
    let tally = run(sandbox, plan, &corpus::friendly(plan), &mut |_, _| {}).map_err(|e| e.to_string())?;
    let objections = objections(&tally, &Tally::default());
    match objections.is_empty() {
        true => Ok(()),
        false => Err(objections.join("; ")),
    }
}

/// What is left of an event after the guard, or how it ended.
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
mod tests;
