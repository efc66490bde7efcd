//! Labels of numbers that states, insurers and registers give to persons and companies.

use super::{Entry, Topics};

/// Sorted by text.
pub(super) const WORDS: &[Entry] = &[
    ("passport*", Topics::DOCUMENT),
    ("social security", Topics::INSURANCE),
    ("ssn", Topics::ID),
];
