//! The kinds of property values, and how each is coarsened.

use super::spelling;
use crate::plan::Buckets;
use crate::value::Value;
use serde::{Deserialize, Serialize};

/// The kind of a property's value, and how it is coarsened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum PropKind {
    /// One of the listed texts, unchanged.
    Enum {
        /// The texts.
        values: Vec<String>,
    },
    /// A whole number in a range, unchanged.
    Int {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// `true` or `false`, unchanged.
    Bool,
    /// A version of two to four numbers, such as `2026.11.0`, unchanged.
    Version,
    /// A number of milliseconds, replaced by its bucket.
    Duration {
        /// The buckets.
        buckets: Buckets,
    },
    /// Free text, scrubbed by the detectors.
    Text {
        /// Longest text, in characters; a longer one is dropped.
        max: usize,
    },
    /// A page of the site, replaced by its route template.
    Route,
    /// A link, replaced by its scheme and host.
    Link,
    /// A link to a file, replaced by the file's extension.
    File,
}

impl PropKind {
    /// The form in which a value leaves, if the kind accepts it in any spelling: `"5"`, `5.0` and `5` are one number.
    /// The canonical form of a canonical form is itself. `None` for kinds that replace a text;
    /// [`crate::scrub::allowed`] computes the replacement.
    pub fn canonical(&self, value: &Value) -> Option<Value> {
        match self {
            Self::Enum { values } => spelling::listed(values, value).map(|text| Value::Text(text.clone())),
            Self::Int { min, max } => spelling::whole(value)
                .filter(|n| (min..=max).contains(&n))
                .map(Value::Integer),
            Self::Bool => spelling::truth(value).map(Value::Boolean),
            Self::Version => {
                let text = spelling::text_of(value);
                let text = text.trim();
                let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
                is_version(text).then(|| Value::Text(text.to_owned()))
            }
            Self::Duration { buckets } => buckets.label(value).map(|label| Value::Text(label.to_owned())),
            Self::Text { .. } | Self::Route | Self::Link | Self::File => None,
        }
    }
}

/// Most digits of a version: `2026.11.22` has eight, a phone or card number more.
const VERSION_DIGITS_MAX: usize = 8;

/// Two to four groups of one to four digits, separated by dots. An IPv4 address has this form as well, so of four
/// groups at least one must not fit into a byte. No group starts with a zero.
fn is_version(text: &str) -> bool {
    let groups: Vec<&str> = text.split('.').collect();
    let digits = |g: &&str| {
        (1..=4).contains(&g.len())
            && g.bytes().all(|b| b.is_ascii_digit())
            && (!g.starts_with('0') || *g == "0")
    };
    let long = text.bytes().filter(u8::is_ascii_digit).count() > VERSION_DIGITS_MAX;
    !long
        && (2..=4).contains(&groups.len())
        && groups.iter().all(digits)
        && !(groups.len() == 4 && groups.iter().all(|g| g.parse::<u8>().is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[track_caller]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a row is easier to read without borrows"
    )]
    fn check(kind: &PropKind, value: Value, want: Option<Value>) {
        let left = kind.canonical(&value);
        assert!(left == want, "{kind:?}: {}", spelling::text_of(&value));
        if let Some(left) = left {
            assert!(kind.canonical(&left) == Some(left), "{kind:?}: not its own form");
        }
    }

    #[test]
    fn a_kind_takes_what_it_lists_and_nothing_else() {
        let colour = PropKind::Enum {
            values: vec!["red".into(), "blue".into()],
        };
        check(&colour, text("red"), Some(text("red")));
        check(&colour, text("Red"), None);
        check(&colour, text("jane@example.com"), None);
        let rating = PropKind::Int { min: 1, max: 5 };
        check(&rating, Value::Integer(5), Some(Value::Integer(5)));
        check(&rating, Value::Integer(6), None);
        check(&rating, Value::Integer(4_111_111_111_111_111), None);
        check(&rating, Value::Decimal(3.5), None);
        check(
            &PropKind::Bool,
            Value::Boolean(false),
            Some(Value::Boolean(false)),
        );
        check(&PropKind::Bool, Value::Integer(0), None);
        for (version, ok) in [
            ("2026.11.0", true),
            ("1.0", true),
            ("1.2.3.4000", true),
            ("192.168.1.7", false),
            ("1", false),
            ("1.2.3-jane", false),
            ("1..2", false),
            ("2026.11.22", true),
            ("01761234567.1", false),
            ("0176.1234", false),
            ("4111.1111.1111.1111", false),
        ] {
            check(&PropKind::Version, text(version), ok.then(|| text(version)));
        }
        check(&PropKind::Route, text("/w/acme"), None);
    }

    #[test]
    fn a_value_is_taken_in_each_spelling_and_leaves_in_one() {
        let rating = PropKind::Int { min: 1, max: 5 };
        for five in [
            text("5"),
            text(" 5 "),
            text("+5"),
            text("5.0"),
            text("5e0"),
            Value::Decimal(5.0),
        ] {
            check(&rating, five, Some(Value::Integer(5)));
        }
        for none in [
            text("6"),
            text("5.5"),
            text("five"),
            text("5,0"),
            text(""),
            text("4111111111111111"),
        ] {
            check(&rating, none, None);
        }
        check(&rating, Value::Boolean(true), None);
        let below = PropKind::Int { min: -5, max: 0 };
        check(&below, text("-5"), Some(Value::Integer(-5)));
        check(&below, text("-0"), Some(Value::Integer(0)));

        check(&PropKind::Bool, text("true"), Some(Value::Boolean(true)));
        check(&PropKind::Bool, text(" False "), Some(Value::Boolean(false)));
        for none in [text("yes"), text("1"), text("truee"), Value::Decimal(1.0)] {
            check(&PropKind::Bool, none, None);
        }

        let version = |value, want: Option<&str>| check(&PropKind::Version, value, want.map(text));
        version(text(" 2026.11.0 "), Some("2026.11.0"));
        version(text("v2026.11.0"), Some("2026.11.0"));
        version(Value::Decimal(2026.11), Some("2026.11"));
        version(Value::Decimal(1.0), Some("1.0"));
        version(Value::Integer(1), None);
        version(Value::Decimal(-1.5), None);
        version(Value::Decimal(1.05), None);
        version(Value::Decimal(1e300), None);
        version(text("vv1.0"), None);
        version(Value::Boolean(true), None);

        let sizes = PropKind::Enum {
            values: ["5", "2.5", "1.0", "true", " padded", "big one"]
                .map(String::from)
                .to_vec(),
        };
        let size = |value, want: Option<&str>| check(&sizes, value, want.map(text));
        size(Value::Integer(5), Some("5"));
        size(Value::Decimal(5.0), Some("5"));
        size(Value::Decimal(2.5), Some("2.5"));
        size(Value::Decimal(1.0), Some("1.0"));
        size(Value::Boolean(true), Some("true"));
        size(text(" 5"), Some("5"));
        size(text("big one "), Some("big one"));
        size(text(" padded"), Some(" padded"));
        size(text("padded"), None);
        size(Value::Integer(6), None);
        size(Value::Boolean(false), None);
        size(text("05"), None);

        let buckets = Buckets::new(vec!["1s".into(), "5s".into()]).unwrap();
        let took = |value, want: Option<&str>| {
            let kind = PropKind::Duration {
                buckets: buckets.clone(),
            };
            check(&kind, value, want.map(text));
        };
        took(text("1500"), Some("1s-5s"));
        took(text(" 1500.5 "), Some("1s-5s"));
        took(text("5e3"), Some(">=5s"));
        took(text("<1s"), Some("<1s"));
        took(text(" <1s "), Some("<1s"));
        took(text("-1"), None);
        took(text("1.5s"), None);
    }
}
