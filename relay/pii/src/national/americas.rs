//! The Americas and Oceania.

use super::check::{at, is_monotone, luhn, luhn_sum, number, weighted, yymmdd};
use super::rule::{ANY_CASE, BARE, COMPANY, Rule, ZERO, rule};

/// Sorted by length.
pub(super) const RULES: &[Rule] = &[
    rule("9999999X", 0, "7-1|1.3.3-1", rut),
    rule("999999999", ZERO, "3~2~4|3-6|5-4", ssn),
    rule("999999999", BARE, "3~2~4|3-6|5-4|3-3-3|3 3 3", itin),
    rule("999999999", BARE, "3-3-3|3 3 3", sin),
    rule("999999999", BARE, "3-3-3|3 3 3", tfn),
    rule("999999999", ZERO | COMPANY, "3-3-3|3 3 3", acn),
    rule("99999999X", 0, "2.3.3-1|8-1", rut),
    rule("9999999999", BARE | COMPANY, "4~3~3", npi),
    rule("9999999999", BARE, "4~5~1", medicare),
    rule("99999999999", BARE | COMPANY, "2~3~3~3|2~9", abn),
    rule("99999999999", BARE, "3.3.3-2|3~3~3~2|9-2", cpf),
    rule("99999999999", BARE, "2-8-1|2 8 1", cuit),
    rule("9AXXAXXAA99", 0, "4~3~4", mbi),
    rule("9AX9AX9AA99", BARE | ANY_CASE, "4~3~4", mbi),
    rule("AAA999999XXX", BARE | COMPANY, "3~6~3", rfc),
    rule("AAAA999999XXX", BARE, "4~6~3", rfc_of_person),
    rule(
        "99999999999999",
        BARE | COMPANY,
        "2.3.3/4-2|2~3~3~4~2|8/4-2",
        cnpj,
    ),
    rule("AAAA999999AAAAAAX9", BARE | ANY_CASE, "", curp),
];

/// United States social security: some areas, group 00 and serial 0000 were never issued.
fn ssn(chars: &[u8]) -> bool {
    let area = number(chars, 0, 3);
    !matches!(area, 0 | 666 | 900..) && number(chars, 3, 5) != 0 && number(chars, 5, 9) != 0
}

/// United States taxpayers without a social security number.
fn itin(chars: &[u8]) -> bool {
    at(chars, 0) == 9 && matches!(number(chars, 3, 5), 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

/// Medicare beneficiaries: letters without S, L, O, I, B and Z.
fn mbi(chars: &[u8]) -> bool {
    at(chars, 0) != 0 && !chars.iter().any(|b| b"SLOIBZ".contains(b))
}

/// Health providers in the United States: Luhn with 80840 prepended.
fn npi(chars: &[u8]) -> bool {
    matches!(at(chars, 0), 1 | 2) && (luhn_sum(chars) + 24).is_multiple_of(10)
}

/// Canadian social insurance, and French companies.
fn sin(chars: &[u8]) -> bool {
    luhn(chars) && !is_monotone(chars)
}

/// Australian taxpayers.
fn tfn(chars: &[u8]) -> bool {
    weighted(chars, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11) && !is_monotone(chars)
}

/// Australian companies.
fn acn(chars: &[u8]) -> bool {
    weighted(chars, &[8, 7, 6, 5, 4, 3, 2, 1, 1]).is_multiple_of(10) && !is_monotone(chars)
}

/// Australian businesses.
fn abn(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
    at(chars, 0) != 0 && (sum - 10).is_multiple_of(89)
}

/// Australian health cards.
fn medicare(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[1, 3, 7, 9, 1, 3, 7, 9]);
    matches!(at(chars, 0), 2..=6) && sum % 10 == at(chars, 8) && at(chars, 9) != 0
}

/// Brazilian check digit: eleven minus the remainder, or zero for ten and eleven.
fn brazilian(chars: &[u8], weights: &[u8]) -> bool {
    let rest = weighted(chars, weights) % 11;
    (if rest < 2 { 0 } else { 11 - rest }) == at(chars, weights.len())
}

fn cpf(chars: &[u8]) -> bool {
    !is_monotone(chars)
        && brazilian(chars, &[10, 9, 8, 7, 6, 5, 4, 3, 2])
        && brazilian(chars, &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2])
}

fn cnpj(chars: &[u8]) -> bool {
    !is_monotone(chars)
        && brazilian(chars, &[5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2])
        && brazilian(chars, &[6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2])
}

/// Argentine taxpayers.
fn cuit(chars: &[u8]) -> bool {
    matches!(number(chars, 0, 2), 20 | 23..=27 | 30 | 33 | 34)
        && match 11 - weighted(chars, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11 {
            11 => at(chars, 10) == 0,
            10 => at(chars, 10) == 9,
            check => at(chars, 10) == check,
        }
}

/// Chilean persons: seven or eight digits and a check digit, which may be a K.
fn rut(chars: &[u8]) -> bool {
    let Some((last, digits)) = chars.split_last() else {
        return false;
    };
    let sum: u32 = digits
        .iter()
        .rev()
        .zip([2, 3, 4, 5, 6, 7, 2, 3])
        .map(|(b, w)| u32::from(b.wrapping_sub(b'0')) * w)
        .sum();
    let check = match 11 - sum % 11 {
        11 => b'0',
        10 => b'K',
        check => b'0' + u8::try_from(check).unwrap_or_default(),
    };
    *last == check
}

/// Mexican taxpayers: letters of the name, a date, three characters.
fn rfc(chars: &[u8]) -> bool {
    yymmdd(chars, 3)
}

fn rfc_of_person(chars: &[u8]) -> bool {
    yymmdd(chars, 4)
}

/// Mexican persons: letters of the name, the birthday, sex, state, more letters.
fn curp(chars: &[u8]) -> bool {
    yymmdd(chars, 4) && matches!(chars.get(10), Some(b'H' | b'M' | b'X'))
}
