//! The controls of the fake server: its answers, its kind and its faults.

use super::{Answer, Arrival, MiniPlausible, Server};
use crate::Dice;
use feedback_relay::clock::Clock;
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

impl MiniPlausible {
    /// Queues answers for the next events, one each.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn queue(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.queue.lock().unwrap().extend(answers);
    }

    /// Sets the rule for events without a queued answer.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn rule(&self, rule: impl Fn(&Arrival) -> Answer + Send + 'static) {
        *self.state.rule.lock().unwrap() = Box::new(rule);
    }

    /// Answers the first attempt of each `Load` event by the dice, and accepts every other: no event appears to be at
    /// fault itself.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn rule_for_first_tries(&self, dice: Dice, answer: impl Fn(&mut Dice) -> Answer + Send + 'static) {
        let state = Mutex::new((dice, HashSet::new()));
        self.rule(move |arrival| {
            let (dice, tried) = &mut *state.lock().unwrap();
            match tried.insert(arrival.n()) {
                true => answer(dice),
                false => Answer::Accept,
            }
        });
    }

    /// Sets the answer to health checks, independently of events. Initially it is healthy.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn health(&self, answer: impl Into<Answer>) {
        *self.state.health.lock().unwrap() = answer.into();
    }

    /// Sets the answer to the self-test; `None` restores the refusal of its kind of server.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn self_test(&self, answer: Option<Answer>) {
        *self.state.self_test.lock().unwrap() = answer;
    }

    /// Delays every request by this much before it arrives.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn latency(&self, latency: Duration) {
        *self.state.latency.lock().unwrap() = latency;
    }

    /// Answers and counts like this kind of server from now on. Initially it is Plausible Community Edition.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn speaks(&self, server: Server) {
        self.state.counts.lock().unwrap().server = server;
    }

    /// Puts it behind a proxy that replaces every address header.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn behind_a_proxy(&self) {
        self.state.counts.lock().unwrap().is_behind_a_proxy = true;
    }

    /// Makes it know only these sites, and drop the events of others. Initially it knows every site.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn knows(&self, sites: &[&str]) {
        let sites = sites.iter().map(|&site| site.to_owned()).collect();
        self.state.counts.lock().unwrap().sites = Some(sites);
    }

    /// Makes it accept and lose every `nth` event.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn loses_one_in(&self, nth: usize) {
        self.state.counts.lock().unwrap().loses = Some(nth);
    }

    /// Enables the Stats API with this key.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn has_stats(&self, key: &str) {
        self.state.counts.lock().unwrap().key = Some(key.to_owned());
    }

    /// Timestamps arrivals by this clock.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn goes_by(&self, clock: &Clock) {
        self.state.counts.lock().unwrap().clock = clock.clone();
    }

    /// The number of visitors that the server counted for a site.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn visitors(&self, site: &str) -> usize {
        self.state.counts.lock().unwrap().visitors(site)
    }

    /// The number of events of this name that the server counted for a site.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn counted(&self, site: &str, name: &str) -> usize {
        self.state.counts.lock().unwrap().events(site, name)
    }

    /// The number of queries to its Stats API.
    ///
    /// # Panics
    /// If a connection has panicked.
    pub fn queries(&self) -> usize {
        self.state.counts.lock().unwrap().queries
    }
}
