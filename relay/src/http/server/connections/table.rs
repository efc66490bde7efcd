//! The table of a listener's connections.

use super::Line;
use crate::http::serve::protocol::{HEAD_TIMEOUT, KEEP_ALIVE};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the log says at most that an address has as many connections as it may.
const TELL_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Table {
    /// Numbers connections, and the order in which they fell silent.
    pub(super) next: u64,
    pub(super) open: HashMap<u64, Entry>,
    /// Silent connections that have HTTP's buffers, by when they fell silent.
    pub(super) awake: BTreeMap<u64, u64>,
    /// The other silent ones.
    pub(super) resting: BTreeMap<u64, u64>,
    pub(super) per_client: HashMap<IpAddr, usize>,
    /// How many were told to go for a new one and are not gone yet.
    pub(super) closing: usize,
    /// When the present period began.
    pub(super) period_began: Option<Instant>,
    /// When the log last said that an address has as many connections as it may.
    told: Option<Instant>,
}

pub(super) struct Entry {
    pub(super) client: Option<IpAddr>,
    /// Requests under way.
    pub(super) busy: u32,
    /// Its place among the silent ones, while it is one.
    pub(super) order: u64,
    pub(super) since: Instant,
    /// Whether it ever brought a request.
    pub(super) asked: bool,
    /// Whether it was told to go.
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

    /// The connection of a client that was silent longest.
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

    /// Whether the log should say that an address has as many as it may: it did not within the last minute.
    pub(super) fn is_news(&mut self, now: Instant) -> bool {
        let is_news = (self.told).is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY);
        if is_news {
            self.told = Some(now);
        }
        is_news
    }

    pub(super) fn tell_to_go(&mut self, id: u64) {
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

    /// The connection that was silent longest.
    pub(super) fn silent_longest(&self) -> Option<u64> {
        longest(self.awake.first_key_value(), self.resting.first_key_value())
    }

    /// Those that were silent for too long.
    pub(super) fn silent_too_long(&self, now: Instant) -> Vec<u64> {
        let mut overdue = Vec::new();
        for silent in [&self.awake, &self.resting] {
            for id in silent.values() {
                let Some(entry) = self.open.get(id) else { continue };
                let age = now.saturating_duration_since(entry.since);
                if age < HEAD_TIMEOUT {
                    // Those that follow fell silent later.
                    break;
                }
                if age >= if entry.asked { KEEP_ALIVE } else { HEAD_TIMEOUT } {
                    overdue.push(*id);
                }
            }
        }
        overdue
    }

    /// Notes a silent connection as one that has buffers, and tells those to rest that are too many.
    pub(super) fn wake(&mut self, order: u64, id: u64, awake_max: usize) {
        self.awake.insert(order, id);
        while self.awake.len() > awake_max
            && let Some((order, id)) = self.awake.pop_first()
        {
            self.resting.insert(order, id);
            if let Some(entry) = self.open.get(&id) {
                entry.line.rest.notify_one();
            }
        }
    }
}

/// Of two silent connections the one that was silent longer.
fn longest(one: Option<(&u64, &u64)>, other: Option<(&u64, &u64)>) -> Option<u64> {
    one.into_iter().chain(other).min().map(|(_, id)| *id)
}
