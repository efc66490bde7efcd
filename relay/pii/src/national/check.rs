//! Check digits, and other parts that the numbers of several countries share.
//!
//! Every function accepts any letters and digits: missing characters count as zero.

pub(super) use crate::digits::{luhn, luhn_sum};

/// The value of a letter or digit in ISO 7064 and ICAO 9303: `A` is ten.
pub(super) fn value(b: u8) -> u32 {
    match b {
        b'0'..=b'9' => u32::from(b - b'0'),
        b'A'..=b'Z' => u32::from(b - b'A') + 10,
        _ => 0,
    }
}

/// The value at an index.
pub(super) fn at(chars: &[u8], place: usize) -> u32 {
    chars.get(place).map_or(0, |b| value(*b))
}

/// The characters of a range.
pub(super) fn part(chars: &[u8], from: usize, to: usize) -> &[u8] {
    chars.get(from..to).unwrap_or_default()
}

/// The number written in a range.
pub(super) fn number(chars: &[u8], from: usize, to: usize) -> u64 {
    part(chars, from, to)
        .iter()
        .fold(0, |n, b| n * 10 + u64::from(value(*b)))
}

/// The weighted sum of the first values, one for each weight.
pub(super) fn weighted(chars: &[u8], weights: &[u8]) -> u32 {
    chars
        .iter()
        .zip(weights)
        .map(|(b, w)| value(*b) * u32::from(*w))
        .sum()
}

/// The sum of the digits of products.
pub(super) fn digit_sums(chars: &[u8], weights: &[u8]) -> u32 {
    chars
        .iter()
        .zip(weights)
        .map(|(b, w)| {
            let product = value(*b) * u32::from(*w);
            product / 10 + product % 10
        })
        .sum()
}

/// The pure system of ISO 7064 with modulus 11 and 10.
pub(super) fn mod_11_10(chars: &[u8]) -> bool {
    let Some((last, head)) = chars.split_last() else {
        return false;
    };
    let product = head.iter().fold(10, |product, b| {
        let sum = (value(*b) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == value(*last)
}

const VERHOEFF_STEPS: [[u8; 10]; 8] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
    [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
    [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
    [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
    [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
    [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
    [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
];

/// Verhoeff's check digit, by rotations and reflections of a pentagon.
pub(super) fn verhoeff(chars: &[u8]) -> bool {
    chars.iter().rev().enumerate().fold(0, |sum, (place, b)| {
        let step = VERHOEFF_STEPS
            .get(place % 8)
            .and_then(|row| row.get(value(*b) as usize))
            .map_or(0, |v| u32::from(*v));
        match (sum, step) {
            (0..5, 0..5) => (sum + step) % 5,
            (0..5, _) => (sum + step) % 5 + 5,
            (_, 0..5) => (sum - step) % 5 + 5,
            (_, _) => (sum + 5 - step) % 5,
        }
    }) == 0
}

/// Whether a day exists in a month; the 29th of February always does.
pub(super) fn is_day(month: u64, day: u64) -> bool {
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 29,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

/// Whether a date as `YYMMDD` starts at an index.
pub(super) fn yymmdd(chars: &[u8], from: usize) -> bool {
    is_day(
        number(chars, from + 2, from + 4),
        number(chars, from + 4, from + 6),
    )
}

/// Whether a date as `DDMMYY` starts at an index.
pub(super) fn ddmmyy(chars: &[u8], from: usize) -> bool {
    is_day(number(chars, from + 2, from + 4), number(chars, from, from + 2))
}

/// Whether a date as `YYYYMMDD`, from 1850 to 2099, starts at an index.
pub(super) fn yyyymmdd(chars: &[u8], from: usize) -> bool {
    (1850..2100).contains(&number(chars, from, from + 4)) && yymmdd(chars, from + 2)
}

/// Whether all characters are the same: "111111111" passes many checks.
pub(super) fn is_monotone(chars: &[u8]) -> bool {
    chars.windows(2).all(|pair| pair.first() == pair.last())
}

/// For shapes that need no check.
pub(super) fn shape_is_enough(_: &[u8]) -> bool {
    true
}
