//! Licence plates next to a label. On their own they look like any code.

use crate::label::Topics;
use crate::scan::before;
use crate::view::View;
use crate::{Found, Kind};
use std::ops::{Range, RangeInclusive};

/// Letters and digits of a plate.
const LENGTH: RangeInclusive<usize> = 4..=10;
/// Most words of a plate: "OD 02 BA 2341", "AB-123-CD".
const WORDS_MAX: usize = 5;

/// A run of letters or of digits and how long it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    Letters(usize),
    Digits(usize),
}

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    if view.labels_of(Topics::PLATE).next().is_some() {
        let labelled = |words: &[_]| plate(view, words).filter(|range| is_labelled(view, range));
        found.search(Kind::Plate, view.words(), labelled);
    }
}

/// Whether a label precedes a plate, or follows it: "AB 123 is my number plate".
fn is_labelled(view: &View<'_>, range: &Range<usize>) -> bool {
    let behind = view.rest(range.end);
    view.labelled_before(range.start, Topics::PLATE)
        || ([" is ", " ist "].iter().any(|verb| behind.starts_with(verb))
            && view.labelled(range, Topics::PLATE))
}

/// The plate at the start of the words.
fn plate(view: &View<'_>, words: &[Range<usize>]) -> Option<Range<usize>> {
    let bytes = view.bytes();
    let start = words.first()?.start;
    let in_word = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || !b.is_ascii());
    if in_word(before(bytes, start)) {
        return None;
    }
    let mut runs = [Run::Digits(0); WORDS_MAX];
    let mut best = None;
    let mut end = start;
    for (count, word) in words.iter().enumerate().take(WORDS_MAX) {
        let gap = bytes.get(end..word.start)?;
        let text = bytes.get(word.clone())?;
        let run = match text {
            _ if text.iter().all(u8::is_ascii_digit) => Run::Digits(text.len()),
            // "MIL-E 1234", "WÜ-AB 123": a letter with a diacritic is two bytes.
            _ if text
                .iter()
                .all(|b| b.is_ascii_uppercase() || matches!(b, 0xc3 | 0x84 | 0x96 | 0x9c)) =>
            {
                Run::Letters(text.iter().filter(|b| **b != 0xc3).count())
            }
            _ => break,
        };
        if !matches!(gap, b"" | b" " | b"-" | b" - " | b"." | b":") {
            break;
        }
        *runs.get_mut(count)? = run;
        end = word.end;
        if !in_word(bytes.get(end).copied()) && runs.get(..=count).is_some_and(is_plate) {
            best = Some(start..end);
        }
    }
    best
}

/// Whether runs have a form of the European states, Türkiye, India, Nigeria or the United States.
fn is_plate(runs: &[Run]) -> bool {
    use Run::{Digits as D, Letters as L};
    let length: usize = runs
        .iter()
        .map(|run| match run {
            L(n) | D(n) => *n,
        })
        .sum();
    LENGTH.contains(&length)
        && matches!(
            runs,
            // de; in, fr, it, gb, ua; pl, us, ng, ch, at, br
            [L(1..=3), L(1..=2), D(1..=4)]
                | [L(1..=3), L(1..=2), D(1..=4), L(1)]
                | [L(1..=3), D(1..=6)]
                | [L(1..=3), D(1..=6), L(1..=3)]
                | [L(2), D(1..=2), L(1..=3), D(4)]
                // es, se, lt, nl; tr, at, us
                | [D(1..=4), L(1..=3)]
                | [D(1..=4), L(1..=3), D(1..=5)]
                // nl before 1999, in, pl
                | [D(2), D(2), L(2)]
                | [L(1..=3), D(1..=2), D(3..=4)]
                | [L(2..=3), D(1), L(1..=2), D(1..=3)]
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::check_scanner;

    #[test]
    fn plates_are_found_behind_a_label_only() {
        let check = |text: &str, want: &[&str]| check_scanner(find, text, want);
        for plate in [
            "M-UC 4711",
            "WÜ-AB 12E",
            "LK56 XYZ",
            "06 ABC 123",
            "KA01AB1234",
            "LSD-123AB",
            "AB-123-CD",
            "1234 BCD",
            "W 12345 A",
            "ZH 123456",
            "7ABC123",
            "KR 5AB12",
        ] {
            check(&format!("plate number {plate} was seen"), &[plate]);
        }
        check("Kennzeichen: M-UC 4711, HH AB 12", &["M-UC 4711", "HH AB 12"]);
        check("Kennzeichen fehlt in Version 12", &[]);
        check("M-UC 4711 ist mein Kennzeichen", &["M-UC 4711"]);
        check("M-UC 4711 and LK56 XYZ, DEP0055: reg", &[]);
        check("plate number m-uc 4711x", &[]);
    }
}
