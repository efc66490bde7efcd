//! The open connections of one listener: how many there are, whose, and which was silent longest.
//!
//! A connection is busy while a request is under way on it and silent otherwise. Only silent ones are
//! ever closed, so an honest request is answered however many connections somebody holds open.

use super::ConnectionLimits;
use super::protocol::{HEAD_TIMEOUT, KEEP_ALIVE};
use crate::http::client_address::network_of;
use crate::metrics::door::{Closed, ConnectionMetrics};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its client has as many as it may.
    TooManyOfClient,
    /// There is no room: a silent one was told to go, or a request is under way on each.
    Full,
}

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    limits: ConnectionLimits,
    metrics: ConnectionMetrics,
    table: Mutex<Table>,
    /// Rung when a connection is gone.
    left: Notify,
}

#[derive(Debug, Default)]
struct Table {
    /// Numbers connections, and the order in which they fell silent.
    next: u64,
    open: HashMap<u64, Entry>,
    /// Silent connections by when they fell silent.
    silent: BTreeMap<u64, u64>,
    per_client: HashMap<IpAddr, usize>,
    /// How many were told to go for a new one and are not gone yet.
    closing: usize,
}

struct Entry {
    client: Option<IpAddr>,
    /// Requests under way.
    busy: u32,
    /// Its place among the silent ones, while it is one.
    order: u64,
    since: Instant,
    /// Whether it ever brought a request.
    asked: bool,
    /// Whether it was told to go.
    closing: bool,
    go: CancellationToken,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(hidden)")
    }
}

/// An open connection's place in the table; it is given back when dropped.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    all: Arc<Connections>,
    go: CancellationToken,
}

/// A request under way on a connection.
#[derive(Debug)]
pub(super) struct Busy(Arc<Connection>);

impl Connections {
    pub(super) fn new(limits: ConnectionLimits, metrics: ConnectionMetrics) -> Self {
        Self {
            limits,
            metrics,
            table: Mutex::default(),
            left: Notify::new(),
        }
    }

    /// Takes a connection in, or tells the longest silent one to go.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr, now: Instant) -> Result<Connection, Refused> {
        let peer = peer.to_canonical();
        let exempt = self.limits.per_client_max == 0 || self.limits.exempt.iter().any(|n| n.contains(&peer));
        let client = (!exempt).then(|| network_of(peer));
        let mut table = self.lock();
        let of_client = client
            .and_then(|c| table.per_client.get(&c))
            .copied()
            .unwrap_or(0);
        if let Some(client) = client.filter(|_| of_client >= self.limits.per_client_max) {
            return Err(self.refuse_of(client, &mut table));
        }
        if table.open.len() >= self.limits.open_max {
            // One at a time: it is only the accepting loop that asks.
            if table.closing == 0
                && let Some((_, id)) = table.silent.pop_first()
            {
                table.tell_to_go(id);
                self.metrics.closed(Closed::Room);
            }
            return Err(Refused::Full);
        }
        if let Some(client) = client {
            *table.per_client.entry(client).or_default() += 1;
        }
        let (id, go) = (table.number(), CancellationToken::new());
        table.silent.insert(id, id);
        table.open.insert(
            id,
            Entry {
                client,
                busy: 0,
                order: id,
                since: now,
                asked: false,
                closing: false,
                go: go.clone(),
            },
        );
        self.metrics.open.set(signed(table.open.len()));
        Ok(Connection {
            id,
            all: Arc::clone(self),
            go,
        })
    }

    /// A client has as many connections as it may: one of its own goes for the new one, or the new one goes.
    fn refuse_of(&self, client: IpAddr, table: &mut Table) -> Refused {
        if self.limits.replaces_own && table.closing > 0 {
            return Refused::Full;
        }
        self.metrics.closed(Closed::Client);
        let own = self.limits.replaces_own.then(|| table.silent_of(client));
        match own.flatten() {
            Some(id) => {
                table.tell_to_go(id);
                Refused::Full
            }
            None => Refused::TooManyOfClient,
        }
    }

    /// Returns when a connection has gone since the last time.
    pub(super) async fn one_left(&self) {
        self.left.notified().await;
    }

    /// Tells connections to go that were silent for too long.
    pub(super) fn close_silent(&self, now: Instant) {
        let mut table = self.lock();
        let mut overdue = Vec::new();
        for (order, id) in &table.silent {
            let Some(entry) = table.open.get(id) else { continue };
            let silent = now.saturating_duration_since(entry.since);
            if silent < HEAD_TIMEOUT {
                // Whoever follows fell silent later.
                break;
            }
            if silent >= if entry.asked { KEEP_ALIVE } else { HEAD_TIMEOUT } {
                overdue.push((*order, *id));
            }
        }
        for (order, id) in overdue {
            table.silent.remove(&order);
            table.tell_to_go(id);
            self.metrics.closed(Closed::Silent);
        }
    }

    /// A panic while holding the lock leaves a table that is still right.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Takes the connection of a client that was silent longest from among the silent ones.
    fn silent_of(&mut self, client: IpAddr) -> Option<u64> {
        let is_own = |id: &u64| {
            self.open
                .get(id)
                .is_some_and(|entry| entry.client == Some(client))
        };
        let (order, id) = self.silent.iter().find(|(_, id)| is_own(id))?;
        let (order, id) = (*order, *id);
        self.silent.remove(&order);
        Some(id)
    }

    fn tell_to_go(&mut self, id: u64) {
        if let Some(entry) = self.open.get_mut(&id) {
            entry.closing = true;
            entry.go.cancel();
            self.closing += 1;
        }
    }
}

impl Connection {
    /// A request begins. While any is under way the connection is not closed for its silence.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        let mut table = self.all.lock();
        if let Some(entry) = table.open.get_mut(&self.id) {
            entry.busy += 1;
            entry.asked = true;
            let order = entry.order;
            table.silent.remove(&order);
        }
        Busy(Arc::clone(self))
    }

    /// Returns when the connection has to go.
    pub(super) async fn told_to_go(&self) {
        self.go.cancelled().await;
    }

    /// Counts a request whose head was too large. The first one is logged: no other counter has the events it brought.
    pub(super) fn count_large_head(&self) {
        if self.all.metrics.heads_too_large.inc() == 0 {
            tracing::warn!(
                "a request was answered 431, because its headers were too large; events it brought are lost. Large cookies are the usual cause, and the proxy may remove them"
            );
        }
    }

    /// Counts a TLS handshake that came to nothing.
    pub(super) fn count_failed_handshake(&self) {
        self.all.metrics.closed(Closed::Handshake);
    }

    fn end(&self, now: Instant) {
        let mut table = self.all.lock();
        let order = table.number();
        let Some(entry) = table.open.get_mut(&self.id) else {
            return;
        };
        entry.busy -= 1;
        if entry.busy == 0 && !entry.closing {
            entry.order = order;
            entry.since = now;
            table.silent.insert(order, self.id);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.end(Instant::now());
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut table = self.all.lock();
        let Some(entry) = table.open.remove(&self.id) else {
            return;
        };
        table.silent.remove(&entry.order);
        table.closing -= usize::from(entry.closing);
        if let Some(client) = entry.client
            && let Some(count) = table.per_client.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                table.per_client.remove(&client);
            }
        }
        self.all.metrics.open.set(signed(table.open.len()));
        self.all.left.notify_one();
    }
}

fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
