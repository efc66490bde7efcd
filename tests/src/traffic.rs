//! Visitors that send numbered events and do not give up, and the books on what became of each.
//!
//! A visitor sends one batch after the other, each with fresh numbers, and repeats a batch with the same
//! ids until it is answered 202, as the browser module does. So whatever happens to relay and network,
//! each number has to arrive in the end.

use crate::plausible::{Arrival, MiniPlausible};
use crate::post::{Post, http_client, load};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Events in a batch.
const BATCH: usize = 3;
/// How long a visitor waits before it sends again what was not taken.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How long a visitor waits for an answer. A relay that was killed breaks the connection at once; this is
/// for networks that swallow answers.
const PATIENCE: Duration = Duration::from_secs(2);

/// Visitors, and the numbers that were acknowledged to them.
#[derive(Clone, Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Where the relay is.
    base: String,
    next: AtomicUsize,
    acknowledged: Mutex<BTreeSet<usize>>,
    refused: AtomicUsize,
    failed: AtomicUsize,
    denied: AtomicUsize,
}

/// Visitors at work. They are gone when this is dropped.
#[derive(Debug)]
pub struct Pouring {
    stop: CancellationToken,
    visitors: JoinSet<()>,
}

impl Pouring {
    /// Lets every visitor finish the batch it has in hand.
    pub async fn finish(self) {
        self.stop.cancel();
        self.visitors.join_all().await;
    }
}

impl Traffic {
    /// To a relay, or to a proxy before it.
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

    /// Lets this many visitors send, with a pause between two batches.
    pub fn pour(&self, visitors: usize, pause: Duration) -> Pouring {
        let stop = CancellationToken::new();
        let visit = |visitor| visit(Arc::clone(&self.shared), visitor, pause, stop.clone());
        let visitors = (0..visitors).map(visit).collect();
        Pouring { stop, visitors }
    }

    /// How many numbers were acknowledged.
    ///
    /// # Panics
    /// When a visitor has panicked.
    pub fn acknowledged(&self) -> usize {
        self.shared.acknowledged.lock().unwrap().len()
    }

    /// How many numbers were given out.
    pub fn given_out(&self) -> usize {
        self.shared.next.load(Ordering::SeqCst)
    }

    /// How many batches were answered that they are to be sent again.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// How many batches were given up because the site was off.
    pub fn denied(&self) -> usize {
        self.shared.denied.load(Ordering::SeqCst)
    }

    /// How many batches were not answered.
    pub fn failed(&self) -> usize {
        self.shared.failed.load(Ordering::SeqCst)
    }

    /// Which of the acknowledged numbers have not arrived.
    ///
    /// # Panics
    /// When a visitor has panicked.
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

/// What Plausible may have counted twice: arrivals of numbers it may have counted before.
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

/// How many arrivals are of a number that Plausible had answered before, in a way that a relay can read: its answer
/// was not on disk when the relay died.
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

/// How many events arrived after a later one of their visitor, as Plausible tells visitors apart. A
/// repetition is no arrival.
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

/// Checks that the events of each visitor arrived in the order of their numbers, but for as many as the
/// relay says that it set aside.
///
/// # Panics
/// When more arrived after a later one.
pub fn assert_in_order(arrivals: &[Arrival], set_aside: i64) {
    let late = out_of_order(arrivals);
    assert!(
        i64::try_from(late).unwrap() <= set_aside,
        "{late} events arrived after a later one of their visitor, {set_aside} were set aside"
    );
}
