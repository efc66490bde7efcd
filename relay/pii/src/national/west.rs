//! The British Isles, France and the Low Countries.

use super::check::{at, is_day, is_monotone, luhn, number, part, shape_is_enough, weighted};
use super::rule::{ANY_CASE, ANY_FORM, BARE, COMPANY, Rule, rule};

/// Sorted by length.
pub(super) const RULES: &[Rule] = &[
    rule("9999999A", BARE, "7-1", pps),
    rule("99A99999", BARE | ANY_FORM, "", shape_is_enough),
    rule("999999999", 0, "3-3-3|3 3 3|4.2.3", bsn),
    rule("999999999", COMPANY, "3 4 2", british_vat),
    rule("9999999AA", BARE, "7-2", pps),
    rule("AA999999A", BARE | ANY_FORM, "", nino),
    rule("AA999999A", BARE | ANY_CASE, "2~2~2~2~1", nino),
    rule("9999999999", 0, "3~3~4", nhs),
    rule("9999999999", BARE, "", likely_nhs),
    rule(
        "99999999999",
        BARE,
        "2.2.2-3.2|2~2~2~3~2|6~3~2|6-5",
        rijksregister,
    ),
    rule("99999999999999", BARE | COMPANY, "3~3~3~5|9~5", siret),
    rule("99999A999999999", BARE, "1~2~2~2~3~3~2|=~2", nir),
    rule("999999999999999", BARE, "1~2~2~2~3~3~2|=~2", nir),
    rule("XXXXX999999XX9XX", BARE | ANY_FORM, "", driver),
    rule("AAAAA999999XX9XX99", BARE | ANY_FORM, "", driver),
];

/// British national insurance: some letters and some pairs are never issued.
fn nino(chars: &[u8]) -> bool {
    const NEVER: [&[u8]; 7] = [b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"];
    let prefix = part(chars, 0, 2);
    !prefix.iter().any(|b| b"DFIQUV".contains(b))
        && chars.get(1) != Some(&b'O')
        && !NEVER.contains(&prefix)
        && matches!(chars.last(), Some(b'A'..=b'D'))
}

/// British patients: England starts with 4, 6 or 7, Scotland with the birthday, test numbers with 999.
fn nhs(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    sum.is_multiple_of(11) && !is_monotone(chars)
}

/// Without separators, only the numbers that England and Scotland issue, and test numbers.
fn likely_nhs(chars: &[u8]) -> bool {
    matches!(number(chars, 0, 2), 0..10 | 40..50 | 60..80 | 94 | 99) && nhs(chars)
}

/// British value added tax.
fn british_vat(chars: &[u8]) -> bool {
    let sum = u64::from(weighted(chars, &[8, 7, 6, 5, 4, 3, 2])) + number(chars, 7, 9);
    matches!(sum % 97, 0 | 42)
}

/// British driving licences: the name, the birthday between the digits of its year, initials.
fn driver(chars: &[u8]) -> bool {
    let name = part(chars, 0, 5);
    let letters = name.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let month = number(chars, 6, 8);
    letters > 0
        && part(name, letters, 5).iter().all(|b| *b == b'9')
        && is_day(if month > 50 { month - 50 } else { month }, number(chars, 8, 10))
        && part(chars, 11, 13)
            .iter()
            .all(|b| *b == b'9' || b.is_ascii_alphabetic())
}

/// Irish personal public service numbers.
fn pps(chars: &[u8]) -> bool {
    let sum = weighted(part(chars, 0, 7), &[8, 7, 6, 5, 4, 3, 2]);
    // A second letter counts since 2013; before that it did not.
    let second = chars.get(8).map_or(0, |b| u32::from(b.saturating_sub(b'@')) % 23);
    let letter = |sum: u32| b"WABCDEFGHIJKLMNOPQRSTUV".get((sum % 23) as usize);
    [letter(sum), letter(sum + 9 * second)].contains(&chars.get(7))
}

/// Dutch citizens' service numbers.
fn bsn(chars: &[u8]) -> bool {
    let sum = weighted(chars, &[9, 8, 7, 6, 5, 4, 3, 2]) + 11 - at(chars, 8);
    sum.is_multiple_of(11) && !is_monotone(chars)
}

/// Belgian national register: the birthday, a serial, and 97 minus the remainder; since 2000 computed with a 2
/// prepended.
fn rijksregister(chars: &[u8]) -> bool {
    let head = number(chars, 0, 9);
    let check = number(chars, 9, 11);
    let month = number(chars, 2, 4);
    month % 20 <= 12
        && month < 60
        && number(chars, 4, 6) <= 31
        && [head, head + 2_000_000_000].iter().any(|n| 97 - n % 97 == check)
}

/// French companies and their places of business.
fn siret(chars: &[u8]) -> bool {
    luhn(chars) && luhn(part(chars, 0, 9)) && !is_monotone(chars)
}

/// French persons: sex, year, month, department (Corsica has letters), commune, serial, key.
fn nir(chars: &[u8]) -> bool {
    let (corsica, take) = match part(chars, 5, 7) {
        b"2A" => (true, 1_000_000),
        b"2B" => (true, 2_000_000),
        _ => (false, 0),
    };
    // The letter counts as zero: 2A is 20 minus one million.
    let digits = if corsica {
        number(chars, 0, 6) * 10
    } else {
        number(chars, 0, 7)
    };
    let body = (digits * 1_000_000 + number(chars, 7, 13)).saturating_sub(take);
    let month = number(chars, 3, 5);
    let letters = chars.iter().filter(|b| b.is_ascii_alphabetic()).count();
    matches!(at(chars, 0), 1..=4 | 7 | 8)
        && (matches!(month, 1..=12 | 20..=42 | 50..=99))
        && letters == usize::from(corsica)
        && 97 - body % 97 == number(chars, 13, 15)
}
