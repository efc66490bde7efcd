//! Labels of secrets, users, networks and devices.

use super::{Entry, Topics};

/// Sorted by text.
pub(super) const WORDS: &[Entry] = &[
    ("imei", Topics::DEVICE),
    ("kennwort*", Topics::SECRET),
    ("password*", Topics::SECRET),
    ("username*", Topics::USER),
];
