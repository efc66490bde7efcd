//! IPv6 addresses: the standard library decides, on runs that may be one.

use super::{Run, before, in_word, with_prefix};
use crate::detect::label::Topics;
use crate::detect::view::View;
use crate::detect::{Found, Kind};
use std::net::Ipv6Addr;
use std::ops::Range;

/// Longest address, in bytes: eight groups, the last two an IPv4 address, and what may be glued to it. In a
/// longer run no address is looked for; it is taken as a whole if its groups are an address's.
const RUN_MAX: usize = 64;
/// Most groups at either end of a run that are left out to find an address in it.
const GLUED_MAX: usize = 2;

/// Looks for an address in a run. Says whether there is one.
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
    let bytes = view.bytes();
    let text = view.text();
    let mut range = run.range.clone();
    // A letter right behind makes it a word: "std::cafe" of "std::cafeteria".
    if bytes
        .get(range.end)
        .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && run.colons < 4
    {
        return None;
    }
    while text.get(range.clone())?.ends_with(['.', '-']) || is_single_colon(text.get(range.clone())?, true) {
        range.end -= 1;
    }
    while is_single_colon(text.get(range.clone())?, false) || text.get(range.clone())?.starts_with(['.', '-'])
    {
        range.start += 1;
    }
    let whole = text.get(range.clone())?;
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
            // "x::1": the colons stay with what follows them.
            Some(0) | None => break,
            Some(at) => {
                let double = text.get(start + at..range.end)?.starts_with("::");
                start += at + usize::from(!double);
            }
        }
    }
    None
}

fn is_single_colon(text: &str, at_end: bool) -> bool {
    match at_end {
        true => text.ends_with(':') && !text.ends_with("::"),
        false => text.starts_with(':') && !text.starts_with("::"),
    }
}

/// More groups than an address has, or a colon too many, but groups all the same.
fn is_overlong(text: &str) -> bool {
    let groups = || text.split(':');
    groups().count() >= 6
        && groups().all(|group| group.len() <= 4 && group.bytes().all(|b| b.is_ascii_hexdigit()))
        && groups().any(|group| group.len() == 4)
}

/// Whether what the library takes for an address is meant as one: `::` and `a::b` are spelt like that in code.
fn is_meant(view: &View<'_>, range: Range<usize>) -> bool {
    let bytes = view.bytes();
    let Some(text) = view.text().get(range.clone()) else {
        return false;
    };
    let glued = in_word(before(bytes, range.start));
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let groups = text.split(':').filter(|group| !group.is_empty()).count();
    if text.contains('.') || groups >= 5 {
        return true;
    }
    if glued {
        // "foo2001:db8::1" is an address behind a word, "Feed::1" is not.
        return digits >= 3 && groups >= 3;
    }
    // A slice such as "list[::2]".
    let slice = text.starts_with("::")
        && before(bytes, range.start) == Some(b'[')
        && in_word(before(bytes, range.start - 1));
    (digits > 0 && !slice) || groups >= 3 || (groups > 0 && view.labelled_before(range.start, Topics::IP))
}

/// The end of the zone behind an address: "%eth0".
fn with_zone(bytes: &[u8], end: usize) -> usize {
    let Some([b'%', rest @ ..]) = bytes.get(end..) else {
        return end;
    };
    let len = rest
        .iter()
        .take(32)
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        .count();
    if len > 0 { end + 1 + len } else { end }
}
