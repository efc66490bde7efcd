//! Labels of ways to reach or pay somebody, of places and of dates.

use super::{Entry, Topics};

/// Sorted by text.
pub(super) const WORDS: &[Entry] = &[
    ("born", Topics::BIRTH),
    ("iban*", Topics::BANK),
    ("mobile", Topics::PHONE),
    ("phone*", Topics::PHONE),
    ("telefon*", Topics::PHONE),
];
