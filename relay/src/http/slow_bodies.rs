//! Request bodies that have not arrived yet: how many may wait, how slow they may be, and which are dropped first.
//!
//! A request takes a place among `public.requests_max` only when its body is complete. Until then it waits here, unless
//! the body was complete at the first poll, as nearly all are. What waits has a bound of its own, by weight: bytes that
//! arrived, and what an empty wait costs. At the bound the slowest bodies are dropped, first those of the client
//! that has the most, so a stranger's bodies push out the stranger's own. Clients are keyed hashes; no address is stored.

use crate::clock;
use crate::config::Public;
use crate::http::client_address::network_of;
use crate::http::rate::place_of;
use crate::metrics::door::DoorMetrics;
use prometheus_client::metrics::gauge::Gauge;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long a body may go without progress. Two lost segments in a row (retransmitted after one and three seconds) fit
/// in. Then: 408.
const GRACE: Duration = Duration::from_secs(5);
/// Slowest body, in bytes per second: each byte extends the wait by 1/500 s, up to [`GRACE`] from now. It is Apache's
/// `MinRate`, and a third of what GPRS carries: a batch of 2 KB at this rate takes 4 s of the `body_timeout_s` of 10.
const BYTES_PER_SECOND_MIN: u32 = 500;
/// What a waiting body weighs besides its head and its bytes: its task, its stream, its share of a connection.
const EMPTY_WEIGHT: usize = 8 * 1024;
/// Weight of all waiting bodies per place among `requests_max`: four empty ones. 32 MiB as shipped, half of what
/// full bodies at every place weigh. Above it the slowest are dropped: 503.
const WEIGHT_PER_PLACE: usize = 4 * EMPTY_WEIGHT;
/// Weight per connection: at most every second connection waits for a body, so there is always one to close.
const WEIGHT_PER_CONNECTION: usize = EMPTY_WEIGHT / 2;
/// One client's share of the weight: a quarter. Above it the client's own slowest are dropped.
const CLIENT_ONE_IN: usize = 4;
/// How much is dropped at once: a sixteenth, so that one sort of all bodies makes room for hundreds.
const DROP_ONE_IN: usize = 16;

/// All bodies that wait.
#[derive(Debug)]
pub struct SlowBodies {
    table: Mutex<Table>,
    most: usize,
    most_of_client: usize,
    seed: [u8; 16],
    waiting: Gauge,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    bodies: HashMap<u64, Waiting>,
    of_client: HashMap<usize, usize>,
    weight: usize,
}

#[derive(Debug)]
struct Waiting {
    client: usize,
    weight: usize,
    deadline: Instant,
    dropped: Arc<Notify>,
}

/// A body's place among those that wait, given back when dropped.
#[derive(Debug)]
pub(super) struct SlowBody {
    id: u64,
    deadline: Instant,
    dropped: Arc<Notify>,
    all: Arc<SlowBodies>,
}

impl SlowBodies {
    /// With bounds that follow from the listener's.
    pub fn new(limits: &Public, metrics: &DoorMetrics) -> Self {
        let full = EMPTY_WEIGHT + limits.body_bytes_max;
        let most = (limits.requests_max.saturating_mul(WEIGHT_PER_PLACE))
            .min(limits.connections_max.saturating_mul(WEIGHT_PER_CONNECTION))
            .max(full.saturating_mul(CLIENT_ONE_IN));
        Self {
            table: Mutex::default(),
            most,
            most_of_client: most / CLIENT_ONE_IN,
            seed: clock::random(),
            waiting: metrics.bodies_waiting.clone(),
        }
    }

    /// Takes a body in, however many wait already: room is made by those that are slower. `bytes` is what its head
    /// and what arrived of it take.
    pub(super) fn enter(self: &Arc<Self>, client: IpAddr, bytes: usize, now: Instant) -> SlowBody {
        let client = place_of(self.seed, &network_of(client), usize::MAX);
        let (deadline, dropped) = (now + GRACE, Arc::new(Notify::new()));
        let mut table = self.lock();
        table.next += 1;
        let id = table.next;
        table.bodies.insert(
            id,
            Waiting {
                client,
                weight: 0,
                deadline,
                dropped: Arc::clone(&dropped),
            },
        );
        table.add(id, EMPTY_WEIGHT + bytes, deadline);
        self.keep_bounds(&mut table, client);
        drop(table);
        SlowBody {
            id,
            deadline,
            dropped,
            all: Arc::clone(self),
        }
    }

    fn keep_bounds(&self, table: &mut Table, client: usize) {
        let of_client = table.of_client.get(&client).copied().unwrap_or(0);
        if of_client > self.most_of_client {
            table.drop_slowest(
                Some(client),
                of_client - self.most_of_client * (DROP_ONE_IN - 1) / DROP_ONE_IN,
            );
        }
        if table.weight > self.most {
            table.drop_slowest(None, table.weight - self.most / DROP_ONE_IN * (DROP_ONE_IN - 1));
        }
        self.waiting
            .set(i64::try_from(table.bodies.len()).unwrap_or(i64::MAX));
    }

    /// A panic while holding the lock leaves a table that is still right.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn add(&mut self, id: u64, bytes: usize, deadline: Instant) -> Option<usize> {
        let body = self.bodies.get_mut(&id)?;
        body.weight += bytes;
        body.deadline = deadline;
        self.weight += bytes;
        *self.of_client.entry(body.client).or_default() += bytes;
        Some(body.client)
    }

    fn remove(&mut self, id: u64) -> Option<Waiting> {
        let body = self.bodies.remove(&id)?;
        self.weight -= body.weight;
        if let Some(weight) = self.of_client.get_mut(&body.client) {
            *weight -= body.weight;
            if *weight == 0 {
                self.of_client.remove(&body.client);
            }
        }
        Some(body)
    }

    /// Drops bodies of one client, or of all, that weigh `excess` at least. Each client keeps its fastest ones up to
    /// about the same weight, so its fastest one is compared with other clients' fastest ones only. Among equals those
    /// go first that are nearest to their deadline.
    fn drop_slowest(&mut self, client: Option<usize>, excess: usize) {
        let mut fastest_first: Vec<_> = self
            .bodies
            .iter()
            .filter(|(_, body)| client.is_none_or(|client| body.client == client))
            .map(|(id, body)| (body.client, Reverse(body.deadline), *id, body.weight))
            .collect();
        fastest_first.sort_unstable();
        let (mut of_client, mut faster) = (None, 0);
        let mut slowest_first: Vec<_> = fastest_first
            .into_iter()
            .map(|(client, Reverse(deadline), id, weight)| {
                if of_client.replace(client) != Some(client) {
                    faster = 0;
                }
                let step = faster / EMPTY_WEIGHT;
                faster += weight;
                (Reverse(step), deadline, id)
            })
            .collect();
        slowest_first.sort_unstable();
        let aim = self.weight.saturating_sub(excess);
        for (_, _, id) in slowest_first {
            if self.weight <= aim {
                break;
            }
            if let Some(body) = self.remove(id) {
                body.dropped.notify_one();
            }
        }
    }
}

impl SlowBody {
    /// Notes bytes that arrived, which extend the wait.
    pub(super) fn received(&mut self, bytes: usize, now: Instant) {
        let earned = Duration::from_secs(bytes as u64) / BYTES_PER_SECOND_MIN;
        self.deadline = (self.deadline + earned).min(now + GRACE);
        let mut table = self.all.lock();
        if let Some(client) = table.add(self.id, bytes, self.deadline) {
            self.all.keep_bounds(&mut table, client);
        }
    }

    /// Until when the next byte has to arrive.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns when the body was dropped to make room.
    pub(super) async fn dropped(&self) {
        self.dropped.notified().await;
    }
}

impl Drop for SlowBody {
    fn drop(&mut self) {
        let mut table = self.all.lock();
        table.remove(self.id);
        self.all
            .waiting
            .set(i64::try_from(table.bodies.len()).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests;
