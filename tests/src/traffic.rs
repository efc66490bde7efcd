//! Visitors that send numbered events until they are accepted, and the reconciliation of each event.
//!
//! A visitor sends one batch after the other, each with fresh numbers, and repeats a batch with the same ids until it
//! is answered 202, like the browser module. Therefore each number must arrive in the end, whatever happens to relay
//! and network.

use crate::plausible::{Arrival, MiniPlausible};
use crate::post::{Post, http_client, load};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Events in a batch.
const BATCH: usize = 3;
/// How long a visitor waits before it retries a batch that was not accepted.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How long a visitor waits for an answer. A killed relay breaks the connection at once; this limit is for networks
/// that swallow answers.
const PATIENCE: Duration = Duration::from_secs(2);

/// Visitors, and the numbers that were acknowledged to them.
#[derive(Clone, Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The relay's URL.
    base: String,
    next: AtomicUsize,
    acknowledged: Mutex<BTreeSet<usize>>,
    refused: AtomicUsize,
    failed: AtomicUsize,
    denied: AtomicUsize,
    is_held: AtomicBool,
}

/// Visitors at work. Dropping this stops them.
#[derive(Debug)]
pub struct Pouring {
    stop: CancellationToken,
    visitors: JoinSet<()>,
}

impl Pouring {
    /// Lets every visitor finish its current batch.
    pub async fn finish(self) {
        self.stop.cancel();
        self.visitors.join_all().await;
    }
}

impl Traffic {
    /// Traffic to a relay, or to a proxy in front of it.
    pub fn to(base: &str) -> Self {
        let base = base.to_owned();
        let shared = Shared {
            base,
            ..Shared::default()
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Starts this many visitors, with a pause between two batches.
    pub fn pour(&self, visitors: usize, pause: Duration) -> Pouring {
        let stop = CancellationToken::new();
        let visit = |visitor| visit(Arc::clone(&self.shared), visitor, pause, stop.clone());
        let visitors = (0..visitors).map(visit).collect();
        Pouring { stop, visitors }
    }

    /// Holds the visitors, or releases them. While held, no visitor begins another batch.
    pub fn hold(&self, is_held: bool) {
        self.shared.is_held.store(is_held, Ordering::SeqCst);
    }

    /// The number of acknowledged events.
    ///
    /// # Panics
    /// If a visitor has panicked.
    pub fn acknowledged(&self) -> usize {
        self.shared.acknowledged.lock().unwrap().len()
    }

    /// The number of events handed out.
    pub fn given_out(&self) -> usize {
        self.shared.next.load(Ordering::SeqCst)
    }

    /// The number of batches that were refused with a request to retry.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// The number of batches that were given up because the site was off.
    pub fn denied(&self) -> usize {
        self.shared.denied.load(Ordering::SeqCst)
    }

    /// The number of batches that were not answered.
    pub fn failed(&self) -> usize {
        self.shared.failed.load(Ordering::SeqCst)
    }

    /// The acknowledged numbers that have not arrived.
    ///
    /// # Panics
    /// If a visitor has panicked.
    pub fn missing(&self, plausible: &MiniPlausible) -> Vec<usize> {
        let arrived: HashSet<usize> = plausible.numbers().into_iter().collect();
        let acknowledged = self.shared.acknowledged.lock().unwrap();
        acknowledged
            .iter()
            .filter(|n| !arrived.contains(n))
            .copied()
            .collect()
    }
}

async fn visit(shared: Arc<Shared>, visitor: usize, pause: Duration, stop: CancellationToken) {
    let client = http_client();
    while !stop.is_cancelled() {
        if shared.is_held.load(Ordering::SeqCst) {
            tokio::time::sleep(AGAIN_AFTER).await;
            continue;
        }
        let first = shared.next.fetch_add(BATCH, Ordering::SeqCst);
        let numbers = first..first + BATCH;
        let events: Vec<_> = numbers.clone().map(load).collect();
        let post = Post::batch(&events).from(&format!("198.51.100.{visitor}"));
        let is_taken = loop {
            let sent = tokio::time::timeout(PATIENCE, post.try_send(&client, &shared.base)).await;
            match sent {
                Ok(Ok(sent)) if sent.status == 202 => break true,
                Ok(Ok(sent)) if sent.problem() == "switched_off" => break false,
                Ok(Ok(sent)) => {
                    let to_come_back =
                        matches!(sent.status, 429 | 503) && !sent.header("retry-after").is_empty();
                    assert!(to_come_back, "{sent:?}");
                    shared.refused.fetch_add(1, Ordering::SeqCst);
                }
                Ok(Err(_)) | Err(_) => drop(shared.failed.fetch_add(1, Ordering::SeqCst)),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        };
        if is_taken {
            shared.acknowledged.lock().unwrap().extend(numbers);
            tokio::time::sleep(pause).await;
        } else {
            shared.denied.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

/// Upper bound of duplicates at Plausible: arrivals of numbers that it may already have counted.
pub fn counted_twice(arrivals: &[Arrival]) -> usize {
    let mut seen = HashSet::new();
    let counted = arrivals
        .iter()
        .filter(|arrival| arrival.answer.may_have_counted());
    counted
        .filter_map(Arrival::n)
        .filter(|n| !seen.insert(*n))
        .count()
}

/// The number of arrivals whose number Plausible had already answered in a way that a relay can read: its answer was
/// not on disk when the relay died.
pub(crate) fn again_after_an_answer(arrivals: &[Arrival]) -> usize {
    let mut answered = HashSet::new();
    let counted = arrivals
        .iter()
        .filter(|arrival| arrival.answer.may_have_counted());
    let again = |arrival: &&Arrival| {
        let n = arrival.n();
        let is_again = answered.contains(&n);
        if !arrival.answer.leaves_unsure() {
            answered.insert(n);
        }
        is_again
    };
    counted.filter(again).count()
}

/// The number of events that arrived after a later one of the same visitor, by Plausible's notion of a visitor.
/// Repetitions do not count.
pub fn out_of_order(arrivals: &[Arrival]) -> usize {
    let mut latest: BTreeMap<&str, usize> = BTreeMap::new();
    let mut seen = HashSet::new();
    let mut late = 0;
    for arrival in arrivals {
        let Some(n) = arrival.n().filter(|n| seen.insert(*n)) else {
            continue;
        };
        let latest = latest.entry(arrival.header("x-plausible-ip")).or_default();
        late += usize::from(n < *latest);
        *latest = n.max(*latest);
    }
    late
}

/// Checks that the events of each visitor arrived in the order of their numbers, except for as many as the relay
/// reports as set aside.
///
/// # Panics
/// If more arrived out of order.
pub fn assert_in_order(arrivals: &[Arrival], set_aside: i64) {
    let late = out_of_order(arrivals);
    assert!(
        i64::try_from(late).unwrap() <= set_aside,
        "{late} events arrived after a later one of their visitor, {set_aside} were set aside"
    );
}
