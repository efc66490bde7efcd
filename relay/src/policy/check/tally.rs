//! The results of a check's events, and the objections to the policy.

use super::{Corpus, REFUSED_MAX_PERCENT, Report};
use std::collections::BTreeMap;
use std::time::Duration;

/// The results of one corpus.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Events tried.
    pub events: usize,
    /// Calls of the policy: two per event, on two instances.
    pub calls: usize,
    /// Events that the policy left as complete as the built-in rules do.
    pub whole: usize,
    /// Events that the policy reduced further.
    pub reduced: usize,
    /// Events that were not forwarded, by the outcome that service would count.
    pub ended: BTreeMap<(&'static str, &'static str), usize>,
    /// Events that the policy refused although the rules allow them, by name.
    pub refused: BTreeMap<String, usize>,
    /// Events that two instances answered differently, each in its own order.
    pub unstable: usize,
    /// Median time per event.
    pub median: Duration,
    /// Longest time per event.
    pub longest: Duration,
    /// The largest fuel use of a call.
    pub fuel: u64,
    /// The largest memory of an instance, in bytes.
    pub memory_bytes: usize,
}

impl Tally {
    /// The number of events that ended with this outcome.
    pub fn ended_as(&self, label: &str, reason: &str) -> usize {
        self.ended
            .iter()
            .filter(|((l, r), _)| *l == label && (reason.is_empty() || *r == reason))
            .map(|(_, n)| n)
            .sum()
    }

    /// Events that left something to forward.
    pub fn forwarded(&self) -> usize {
        self.whole + self.reduced
    }

    /// Events that the policy refused although the rules allow them.
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

    /// Total calls of the policy.
    pub fn calls(&self) -> usize {
        self.tallies.iter().map(|(_, tally)| tally.calls).sum()
    }

    /// The reasons not to use the policy; empty if there is none.
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
                "it refuses more than {REFUSED_MAX_PERCENT} % of ordinary events: remove those events from the \
                 tracking plan instead, which users read and agree to"
            ));
        }
        all
    }

    /// Ordinary events that the policy refuses: their number, the total, and their names. `None` if it refuses none.
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

/// A share for people: two digits, and a non-zero share never shows as 0 %.
pub fn percent(count: usize, of: usize) -> String {
    // The counts are far below 2^53.
    let share = count as f64 * 100.0 / of.max(1) as f64;
    match share {
        share if share >= 10.0 => format!("{share:.0} %"),
        share if share >= 0.1 || count == 0 => format!("{share:.1} %"),
        _ => "less than 0.1 %".to_owned(),
    }
}
