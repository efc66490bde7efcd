//! The table of a listener's connections.

use crate::http::server::line::Line;
use crate::http::server::protocol::{HEAD_TIMEOUT, KEEP_ALIVE};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Shortest interval between two log lines about an address at its connection limit.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Idle time after which an HTTP/1 connection releases its buffers, however few are open. New ones cost its next request
/// a few microseconds.
pub(super) const REST_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Table {
    /// The next number, for connections and for the order in which they became idle.
    pub(super) next: u64,
    pub(super) open: HashMap<u64, Entry>,
    /// Idle connections that have HTTP's buffers, in the order in which they became idle.
    pub(super) awake: BTreeMap<u64, u64>,
    /// The other idle connections.
    pub(super) resting: BTreeMap<u64, u64>,
    pub(super) per_client: HashMap<IpAddr, usize>,
    /// Connections that were asked to close for a new one and are still open.
    pub(super) closing: usize,
    /// Start of the current period.
    pub(super) period_began: Option<Instant>,
    /// Time of the last log line about an address at its connection limit.
    told: Option<Instant>,
}

pub(super) struct Entry {
    pub(super) client: Option<IpAddr>,
    /// Requests in flight.
    pub(super) busy: u32,
    /// Its place among the idle ones, while it is idle.
    pub(super) order: u64,
    pub(super) since: Instant,
    /// Whether it has ever sent a request.
    pub(super) asked: bool,
    /// Whether it can release its buffers and go on: HTTP/1 can, HTTP/2 would have to end.
    pub(super) can_rest: bool,
    /// Whether it was asked to close.
    pub(super) closing: bool,
    pub(super) line: Arc<Line>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(hidden)")
    }
}

impl Table {
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The longest-idle connection of a client.
    pub(super) fn silent_of(&self, client: IpAddr) -> Option<u64> {
        let is_own = |id: &u64| {
            self.open
                .get(id)
                .is_some_and(|entry| entry.client == Some(client))
        };
        let [awake, resting] =
            [&self.awake, &self.resting].map(|silent| silent.iter().find(|(_, id)| is_own(id)));
        longest(awake, resting)
    }

    /// Whether to log that an address is at its limit: at most once a minute.
    pub(super) fn is_news(&mut self, now: Instant) -> bool {
        let is_news = (self.told).is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY);
        if is_news {
            self.told = Some(now);
        }
        is_news
    }

    pub(super) fn ask_to_close(&mut self, id: u64) {
        if let Some(entry) = self.open.get_mut(&id) {
            let order = entry.order;
            if !entry.closing {
                entry.closing = true;
                entry.line.go.cancel();
                self.closing += 1;
            }
            self.not_silent(order);
        }
    }

    pub(super) fn not_silent(&mut self, order: u64) {
        if self.awake.remove(&order).is_none() {
            self.resting.remove(&order);
        }
    }

    /// The longest-idle connection.
    pub(super) fn silent_longest(&self) -> Option<u64> {
        longest(self.awake.first_key_value(), self.resting.first_key_value())
    }

    /// The connections that were idle for too long.
    pub(super) fn silent_too_long(&self, now: Instant) -> Vec<u64> {
        let mut overdue = Vec::new();
        for silent in [&self.awake, &self.resting] {
            for id in silent.values() {
                let Some(entry) = self.open.get(id) else { continue };
                let age = now.saturating_duration_since(entry.since);
                if age < HEAD_TIMEOUT {
                    // All later ones became idle after this one.
                    break;
                }
                if age >= if entry.asked { KEEP_ALIVE } else { HEAD_TIMEOUT } {
                    overdue.push(*id);
                }
            }
        }
        overdue
    }

    /// Adds an idle connection that has buffers, and asks those above the limit to rest.
    pub(super) fn wake(&mut self, order: u64, id: u64, awake_max: usize) {
        self.awake.insert(order, id);
        while self.awake.len() > awake_max
            && let Some((order, id)) = self.awake.pop_first()
        {
            self.rest(order, id);
        }
    }

    /// Asks the connections to rest that were idle for a while.
    pub(super) fn rest_silent(&mut self, now: Instant) {
        let is_silent = |entry: &Entry| now.saturating_duration_since(entry.since) >= REST_AFTER;
        let silent = (self.awake.values())
            .filter_map(|id| self.open.get(id).map(|entry| (*id, entry)))
            // All later ones became idle after this one.
            .take_while(|(_, entry)| is_silent(entry))
            // A response that is still being sent would have to be cut off.
            .filter(|(_, entry)| entry.can_rest && entry.line.unsent.count() == 0);
        let silent: Vec<_> = silent.map(|(id, entry)| (entry.order, id)).collect();
        for (order, id) in silent {
            self.awake.remove(&order);
            self.rest(order, id);
        }
    }

    fn rest(&mut self, order: u64, id: u64) {
        self.resting.insert(order, id);
        if let Some(entry) = self.open.get(&id) {
            entry.line.rest.notify_one();
        }
    }
}

/// The one of two idle connections that was idle longer.
fn longest(one: Option<(&u64, &u64)>, other: Option<(&u64, &u64)>) -> Option<u64> {
    one.into_iter().chain(other).min().map(|(_, id)| *id)
}
