//! The harness of the end-to-end tests: a relay in this process or in its own, a receiver that answers
//! as it is told, requests as a browser sends them, and a reading of the metrics.
//!
//! What is tested is in `tests/e2e`; nothing here decides whether the relay is right, except that events
//! are conserved, which is checked whenever a relay is stopped.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]

mod address;
pub mod bombs;
pub mod chaos;
mod child;
mod dice;
mod fault_proxy;
pub mod fuzz;
mod plausible;
mod post;
mod relay;
mod scrape;
mod setup;
mod small_policy;
mod traffic;

pub(crate) use address::address_of_its_own;
pub use child::{ChildRelay, Done};
pub use dice::Dice;
pub use fault_proxy::{Fault, FaultProxy};
pub use plausible::{Answer, Arrival, MiniPlausible, Server};
pub use post::{BROWSER, ORIGIN, Post, SITE, Sent, fresh_id, http_client, load, pageview, raw};
pub use relay::Relay;
pub use scrape::Scrape;
pub use setup::{METRICS_PASSWORD, PLAN_VERSION, Setup};
pub use traffic::{Pouring, Traffic, assert_in_order, counted_twice, out_of_order};

use std::time::{Duration, Instant};

/// How long something that has to happen may take, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `look` sees something, and gives it back.
///
/// # Panics
/// When it has not happened after [`PATIENCE`].
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look).await
}

/// [`eventually`] with a bound of its own.
///
/// # Panics
/// When it has not happened by then.
pub async fn within<T>(bound: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(start.elapsed() < bound, "not within {bound:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Watches that something stays true for a while, where the proof is that nothing happens.
///
/// # Panics
/// When it stops being true.
pub async fn stays(span: Duration, what: &str, mut look: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < span {
        assert!(look().await, "no longer true after {:?}: {what}", start.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
