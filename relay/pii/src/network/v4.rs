//! IPv4 addresses: four numbers, in any base and with any form of dots, or a single number.

use super::{in_word, with_prefix};
use crate::label::Topics;
use crate::scan::{after, before, run, run_back, run_up_to};
use crate::view::View;
use crate::words::Words;
use crate::{Found, Kind};

/// Words before four numbers that make them a version or a chapter.
#[rustfmt::skip]
const NO_ADDRESS: Words = Words::new(&[
    "abschnitt", "api", "build", "chapter", "chrome", "chromium", "clause", "driver", "edge", "firmware",
    "kapitel", "opera", "paragraph", "patch", "plugin", "rel", "release", "rev", "revision", "safari", "sdk",
    "section", "update", "upgrade", "v", "ver", "version", "versions",
]);

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    let bytes = view.bytes();
    let mut at = 0;
    while let Some(skip) = after(bytes, at).iter().position(u8::is_ascii_digit) {
        let start = at + skip;
        // Continues at the next number; the rest of this one cannot start an address.
        let next = || start + run(bytes, start, u8::is_ascii_alphanumeric);
        at = examine(view, start, found).unwrap_or_else(next);
    }
}

/// Examines the number that begins at an offset. Returns the offset to continue at if more than the number was read.
fn examine(view: &View<'_>, start: usize, found: &mut Found) -> Option<usize> {
    let bytes = view.bytes();
    // A longer chain of numbers is examined from its start, not from its middle.
    if matches!(bytes.get(..start)?, [.., b'0'..=b'9', b'.']) {
        return None;
    }
    let mut end = start;
    let mut numbers = 0;
    let mut unusual = false;
    loop {
        let (len, plain) = number(bytes.get(end..)?)?;
        unusual |= !plain;
        numbers += 1;
        end += len;
        if numbers == 4 {
            break;
        }
        match dot(bytes.get(end..)?) {
            Some(len) => end += len,
            None if numbers == 1 => return single(view, start, end, found),
            None => return None,
        }
    }
    // With a fifth number it is still an address; with a sixth it is an object identifier.
    let mut chain = end;
    let mut more = 0;
    while let Some([b'.', rest @ ..]) = bytes.get(chain..)
        && let len @ 1.. = run(rest, 0, u8::is_ascii_digit)
    {
        chain += len + 1;
        more += 1;
    }
    if more > 1 || in_word(bytes.get(end).copied()) {
        return Some(chain);
    }
    if !unusual && is_version(view, start) {
        return Some(chain);
    }
    let end = with_prefix(bytes, chain);
    found.add(Kind::Ip, start..end);
    Some(end)
}

/// The length of a number up to 255, and whether it is an ordinary one: decimal, at most three digits.
fn number(bytes: &[u8]) -> Option<(usize, bool)> {
    if let [b'0', b'x' | b'X', hex @ ..] = bytes {
        let len = run_up_to(9, hex, 0, u8::is_ascii_hexdigit);
        return (len > 0 && len < 9).then_some((len + 2, false));
    }
    let len = run_up_to(11, bytes, 0, u8::is_ascii_digit);
    let digits = bytes.get(..len)?;
    let value = |radix: u32| {
        digits.iter().try_fold(0_u32, |n, b| {
            n.checked_mul(radix)?.checked_add(char::from(*b).to_digit(radix)?)
        })
    };
    match len {
        1..=3 if value(10)? <= 255 => Some((len, true)),
        4 if digits.first() == Some(&b'0') && value(8)? <= 255 => Some((len, false)),
        // The whole address as one number; `single` reads it.
        8..=10 => Some((len, false)),
        _ => None,
    }
}

/// The length of a dot, including brackets or spaces that hide it from machines.
fn dot(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'.', b'0'..=b'9', ..] => Some(1),
        [b'[', b'.', b']', ..]
        | [b'(', b'.', b')', ..]
        | [b'{', b'.', b'}', ..]
        | [b' ', b'.', b' ', b'0'..=b'9', ..] => Some(3),
        [b'[', b'd' | b'D', b'o' | b'O', b't' | b'T', b']', ..] => Some(5),
        _ => None,
    }
}

/// An address as one number: only after a label or in a URL.
fn single(view: &View<'_>, start: usize, end: usize, found: &mut Found) -> Option<usize> {
    let bytes = view.bytes();
    let hex = bytes.get(start + 1).is_some_and(|b| matches!(b, b'x' | b'X'));
    let whole = if hex { end - start == 10 } else { end - start >= 8 };
    let authority = bytes.get(..start)?.ends_with(b"://");
    let apart = !in_word(before(bytes, start)) && !in_word(bytes.get(end).copied());
    if whole && apart && (authority || view.labelled_before(start, Topics::IP)) {
        found.add(Kind::Ip, start..end);
    }
    Some(end)
}

/// Whether the text before four numbers marks them as a version.
fn is_version(view: &View<'_>, start: usize) -> bool {
    let bytes = view.bytes();
    if view.labelled_before(start, Topics::IP) {
        return false;
    }
    let is_mark = |b: &u8| matches!(b, b' ' | b':' | b'=' | b'/' | b'#' | b'-' | b'.');
    let marks = run_back(3, bytes, start, is_mark);
    let end = start - marks;
    let from = end - run_back(12, bytes, end, u8::is_ascii_alphabetic);
    let word = view.piece(&(from..end));
    // "Chrome/1.2.3.4" is a product and its version, "https://1.2.3.4" and "example.com/1.2.3.4" are not.
    if marks == 1 && before(bytes, start) == Some(b'/') {
        return word.starts_with(|c: char| c.is_ascii_uppercase());
    }
    NO_ADDRESS.has_in_any_case(word) && !in_word(before(bytes, from))
}
