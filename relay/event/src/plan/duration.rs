//! Durations, coarsened into the buckets of the plan, so that no exact duration leaves.

use super::spelling;
use crate::value::Value;
use serde::{Deserialize, Serialize};

/// Most bounds of one duration. More would distinguish durations in more detail than any report needs.
const BOUNDS_MAX: usize = 20;
/// Most digits of a bound: in hours it still fits a 64-bit number of milliseconds.
const DIGITS_MAX: usize = 9;

/// The buckets of a duration: bounds such as `1s` and `5s`, ascending, make `<1s`, `1s-5s` and `>=5s`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Buckets {
    bounds: Vec<String>,
    /// The lower bounds, in milliseconds.
    from: Vec<u64>,
    /// One more than there are bounds.
    labels: Vec<String>,
}

/// Why a list of bounds is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketsError {
    /// None, or too many.
    #[error("list 1 to {BOUNDS_MAX} bounds, as in [\"1s\", \"5s\", \"30s\"]")]
    Count,
    /// Not a number with a unit.
    #[error("\"{0}\" is not a duration: write a whole number and ms, s, m or h, as in \"500ms\" or \"2m\"")]
    Bound(String),
    /// Not longer than the one before.
    #[error("\"{0}\" is not longer than \"{1}\" before it: list the bounds in ascending order")]
    Order(String, String),
}

impl Buckets {
    /// Builds buckets from bounds: whole numbers with the unit `ms`, `s`, `m` or `h`, ascending.
    ///
    /// # Errors
    /// If a bound is invalid. The message says what to write instead.
    pub fn new(bounds: Vec<String>) -> Result<Self, BucketsError> {
        if bounds.is_empty() || bounds.len() > BOUNDS_MAX {
            return Err(BucketsError::Count);
        }
        let mut from: Vec<u64> = Vec::with_capacity(bounds.len());
        for (i, bound) in bounds.iter().enumerate() {
            let ms = milliseconds(bound).ok_or_else(|| BucketsError::Bound(bound.clone()))?;
            if from.last().is_some_and(|before| ms <= *before) {
                return Err(BucketsError::Order(bound.clone(), bounds[i - 1].clone()));
            }
            from.push(ms);
        }
        let mut labels = vec![format!("<{}", bounds[0])];
        labels.extend(bounds.windows(2).map(|pair| format!("{}-{}", pair[0], pair[1])));
        labels.push(format!(">={}", bounds[bounds.len() - 1]));
        Ok(Self { bounds, from, labels })
    }

    /// The bounds, as written.
    pub fn bounds(&self) -> &[String] {
        &self.bounds
    }

    /// All values that may leave, the shortest duration first.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The bucket of a duration in milliseconds, given as a number or as text. A label of a bucket maps to itself.
    /// `None` for anything else.
    pub fn label(&self, value: &Value) -> Option<&str> {
        let at = match value {
            Value::Text(text) => {
                let labelled = self.labels.iter().position(|label| label == text.trim());
                return match labelled {
                    Some(at) => self.labels.get(at).map(String::as_str),
                    None => self.label(&spelling::number(text)?),
                };
            }
            Value::Integer(ms) => {
                let ms = u64::try_from(*ms).ok()?;
                self.from.partition_point(|from| *from <= ms)
            }
            Value::Decimal(ms) if *ms >= 0.0 && ms.is_finite() => {
                // Every bound that is a plausible duration is exact as a decimal.
                self.from.partition_point(|from| as_decimal(*from) <= *ms)
            }
            Value::Decimal(_) | Value::Boolean(_) => return None,
        };
        self.labels.get(at).map(String::as_str)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a bound has at most 9 digits and an hour's factor, below 2^53"
)]
fn as_decimal(ms: u64) -> f64 {
    ms as f64
}

fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return None,
    };
    // Forbids a leading zero, so that each bound has one spelling.
    let ok = digits <= DIGITS_MAX && !number.starts_with('0');
    ok.then(|| number.parse::<u64>().ok())?.map(|n| n * factor)
}

impl TryFrom<Vec<String>> for Buckets {
    type Error = BucketsError;
    fn try_from(bounds: Vec<String>) -> Result<Self, BucketsError> {
        Self::new(bounds)
    }
}

impl From<Buckets> for Vec<String> {
    fn from(buckets: Buckets) -> Self {
        buckets.bounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buckets(bounds: &[&str]) -> Result<Buckets, BucketsError> {
        Buckets::new(bounds.iter().map(|b| (*b).to_owned()).collect())
    }

    #[test]
    fn a_duration_leaves_as_its_bucket() {
        let buckets = buckets(&["1s", "5s", "30s", "2m"]).unwrap();
        let text = |t: &str| Value::Text(t.to_owned());
        let check = |value: Value, want: Option<&str>| assert_eq!(buckets.label(&value), want);
        check(Value::Integer(0), Some("<1s"));
        check(Value::Integer(999), Some("<1s"));
        check(Value::Integer(1000), Some("1s-5s"));
        check(Value::Integer(4999), Some("1s-5s"));
        check(Value::Integer(5000), Some("5s-30s"));
        check(Value::Integer(119_999), Some("30s-2m"));
        check(Value::Integer(120_000), Some(">=2m"));
        check(Value::Integer(i64::MAX), Some(">=2m"));
        check(Value::Decimal(0.5), Some("<1s"));
        check(Value::Decimal(999.999), Some("<1s"));
        check(Value::Decimal(1000.0), Some("1s-5s"));
        check(Value::Decimal(1e300), Some(">=2m"));
        check(text("1s-5s"), Some("1s-5s"));
        check(text(">=2m"), Some(">=2m"));
        check(Value::Integer(-1), None);
        check(Value::Decimal(-0.1), None);
        check(Value::Decimal(f64::NAN), None);
        check(Value::Decimal(f64::INFINITY), None);
        check(Value::Boolean(true), None);
        check(text("1500"), Some("1s-5s"));
        check(text("1e999"), None);
        check(text("-1"), None);
        check(text("1s"), None);
        check(text("<1S"), None);
        check(text("jane@example.com"), None);
    }

    #[test]
    fn bounds_that_make_no_buckets_are_refused() {
        let check = |bounds: &[&str], want: Option<BucketsError>| assert_eq!(buckets(bounds).err(), want);
        check(&["500ms", "1s", "1m", "1h"], None);
        check(&["1s"], None);
        check(&[], Some(BucketsError::Count));
        let many: Vec<String> = (1..=21).map(|n| format!("{n}s")).collect();
        assert_eq!(Buckets::new(many).err(), Some(BucketsError::Count));
        for wrong in [
            "1",
            "s",
            "1 s",
            "0s",
            "01s",
            "-1s",
            "1.5s",
            "1d",
            "1S",
            "1234567890s",
            "1sx",
            "",
        ] {
            check(&[wrong], Some(BucketsError::Bound(wrong.to_owned())));
        }
        let order = |a: &str, b: &str| Some(BucketsError::Order(a.to_owned(), b.to_owned()));
        check(&["5s", "1s"], order("1s", "5s"));
        check(&["1m", "60s"], order("60s", "1m"));
    }

    proptest! {
        #[test]
        fn a_label_is_its_own_bucket_and_durations_keep_their_order(a in 0..10_000_000_i64, b in 0..10_000_000_i64) {
            let buckets = buckets(&["10ms", "1s", "1m", "1h"]).unwrap();
            let label = |ms| buckets.label(&Value::Integer(ms)).unwrap();
            prop_assert_eq!(buckets.label(&Value::Text(label(a).to_owned())), Some(label(a)));
            let at = |ms| buckets.labels().iter().position(|l| l == label(ms));
            prop_assert!(a > b || at(a) <= at(b));
        }
    }
}
