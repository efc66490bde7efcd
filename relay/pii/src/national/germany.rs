//! Germany: tax, pension, health, identity cards and the trade register.

use super::check::{at, digit_sums, is_day, mod_11_10, number, part, shape_is_enough, value, weighted};
use super::rule::{BARE, Candidate, Rule, rule};

/// Sorted by length.
pub(super) const RULES: &[Rule] = &[
    rule("A99999999", BARE, "", provisional_card),
    rule("AXXXXXXX9", BARE, "", document),
    rule("A999999999", BARE, "1~3~3~3|1~9", health_insurance),
    rule("AXXXXXXXX9", BARE, "9~1", document),
    rule("9999999999", 0, "2/3/5", shape_is_enough),
    // The Croatian OIB has the same check digit, but not the rule that one digit occurs two or three times.
    rule("99999999999", BARE, "2~3~3~3", mod_11_10),
    rule("99999999999", 0, "3/3/5|3/4/4|2/4/5", shape_is_enough),
    rule("99999999A999", BARE, "2~6~1~3|2~6~1~2~1|8~1~3", pension),
];

/// The letter and number of an entry in the trade register: "HRB 123456".
pub(super) fn is_register_entry(candidate: &Candidate) -> bool {
    match candidate.chars() {
        [b'H', b'R', b'A' | b'B', digits @ ..] => {
            (1..=6).contains(&digits.len())
                && digits.iter().all(u8::is_ascii_digit)
                && candidate.is_joined_only_by(b" -:")
        }
        _ => false,
    }
}

/// Serials of documents use these letters: no vowels, and none that look like digits.
fn is_serial_letter(b: u8) -> bool {
    b"CFGHJKLMNPRTVWXYZ".contains(&b)
}

/// Identity cards and passports: authority, serial and a check digit with the weights 7, 3, 1 (ICAO 9303).
fn document(chars: &[u8]) -> bool {
    let Some((last, head)) = chars.split_last() else {
        return false;
    };
    let digits = chars.iter().filter(|b| b.is_ascii_digit()).count();
    digits >= 4
        && head.iter().all(|b| b.is_ascii_digit() || is_serial_letter(*b))
        && weighted(head, &[7, 3, 1, 7, 3, 1, 7, 3, 1]) % 10 == value(*last)
}

/// Identity cards without a chip, before 2010: a `T` and eight digits.
fn provisional_card(chars: &[u8]) -> bool {
    chars.first() == Some(&b'T')
}

/// The position of a letter in the alphabet, in two digits.
fn place(letter: u8) -> [u8; 2] {
    let place = letter.saturating_sub(b'A').saturating_add(1);
    [b'0' + place / 10 % 10, b'0' + place % 10]
}

/// The number of a person with statutory health insurance (section 290 SGB V): a letter, eight digits, a check digit.
fn health_insurance(chars: &[u8]) -> bool {
    let Some((letter, digits)) = chars.split_first() else {
        return false;
    };
    let Some((last, digits)) = digits.split_last() else {
        return false;
    };
    let sum = digit_sums(&place(*letter), &[1, 2]) + digit_sums(digits, &[1, 2, 1, 2, 1, 2, 1, 2]);
    sum % 10 == value(*last)
}

/// The number of the pension insurance (section 147 SGB VI): area, birthday, first letter of the name,
/// serial, check digit.
fn pension(chars: &[u8]) -> bool {
    let letter = chars.get(8).map_or([0; 2], |b| place(*b));
    let sum = digit_sums(part(chars, 0, 8), &[2, 1, 2, 5, 7, 1, 2, 1])
        + digit_sums(&letter, &[2, 1])
        + digit_sums(part(chars, 9, 11), &[2, 1]);
    let day = number(chars, 2, 4);
    // If serials ran out, the days continue at 33 or at 50.
    let is_plausible = is_day(number(chars, 4, 6), day) || (33..=81).contains(&day);
    sum % 10 == at(chars, 11) && is_plausible
}
