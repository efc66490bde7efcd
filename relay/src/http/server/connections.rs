//! The open connections of one listener: their number, their clients, the longest-idle one, and those that do not
//! read.
//!
//! A connection is busy while a request is answered on it, and otherwise idle (`silent` in this code), even while the
//! peer reads the response. Only idle ones make room for others, so an honest request is answered regardless of how
//! many connections are held open. Some idle ones keep their buffers; the others rest.

mod table;

use super::ConnectionLimits;
use super::line::Line;
use super::metrics::{Closed, ConnectionMetrics};
use super::sending::Sending;
use crate::network::client_of;
use axum::body::Body;
use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use table::{Entry, Table};
use tokio::sync::Notify;

/// Most unsent responses of all connections, a few kilobytes each. Above it the connections with the most of them are
/// closed, until a quarter less is left.
const UNSENT_MAX: usize = 16 * 1024;

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its client is at its limit, and all its connections have a request in flight.
    TooManyOfClient,
    /// The table is full: an idle connection was asked to close, or all have a request in flight.
    Full,
}

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    limits: ConnectionLimits,
    metrics: ConnectionMetrics,
    table: Mutex<Table>,
    /// Notified when a connection has gone.
    left: Notify,
    /// Notified when a connection was admitted.
    admitted: Notify,
    /// Connections that have released their buffers, by resting or by closing.
    released: AtomicUsize,
    /// The number of the current period, in which responses are counted.
    period: AtomicUsize,
}

/// An open connection's place in the table. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    all: Arc<Connections>,
    line: Arc<Line>,
}

/// A request in flight on a connection.
#[derive(Debug)]
pub(super) struct Busy(Arc<Connection>);

impl Connections {
    pub(super) fn new(limits: ConnectionLimits, metrics: ConnectionMetrics) -> Self {
        Self {
            limits,
            metrics,
            table: Mutex::default(),
            left: Notify::new(),
            admitted: Notify::new(),
            released: AtomicUsize::new(0),
            period: AtomicUsize::new(0),
        }
    }

    /// Admits a connection, or asks the longest-idle one to close.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr, now: Instant) -> Result<Connection, Refused> {
        let peer = peer.to_canonical();
        let exempt = self.limits.per_client_max == 0 || self.limits.exempt.iter().any(|n| n.contains(&peer));
        let client = (!exempt).then(|| client_of(peer));
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
            // One at a time: only the accepting loop asks.
            if table.closing == 0
                && let Some(id) = table.silent_longest()
            {
                table.ask_to_close(id);
                self.metrics.closed(Closed::Evicted).inc();
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
                can_rest: false,
                closing: false,
                line: Arc::clone(&line),
            },
        );
        self.metrics.open.set(signed(table.open.len()));
        self.admitted.notify_one();
        Ok(Connection {
            id,
            all: Arc::clone(self),
            line,
        })
    }

    /// Makes room for a client at its limit: one of its idle connections is closed, or the new one is refused.
    fn refuse_of(&self, client: IpAddr, table: &mut Table) -> Refused {
        // One at a time, as above.
        if table.closing > 0 {
            return Refused::Full;
        }
        self.metrics.closed(Closed::Client).inc();
        match table.silent_of(client) {
            Some(id) => {
                table.ask_to_close(id);
                Refused::Full
            }
            None => Refused::TooManyOfClient,
        }
    }

    /// Returns when a connection has gone since the last call.
    pub(super) async fn one_left(&self) {
        self.left.notified().await;
    }

    /// Returns once a connection is open.
    pub(super) async fn any(&self) {
        while self.lock().open.is_empty() {
            self.admitted.notified().await;
        }
    }

    /// The number of connections so far that have released their buffers.
    pub(super) fn released(&self) -> usize {
        self.released.load(Ordering::Relaxed)
    }

    /// Releases the table's memory for more connections than are open.
    pub(super) fn shrink(&self) {
        self.lock().open.shrink_to_fit();
    }

    /// Asks connections to close that were idle for too long.
    pub(super) fn close_silent(&self, now: Instant) {
        let mut table = self.lock();
        for id in table.silent_too_long(now) {
            table.ask_to_close(id);
            self.metrics.closed(Closed::Silent).inc();
        }
    }

    /// Asks connections to rest that were idle for a while.
    pub(super) fn rest_silent(&self, now: Instant) {
        self.lock().rest_silent(now);
    }

    /// Asks connections to close whose peers do not read: those with a response older than two periods, and if there
    /// are too many unsent responses, those with the most.
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
                table.ask_to_close(id);
                self.metrics.closed(Closed::Unread).inc();
            }
        }
        if is_over {
            self.period.store(next, Ordering::Relaxed);
            table.period_began = Some(now);
        }
    }

    /// The table is still valid after a panic under the lock.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Begins a request. While any is in flight the connection is not closed as idle.
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

    /// The number of requests received.
    pub(super) fn requests(&self) -> usize {
        self.line.requests.load(Ordering::Relaxed)
    }

    /// Whether no request is in flight.
    pub(super) fn is_silent(&self) -> bool {
        self.all
            .lock()
            .open
            .get(&self.id)
            .is_some_and(|entry| entry.busy == 0)
    }

    /// The body of a response, counted until it is sent.
    pub(super) fn sending(&self, body: Body) -> Sending {
        Sending::new(body, &self.line, self.all.period.load(Ordering::Relaxed))
    }

    /// Records that data has arrived, so that the connection needs buffers.
    pub(super) fn wake(&self) {
        let mut table = self.all.lock();
        let order = table.open.get(&self.id).map(|entry| entry.order);
        if let Some(order) = order
            && table.resting.remove(&order).is_some()
        {
            table.wake(order, self.id, self.all.limits.awake_max);
        }
    }

    /// Records that the connection can release its buffers and go on.
    pub(super) fn can_rest(&self) {
        if let Some(entry) = self.all.lock().open.get_mut(&self.id) {
            entry.can_rest = true;
        }
    }

    /// Records that the connection has released its buffers.
    pub(super) fn has_rested(&self) {
        self.all.released.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns when the connection has to close.
    pub(super) async fn close_requested(&self) {
        self.line.go.cancelled().await;
    }

    /// Returns when the connection should release its buffers, if it is idle.
    pub(super) async fn rest_requested(&self) {
        self.line.rest.notified().await;
    }

    /// Counts a request whose head was too large. The first one is logged: no other counter includes its events.
    pub(super) fn count_large_head(&self) {
        if self.all.metrics.heads_too_large.inc() == 0 {
            tracing::warn!(
                "a request was answered 431 because its headers were too large; its events are lost. Large \
                 cookies are the usual cause, and the proxy may remove them"
            );
        }
    }

    /// Counts a failed TLS handshake.
    pub(super) fn count_failed_handshake(&self) {
        self.all.metrics.closed(Closed::Handshake).inc();
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
        self.all.released.fetch_add(1, Ordering::Relaxed);
        self.all.left.notify_one();
    }
}

fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
