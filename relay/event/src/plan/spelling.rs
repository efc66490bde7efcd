//! Reads a value from its many spellings: senders that can only write text send `"5"` for 5, and a form sends ` 5 `.
//!
//! A plan's type applies to the value. The canonical form leaves, never the spelling, so a spelling cannot carry a
//! message. Spellings that mean different numbers in different countries (`1,000`, `1.000,5`) are not read at all.

use crate::value::Value;
use std::borrow::Cow;

/// Longest number that is read, in bytes; JavaScript writes at most 25. A longer text is not a number.
const NUMBER_BYTES_MAX: usize = 40;
/// Below 2^53 each whole number has an exact decimal, so none is mistaken for its neighbour.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

/// The number a text spells: `5`, `5.0`, `+5`, `05`, ` 5 `, `5e0`.
pub(crate) fn number(text: &str) -> Option<Value> {
    let text = text.trim();
    let spelled = |b: u8| b.is_ascii_digit() || b"+-.eE".contains(&b);
    if text.len() > NUMBER_BYTES_MAX || !text.bytes().all(spelled) {
        return None;
    }
    match text.parse() {
        Ok(n) => Some(Value::Integer(n)),
        Err(_) => text.parse().ok().and_then(plain),
    }
}

/// A decimal as a number. A whole one becomes an integer.
fn plain(n: f64) -> Option<Value> {
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    match n {
        n if !n.is_finite() => None,
        n if n.fract() == 0.0 && n.abs() < EXACT_BELOW => Some(Value::Integer(n as i64)),
        n => Some(Value::Decimal(n)),
    }
}

/// The whole number of a value.
pub(super) fn whole(value: &Value) -> Option<i64> {
    let number = match value {
        Value::Integer(n) => return Some(*n),
        Value::Decimal(n) => plain(*n),
        Value::Text(text) => number(text),
        Value::Boolean(_) => None,
    };
    match number {
        Some(Value::Integer(n)) => Some(n),
        _ => None,
    }
}

/// `true` or `false`, in any case. A 1 or a 0 is a number, not a boolean.
pub(super) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Boolean(b) => Some(*b),
        Value::Text(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
        Value::Text(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A value as text. A whole number stored as a decimal is written as in JSON, `5.0`.
pub(crate) fn text_of(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Text(text) => Cow::Borrowed(text),
        Value::Integer(n) => Cow::Owned(n.to_string()),
        Value::Decimal(n) => Cow::Owned(format!("{n:?}")),
        Value::Boolean(b) => Cow::Borrowed(if *b { "true" } else { "false" }),
    }
}

/// The listed text that matches a value. An exact match comes first.
pub(super) fn listed<'v>(values: &'v [String], value: &Value) -> Option<&'v String> {
    let find = |text: &str| values.iter().find(|listed| *listed == text);
    let text = text_of(value);
    find(&text).or_else(|| find(text.trim())).or_else(|| match value {
        Value::Decimal(n) => find(&text_of(&plain(*n)?)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_is_read_in_each_spelling_that_means_one_number_everywhere() {
        let check = |text: &str, want: Option<Value>| assert!(number(text) == want, "{text:?}");
        for five in [
            "5", " 5 ", "\t5\n", "+5", "05", "5.", "5.0", "5.000", "5e0", "5E+0", "0.5e1", "50e-1", "\u{a0}5",
        ] {
            check(five, Some(Value::Integer(5)));
        }
        check("-5", Some(Value::Integer(-5)));
        check("-0", Some(Value::Integer(0)));
        check("-0.0", Some(Value::Integer(0)));
        check("1e3", Some(Value::Integer(1000)));
        check("9223372036854775807", Some(Value::Integer(i64::MAX)));
        check(
            "9223372036854775808",
            Some(Value::Decimal(9_223_372_036_854_775_808.0)),
        );
        check("9007199254740991.0", Some(Value::Integer(9_007_199_254_740_991)));
        check(
            "9007199254740993.0",
            Some(Value::Decimal(9_007_199_254_740_992.0)),
        );
        check(".5", Some(Value::Decimal(0.5)));
        check("1.5", Some(Value::Decimal(1.5)));
        check("1e21", Some(Value::Decimal(1e21)));
        for none in [
            "",
            " ",
            "+",
            "-",
            ".",
            "e",
            "e5",
            "5e",
            "--5",
            "+-5",
            "5 5",
            "5,0",
            "1,000",
            "1.000,5",
            "1_000",
            "0x5",
            "5px",
            "$5",
            "five",
            "NaN",
            "inf",
            "-Infinity",
            "infinity",
            "1e999",
            "５",
            "٥",
            "5\u{200b}",
            "5\0",
            "true",
            "00000000000000000000000000000000000000005",
        ] {
            check(none, None);
        }
    }

    #[test]
    fn a_value_stands_for_a_whole_number_or_an_answer_or_does_not() {
        let text = |t: &str| Value::Text(t.into());
        assert_eq!(whole(&Value::Decimal(5.0)), Some(5));
        assert_eq!(whole(&Value::Decimal(5.5)), None);
        assert_eq!(whole(&Value::Decimal(f64::NAN)), None);
        assert_eq!(whole(&Value::Decimal(1e300)), None);
        assert_eq!(whole(&text("5.5")), None);
        assert_eq!(whole(&Value::Boolean(true)), None);
        let check = |value: Value, want: Option<bool>| assert_eq!(truth(&value), want);
        check(Value::Boolean(true), Some(true));
        check(text("true"), Some(true));
        check(text(" True "), Some(true));
        check(text("FALSE"), Some(false));
        check(text("yes"), None);
        check(text("1"), None);
        check(Value::Integer(1), None);
    }

    proptest! {
        #[test]
        fn each_spelling_of_a_number_is_that_number(n in any::<i64>(), small in -999_999_999_i64..999_999_999, zeros in 0..4_usize) {
            prop_assert_eq!(whole(&Value::Text(n.to_string())), Some(n));
            for spelled in [format!("{small}.{}", "0".repeat(zeros)), format!(" {small}e0"), format!("{small}0e-1")] {
                prop_assert_eq!(whole(&Value::Text(spelled)), Some(small));
            }
        }

        #[test]
        fn reading_is_total(text in "\\PC{0,50}") {
            let _ = number(&text);
        }
    }
}
