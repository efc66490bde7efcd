//! The harness of the end-to-end tests: a relay in this process or in a separate one, a programmable receiver, requests
//! as a browser sends them, and parsed metrics.
//!
//! The assertions are in `tests/e2e`. The only check here is that events are conserved, whenever a relay is stopped.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]

mod address;
pub mod bombs;
pub mod chaos;
mod child;
mod compiled;
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

/// Time limit for an expected change, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Polls `look` until it returns something, and returns that.
///
/// # Panics
/// If that has not happened after [`PATIENCE`].
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look).await
}

/// [`eventually`] with another time limit.
///
/// # Panics
/// If that has not happened after `bound`.
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

/// Checks that a condition holds for a while, to prove that nothing happens.
///
/// # Panics
/// If it stops holding.
pub async fn stays(span: Duration, what: &str, mut look: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < span {
        assert!(look().await, "no longer true after {:?}: {what}", start.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
