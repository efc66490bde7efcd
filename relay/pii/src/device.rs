//! Numbers that identify a device or its SIM card, and labelled serial numbers.

use super::digits::{Digits, chain, closes, groups, lengths, luhn, opens};
use super::label::Topics;
use super::scan::{after, run};
use super::view::View;
use super::{Found, Kind};
use std::ops::{Range, RangeInclusive};

/// First two digits of an IMEI: the body that issued the type code (GSMA TS.06). Only those in use.
const TYPE_CODES: &[&[u8]] = &[
    b"01", b"35", b"44", b"45", b"49", b"50", b"51", b"52", b"53", b"54", b"86", b"91", b"98", b"99",
];
/// Digits of an IMEI. With a software version it has two more, without its check digit one less.
const IMEI: usize = 15;
const IMEI_LABELLED: RangeInclusive<usize> = 14..=17;
/// Digits of the number of a SIM card (ITU-T E.118) or an embedded SIM.
const SIM: RangeInclusive<usize> = 19..=20;
const EMBEDDED_SIM: usize = 32;
/// How far after its label a serial number may start, and its length, both in bytes.
const LABEL_BYTES: usize = 16;
const SERIAL: RangeInclusive<usize> = 5..=64;

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    if view.has().digits == 0 {
        return;
    }
    if view.has().digits >= *IMEI_LABELLED.start() {
        found.search(Kind::Device, &groups(view), |rest| number(view, rest));
    }
    for label in view.labels_of(Topics::DEVICE) {
        if let Some(range) = serial(view.bytes(), label.range.end) {
            found.add(Kind::Device, range);
        }
    }
}

/// Most groups of a number.
const GROUPS_MAX: usize = 5;

/// The device's number at the start of some groups.
fn number(view: &View<'_>, groups: &[Range<usize>]) -> Option<Range<usize>> {
    let bytes = view.bytes();
    let start = groups.first()?.start;
    let chain = chain(bytes, groups, GROUPS_MAX, |gap, _| {
        matches!(gap, b" " | b"-" | b"." | b"/")
    });
    let digits: usize = chain.iter().map(Range::len).sum();
    if digits < *IMEI_LABELLED.start() || !opens(bytes, start) {
        return None;
    }
    (1..=chain.len()).rev().find_map(|count| {
        let groups = chain.get(..count)?;
        let end = groups.last()?.end;
        let range = start..end;
        if end - start == EMBEDDED_SIM && bytes.get(start..)?.starts_with(b"89") {
            return Some(range);
        }
        let digits = Digits::of(bytes, groups)?;
        let printed = matches!(
            lengths(groups),
            [_, 0, ..] | [2, 6, 6, 1, 0, _] | [6, 2, 6, 1 | 2, 0, _] | [8, 6, 1, ..] | [2, 4, 2, 6, 1, 0]
        );
        let typed = TYPE_CODES.iter().any(|code| digits.starts_with(code));
        let is_device = (digits.len() == IMEI && typed && luhn(&digits) && printed)
            || (SIM.contains(&digits.len()) && digits.starts_with(b"89") && luhn(&digits))
            || (IMEI_LABELLED.contains(&digits.len()) && view.labelled(&range, Topics::DEVICE));
        (is_device && closes(bytes, end)).then_some(range)
    })
}

/// The token with a digit directly after a label.
fn serial(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let behind = after(bytes, from);
    let mut at = 0;
    // Skips words in between: "is", "of the device is", "no.".
    for _ in 0..4 {
        at += run(behind, at, |b| {
            matches!(b, b' ' | b':' | b'=' | b'#' | b'"' | b'\'' | b'.')
        });
        let length = run(behind, at, |b| {
            b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':' | b'/')
        });
        let token = behind.get(at..at + length)?;
        if length == 0 || at > LABEL_BYTES {
            return None;
        }
        let digits = token.iter().filter(|b| b.is_ascii_digit()).count();
        if SERIAL.contains(&length) && digits >= 2 {
            return Some(from + at..from + at + length);
        }
        at += length;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::check_scanner;

    #[test]
    fn devices_are_found_and_their_likes_are_not() {
        let check = |text: &str, want: &[&str]| check_scanner(find, text, want);
        check("has 490154203237518.", &["490154203237518"]);
        check(
            "49-015420-323751-8 or 490154 20 323751 8",
            &["49-015420-323751-8", "490154 20 323751 8"],
        );
        check("sim 8949226104123456780", &["8949226104123456780"]);
        // The wrong check digit, type code or length.
        check("490154203237519, 120154203237516, 4901542032375180", &[]);
        check("49015 42032 37518", &[]);
        check("8949226104123456781", &[]);
        // With a label.
        check("imei 120154203237516", &["120154203237516"]);
        check("Serial number: C02XK1ZZJGH5", &["C02XK1ZZJGH5"]);
        check("Seriennummer ist 4711-0815", &["4711-0815"]);
        check("serial number missing, 4711-0815", &[]);
        check("serial 4711-0815", &[]);
    }
}
