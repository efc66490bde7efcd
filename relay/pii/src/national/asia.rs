//! Asia, and Nigeria, whose personal numbers use India's check digit.

use super::check::{at, is_day, number, part, shape_is_enough, value, verhoeff, weighted, yymmdd, yyyymmdd};
use super::rule::{BARE, COMPANY, Rule, rule};

/// Sorted by length.
pub(super) const RULES: &[Rule] = &[
    rule("A999999X", 0, "7(1", hong_kong),
    rule("99999999A", BARE | COMPANY, "", singapore_business),
    rule("A9999999A", BARE, "", shape_is_enough),
    rule("A999A9999", BARE, "", korean_passport),
    rule("AA999999X", 0, "8(1", hong_kong),
    rule("9999999999", BARE | COMPANY, "3 2 5", korean_business),
    rule("9999999999", COMPANY, "3-2-5", shape_is_enough),
    rule("999999999A", BARE | COMPANY, "", singapore_company),
    rule("A999999999", BARE, "", taiwan),
    rule("A99AA9999A", BARE | COMPANY, "", singapore_other),
    rule("AAA9999999", BARE, "", shape_is_enough),
    rule("AAAAA9999A", BARE, "", shape_is_enough),
    rule("99999999999", BARE, "", verhoeff),
    rule("999999999999", BARE, "4~4~4|4:4:4|4/4/4|4_4_4", aadhaar),
    rule("999999999999", 0, "4~4~4", my_number),
    rule("999999999999", 0, "6-2-4", malaysian),
    rule("999999999999", 0, "3-3-3-3", shape_is_enough),
    rule("999999999999", 0, "2~2~6~2", korean_driver),
    rule("9999999999999", BARE, "6-7|6 7", korean),
    rule("9999999999999", BARE, "1~4~5~2~1|1~4~5~3", thai),
    rule("9999999999999", 0, "5-7-1", shape_is_enough),
    rule("99AAAAA9999AXAX", BARE | COMPANY, "", gstin),
    rule("9999999999999999", BARE, "2.2.2.6.4|6~6~4|4~4~4~4", nik),
    rule("99999999999999999X", BARE, "6~8~4", chinese),
];

/// Identity cards of Hong Kong, with the check digit in brackets.
fn hong_kong(chars: &[u8]) -> bool {
    // A missing first letter counts as a space, which is 36.
    let (missing, weights): (u32, &[u8]) = match chars.len() {
        8 => (36 * 9, &[8, 7, 6, 5, 4, 3, 2]),
        _ => (0, &[9, 8, 7, 6, 5, 4, 3, 2]),
    };
    let check = match chars.last() {
        Some(b'A') => 10,
        Some(b) if b.is_ascii_digit() => value(*b),
        _ => return false,
    };
    (missing + weighted(chars, weights) + check).is_multiple_of(11)
}

/// Identity numbers of Taiwan: a letter for the place, sex or status, serial and check digit.
fn taiwan(chars: &[u8]) -> bool {
    // The letters of the places, in the order of their codes, from 10.
    let place = b"ABCDEFGHJKLMNPQRSTUVXYWZIO"
        .iter()
        .position(|b| chars.first() == Some(b))
        .and_then(|place| u32::try_from(place + 10).ok());
    place.is_some_and(|place| {
        let sum = place / 10 + place % 10 * 9 + weighted(part(chars, 1, 10), &[8, 7, 6, 5, 4, 3, 2, 1, 1]);
        matches!(at(chars, 1), 1 | 2 | 8 | 9) && sum.is_multiple_of(10)
    })
}

fn singapore_business(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[10, 4, 9, 3, 8, 2, 7, 1]) % 11;
    b"XMKECAWLJDB".get(sum as usize) == chars.last()
}

fn singapore_company(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[10, 8, 6, 4, 9, 7, 5, 3, 1]) % 11;
    matches!(number(chars, 0, 4), 1900..=2099) && b"ZKCMDNERGWH".get(sum as usize) == chars.last()
}

/// Other entities of Singapore: a letter for the century, the year, a type of two letters.
fn singapore_other(chars: &[u8]) -> bool {
    matches!(chars.first(), Some(b'R' | b'S' | b'T'))
}

/// Korean passports since 2021: a type, three digits, a letter, four digits.
fn korean_passport(chars: &[u8]) -> bool {
    chars.first().is_some_and(|b| b"MSRODG".contains(b))
}

/// Korean businesses.
fn korean_business(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[1, 3, 7, 1, 3, 7, 1, 3, 5]) + at(chars, 8) * 5 / 10;
    number(chars, 0, 3) > 100 && (10 - sum % 10) % 10 == at(chars, 9)
}

/// Korean citizens and residents: the birthday, a digit for sex, century and status. Since 2020 the rest is random and
/// has no check digit.
fn korean(chars: &[u8]) -> bool {
    yymmdd(chars, 0) && matches!(at(chars, 6), 1..=8)
}

/// Korean driving licences: region, year, serial, check.
fn korean_driver(chars: &[u8]) -> bool {
    matches!(number(chars, 0, 2), 11..=28)
}

/// Indian residents.
fn aadhaar(chars: &[u8]) -> bool {
    at(chars, 0) >= 2 && !is_moment(chars) && verhoeff(chars)
}

/// Whether twelve digits are a date and a time: 202608121030.
fn is_moment(chars: &[u8]) -> bool {
    yyyymmdd(chars, 0) && number(chars, 8, 10) < 24 && number(chars, 10, 12) < 60
}

/// Indian taxpayers: state, PAN, a number, usually a Z, and a check character that is often wrong in practice.
fn gstin(chars: &[u8]) -> bool {
    matches!(number(chars, 0, 2), 1..=38 | 97 | 99)
}

/// Japanese persons.
fn my_number(chars: &[u8]) -> bool {
    let rest = weighted(chars, &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    (if rest < 2 { 0 } else { 11 - rest }) == at(chars, 11)
}

/// Malaysian persons: the birthday, the place of birth, a serial.
fn malaysian(chars: &[u8]) -> bool {
    yymmdd(chars, 0) && !matches!(number(chars, 6, 8), 0 | 17..=20 | 69..=70 | 73 | 80..=81 | 94..=97)
}

/// Thai citizens: a type, the place of registration, serials, a check digit.
fn thai(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
    matches!(at(chars, 0), 1..=8) && (11 - sum % 11) % 10 == at(chars, 12)
}

/// Indonesian persons: province, regency, district, the birthday (day plus 40 for women), a serial.
fn nik(chars: &[u8]) -> bool {
    let day = number(chars, 6, 8);
    matches!(number(chars, 0, 2), 11..=19 | 21 | 31..=36 | 51..=53 | 61..=65 | 71..=76 | 81 | 82 | 91..=97)
        && is_day(number(chars, 8, 10), if day > 40 { day - 40 } else { day })
        && number(chars, 12, 16) != 0
}

/// Chinese residents: the place, the birthday, a serial, a check digit (GB 11643, ISO 7064 mod 11-2).
fn chinese(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]) % 11;
    yyyymmdd(chars, 6) && b"10X98765432".get(sum as usize) == chars.last()
}
