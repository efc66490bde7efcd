//! How messages quote a file's text, and how they guess the intended key.

use std::collections::BTreeSet;

/// A text on one line of a terminal: a file's text can hold any character and be of any length.
pub(super) fn shown(text: &str, chars_max: usize) -> String {
    let mut out = String::new();
    let mut chars = 0;
    for c in text.chars() {
        if chars >= chars_max {
            out.push('…');
            break;
        }
        match c.is_control() {
            true => {
                out.extend(c.escape_default());
                chars += c.escape_default().len();
            }
            false => {
                out.push(c);
                chars += 1;
            }
        }
    }
    out
}

/// The most similar known key, if it is similar enough.
pub(super) fn closest<'k>(key: &str, known: &'k BTreeSet<String>) -> Option<&'k String> {
    known
        .iter()
        .map(|k| (strsim::levenshtein(key, k), k))
        .filter(|(d, _)| *d <= 2)
        .min()
        .map(|(_, k)| k)
}
