//! What became of the events of a check, and what speaks against the policy.

use super::{Corpus, REFUSED_MAX_PERCENT, Report};
use std::collections::BTreeMap;
use std::time::Duration;

/// The results of one corpus.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Events tried.
    pub events: usize,
    /// Calls of the policy: two for each event, on two instances.
    pub calls: usize,
    /// Events of which as much was left as the built-in rules leave.
    pub whole: usize,
    /// Events of which less was left.
    pub reduced: usize,
    /// Events that did not get through, by the outcome each would be counted as.
    pub ended: BTreeMap<(&'static str, &'static str), usize>,
    /// Events that the policy refused although the rules let them through, by their names.
    pub refused: BTreeMap<String, usize>,
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

    /// Events that the policy refused although the rules let them through.
    pub fn refused(&self) -> usize {
        self.refused.values().sum()
    }
}

impl Report {
    /// The results of one corpus.
    pub fn tally(&self, corpus: Corpus) -> Option<&Tally> {
        self.tallies
            .iter()
            .find(|(known, _)| *known == corpus)
            .map(|(_, tally)| tally)
    }

    /// Calls of the policy in all.
    pub fn calls(&self) -> usize {
        self.tallies.iter().map(|(_, tally)| tally.calls).sum()
    }

    /// Why the policy should not be used; empty when it may.
    pub fn objections(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (corpus, tally) in &self.tallies {
            all.extend(objections(*corpus, tally));
        }
        let ordinary = || self.ordinary();
        if ordinary().any(|tally| tally.events > 0) && ordinary().all(|tally| tally.forwarded() == 0) {
            all.push("it lets no ordinary event through".to_owned());
        } else if self
            .refused()
            .is_some_and(|(refused, of, _)| refused * 100 > of * REFUSED_MAX_PERCENT)
        {
            all.push(format!(
                "it refuses more than {REFUSED_MAX_PERCENT} % of ordinary events: take those events out of the tracking plan instead, which users read and agree to"
            ));
        }
        all
    }

    /// How many ordinary events the policy refuses of how many, and which; none if it refuses none.
    pub fn refused(&self) -> Option<(usize, usize, String)> {
        let refused = self.ordinary().map(Tally::refused).sum();
        let of = self.ordinary().map(|tally| tally.events).sum();
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, count) in self.ordinary().flat_map(|tally| &tally.refused) {
            *names.entry(name).or_default() += count;
        }
        let names: Vec<_> = names
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        (refused > 0).then(|| (refused, of, names.join(", ")))
    }

    fn ordinary(&self) -> impl Iterator<Item = &Tally> {
        self.tallies
            .iter()
            .filter(|(corpus, _)| *corpus != Corpus::Hostile)
            .map(|(_, tally)| tally)
    }
}

fn objections(corpus: Corpus, tally: &Tally) -> Vec<String> {
    let events = match corpus {
        Corpus::Ordinary | Corpus::Traffic => "ordinary events",
        Corpus::Hostile => "hostile events",
    };
    let stopped = match corpus {
        Corpus::Hostile => 0,
        Corpus::Ordinary | Corpus::Traffic => tally.ended_as("policy_rejected", ""),
    };
    [
        (
            stopped,
            "the guard stops it on",
            ", because it adds or changes something",
        ),
        (tally.ended_as("policy_failed", "trap"), "it traps on", ""),
        (
            tally.ended_as("policy_failed", "timeout"),
            "it runs out of fuel or time on",
            "",
        ),
        (
            tally.ended_as("policy_failed", "unavailable"),
            "it has no instance for",
            "",
        ),
        (
            tally.unstable,
            "it answers differently in another order on",
            ", because it remembers or counts events",
        ),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(count, what, why)| {
        format!(
            "{what} {count} of {} {events} ({}){why}",
            tally.events,
            percent(count, tally.events)
        )
    })
    .collect()
}

/// A share for people: two digits are enough, and what is there is never 0 %.
pub fn percent(count: usize, of: usize) -> String {
    // The counts are far below 2^53.
    let share = count as f64 * 100.0 / of.max(1) as f64;
    match share {
        share if share >= 10.0 => format!("{share:.0} %"),
        share if share >= 0.1 || count == 0 => format!("{share:.1} %"),
        _ => "less than 0.1 %".to_owned(),
    }
}
