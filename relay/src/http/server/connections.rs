//! The open connections of one listener: how many there are, whose, which was silent longest, and which do not read.
//!
//! A connection is busy while a request is answered on it and silent otherwise, also while the peer reads the
//! answer. Only silent ones make room for others, so an honest request is answered however many connections are held
//! open. Of the silent ones a few keep their buffers; the others rest.

mod table;

use super::ConnectionLimits;
use super::sending::{Sending, Unsent};
use crate::http::client_address::network_of;
use crate::metrics::door::{Closed, ConnectionMetrics};
use axum::body::Body;
use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use table::{Entry, Table};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Most answers of all connections that are not sent, a few kilobytes each. Above it the connections with the most of
/// them are closed, until a quarter less is left.
const UNSENT_MAX: usize = 16 * 1024;

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its client has as many as it may, and a request is under way on each.
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
    /// Numbers the periods in which answers are made.
    period: AtomicUsize,
}

/// How the table and a connection reach each other.
#[derive(Debug, Default)]
pub(super) struct Line {
    go: CancellationToken,
    rest: Notify,
    requests: AtomicUsize,
    pub(super) unsent: Unsent,
}

/// An open connection's place in the table; it is given back when dropped.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    all: Arc<Connections>,
    line: Arc<Line>,
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
            period: AtomicUsize::new(0),
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
            let refused = self.refuse_of(client, &mut table);
            let is_news = table.is_news(now);
            drop(table);
            if is_news {
                tracing::warn!(
                    most = self.limits.per_client_max,
                    "an address reached its connection limit: each new connection closes its longest-idle one. On the public listener that is `public.connections_per_client_max`; a proxy belongs in `public.trusted_proxies`"
                );
            }
            return Err(refused);
        }
        if table.open.len() >= self.limits.open_max {
            // One at a time: it is only the accepting loop that asks.
            if table.closing == 0
                && let Some(id) = table.silent_longest()
            {
                table.tell_to_go(id);
                self.metrics.closed(Closed::Room);
            }
            return Err(Refused::Full);
        }
        if let Some(client) = client {
            *table.per_client.entry(client).or_default() += 1;
        }
        let (id, line) = (table.number(), Arc::new(Line::default()));
        table.resting.insert(id, id);
        table.open.insert(
            id,
            Entry {
                client,
                busy: 0,
                order: id,
                since: now,
                asked: false,
                closing: false,
                line: Arc::clone(&line),
            },
        );
        self.metrics.open.set(signed(table.open.len()));
        Ok(Connection {
            id,
            all: Arc::clone(self),
            line,
        })
    }

    /// A client has as many connections as it may: one of its own goes for the new one, or the new one goes.
    fn refuse_of(&self, client: IpAddr, table: &mut Table) -> Refused {
        // One at a time, as above.
        if table.closing > 0 {
            return Refused::Full;
        }
        self.metrics.closed(Closed::Client);
        match table.silent_of(client) {
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
        for id in table.silent_too_long(now) {
            table.tell_to_go(id);
            self.metrics.closed(Closed::Silent);
        }
    }

    /// Tells connections to go whose peers do not read: those with an answer older than two periods, and if there are
    /// too many answers, those with the most.
    pub(super) fn close_unread(&self, now: Instant) {
        let mut table = self.lock();
        let began = *table.period_began.get_or_insert(now);
        let next = self.period.load(Ordering::Relaxed).wrapping_add(1);
        let is_over = now.saturating_duration_since(began) >= self.limits.read_within / 2;
        let mut unread: Vec<_> = (table.open.iter())
            .filter(|(_, entry)| !entry.closing)
            .map(|(id, entry)| (Reverse(entry.line.unsent.count()), *id))
            .filter(|(Reverse(count), _)| *count > 0)
            .collect();
        let mut all: usize = unread.iter().map(|(Reverse(count), _)| count).sum();
        let enough = if all > UNSENT_MAX { UNSENT_MAX / 4 * 3 } else { all };
        unread.sort_unstable();
        for (Reverse(count), id) in unread {
            let is_overdue = |entry: &Entry| entry.line.unsent.is_overdue(next);
            if all > enough || (is_over && table.open.get(&id).is_some_and(is_overdue)) {
                all -= count;
                table.tell_to_go(id);
                self.metrics.closed(Closed::Unread);
            }
        }
        if is_over {
            self.period.store(next, Ordering::Relaxed);
            table.period_began = Some(now);
        }
    }

    /// A panic while holding the lock leaves a table that is still right.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
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
            table.not_silent(order);
        }
        self.line.requests.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// How many requests it brought.
    pub(super) fn requests(&self) -> usize {
        self.line.requests.load(Ordering::Relaxed)
    }

    /// Whether no request is being answered.
    pub(super) fn is_silent(&self) -> bool {
        self.all
            .lock()
            .open
            .get(&self.id)
            .is_some_and(|entry| entry.busy == 0)
    }

    /// An answer's body on its way out.
    pub(super) fn sending(&self, body: Body) -> Sending {
        Sending::new(body, &self.line, self.all.period.load(Ordering::Relaxed))
    }

    /// It needs buffers: something arrived on it.
    pub(super) fn wake(&self) {
        let mut table = self.all.lock();
        let order = table.open.get(&self.id).map(|entry| entry.order);
        if let Some(order) = order
            && table.resting.remove(&order).is_some()
        {
            table.wake(order, self.id, self.all.limits.awake_max);
        }
    }

    /// Returns when the connection has to go.
    pub(super) async fn told_to_go(&self) {
        self.line.go.cancelled().await;
    }

    /// Returns when the connection should give its buffers back, if it is silent.
    pub(super) async fn told_to_rest(&self) {
        self.line.rest.notified().await;
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
            table.wake(order, self.id, self.all.limits.awake_max);
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
        table.not_silent(entry.order);
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
