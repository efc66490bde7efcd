//! Numbering plans: valid codes and lengths.

use crate::digits::value;
use std::ops::RangeInclusive;

/// Digits of any number with its country code: at most as in ITU-T E.164, 6.1, and at least as many as can be dialled.
pub(super) const DIGITS: RangeInclusive<usize> = 6..=15;
/// Digits after a country code. The fewest are those of islands, whose codes are long.
pub(super) const NATIONAL_DIGITS: RangeInclusive<usize> = 6..=14;
const NATIONAL_DIGITS_MIN_LONG_CODE: usize = 5;
/// Digits after a country code that only `00` announces, ungrouped: counters may be padded with zeros too.
pub(super) const NATIONAL_DIGITS_AFTER_ZEROS: RangeInclusive<usize> = 8..=13;
/// Country calling codes of one and two digits (ITU-T E.164, list of 2016).
const CODES_SHORT: &[u64] = &[
    1, 7, 20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56, 57,
    58, 60, 61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98,
];
/// Those of three digits, as ranges.
const CODES_LONG: &[RangeInclusive<u64>] = &[
    211..=213,
    216..=216,
    218..=218,
    220..=258,
    260..=269,
    290..=291,
    297..=299,
    350..=359,
    370..=383,
    385..=387,
    389..=389,
    420..=421,
    423..=423,
    500..=509,
    590..=599,
    670..=670,
    672..=692,
    800..=800,
    808..=808,
    850..=850,
    852..=853,
    855..=856,
    870..=870,
    878..=883,
    886..=886,
    888..=888,
    960..=968,
    970..=977,
    979..=979,
    992..=996,
    998..=998,
];

/// Whether digits are a country code and a number that may be dialled there.
pub(super) fn is_international(digits: &[u8], national: RangeInclusive<usize>) -> bool {
    match code_length(digits).and_then(|length| digits.split_at_checked(length)) {
        Some((b"1", rest)) => rest.len() == 10 && rest.first().is_some_and(|d| *d >= b'2'),
        Some((code, rest)) => {
            let island =
                code.len() == 3 && rest.len() == NATIONAL_DIGITS_MIN_LONG_CODE && national == NATIONAL_DIGITS;
            (island || national.contains(&rest.len())) && DIGITS.contains(&digits.len())
        }
        None => false,
    }
}

/// The length of the country calling code at the start of the digits. No code is a prefix of another.
pub(super) fn code_length(digits: &[u8]) -> Option<usize> {
    (1..=3).find(|length| {
        let code = digits.get(..*length).map(value);
        code.is_some_and(|code| {
            !digits.starts_with(b"0")
                && (CODES_SHORT.contains(&code) || CODES_LONG.iter().any(|codes| codes.contains(&code)))
        })
    })
}

/// North American numbering plan: neither the area nor the exchange begins with 0 or 1.
pub(super) fn is_north_american(digits: &[u8]) -> bool {
    let of = |place: usize| digits.get(place).is_some_and(|d| *d >= b'2');
    digits.len() == 10 && of(0) && of(3)
}

/// Whether ten digits without a leading zero are a mobile number of Türkiye, by the operator's code. Such numbers are
/// usually written this way.
pub(super) fn is_turkish_mobile(digits: &[u8]) -> bool {
    digits.len() == 10
        && matches!(
            digits,
            [b'5', b'0', b'1' | b'5'..=b'7', ..]
                | [b'5', b'3' | b'4', ..]
                | [b'5', b'5', b'1'..=b'5' | b'9', ..]
                | [b'5', b'1', b'6', ..]
                | [b'5', b'6', b'1', ..]
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_country_code_begins_with_another() {
        for code in CODES_SHORT
            .iter()
            .copied()
            .chain(CODES_LONG.iter().cloned().flatten())
        {
            let digits = code.to_string();
            assert_eq!(code_length(digits.as_bytes()), Some(digits.len()), "{code}");
        }
        for other in ["0", "21", "210", "28", "999"] {
            assert_eq!(code_length(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn numbers_have_the_length_of_their_country() {
        for (digits, want) in [
            ("498912345", true),
            ("4989123", false),
            ("68522130", true),
            ("4922130", false),
            ("12065550100", true),
            ("1206555010", false),
            ("11065550100", false),
            ("4989123456789012", false),
        ] {
            assert_eq!(
                is_international(digits.as_bytes(), NATIONAL_DIGITS),
                want,
                "{digits}"
            );
        }
    }
}
