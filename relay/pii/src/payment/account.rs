//! Bank accounts that only a label tells: national account numbers, sort codes, bank identifiers.

use super::digits::{Digits, closes, gap, is_date, is_epoch};
use crate::detect::label::Topics;
use crate::detect::view::View;
use crate::detect::{Found, Kind};
use std::ops::{Range, RangeInclusive};

/// Digits of a national account number or a sort code.
const DIGITS: RangeInclusive<usize> = 5..=20;
/// How far behind its label a number stands, in bytes.
const LABEL_BYTES: usize = 24;
/// Most groups of a number.
const GROUPS_MAX: usize = 6;

pub(super) fn find(view: &View<'_>, groups: &[Range<usize>], found: &mut Found) {
    let bytes = view.bytes();
    for label in view
        .labels()
        .iter()
        .filter(|label| label.topics.any(Topics::BANK))
    {
        let behind = groups.partition_point(|group| group.start < label.range.end);
        let behind = groups.get(behind..).unwrap_or_default();
        let Some(first) = behind.first() else { continue };
        let Some(between) = bytes.get(label.range.end..first.start) else {
            continue;
        };
        if between.len() > LABEL_BYTES || between.iter().any(|b| matches!(b, b'\n' | b';' | b'!' | b'?')) {
            continue;
        }
        let joined = behind
            .windows(2)
            .take(GROUPS_MAX - 1)
            .take_while(
                |pair| matches!(pair, [a, b] if matches!(gap(bytes, a, b), b" " | b"-" | b"." | b"/")),
            )
            .count();
        let range = (0..=joined).rev().find_map(|last| {
            let groups = behind.get(..=last)?;
            let digits = Digits::of(bytes, groups)?;
            let end = groups.last()?.end;
            let fits = DIGITS.contains(&digits.len()) && closes(bytes, end);
            (fits && !is_epoch(&digits) && !is_date(bytes, groups)).then_some(first.start..end)
        });
        if let Some(range) = range {
            found.add(Kind::Iban, range);
        }
    }
}

/// Finds the identifier of a bank (ISO 9362) behind "BIC" or "SWIFT". It has no digits when the place
/// has none.
pub(super) fn find_code(view: &View<'_>, found: &mut Found) {
    let bytes = view.bytes();
    for label in view
        .labels()
        .iter()
        .filter(|label| label.topics.any(Topics::BANK))
    {
        let behind = bytes.get(label.range.end..).unwrap_or_default();
        let token = |word: &[u8]| word.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
        let mut at = 0;
        while at < LABEL_BYTES.min(behind.len()) {
            let word = behind.get(at..).unwrap_or_default();
            let length = token(word);
            if word.get(..length).is_some_and(is_bank_code) {
                let start = label.range.end + at;
                found.add(Kind::Iban, start..start + length);
                break;
            }
            at += length.max(1);
        }
    }
}

fn is_bank_code(word: &[u8]) -> bool {
    let upper = |b: &u8| b.is_ascii_uppercase();
    matches!(word.len(), 8 | 11)
        && word.get(..6).is_some_and(|bank| bank.iter().all(upper))
        && word.iter().all(|b| upper(b) || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::super::digits::groups;
    use super::*;

    #[test]
    fn accounts_are_found_behind_their_label_only() {
        let check = |text: &str, want: &[&str]| {
            let view = View::new(text);
            let mut found = Found::default();
            find(&view, &groups(&view), &mut found);
            find_code(&view, &mut found);
            let got: Vec<_> = found.0.iter().map(|f| &view.text()[f.range.clone()]).collect();
            assert_eq!(got, want, "{text}");
        };
        check(
            "Kontonummer: 0532013000, BLZ 370 400 44",
            &["0532013000", "370 400 44"],
        );
        check(
            "sort code 60-16-13, account no. 31926819",
            &["60-16-13", "31926819"],
        );
        check("account number is 0123 4567 8901", &["0123 4567 8901"]);
        check(
            "BIC: DEUTDEFF500, SWIFT code MARKDEF1100",
            &["DEUTDEFF500", "MARKDEF1100"],
        );
        check("0532013000 and 60-16-13", &[]);
        check("account 12, Kontonummer seit 2026-08-12", &[]);
        check("the swift language, release 6", &[]);
        check("DEUTDEFF500", &[]);
    }
}
