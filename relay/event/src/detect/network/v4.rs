//! IPv4 addresses: four numbers, in whatever base and with whatever dots, or one.

use super::{before, in_word, with_prefix};
use crate::detect::label::Topics;
use crate::detect::view::View;
use crate::detect::{Found, Kind};

/// Words behind which four numbers are a version or a chapter. Sorted.
const NO_ADDRESS: &[&str] = &[
    "abschnitt",
    "api",
    "build",
    "chapter",
    "chrome",
    "chromium",
    "clause",
    "driver",
    "edge",
    "firmware",
    "kapitel",
    "opera",
    "paragraph",
    "patch",
    "plugin",
    "rel",
    "release",
    "rev",
    "revision",
    "safari",
    "sdk",
    "section",
    "update",
    "upgrade",
    "v",
    "ver",
    "version",
    "versions",
];

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    let bytes = view.bytes();
    let mut at = 0;
    while at < bytes.len() {
        let Some(skip) = bytes
            .get(at..)
            .and_then(|rest| rest.iter().position(u8::is_ascii_digit))
        else {
            break;
        };
        let start = at + skip;
        let Some(end) = examine(view, start, found) else {
            // On to the next number; the rest of this one begins no address.
            at = start
                + bytes
                    .iter()
                    .skip(start)
                    .take_while(|b| b.is_ascii_alphanumeric())
                    .count();
            continue;
        };
        at = end;
    }
}

/// Looks at the number that begins at an offset. Gives back where to go on if more than it was read.
fn examine(view: &View<'_>, start: usize, found: &mut Found) -> Option<usize> {
    let bytes = view.bytes();
    // The middle of a longer chain of numbers was looked at from its start.
    if before(bytes, start) == Some(b'.')
        && start
            .checked_sub(2)
            .and_then(|i| bytes.get(i))
            .is_some_and(u8::is_ascii_digit)
    {
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
    // A fifth number makes no difference, a sixth makes it an object identifier.
    let mut chain = end;
    let mut more = 0;
    while let Some([b'.', rest @ ..]) = bytes.get(chain..)
        && let len @ 1.. = rest.iter().take_while(|b| b.is_ascii_digit()).count()
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

/// The length of a number up to 255, and whether it is an ordinary one: decimal, three digits at most.
fn number(bytes: &[u8]) -> Option<(usize, bool)> {
    if let [b'0', b'x' | b'X', hex @ ..] = bytes {
        let len = hex.iter().take(9).take_while(|b| b.is_ascii_hexdigit()).count();
        return (len > 0 && len < 9).then_some((len + 2, false));
    }
    let len = bytes.iter().take(11).take_while(|b| b.is_ascii_digit()).count();
    let digits = bytes.get(..len)?;
    let value = |radix: u32| {
        digits.iter().try_fold(0_u32, |n, b| {
            n.checked_mul(radix)?.checked_add(char::from(*b).to_digit(radix)?)
        })
    };
    match len {
        1..=3 if value(10)? <= 255 => Some((len, true)),
        4 if digits.first() == Some(&b'0') && value(8)? <= 255 => Some((len, false)),
        // One number for all: read by `single`.
        8..=10 => Some((len, false)),
        _ => None,
    }
}

/// The length of a dot, with the brackets or spaces that keep a machine from reading it.
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

/// An address as one number: only where an address is announced.
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

/// Whether what stands before four numbers says that they are a version.
fn is_version(view: &View<'_>, start: usize) -> bool {
    let bytes = view.bytes();
    let Some(head) = bytes.get(..start) else {
        return false;
    };
    if view.labelled_before(start, Topics::IP) {
        return false;
    }
    let letters = |head: &[u8]| {
        head.iter()
            .rev()
            .take(12)
            .take_while(|b| b.is_ascii_alphabetic())
            .count()
    };
    let marks = head
        .iter()
        .rev()
        .take(3)
        .take_while(|b| matches!(b, b' ' | b':' | b'=' | b'/' | b'#' | b'-' | b'.'))
        .count();
    let head = head.get(..start - marks).unwrap_or_default();
    // "Chrome/1.2.3.4" is a product and its version, "https://1.2.3.4" and "example.com/1.2.3.4" are not.
    if marks == 1 && before(bytes, start) == Some(b'/') {
        let word = letters(head);
        let product = head
            .get(head.len() - word..)
            .and_then(<[u8]>::first)
            .is_some_and(u8::is_ascii_uppercase);
        return word > 0 && product;
    }
    let len = letters(head);
    let Some(word) = head
        .get(head.len() - len..)
        .and_then(|word| std::str::from_utf8(word).ok())
    else {
        return false;
    };
    let glued = in_word(before(bytes, head.len() - len));
    !glued
        && NO_ADDRESS
            .binary_search(&word.to_ascii_lowercase().as_str())
            .is_ok()
}
