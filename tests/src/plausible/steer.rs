//! The knobs of the fake server: its answers, its kind and its faults.

use super::{Answer, Arrival, MiniPlausible, Server};
use crate::Dice;
use feedback_relay::clock::Clock;
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

impl MiniPlausible {
    /// Answers the next events so, one each.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn queue(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.queue.lock().unwrap().extend(answers);
    }

    /// Answers every event that nothing is queued for by this rule.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn rule(&self, rule: impl Fn(&Arrival) -> Answer + Send + 'static) {
        *self.state.rule.lock().unwrap() = Box::new(rule);
    }

    /// Answers the first try of each `Load` event as the dice say, and accepts every other: none looks as if it
    /// were itself at fault.
    ///
    /// # Panics
    /// When a connection has panicked.
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

    /// Answers questions after its health so, whatever becomes of events. At first it is well.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn health(&self, answer: impl Into<Answer>) {
        *self.state.health.lock().unwrap() = answer.into();
    }

    /// Answers the self-test so from now on; with nothing it is refused again, as its kind of server refuses it.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn self_test(&self, answer: Option<Answer>) {
        *self.state.self_test.lock().unwrap() = answer;
    }

    /// Lets every request be on its way for a while before it arrives.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn latency(&self, latency: Duration) {
        *self.state.latency.lock().unwrap() = latency;
    }

    /// Answers and counts as this kind of server from now on. At first it is Plausible Community Edition.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn speaks(&self, server: Server) {
        self.state.counts.lock().unwrap().server = server;
    }

    /// Stands behind a proxy that replaces every address header from now on.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn behind_a_proxy(&self) {
        self.state.counts.lock().unwrap().is_behind_a_proxy = true;
    }

    /// Knows these sites only, and drops the events of others. At first it knows every site.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn knows(&self, sites: &[&str]) {
        let sites = sites.iter().map(|&site| site.to_owned()).collect();
        self.state.counts.lock().unwrap().sites = Some(sites);
    }

    /// Accepts and loses each `nth` event from now on.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn loses_one_in(&self, nth: usize) {
        self.state.counts.lock().unwrap().loses = Some(nth);
    }

    /// Has a Stats API for this key.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn has_stats(&self, key: &str) {
        self.state.counts.lock().unwrap().key = Some(key.to_owned());
    }

    /// Stamps what arrives by this clock.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn goes_by(&self, clock: &Clock) {
        self.state.counts.lock().unwrap().clock = clock.clone();
    }

    /// How many visitors the server counted for a site.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn visitors(&self, site: &str) -> usize {
        self.state.counts.lock().unwrap().visitors(site)
    }

    /// How many events of this name the server counted for a site.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn counted(&self, site: &str, name: &str) -> usize {
        self.state.counts.lock().unwrap().events(site, name)
    }

    /// How many questions its Stats API was asked.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn queries(&self) -> usize {
        self.state.counts.lock().unwrap().queries
    }
}
