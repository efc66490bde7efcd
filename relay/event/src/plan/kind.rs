//! What a property's value may be, and what becomes of it.

use crate::event::Value;
use crate::plan::Buckets;
use serde::{Deserialize, Serialize};

/// What a property's value may be, and what becomes of it.
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
    /// A version of two to four numbers, as `2026.11.0`, unchanged.
    Version,
    /// A number of milliseconds, replaced by its bucket.
    Duration {
        /// The buckets.
        buckets: Buckets,
    },
    /// Free text, as far as the detectors find nothing in it.
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
    /// Whether a value may leave as it is. Kinds that replace a value let none leave as it is, so the
    /// answer for them is `false`; [`crate::scrub::allowed`] knows the replacement.
    pub fn takes(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Enum { values }, Value::Text(text)) => values.contains(text),
            (Self::Int { min, max }, Value::Integer(n)) => (min..=max).contains(&n),
            (Self::Bool, Value::Boolean(_)) => true,
            (Self::Version, Value::Text(text)) => is_version(text),
            _ => false,
        }
    }
}

/// Most digits of a version: `2026.11.22` has eight, a phone or card number more.
const VERSION_DIGITS_MAX: usize = 8;

/// Two to four groups of one to four digits, separated by dots. An IPv4 address is one as well, so
/// four groups must not all fit into a byte. No group starts with a zero.
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

    #[test]
    fn a_kind_takes_what_it_lists_and_nothing_else() {
        let text = |t: &str| Value::Text(t.into());
        let check = |kind: &PropKind, value: Value, ok: bool| assert_eq!(kind.takes(&value), ok, "{kind:?}");
        let colour = PropKind::Enum {
            values: vec!["red".into(), "blue".into()],
        };
        check(&colour, text("red"), true);
        check(&colour, text("Red"), false);
        check(&colour, text("jane@example.com"), false);
        let rating = PropKind::Int { min: 1, max: 5 };
        check(&rating, Value::Integer(5), true);
        check(&rating, Value::Integer(6), false);
        check(&rating, Value::Integer(4_111_111_111_111_111), false);
        check(&rating, Value::Decimal(3.5), false);
        check(&rating, text("5"), false);
        check(&PropKind::Bool, Value::Boolean(false), true);
        check(&PropKind::Bool, Value::Integer(0), false);
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
            check(&PropKind::Version, text(version), ok);
        }
        check(&PropKind::Route, text("/w/acme"), false);
    }
}
