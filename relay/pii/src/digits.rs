//! Groups of digits: what telephone, card and account numbers are written in.

use super::super::view::View;
use std::ops::{Deref, Range};

/// Most digits of one number: a structured IBAN or a card number has fewer.
const DIGITS_MAX: usize = 24;

/// The runs of digits of a view, from left to right.
pub(in crate::detect) fn groups(view: &View<'_>) -> Vec<Range<usize>> {
    let bytes = view.bytes();
    let is_number = |word: &&Range<usize>| bytes.get(word.start).is_some_and(u8::is_ascii_digit);
    view.words().iter().filter(is_number).cloned().collect()
}

/// The digits of some groups in a row, without what stands between them.
pub(in crate::detect) struct Digits {
    digits: [u8; DIGITS_MAX],
    len: usize,
}

impl Digits {
    /// `None` when there are more than any number has.
    pub(in crate::detect) fn of(bytes: &[u8], groups: &[Range<usize>]) -> Option<Self> {
        let mut all = Self {
            digits: [0; DIGITS_MAX],
            len: 0,
        };
        for group in groups {
            let from = bytes.get(group.clone())?;
            all.digits
                .get_mut(all.len..all.len + from.len())?
                .copy_from_slice(from);
            all.len += from.len();
        }
        Some(all)
    }
}

impl Deref for Digits {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.digits.get(..self.len).unwrap_or_default()
    }
}

/// The number that up to fifteen digits say.
pub(in crate::detect) fn value(digits: &[u8]) -> u64 {
    digits
        .iter()
        .take(15)
        .fold(0, |n, d| n * 10 + u64::from(d.wrapping_sub(b'0')))
}

/// How many digits each of the first six groups has; zero for what is not there.
pub(in crate::detect) fn lengths(groups: &[Range<usize>]) -> [usize; 6] {
    let mut lengths = [0; 6];
    for (length, group) in lengths.iter_mut().zip(groups) {
        *length = group.len();
    }
    lengths
}

/// What stands between two groups that follow one another.
pub(in crate::detect) fn gap<'v>(bytes: &'v [u8], before: &Range<usize>, after: &Range<usize>) -> &'v [u8] {
    bytes.get(before.end..after.start).unwrap_or_default()
}

/// The check of ISO/IEC 7812-1, annex B.
pub(in crate::detect) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit.wrapping_sub(b'0'));
            match (place % 2, digit) {
                (0, _) => digit,
                (_, 0..=4) => 2 * digit,
                _ => 2 * digit - 9,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether a number may begin here: not inside of a word, a decimal, a date or a longer number.
pub(in crate::detect) fn opens(bytes: &[u8], at: usize) -> bool {
    let mut before = bytes.get(..at).unwrap_or_default().iter().rev();
    match before.next() {
        Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') => false,
        Some(b'-' | b'_') => !before.next().is_some_and(u8::is_ascii_alphanumeric),
        Some(b'.' | b'/' | b':' | b',' | b'+') => !before.next().is_some_and(u8::is_ascii_digit),
        _ => true,
    }
}

/// Whether a number may end here.
pub(in crate::detect) fn closes(bytes: &[u8], at: usize) -> bool {
    let mut after = bytes.get(at..).unwrap_or_default().iter();
    match after.next() {
        Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') => false,
        Some(b'-' | b'_') => !after.next().is_some_and(u8::is_ascii_alphanumeric),
        Some(b'.' | b'/' | b':' | b',') => !after.next().is_some_and(u8::is_ascii_digit),
        _ => true,
    }
}

/// Seconds or milliseconds since 1970, between 2014 and 2036: a time, whatever else its digits may mean.
pub(in crate::detect) fn is_epoch(digits: &[u8]) -> bool {
    match digits.len() {
        10 => (1_400_000_000..=2_100_000_000).contains(&value(digits)),
        13 => (1_400_000_000_000..=2_100_000_000_000).contains(&value(digits)),
        _ => false,
    }
}

/// Whether the first three groups are a date: year, month, day or the other way round.
pub(in crate::detect) fn is_date(bytes: &[u8], groups: &[Range<usize>]) -> bool {
    let [first, second, third, ..] = groups else {
        return false;
    };
    let number = |group: &Range<usize>| value(bytes.get(group.clone()).unwrap_or_default());
    let small = |group: &Range<usize>, max| group.len() <= 2 && (1..=max).contains(&number(group));
    let year = |group: &Range<usize>| group.len() == 4 && (1900..2100).contains(&number(group));
    let day_and_month = |a, b| small(a, 31) && small(b, 31) && (small(a, 12) || small(b, 12));
    let year_last = year(third) || (third.len() == 2 && groups.len() == 3);
    (year(first) && day_and_month(second, third)) || (year_last && day_and_month(first, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luhn_finds_one_wrong_digit() {
        for (digits, want) in [
            ("79927398713", true),
            ("79927398710", false),
            ("0", true),
            ("", true),
        ] {
            assert_eq!(luhn(digits.as_bytes()), want, "{digits}");
        }
    }

    #[test]
    fn dates_are_told_from_other_groups() {
        for (text, want) in [
            ("2026-08-12", true),
            ("2026-08-12 09", true),
            ("2026-13-32", false),
            ("12.08.2026", true),
            ("08/31/2026", true),
            ("31/31/2026", false),
            ("12.08.26", true),
            ("12 08 26 11", false),
            ("06 12 34 56 78", false),
        ] {
            let view = View::new(text);
            assert_eq!(is_date(view.bytes(), &groups(&view)), want, "{text}");
        }
    }

    #[test]
    fn numbers_begin_and_end_outside_of_words_and_longer_numbers() {
        for (text, want) in [
            ("x 123 y", (true, true)),
            ("x123 y", (false, true)),
            ("7.123.", (false, true)),
            ("a-123-4", (false, false)),
            ("-123-", (true, true)),
            ("/123/b", (true, true)),
            ("4/123/5", (false, false)),
            ("(123)", (true, true)),
        ] {
            let at = text.find("123").unwrap();
            let got = (opens(text.as_bytes(), at), closes(text.as_bytes(), at + 3));
            assert_eq!(got, want, "{text}");
        }
    }
}
