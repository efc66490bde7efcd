//! Reproducible randomness.

use std::time::Duration;

/// The seed of a failed run, to repeat it.
const SEED: &str = "FEEDBACK_TEST_SEED";

/// Random numbers from a seed, which is printed, and therefore shown with a failed test.
#[derive(Debug)]
pub struct Dice(fastrand::Rng);

impl Dice {
    /// Uses the seed from the environment, or a fresh one.
    ///
    /// # Panics
    /// If the seed is not a number.
    pub fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "what a test is to repeat is no configuration of the relay"
        )]
        let given = std::env::var(SEED).ok();
        let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
        eprintln!("the same dice again: {SEED}={seed}");
        Self::with_seed(seed)
    }

    /// Uses a seed that the caller already reports.
    pub fn with_seed(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A second generator, independent of how often this one is used from now on.
    #[must_use]
    pub fn another(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.usize(..bound)
    }

    /// A duration up to `bound`.
    pub fn up_to(&mut self, bound: Duration) -> Duration {
        bound.mul_f64(self.0.f64())
    }

    /// One of the elements.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        self.0.choice(of).unwrap()
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self::new()
    }
}
