//! MAC addresses and fingerprints: groups of two or four hexadecimal digits.

use super::{Run, in_word};
use crate::label::Topics;
use crate::scan::before;
use crate::view::View;
use crate::{Found, Kind};
use std::ops::Range;

/// Fewest and most pairs: a MAC has six, an EUI-64 eight, the fingerprint of a certificate up to 64.
const PAIRS: std::ops::RangeInclusive<usize> = 6..=64;

/// How far from an address a word that announces it may be, in bytes.
const NEAR_MAX: usize = 40;

/// Looks for an address in a run.
pub(super) fn examine(view: &View<'_>, run: &Run, found: &mut Found) {
    let bytes = view.bytes();
    let trimmed = view.piece(&run.range).trim_end_matches([':', '.', '-']);
    let end = run.range.start + trimmed.len();
    let inner = trimmed.trim_start_matches([':', '.', '-']);
    let start = end - inner.len();
    if in_word(before(bytes, start)) || in_word(bytes.get(end).copied()) {
        return;
    }
    let labelled = || is_announced(view, &(start..end));
    let decimal = inner.bytes().all(|b| !b.is_ascii_alphabetic());
    let takes = match inner.bytes().find(|b| !b.is_ascii_hexdigit()) {
        Some(b':') => grouped(inner, ':', 2, PAIRS),
        // Six pairs of decimal digits may be a date, a grouped number or a phone number.
        Some(b'-') => {
            grouped(inner, '-', 2, PAIRS) && (!decimal || labelled())
                || grouped(inner, '-', 6, 2..=2) && labelled()
        }
        Some(_) => {
            (grouped(inner, '.', 4, 3..=4) || grouped(inner, '.', 2, 6..=8)) && (!decimal || labelled())
        }
        None => inner.len() == 12 && labelled(),
    };
    if takes {
        found.add(Kind::Device, start..end);
    }
}

/// Words that announce an address, but no other number of a device: a number after "Mac" may be a version.
const WORDS: &[&str] = &["ether", "ethernet", "mac", "macs", "wifi"];

/// Whether a word close to a place, or in it, announces an address.
pub(super) fn is_announced(view: &View<'_>, place: &Range<usize>) -> bool {
    view.labels().iter().any(|label| {
        let near = label.range.end + NEAR_MAX >= place.start && label.range.start <= place.end + NEAR_MAX;
        let word = || view.piece(&label.range).to_ascii_lowercase();
        near && (label.topics.any(Topics::DEVICE) || WORDS.contains(&word().as_str()))
    })
}

fn grouped(text: &str, mark: char, size: usize, groups: std::ops::RangeInclusive<usize>) -> bool {
    groups.contains(&text.split(mark).count())
        && text
            .split(mark)
            .all(|group| group.len() == size && group.bytes().all(|b| b.is_ascii_hexdigit()))
}
