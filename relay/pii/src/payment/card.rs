//! Numbers, security codes and expiry dates of payment cards.

use crate::digits::{Digits, chain, closes, gap, is_epoch, lengths, luhn, value};
use crate::label::Topics;
use crate::scan::run_back;
use crate::view::View;
use crate::{Found, Kind};
use std::ops::{Range, RangeInclusive};

/// Digits of any card number (ISO/IEC 7812-1).
const DIGITS: RangeInclusive<usize> = 12..=19;
/// Most groups of a card number.
const GROUPS_MAX: usize = 6;
/// First letters of the labels of security codes, among those of cards: cvv, cvc, csc, security code, Prüfziffer.
const CODE_LABELS: &[&[u8]] = &[b"cv", b"cs", b"se", b"pr"];
/// How far after its label a security code may start, in bytes.
const LABEL_BYTES: usize = 12;

/// Each issuer's ranges of the first six digits, and the lengths of its numbers.
const ISSUERS: &[(RangeInclusive<u64>, RangeInclusive<usize>)] = &[
    (100_000..=199_999, 15..=15), // UATP
    (220_000..=220_499, 16..=19), // Mir
    (213_100..=213_199, 15..=15), // JCB
    (222_100..=272_099, 16..=16), // Mastercard
    (286_900..=286_999, 16..=16), // Carnet
    (300_000..=305_999, 14..=19), // Diners
    (309_500..=309_599, 14..=19),
    (340_000..=349_999, 15..=15), // American Express
    (352_800..=358_999, 16..=19), // JCB
    (360_000..=369_999, 14..=19), // Diners
    (370_000..=379_999, 15..=15), // American Express
    (380_000..=399_999, 14..=19), // Diners
    (400_000..=499_999, 13..=13), // Visa
    (400_000..=499_999, 16..=16),
    (400_000..=499_999, 18..=19), // Visa, Switch
    (500_000..=509_999, 12..=19), // Maestro, Dankort, Elo, RuPay
    (510_000..=559_999, 16..=16), // Mastercard
    (560_000..=589_999, 12..=19), // Maestro
    (600_000..=699_999, 12..=19), // Maestro, Discover, UnionPay, RuPay, Hipercard, InterPayment
    (810_000..=829_999, 16..=19), // RuPay, UnionPay
    (860_000..=860_099, 16..=16), // Uzcard
    (979_200..=979_299, 16..=16), // Troy
    (986_000..=986_099, 16..=16), // Humo
];

pub(super) fn find(view: &View<'_>, groups: &[Range<usize>], found: &mut Found) {
    let before = found.0.len();
    if view.has().digits >= *DIGITS.start() {
        found.search(Kind::Card, groups, |rest| number(view, rest));
    }
    details(view, groups, found.0.len() > before, found);
}

/// The card number at the start of some groups.
fn number(view: &View<'_>, groups: &[Range<usize>]) -> Option<Range<usize>> {
    let bytes = view.bytes();
    // All with the same separator.
    let mut separator = None;
    let chain = chain(bytes, groups, GROUPS_MAX, |gap, _| {
        let known = matches!(
            gap,
            b" " | b"-" | b"." | b"_" | b":" | b"  " | b" - " | b"/" | b"+"
        );
        known && *separator.get_or_insert(gap) == gap
    });
    let start = chain.first()?.start;
    if chain.iter().map(Range::len).sum::<usize>() < *DIGITS.start() || !opens(bytes, start) {
        return None;
    }
    (1..=chain.len()).rev().find_map(|count| {
        let groups = chain.get(..count)?;
        let digits = Digits::of(bytes, groups)?;
        let end = groups.last()?.end;
        (DIGITS.contains(&digits.len()) && ends(bytes, end) && is_card(view, groups, &digits))
            .then_some(start..end)
    })
}

fn is_card(view: &View<'_>, groups: &[Range<usize>], digits: &[u8]) -> bool {
    let issued = is_issued(digits);
    let checks = luhn(digits);
    let all_alike = digits.windows(2).all(|pair| matches!(pair, [a, b] if a == b));
    if all_alike {
        return false;
    }
    let printed = is_printed(groups);
    if issued && (checks || printed == Some(Print::Fours)) && (groups.len() == 1 || printed.is_some()) {
        return true;
    }
    let (Some(first), Some(last)) = (groups.first(), groups.last()) else {
        return false;
    };
    // A wrong check digit next to the word "card" is a typing error, not another kind of number.
    view.labelled(&(first.start..last.end), Topics::CARD) && !(is_epoch(digits) && !(issued && checks))
}

/// How a number is divided into groups.
#[derive(PartialEq)]
enum Print {
    /// In fours, with at least sixteen digits.
    Fours,
    /// Any other grouping that issuers print.
    Other,
}

fn is_printed(groups: &[Range<usize>]) -> Option<Print> {
    match lengths(groups) {
        [4, 4, 4, 4, 0..=3, 0] => Some(Print::Fours),
        [4, 4, 4, 0, ..] | [4, 6, 4 | 5, 0, ..] | [4, 4, 4, 1..=3, 0, _] | [6, 13, 0, ..] | [8, 8, 0, ..] => {
            Some(Print::Other)
        }
        _ => None,
    }
}

/// Whether an issuer has numbers with this start and length.
fn is_issued(digits: &[u8]) -> bool {
    let Some(head) = digits.get(..6).map(value) else {
        return false;
    };
    ISSUERS
        .iter()
        .any(|(heads, lengths)| heads.contains(&head) && lengths.contains(&digits.len()))
}

/// Whether a card number may start here. It may follow a word ("card4111..."), but not a hexadecimal digit.
fn opens(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(..at).unwrap_or_default();
    match before {
        [.., digit, b'.' | b'-'] if digit.is_ascii_digit() => false,
        [.., letter] if letter.is_ascii_alphabetic() => {
            let word = run_back(usize::MAX, bytes, at, u8::is_ascii_alphabetic);
            word > 1 && run_back(word, bytes, at, u8::is_ascii_hexdigit) < word
        }
        _ => true,
    }
}

/// Whether a card number may end here: it must not continue.
fn ends(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at..).unwrap_or_default() {
        [b'.' | b'-', digit, ..] if digit.is_ascii_digit() => false,
        [letter, rest @ ..] if letter.is_ascii_alphabetic() => {
            let next = rest.first().is_some_and(u8::is_ascii_alphabetic);
            next && !(letter.is_ascii_hexdigit() && rest.first().is_some_and(u8::is_ascii_hexdigit))
        }
        _ => true,
    }
}

/// Security codes after their label, and expiry dates next to a card number.
fn details(view: &View<'_>, groups: &[Range<usize>], has_card: bool, found: &mut Found) {
    let bytes = view.bytes();
    for label in view.labels_of(Topics::CARD) {
        let head = bytes
            .get(label.range.start..label.range.start + 2)
            .unwrap_or_default();
        if !CODE_LABELS.iter().any(|label| label.eq_ignore_ascii_case(head)) {
            continue;
        }
        let behind = groups.partition_point(|group| group.start < label.range.end);
        let mut behind = groups.get(behind..).unwrap_or_default().iter();
        // "cvv2" is a label that ends with a digit.
        let own = |group: &&Range<usize>| group.start == label.range.end && group.len() == 1;
        let code = behind
            .next()
            .and_then(|group| if own(&group) { behind.next() } else { Some(group) });
        let near = |code: &&Range<usize>| code.start - label.range.end <= LABEL_BYTES;
        if let Some(code) = code.filter(near)
            && matches!(code.len(), 3 | 4)
            && closes(bytes, code.end)
        {
            found.add(Kind::Card, code.clone());
        }
    }
    if !has_card {
        return;
    }
    for pair in groups.windows(2) {
        let [month, year] = pair else { continue };
        let number = bytes.get(month.clone()).map_or(0, value);
        if month.len() == 2
            && matches!(year.len(), 2 | 4)
            && (1..=12).contains(&number)
            && matches!(gap(bytes, month, year), b"/" | b"-" | b" / ")
            && closes(bytes, year.end)
        {
            found.add(Kind::Card, month.start..year.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digits::groups;

    #[test]
    fn card_numbers_are_found_and_their_likes_are_not() {
        let check = |text: &str, want: &[&str]| {
            let view = View::new(text);
            let mut found = Found::default();
            find(&view, &groups(&view), &mut found);
            let got: Vec<_> = found.0.iter().map(|f| &view.text()[f.range.clone()]).collect();
            assert_eq!(got, want, "{text}");
        };
        // Valid issuer and check digit, in every length.
        check("Visa 4000056655665556", &["4000056655665556"]);
        check("4222222222222 pays", &["4222222222222"]);
        check(
            "2223003122003222,2200000000000004",
            &["2223003122003222", "2200000000000004"],
        );
        check("3782 822463 10005", &["3782 822463 10005"]);
        check("3056 930902 5904", &["3056 930902 5904"]);
        check("q=6200000000000005&b=1", &["6200000000000005"]);
        check(
            "3566:0020:2036:0505 and 6011_1111_1111_1117",
            &["3566:0020:2036:0505", "6011_1111_1111_1117"],
        );
        check("card4000056655665556and", &["4000056655665556"]);
        // A wrong digit, no issuer, another length, part of a longer text.
        check("4000056655665557", &[]);
        check("7000056655665555, 7992739871300000", &[]);
        check("150428427078522, 1712345678901, 400005665566555", &[]);
        check("0.4000056655665556, 4000056655665556.5", &[]);
        check("deadbeef4000056655665556", &[]);
        check("c4000-1234-4000056655665556", &[]);
        check("0000000000000000, 5555555555555555", &[]);
        // In fours a typing error is still a card; in other groupings it is not.
        check("4000 0566 5566 5557", &["4000 0566 5566 5557"]);
        check("7000 0566 5566 5557", &[]);
        check("40000 56655 66555 6", &[]);
        check("4000 0566-5566 5557", &[]);
        // With a label.
        check("my card: 1234 5678 8765 4320", &["1234 5678 8765 4320"]);
        check("Kreditkarte 1234-567890-12345", &["1234-567890-12345"]);
        check("cards since 1712345678901", &[]);
        check("1234 5678 8765 4320 was typed", &[]);
        // Security codes and expiry dates.
        check(
            "CVV: 123, cvc2 4567, security code is 987",
            &["123", "4567", "987"],
        );
        check("cvv 12345, 123", &[]);
        check("visa 4000056655665556 exp 08/27", &["4000056655665556", "08/27"]);
        check("the token will expire 08/27", &[]);
    }
}
