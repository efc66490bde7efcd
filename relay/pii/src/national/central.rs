//! Austria, Switzerland, Poland, Czechia, Slovakia, Hungary, the Balkans, Turkey and Russia.

use super::check::{at, ddmmyy, is_day, is_monotone, number, part, shape_is_enough, weighted};
use super::rule::{BARE, COMPANY, Rule, rule};

/// Sorted by length.
pub(super) const RULES: &[Rule] = &[
    rule("999999999", 0, "6/3", born_before_1954),
    rule("999999999", 0, "2-3/4", shape_is_enough),
    rule("9999999999", BARE, "6/4", rodne_cislo),
    rule("9999999999", COMPANY, "3~3~2~2|3~2~2~3", nip),
    rule("9999999999", BARE, "4~6", svnr),
    rule("9999999999", BARE, "", hungarian_tax),
    rule("9999999999", BARE, "6-4", egn),
    rule("99999999999", BARE, "", pesel),
    rule("99999999999", BARE, "3~3~3~2", turkish),
    rule("99999999999", 0, "3-3-3 2|3~3~3~2", snils),
    rule("99999999999", COMPANY, "8-1-2", hungarian_company),
    rule("999999999999", BARE, "", inn),
    rule(
        "AAA999999999",
        BARE | COMPANY,
        "3-3.3.3|3~3~3~3|3~9",
        swiss_company,
    ),
    rule("9999999999999", BARE, "3~4~4~2", ahv),
    rule("9999999999999", BARE, "1~6~6", cnp),
    rule("9999999999999", BARE, "", jmbg),
];

/// Polish persons: the month also encodes the century.
fn pesel(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]);
    sum.is_multiple_of(10) && is_day(number(chars, 2, 4) % 20, number(chars, 4, 6))
}

/// Polish taxpayers.
fn nip(chars: &[u8]) -> bool {
    weighted(chars, &[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 == at(chars, 9) && !is_monotone(chars)
}

/// Czech and Slovak persons: the month is plus 50 for women, and plus another 20 if the serials of a day ran out.
fn is_czech_day(chars: &[u8]) -> bool {
    is_day(number(chars, 2, 4) % 50 % 20, number(chars, 4, 6))
}

fn rodne_cislo(chars: &[u8]) -> bool {
    is_czech_day(chars) && number(chars, 0, 9) % 11 % 10 == number(chars, 9, 10)
}

fn born_before_1954(chars: &[u8]) -> bool {
    is_czech_day(chars) && number(chars, 0, 2) < 54
}

/// Austrian social insurance: a serial of three, its check digit, the birthday, whose month may be 13 to 15.
fn svnr(chars: &[u8]) -> bool {
    let month = number(chars, 6, 8);
    let sum = weighted(chars, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]);
    at(chars, 0) != 0
        && sum % 11 == at(chars, 3)
        && (1..=15).contains(&month)
        && is_day(1, number(chars, 4, 6))
}

/// Hungarian taxpayers: an 8, the days since 1867, a serial.
fn hungarian_tax(chars: &[u8]) -> bool {
    at(chars, 0) == 8 && weighted(chars, &[1, 2, 3, 4, 5, 6, 7, 8, 9]) % 11 == at(chars, 9)
}

fn hungarian_company(chars: &[u8]) -> bool {
    weighted(chars, &[9, 7, 3, 1, 9, 7, 3, 1]).is_multiple_of(10) && matches!(at(chars, 8), 1..=5)
}

/// Bulgarian persons: months plus 20 are of the 19th century, plus 40 of the 21st.
fn egn(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[2, 4, 8, 5, 10, 9, 7, 3, 6]);
    is_day(number(chars, 2, 4) % 20, number(chars, 4, 6)) && sum % 11 % 10 == at(chars, 9)
}

/// Turkish citizens: two check digits.
fn turkish(chars: &[u8]) -> bool {
    let odd = weighted(chars, &[1, 0, 1, 0, 1, 0, 1, 0, 1]);
    let even = weighted(chars, &[0, 1, 0, 1, 0, 1, 0, 1]);
    at(chars, 0) != 0
        && (odd * 7 + 100 - even) % 10 == at(chars, 9)
        && (odd + even + at(chars, 9)) % 10 == at(chars, 10)
}

/// Russian pension insurance.
fn snils(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[9, 8, 7, 6, 5, 4, 3, 2, 1]);
    u64::from(sum % 101 % 100) == number(chars, 9, 11)
}

/// Russian taxpayers: two check digits.
fn inn(chars: &[u8]) -> bool {
    weighted(chars, &[7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10 == at(chars, 10)
        && weighted(chars, &[3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8]) % 11 % 10 == at(chars, 11)
}

/// Swiss companies: "CHE-123.456.789".
fn swiss_company(chars: &[u8]) -> bool {
    let sum = weighted(part(chars, 3, 11), &[5, 4, 3, 2, 7, 6, 5, 4]);
    chars.starts_with(b"CHE") && (11 - sum % 11) % 11 == at(chars, 11)
}

/// Swiss social insurance: an EAN-13 with the country code 756.
fn ahv(chars: &[u8]) -> bool {
    chars.starts_with(b"756") && weighted(chars, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
}

/// Romanian persons: sex and century, the birthday, the county.
fn cnp(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
    at(chars, 0) != 0
        && is_day(number(chars, 3, 5), number(chars, 5, 7))
        && matches!(number(chars, 7, 9), 1..=52 | 70..=83 | 90..=99)
        && (if sum == 10 { 1 } else { sum }) == at(chars, 12)
}

/// Persons of the former Yugoslavia: the birthday with three digits of the year.
fn jmbg(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]);
    ddmmyy(chars, 0) && matches!(at(chars, 4), 0 | 8 | 9) && (11 - sum % 11) % 11 % 10 == at(chars, 12)
}
