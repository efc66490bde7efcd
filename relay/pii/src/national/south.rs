//! Spain, Portugal, Italy, Greece, Israel and South Africa.

use super::check::{
    at, ddmmyy, digit_sums, is_monotone, luhn, number, part, shape_is_enough, value, weighted, yymmdd,
};
use super::rule::{ANY_CASE, BARE, COMPANY, Rule, ZERO, rule};

/// Sorted by length.
pub(super) const RULES: &[Rule] = &[
    rule("9999999A", BARE | ANY_CASE, "7-1", nif),
    rule("99999999A", BARE | ANY_CASE, "8-1|8 1|2.3.3-1|2 3 3 1", nif),
    rule("A9999999A", BARE | ANY_CASE, "1-7-1|8-1|1 7 1", nie),
    rule("A9999999A", BARE | COMPANY, "1-7-1|8-1|1-8|1 7 1", cif),
    rule("A99999999", BARE | COMPANY, "1-7-1|8-1|1-8", cif),
    rule("999999999", ZERO, "3 3 3", portuguese),
    rule("999999999", 0, "8-1", luhn),
    rule("AA9999999A", BARE, "", shape_is_enough),
    rule("99999999999", BARE | COMPANY, "8_3", partita_iva),
    rule("99999999999", BARE, "", amka),
    rule("999999999XX9", BARE, "8~1~3", citizen_card),
    rule("9999999999999", BARE, "6~4~3|6~4~2~1|6~7", south_african),
    rule(
        "AAAAAA99A99A999A",
        BARE | ANY_CASE,
        "3~3~5~5|6~5~5|6~2~1~2~4~1",
        codice_fiscale,
    ),
    rule("AAAAAAXXAXXAXXXA", BARE, "3~3~5~5", codice_with_letters),
];

/// The check letter of a Spanish number.
fn spanish_letter(number: u64) -> Option<&'static u8> {
    b"TRWAGMYFPDXBNJZSQVHLCKE".get((number % 23) as usize)
}

/// Spanish citizens: eight digits and a letter. Some people omit the leading zero.
fn nif(chars: &[u8]) -> bool {
    let Some((letter, digits)) = chars.split_last() else {
        return false;
    };
    spanish_letter(number(digits, 0, digits.len())) == Some(letter)
}

/// Foreigners in Spain: X, Y or Z in place of the first digit.
fn nie(chars: &[u8]) -> bool {
    let first = match chars.first() {
        Some(b'X') => 0,
        Some(b'Y') => 1,
        Some(b'Z') => 2,
        _ => return false,
    };
    spanish_letter(first * 10_000_000 + number(chars, 1, 8)) == chars.last()
}

/// Spanish companies: the check is a digit, or the letter at that position.
fn cif(chars: &[u8]) -> bool {
    let Some(first) = chars.first() else { return false };
    let sum = digit_sums(part(chars, 1, 8), &[2, 1, 2, 1, 2, 1, 2]);
    let check = (10 - sum % 10) % 10;
    b"ABCDEFGHJNPQRSUVWKLM".contains(first)
        && chars.last().is_some_and(|last| {
            (last.is_ascii_digit() && value(*last) == check)
                || b"JABCDEFGHI".get(check as usize) == Some(last)
        })
}

/// Portuguese taxpayers.
fn portuguese(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[9, 8, 7, 6, 5, 4, 3, 2]);
    (11 - sum % 11) % 11 % 10 == at(chars, 8) && !is_monotone(chars)
}

/// Portuguese identity cards: the number, its check digit, two letters and another check digit.
fn citizen_card(chars: &[u8]) -> bool {
    part(chars, 9, 11).iter().any(u8::is_ascii_alphabetic) && luhn(chars)
}

/// Italian companies: the three digits before the last identify a provincial office.
fn partita_iva(chars: &[u8]) -> bool {
    let office = number(chars, 7, 10);
    (at(chars, 0) == 0 || matches!(office, 1..=100 | 120 | 121 | 888 | 999)) && luhn(chars)
}

/// Greek social insurance: the birthday and Luhn.
fn amka(chars: &[u8]) -> bool {
    ddmmyy(chars, 0) && luhn(chars)
}

/// Letters for the months of Italian numbers.
const MONTHS: &[u8] = b"ABCDEHLMPRST";

/// The Italian personal number: name, year, a letter for the month, the day (plus 40 for women), the place.
fn codice_fiscale(chars: &[u8]) -> bool {
    let day = number(chars, 9, 11);
    chars.get(8).is_some_and(|month| MONTHS.contains(month)) && matches!(day, 1..=31 | 41..=71)
}

/// The same with letters for some digits; the check letter distinguishes it from words.
fn codice_with_letters(chars: &[u8]) -> bool {
    const PLACES: [usize; 7] = [6, 7, 9, 10, 12, 13, 14];
    const ODD: [u8; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
    ];
    let step = |b: u8| match b {
        b'A'..=b'Z' => usize::from(b - b'A'),
        _ => value(b) as usize,
    };
    let is_digit = |place: usize| {
        chars
            .get(place)
            .is_some_and(|b| b.is_ascii_digit() || b"LMNPQRSTUV".contains(b))
    };
    let sum: usize = part(chars, 0, 15)
        .iter()
        .enumerate()
        .map(|(place, b)| match place % 2 {
            0 => ODD.get(step(*b)).map_or(0, |v| usize::from(*v)),
            _ => step(*b),
        })
        .sum();
    PLACES.iter().all(|place| is_digit(*place))
        && chars.get(8).is_some_and(|month| MONTHS.contains(month))
        && chars.last().is_some_and(|last| step(*last) == sum % 26)
}

/// South African persons: the birthday, sex, citizenship, Luhn.
fn south_african(chars: &[u8]) -> bool {
    yymmdd(chars, 0) && matches!(at(chars, 10), 0..=2) && luhn(chars)
}
