//! Chance that can be had again.

use std::time::Duration;

/// Names the seed of a run that failed, to have the same again.
const SEED: &str = "FEEDBACK_TEST_SEED";

/// Random numbers from a seed, which is printed, and so shown with a test that fails.
#[derive(Debug)]
pub struct Dice(fastrand::Rng);

impl Dice {
    /// With the seed from the environment, or one of its own.
    ///
    /// # Panics
    /// When the seed is no number.
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

    /// With a seed that whoever runs this knows already.
    pub fn with_seed(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Others, which do not depend on how often these are thrown from now on.
    #[must_use]
    pub fn another(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.usize(..bound)
    }

    /// A span of time up to a bound.
    pub fn up_to(&mut self, bound: Duration) -> Duration {
        bound.mul_f64(self.0.f64())
    }

    /// One of several.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        self.0.choice(of).unwrap()
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self::new()
    }
}
