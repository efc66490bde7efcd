//! Latencies and their percentiles: every one is kept, none is put into a bucket.

use std::time::Duration;

/// Most latencies that are kept, 4 bytes each. Further ones are refused, and the run with them.
const KEPT_MAX: usize = 20_000_000;

/// Latencies in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    /// Notes one. `false` when there are too many.
    pub(crate) fn note(&mut self, latency: Duration) -> bool {
        if self.0.len() >= KEPT_MAX {
            return false;
        }
        // An hour and more counts as an hour.
        self.0
            .push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The latency that so many of a thousand do not exceed, by the nearest rank; 0 when there is none.
    pub(crate) fn per_mille(&mut self, per_mille: usize) -> u32 {
        let rank = (self.0.len() * per_mille).div_ceil(1000).max(1);
        if rank > self.0.len() {
            return 0;
        }
        *self.0.select_nth_unstable(rank - 1).1
    }
}

#[cfg(test)]
mod tests {
    use super::Latencies;
    use std::time::Duration;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let check = |latencies: &[u64], per_mille, expected| {
            let mut kept = Latencies::default();
            for latency in latencies {
                assert!(kept.note(Duration::from_micros(*latency)));
            }
            assert_eq!(kept.per_mille(per_mille), expected, "{latencies:?} {per_mille}");
        };
        let hundred: Vec<u64> = (1..=100).rev().collect();
        let thousand: Vec<u64> = (1..=1000).collect();
        check(&[], 500, 0);
        check(&[7], 0, 7);
        check(&[7], 500, 7);
        check(&[7], 1000, 7);
        check(&[3, 1, 2], 500, 2);
        check(&[4, 1, 3, 2], 500, 2);
        check(&hundred, 500, 50);
        check(&hundred, 990, 99);
        check(&hundred, 999, 100);
        check(&hundred, 1000, 100);
        check(&thousand, 999, 999);
        check(&[u64::MAX / 1000], 500, u32::MAX);
    }
}
