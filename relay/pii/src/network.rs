//! IP and MAC addresses.

mod mac;
mod v4;
mod v6;

use super::Found;
use super::scan::{run_up_to, runs};
use super::view::View;
use std::ops::Range;

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    if view.has().digits > 0 {
        v4::find(view, found);
    }
    // "aabb.ccdd.eeff" has no digit. Dots alone do not count, because prose is full of them.
    if view.has().digits == 0 && !view.has().marks && !mac::is_announced(view, &(0..view.bytes().len())) {
        return;
    }
    let is_part = |b: &u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.' | b'-');
    for range in runs(view.bytes(), is_part).filter(|run| run.len() >= 3) {
        let text = view.piece(&range);
        let run = Run {
            colons: text.bytes().filter(|b| *b == b':').count(),
            range,
        };
        let may_be_one = run.colons >= 2 || text.contains(['.', '-']) || text.len() == 12;
        if may_be_one && !v6::examine(view, &run, found) {
            mac::examine(view, &run, found);
        }
    }
}

/// A run of hexadecimal digits, colons, dots and dashes, and its number of colons.
struct Run {
    range: Range<usize>,
    colons: usize,
}

/// Whether a byte belongs to a word.
fn in_word(b: Option<u8>) -> bool {
    b.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The end of the prefix length after an address: "/24". Four or more digits are not a prefix length.
fn with_prefix(bytes: &[u8], end: usize) -> usize {
    let len = run_up_to(4, bytes, end + 1, u8::is_ascii_digit);
    match bytes.get(end) {
        Some(b'/') if (1..=3).contains(&len) && !in_word(bytes.get(end + 1 + len).copied()) => end + 1 + len,
        _ => end,
    }
}

#[cfg(test)]
mod tests;
