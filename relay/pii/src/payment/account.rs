//! Bank accounts that are found only by their label: national account numbers, sort codes, bank identifiers.

use crate::digits::{Digits, chain, closes, is_date, is_epoch};
use crate::label::Topics;
use crate::scan::{after, runs};
use crate::view::View;
use crate::{Found, Kind};
use std::ops::{Range, RangeInclusive};

/// Digits of a national account number or a sort code.
const DIGITS: RangeInclusive<usize> = 5..=20;
/// How far after its label a number may start, in bytes.
const LABEL_BYTES: usize = 24;
/// Most groups of a number.
const GROUPS_MAX: usize = 6;

pub(super) fn find(view: &View<'_>, groups: &[Range<usize>], found: &mut Found) {
    let bytes = view.bytes();
    for label in view.labels_of(Topics::BANK) {
        let behind = groups.partition_point(|group| group.start < label.range.end);
        let behind = groups.get(behind..).unwrap_or_default();
        let Some(first) = behind.first() else { continue };
        let Some(between) = bytes.get(label.range.end..first.start) else {
            continue;
        };
        if between.len() > LABEL_BYTES || between.iter().any(|b| matches!(b, b'\n' | b';' | b'!' | b'?')) {
            continue;
        }
        let chain = chain(bytes, behind, GROUPS_MAX, |gap, _| {
            matches!(gap, b" " | b"-" | b"." | b"/")
        });
        let range = (1..=chain.len()).rev().find_map(|count| {
            let groups = chain.get(..count)?;
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

/// Finds the identifier of a bank (ISO 9362) after "BIC" or "SWIFT". It has no digits if its location code has none.
pub(super) fn find_code(view: &View<'_>, found: &mut Found) {
    let bytes = view.bytes();
    for label in view.labels_of(Topics::BANK) {
        let start = label.range.end;
        let code = runs(after(bytes, start), u8::is_ascii_alphanumeric)
            .take_while(|word| word.start < LABEL_BYTES)
            .map(|word| start + word.start..start + word.end)
            .find(|word| bytes.get(word.clone()).is_some_and(is_bank_code));
        if let Some(code) = code {
            found.add(Kind::Iban, code);
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
    use super::*;
    use crate::digits::groups;

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
