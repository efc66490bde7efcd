//! IPv6 addresses: the standard library parses the runs that may be one.

use super::{Run, in_word, with_prefix};
use crate::label::Topics;
use crate::scan::{before, run_up_to};
use crate::view::View;
use crate::{Found, Kind};
use std::net::Ipv6Addr;
use std::ops::Range;

/// Longest address, in bytes: eight groups, the last two as an IPv4 address, and adjacent text. A longer run is not
/// searched; it is removed as a whole if its groups are those of an address.
const RUN_MAX: usize = 64;
/// Most groups dropped at either end of a run to find an address in it.
const GLUED_MAX: usize = 2;

/// Looks for an address in a run. Returns whether there is one.
pub(super) fn examine(view: &View<'_>, run: &Run, found: &mut Found) -> bool {
    if run.colons < 2 {
        return false;
    }
    let bytes = view.bytes();
    let Some(range) = address(view, run) else {
        return false;
    };
    let mut end = with_zone(bytes, range.end);
    end = with_prefix(bytes, end);
    found.add(Kind::Ip, range.start..end);
    true
}

fn address(view: &View<'_>, run: &Run) -> Option<Range<usize>> {
    let text = view.text();
    let mut range = run.range.clone();
    // A letter directly after it makes it a word: "std::cafe" of "std::cafeteria".
    if in_word(view.bytes().get(range.end).copied()) && run.colons < 4 {
        return None;
    }
    let ends = |text: &str| text.ends_with(['.', '-']) || (text.ends_with(':') && !text.ends_with("::"));
    while ends(view.piece(&range)) {
        range.end -= 1;
    }
    let starts =
        |text: &str| text.starts_with(['.', '-']) || (text.starts_with(':') && !text.starts_with("::"));
    while starts(view.piece(&range)) {
        range.start += 1;
    }
    let whole = view.piece(&range);
    if is_overlong(whole) {
        return Some(range);
    }
    if whole.len() > RUN_MAX {
        return None;
    }
    let mut start = range.start;
    for _ in 0..=GLUED_MAX {
        let mut end = range.end;
        for _ in 0..=GLUED_MAX {
            let candidate = text.get(start..end)?;
            if candidate.parse::<Ipv6Addr>().is_ok() && is_meant(view, start..end) {
                return Some(start..end);
            }
            match candidate.rfind([':', '-', '.']) {
                Some(at) if at > 1 => end = start + at + usize::from(candidate.get(..at)?.ends_with(':')),
                _ => break,
            }
        }
        match text.get(start..range.end)?.find([':', '-', '.']) {
            // "x::1": the colons belong to the group after them.
            Some(0) | None => break,
            Some(at) => {
                let double = text.get(start + at..range.end)?.starts_with("::");
                start += at + usize::from(!double);
            }
        }
    }
    None
}

/// Whether a text consists of groups of an address, but has too many of them or a colon too many.
fn is_overlong(text: &str) -> bool {
    let groups = || text.split(':');
    groups().count() >= 6
        && groups().all(|group| group.len() <= 4 && group.bytes().all(|b| b.is_ascii_hexdigit()))
        && groups().any(|group| group.len() == 4)
}

/// Whether text that the library parses is meant as an address: `::` and `a::b` also occur in code.
fn is_meant(view: &View<'_>, range: Range<usize>) -> bool {
    let bytes = view.bytes();
    let text = view.piece(&range);
    let glued = in_word(before(bytes, range.start));
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let groups = text.split(':').filter(|group| !group.is_empty()).count();
    if text.contains('.') || groups >= 5 {
        return true;
    }
    if glued {
        // "foo2001:db8::1" is an address after a word, "Feed::1" is not.
        return digits >= 3 && groups >= 3;
    }
    // A slice such as "list[::2]".
    let slice = text.starts_with("::")
        && before(bytes, range.start) == Some(b'[')
        && in_word(before(bytes, range.start - 1));
    (digits > 0 && !slice) || groups >= 3 || (groups > 0 && view.labelled_before(range.start, Topics::IP))
}

/// The end of the zone after an address: "%eth0".
fn with_zone(bytes: &[u8], end: usize) -> usize {
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    match run_up_to(32, bytes, end + 1, is_name) {
        len @ 1.. if bytes.get(end) == Some(&b'%') => end + 1 + len,
        _ => end,
    }
}
