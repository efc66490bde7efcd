//! IP and MAC addresses.

mod mac;
mod v4;
mod v6;

use super::Found;
use super::view::View;
use std::ops::Range;

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    if view.has().digits > 0 {
        v4::find(view, found);
    }
    // "aabb.ccdd.eeff" has no digit; prose is full of dots.
    if view.has().digits == 0 && !view.has().marks && !mac::is_announced(view, &(0..view.bytes().len())) {
        return;
    }
    let mut runs = Runs {
        bytes: view.bytes(),
        at: 0,
    };
    while let Some(run) = runs.next() {
        if !v6::examine(view, &run, found) {
            mac::examine(view, &run, found);
        }
    }
}

/// Runs of hexadecimal digits, colons, dots and dashes that hold at least two of the latter.
struct Runs<'v> {
    bytes: &'v [u8],
    at: usize,
}

/// A run and how many colons it has.
struct Run {
    range: Range<usize>,
    colons: usize,
}

impl Runs<'_> {
    fn next(&mut self) -> Option<Run> {
        while self.at < self.bytes.len() {
            let start = self.at;
            let (mut len, mut colons, mut marks) = (0, 0, 0);
            for b in self.bytes.get(start..)? {
                match b {
                    b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' => {}
                    b':' => colons += 1,
                    b'.' | b'-' => marks += 1,
                    _ => break,
                }
                len += 1;
            }
            self.at = start + len + 1;
            if len >= 3 && (colons >= 2 || marks >= 1 || len == 12) {
                return Some(Run {
                    range: start..start + len,
                    colons,
                });
            }
        }
        None
    }
}

/// The byte before an offset.
fn before(bytes: &[u8], at: usize) -> Option<u8> {
    at.checked_sub(1).and_then(|i| bytes.get(i)).copied()
}

/// Whether a byte belongs to a word.
fn in_word(b: Option<u8>) -> bool {
    b.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The end of the prefix length behind an address: "/24". Four digits or more are something else.
fn with_prefix(bytes: &[u8], end: usize) -> usize {
    let Some([b'/', rest @ ..]) = bytes.get(end..) else {
        return end;
    };
    let len = rest.iter().take(4).take_while(|b| b.is_ascii_digit()).count();
    match len {
        1..=3 if !in_word(rest.get(len).copied()) => end + 1 + len,
        _ => end,
    }
}

#[cfg(test)]
mod tests;
