//! Medians, spreads and slopes.

/// The middle of some values, and how far they reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
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

/// How much y grows per x, by least squares; 0 where that cannot be told.
pub(super) fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x_mean, y_mean) = (mean(|p| p.0), mean(|p| p.1));
    let above: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let below: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    if below > 0.0 { above / below } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::{Spread, slope};

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
