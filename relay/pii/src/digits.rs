//! Groups of digits, in which phone, card and account numbers are written.

use super::scan::before;
use super::view::View;
use std::ops::{Deref, Range};

/// Most digits of one number. A card number or an IBAN in groups has fewer.
const DIGITS_MAX: usize = 24;

/// The runs of digits of a view, from left to right.
pub(crate) fn groups(view: &View<'_>) -> Vec<Range<usize>> {
    let bytes = view.bytes();
    let is_number = |word: &&Range<usize>| bytes.get(word.start).is_some_and(u8::is_ascii_digit);
    view.words().iter().filter(is_number).cloned().collect()
}

/// The digits of consecutive groups, without the separators.
pub(crate) struct Digits {
    digits: [u8; DIGITS_MAX],
    len: usize,
}

impl Digits {
    /// `None` if there are more than any number has.
    pub(crate) fn of(bytes: &[u8], groups: &[Range<usize>]) -> Option<Self> {
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

/// The value of up to fifteen digits.
pub(crate) fn value(digits: &[u8]) -> u64 {
    digits
        .iter()
        .take(15)
        .fold(0, |n, d| n * 10 + u64::from(d.wrapping_sub(b'0')))
}

/// The number of digits of each of the first six groups; zero for a missing group.
pub(crate) fn lengths(groups: &[Range<usize>]) -> [usize; 6] {
    let mut lengths = [0; 6];
    for (length, group) in lengths.iter_mut().zip(groups) {
        *length = group.len();
    }
    lengths
}

/// The bytes between two neighbouring groups.
pub(crate) fn gap<'v>(bytes: &'v [u8], before: &Range<usize>, after: &Range<usize>) -> &'v [u8] {
    bytes.get(before.end..after.start).unwrap_or_default()
}

/// The first groups that may form one number, at most `most`. `joins` judges the bytes before a group.
pub(crate) fn chain<'v, 'g>(
    bytes: &'v [u8],
    groups: &'g [Range<usize>],
    most: usize,
    mut joins: impl FnMut(&'v [u8], &Range<usize>) -> bool,
) -> &'g [Range<usize>] {
    let pairs = groups.windows(2).take(most - 1);
    let joined = pairs.take_while(|pair| matches!(pair, [a, b] if joins(gap(bytes, a, b), b)));
    groups.get(..=joined.count()).unwrap_or_default()
}

/// Luhn's check digit (ISO/IEC 7812-1, annex B).
pub(crate) fn luhn(digits: &[u8]) -> bool {
    luhn_sum(digits).is_multiple_of(10)
}

/// The sum that a check digit makes a multiple of ten. `A` counts as ten.
pub(crate) fn luhn_sum(chars: &[u8]) -> u32 {
    let from_last = chars.iter().rev().enumerate();
    let doubled = from_last.map(
        |(place, b)| match (place % 2, char::from(*b).to_digit(36).unwrap_or(0)) {
            (0, v) => v,
            (_, v) if v >= 5 => v * 2 - 9,
            (_, v) => v * 2,
        },
    );
    doubled.sum()
}

/// Whether a number may start here: not inside a word, a decimal, a date or a longer number.
pub(crate) fn opens(bytes: &[u8], at: usize) -> bool {
    let beyond = at.checked_sub(1).and_then(|at| before(bytes, at));
    is_apart(before(bytes, at), beyond, b"./:,+")
}

/// Whether a number may end here.
pub(crate) fn closes(bytes: &[u8], at: usize) -> bool {
    is_apart(bytes.get(at).copied(), bytes.get(at + 1).copied(), b"./:,")
}

/// Whether a number and its neighbouring byte are not parts of the same word, decimal, date or longer number. `beyond`
/// is the byte behind the neighbour, `signs` join digits.
fn is_apart(neighbour: Option<u8>, beyond: Option<u8>, signs: &[u8]) -> bool {
    match neighbour {
        Some(b) if b.is_ascii_alphanumeric() => false,
        Some(b'-' | b'_') => !beyond.is_some_and(|b| b.is_ascii_alphanumeric()),
        Some(b) if signs.contains(&b) => !beyond.is_some_and(|b| b.is_ascii_digit()),
        _ => true,
    }
}

/// Whether digits are seconds or milliseconds since 1970, between 2014 and 2036. If so they are read as a timestamp.
pub(crate) fn is_epoch(digits: &[u8]) -> bool {
    match digits.len() {
        10 => (1_400_000_000..=2_100_000_000).contains(&value(digits)),
        13 => (1_400_000_000_000..=2_100_000_000_000).contains(&value(digits)),
        _ => false,
    }
}

/// Whether the first three groups are a date: year, month, day, or in reverse order.
pub(crate) fn is_date(bytes: &[u8], groups: &[Range<usize>]) -> bool {
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
    fn dates_are_distinguished_from_other_groups() {
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
