//! Request bodies that have not fully arrived: how many may wait, how slow they may be, and which are dropped first.
//!
//! A request takes a place among `public.requests_max` only when its body is complete. Until then it waits here,
//! unless the body was complete at the first poll, as nearly all are. Waiting bodies have a bound of their own, by
//! weight: the bytes that have arrived, plus the cost of an empty wait. At the bound the slowest bodies are dropped,
//! first those of the client that has the most, so a stranger's bodies displace the stranger's own. Clients are keyed
//! hashes; no address is stored.

use crate::clock;
use crate::config::Public;
use crate::digest::cell_of;
use crate::metrics::{self, Registry};
use crate::network::client_of;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Longest time without progress. It allows for two lost segments in a row (retransmitted after one and three
/// seconds). After that: 408.
const GRACE: Duration = Duration::from_secs(5);
/// Slowest body, in bytes per second: each byte extends the wait by 1/500 s, up to [`GRACE`] from now. This is
/// Apache's `MinRate`, and a third of the rate of GPRS: a batch of 2 KB takes 4 s of the `body_timeout_s` of 10.
const BYTES_PER_SECOND_MIN: u32 = 500;
/// Weight of a waiting body besides its head and its bytes: its task, its stream, its share of a connection.
const EMPTY_WEIGHT: usize = 8 * 1024;
/// Weight of all waiting bodies per place among `requests_max`: four empty ones. By default 32 MiB, half the weight
/// of full bodies at every place. Above it the slowest are dropped: 503.
const WEIGHT_PER_PLACE: usize = 4 * EMPTY_WEIGHT;
/// Weight per connection: at most every second connection waits for a body, so there is always another one to close.
const WEIGHT_PER_CONNECTION: usize = EMPTY_WEIGHT / 2;
/// One client's share of the weight: a quarter. Above it that client's slowest bodies are dropped.
const CLIENT_ONE_IN: usize = 4;
/// Share that is dropped at once: a sixteenth, so that one sort of all bodies makes room for hundreds.
const DROP_ONE_IN: usize = 16;

metrics::declare! {
    /// Bodies that have not arrived.
    struct Metrics {
        /// Requests whose bodies have not arrived; `requests_in_progress` does not include them.
        bodies_waiting: Gauge,
    }
}

/// All waiting bodies.
#[derive(Debug)]
pub struct SlowBodies {
    table: Mutex<Table>,
    most: usize,
    seed: [u8; 16],
    metrics: Metrics,
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
    /// Closes when this entry is removed.
    _stays: oneshot::Sender<()>,
}

/// A waiting body's place. Dropping it frees the place.
#[derive(Debug)]
pub(in crate::http) struct SlowBody {
    id: u64,
    deadline: Instant,
    stays: oneshot::Receiver<()>,
    all: Arc<SlowBodies>,
}

impl SlowBodies {
    /// Derives the bounds from those of the listener.
    pub fn new(limits: &Public, registry: &mut Registry) -> Self {
        let full = EMPTY_WEIGHT + limits.body_bytes_max;
        let most = (limits.requests_max.saturating_mul(WEIGHT_PER_PLACE))
            .min(limits.connections_max.saturating_mul(WEIGHT_PER_CONNECTION))
            .max(full.saturating_mul(CLIENT_ONE_IN));
        Self {
            table: Mutex::default(),
            most,
            seed: clock::random(),
            metrics: Metrics::register(registry),
        }
    }

    /// Adds a body, regardless of how many wait: slower ones make room. `bytes` is the size of its head and of the
    /// bytes that have arrived.
    pub(in crate::http) fn enter(self: &Arc<Self>, client: IpAddr, bytes: usize, now: Instant) -> SlowBody {
        let (sender, stays) = oneshot::channel();
        let body = Waiting {
            client: cell_of(self.seed, &client_of(client), usize::MAX),
            weight: 0,
            deadline: now + GRACE,
            _stays: sender,
        };
        let (deadline, mut table) = (body.deadline, self.lock());
        table.next += 1;
        let id = table.next;
        table.bodies.insert(id, body);
        self.add(&mut table, id, EMPTY_WEIGHT + bytes, deadline);
        drop(table);
        SlowBody {
            id,
            deadline,
            stays,
            all: Arc::clone(self),
        }
    }

    /// Adds to a body's weight and keeps the bounds.
    fn add(&self, table: &mut Table, id: u64, bytes: usize, deadline: Instant) {
        let Some(body) = table.bodies.get_mut(&id) else {
            return;
        };
        body.weight += bytes;
        body.deadline = deadline;
        table.weight += bytes;
        let client = body.client;
        let of_client = table.of_client.entry(client).or_default();
        *of_client += bytes;
        let low = |most| most - most / DROP_ONE_IN;
        let most_of_client = self.most / CLIENT_ONE_IN;
        if *of_client > most_of_client {
            let excess = *of_client - low(most_of_client);
            table.drop_slowest(Some(client), excess);
        }
        if table.weight > self.most {
            table.drop_slowest(None, table.weight - low(self.most));
        }
        self.show(table);
    }

    fn show(&self, table: &Table) {
        let waiting = i64::try_from(table.bodies.len()).unwrap_or(i64::MAX);
        self.metrics.bodies_waiting.set(waiting);
    }

    /// The table is still valid after a panic under the lock.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remove(&mut self, id: u64) {
        if let Some(body) = self.bodies.remove(&id) {
            self.weight -= body.weight;
            if let Entry::Occupied(mut of_client) = self.of_client.entry(body.client) {
                *of_client.get_mut() -= body.weight;
                if *of_client.get() == 0 {
                    of_client.remove();
                }
            }
        }
    }

    /// Drops bodies of one client, or of all, that weigh at least `excess`. Each client keeps its fastest ones up to
    /// about the same weight, so its fastest body competes only with the fastest ones of other clients. Among equals,
    /// those nearest to their deadline go first.
    fn drop_slowest(&mut self, client: Option<usize>, excess: usize) {
        let of_client = |body: &Waiting| client.is_none_or(|client| body.client == client);
        let bodies = self.bodies.iter().filter(|(_, body)| of_client(body));
        let mut fastest_first: Vec<_> = bodies
            .map(|(id, body)| (Reverse(body.deadline), *id, body.client, body.weight))
            .collect();
        fastest_first.sort_unstable();
        let mut faster = HashMap::<usize, usize>::new();
        let steps = fastest_first
            .into_iter()
            .map(|(Reverse(deadline), id, client, weight)| {
                let faster = faster.entry(client).or_default();
                let step = *faster / EMPTY_WEIGHT;
                *faster += weight;
                (Reverse(step), deadline, id)
            });
        let mut slowest_first: Vec<_> = steps.collect();
        slowest_first.sort_unstable();
        let aim = self.weight.saturating_sub(excess);
        for (_, _, id) in slowest_first {
            if self.weight <= aim {
                break;
            }
            self.remove(id);
        }
    }
}

impl SlowBody {
    /// Records bytes that arrived; they extend the wait.
    pub(in crate::http) fn received(&mut self, bytes: usize, now: Instant) {
        let earned = Duration::from_secs(bytes as u64) / BYTES_PER_SECOND_MIN;
        self.deadline = (self.deadline + earned).min(now + GRACE);
        let mut table = self.all.lock();
        self.all.add(&mut table, self.id, bytes, self.deadline);
    }

    /// The time by which the next byte has to arrive.
    pub(in crate::http) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Returns when the body was dropped to make room.
    pub(in crate::http) async fn dropped(&mut self) {
        // It ends with an error, because the table never sends.
        let _ = (&mut self.stays).await;
    }
}

impl Drop for SlowBody {
    fn drop(&mut self) {
        let mut table = self.all.lock();
        table.remove(self.id);
        self.all.show(&table);
    }
}

#[cfg(test)]
mod tests;
