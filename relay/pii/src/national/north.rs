//! The Nordic and Baltic countries.

use super::check::{at, ddmmyy, is_day, luhn, number, part, weighted, yymmdd};
use super::rule::{BARE, COMPANY, Rule, rule};

/// Sorted by length.
pub(super) const RULES: &[Rule] = &[
    rule("99999999", COMPANY, "7-1", business_id),
    rule("9999999999", BARE, "6-4|6+4", personnummer),
    rule("9999999999", COMPANY, "6-4", organisation),
    rule("9999999999", BARE | COMPANY, "", likely_organisation),
    rule("9999999999", 0, "6-4", cpr_by_date),
    rule("9999999999", BARE, "", cpr_by_check),
    rule("999999999A", 0, "6-4|6+4", hetu),
    rule("9999999999", 0, "6-4|6+4", hetu),
    rule("999999A999X", BARE, "", hetu),
    rule("99999999999", BARE, "6~5", norwegian),
    rule("99999999999", BARE, "", baltic),
    rule("99999999999", 0, "6-5", latvian),
    rule("999999999999", BARE, "8-4|8+4", full_personnummer),
];

/// Swedish persons: the birthday (day plus 60 for temporary residents), a serial, Luhn.
fn personnummer(chars: &[u8]) -> bool {
    is_swedish_day(chars, 0) && luhn(chars)
}

fn is_swedish_day(chars: &[u8], from: usize) -> bool {
    let day = number(chars, from + 4, from + 6);
    is_day(
        number(chars, from + 2, from + 4),
        if day > 60 { day - 60 } else { day },
    )
}

/// Swedish companies: the digits of the month are a number from 20.
fn organisation(chars: &[u8]) -> bool {
    number(chars, 2, 4) >= 20 && at(chars, 0) != 0 && luhn(chars)
}

/// Without a hyphen, only the prefixes of most companies.
fn likely_organisation(chars: &[u8]) -> bool {
    matches!(at(chars, 0), 2 | 5 | 7 | 8) && organisation(chars)
}

/// With the century, or a company after 16.
fn full_personnummer(chars: &[u8]) -> bool {
    let body = part(chars, 2, 12);
    match number(chars, 0, 2) {
        18..=20 => is_swedish_day(body, 0) && luhn(body),
        16 => organisation(body),
        _ => false,
    }
}

/// Danish persons: since 2007 some numbers fail the check, so only the birthday is checked.
fn cpr_by_date(chars: &[u8]) -> bool {
    ddmmyy(chars, 0)
}

fn cpr_by_check(chars: &[u8]) -> bool {
    ddmmyy(chars, 0) && weighted(chars, &[4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
}

/// Finnish persons: the birthday, a sign for the century, a serial, a check character.
fn hetu(chars: &[u8]) -> bool {
    let (sign, serial) = match chars.len() {
        11 => (chars.get(6).copied(), 7),
        _ => (None, 6),
    };
    let n = number(chars, 0, 6) * 1000 + number(chars, serial, serial + 3);
    ddmmyy(chars, 0)
        && sign.is_none_or(|b| b"ABCDEFYXWVU".contains(&b))
        && b"0123456789ABCDEFHJKLMNPRSTUVWXY".get((n % 31) as usize) == chars.last()
}

/// Finnish companies: "1234567-8".
fn business_id(chars: &[u8]) -> bool {
    weighted(chars, &[7, 9, 10, 5, 8, 4, 2, 1]).is_multiple_of(11)
}

/// Norwegian persons: the day is plus 40 for temporary residents, the month for patients; two check digits.
fn norwegian(chars: &[u8]) -> bool {
    let (day, month) = (number(chars, 0, 2), number(chars, 2, 4));
    is_day(
        if month > 40 { month % 40 } else { month },
        if day > 40 { day - 40 } else { day },
    ) && weighted(chars, &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]).is_multiple_of(11)
        && weighted(chars, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
}

/// Estonian and Lithuanian persons: sex and century, the birthday, a check digit in two steps.
fn baltic(chars: &[u8]) -> bool {
    let check = match weighted(chars, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11 {
        10 => weighted(chars, &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10,
        check => check,
    };
    matches!(at(chars, 0), 1..=8) && yymmdd(chars, 1) && check == at(chars, 10)
}

/// Latvian persons: the birthday and a check digit, or since 2017 a number from 32.
fn latvian(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[10, 5, 8, 4, 2, 1, 6, 3, 7, 9]);
    chars.starts_with(b"32") || (ddmmyy(chars, 0) && (1 + sum) % 11 % 10 == at(chars, 10))
}
