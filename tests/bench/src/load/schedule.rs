//! The schedule: random moments at a fixed rate, like requests of many independent browsers.

use fastrand::Rng;
use std::time::Duration;

/// The moments of a Poisson process, from its start. The schedule never waits: a request that could not be sent when it
/// was due is late, and its latency counts from its due time.
#[derive(Debug)]
pub(super) struct Schedule {
    random: Rng,
    seconds_between: f64,
    at: f64,
    lasts: f64,
}

impl Schedule {
    /// `rate` is requests per second, above 0.
    pub(super) fn new(rate: f64, lasts: Duration, seed: u64) -> Self {
        Self {
            random: Rng::with_seed(seed),
            seconds_between: 1.0 / rate,
            at: 0.0,
            lasts: lasts.as_secs_f64(),
        }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // 1 - u is never 0, so the logarithm is finite.
        self.at -= (1.0 - self.random.f64()).ln() * self.seconds_between;
        (self.at < self.lasts).then(|| Duration::from_secs_f64(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;
    use std::time::Duration;

    #[test]
    fn moments_go_forward_end_in_time_and_keep_the_rate() {
        let check = |rate: f64, seconds: u64| {
            let lasts = Duration::from_secs(seconds);
            let moments: Vec<Duration> = Schedule::new(rate, lasts, 3).collect();
            assert!(moments.is_sorted() && moments.iter().all(|at| *at < lasts));
            let expected = rate * lasts.as_secs_f64();
            let off = (moments.len() as f64 - expected).abs();
            // Five standard deviations of a Poisson count.
            assert!(off <= 5.0 * expected.sqrt(), "{} for {expected}", moments.len());
        };
        check(1000.0, 10);
        check(50_000.0, 1);
        check(0.5, 200);
    }

    #[test]
    fn the_seed_decides_the_moments() {
        let first = |seed| Schedule::new(10.0, Duration::from_secs(60), seed).next();
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }
}
