//! Latencies, medians, spreads and slopes.

use anyhow::{Result, ensure};
use std::time::Duration;

/// Limit of stored latencies, 4 bytes each. One more is an error, and the run fails.
const LATENCIES_MAX: usize = 20_000_000;

/// Latencies in microseconds, stored individually without buckets.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    /// Adds one. Latencies above 71 minutes count as 71 minutes.
    pub(crate) fn add(&mut self, latency: Duration) -> Result<()> {
        ensure!(
            self.0.len() < LATENCIES_MAX,
            "more than {LATENCIES_MAX} latencies"
        );
        self.0
            .push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The latency at this percentile, by the nearest rank, in milliseconds; 0 without any.
    pub(crate) fn percentile_ms(&mut self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        if rank > self.0.len() {
            return 0.0;
        }
        f64::from(*self.0.select_nth_unstable(rank - 1).1) / 1000.0
    }
}

/// The median of some values, and their range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` without values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let upper = *values.get(values.len() / 2)?;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[values.len() / 2 - 1], upper),
            _ => upper,
        };
        Some(Self {
            median,
            least: values[0],
            most: values[values.len() - 1],
        })
    }
}

/// The growth of y per x, by least squares; 0 if all x are equal.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x_mean, y_mean) = (mean(|p| p.0), mean(|p| p.1));
    let above: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let below: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    if below > 0.0 { above / below } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::{Latencies, Spread, slope};
    use std::time::Duration;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let check = |latencies: &[u64], percent, expected: f64| {
            let mut kept = Latencies::default();
            for latency in latencies {
                kept.add(Duration::from_millis(*latency)).unwrap();
            }
            let found = kept.percentile_ms(percent);
            assert!(
                (found - expected).abs() < 1e-9,
                "{latencies:?} {percent}: {found}"
            );
        };
        let hundred: Vec<u64> = (1..=100).rev().collect();
        check(&[], 50, 0.0);
        check(&[7], 0, 7.0);
        check(&[7], 50, 7.0);
        check(&[7], 100, 7.0);
        check(&[3, 1, 2], 50, 2.0);
        check(&[4, 1, 3, 2], 50, 2.0);
        check(&hundred, 50, 50.0);
        check(&hundred, 99, 99.0);
        check(&hundred, 100, 100.0);
        check(&[u64::MAX / 1000], 50, f64::from(u32::MAX) / 1000.0);
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        let check = |values: &[f64], expected: Option<(f64, f64, f64)>| {
            let found = Spread::of(values.iter().copied()).map(|s| (s.median, s.least, s.most));
            assert_eq!(found, expected, "{values:?}");
        };
        check(&[], None);
        check(&[3.0], Some((3.0, 3.0, 3.0)));
        check(&[9.0, 1.0, 2.0], Some((2.0, 1.0, 9.0)));
        check(&[4.0, 1.0, 2.0, 9.0], Some((3.0, 1.0, 9.0)));
    }

    #[test]
    fn the_slope_is_that_of_the_line_closest_to_the_points() {
        let check = |points: &[(f64, f64)], expected: f64| {
            assert!((slope(points) - expected).abs() < 1e-9, "{points:?}");
        };
        check(&[], 0.0);
        check(&[(1.0, 5.0)], 0.0);
        check(&[(1.0, 5.0), (1.0, 6.0)], 0.0);
        check(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)], 2.0);
        check(&[(0.0, 7.0), (5.0, 7.0)], 0.0);
        check(&[(0.0, 0.0), (1.0, 2.0), (2.0, 1.0)], 0.5);
        check(&[(0.0, 4.0), (2.0, 0.0)], -2.0);
    }
}
