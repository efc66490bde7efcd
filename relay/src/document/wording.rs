//! How messages show what a file says, and guess what it meant.

use std::collections::BTreeSet;

/// A text as it can stand in one line of a terminal: what a file says may hold anything, and be of any length.
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

/// The known key that differs least, when it differs little.
pub(super) fn closest<'k>(key: &str, known: &'k BTreeSet<String>) -> Option<&'k String> {
    known
        .iter()
        .map(|k| (distance(key, k), k))
        .filter(|(d, _)| *d <= 2)
        .min()
        .map(|(_, k)| k)
}

/// Edits between two short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = if ca == *cb {
                diagonal
            } else {
                1 + diagonal.min(row[j]).min(row[j + 1])
            };
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[b.len()]
}
