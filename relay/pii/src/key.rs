//! Rules for keys of properties and queries: which of them hold personal data, a secret or a customer's name.
//!
//! A key is split into words ("userEmail2" is "user email", and so is "useremail"), each word has a role, and the roles
//! decide. Words are compared whole: `auth` is a secret, `author` is not.

mod pair;
mod words;

pub(crate) use pair::find;

use super::Kind;
use super::view::View;
use words::{Part, beginnings, part};

/// Longest key that is read, in bytes. Of a longer one only the end is read, because the last words name the value.
const KEY_BYTES_MAX: usize = 96;
/// Most words of a key that are read, from its end.
const WORDS_MAX: usize = 12;
/// Most words joined into one: "meshworkspaceidentifier".
const COMPOUND_MAX: usize = 3;
/// Longest word that is split into known ones, in bytes.
const COMPOUND_BYTES_MAX: usize = 40;

/// The kind of a value by its key: a property's, a query parameter's, a column's. `None` if the key does not reveal it.
///
/// Words are compared whole, in English and German, in any usual spelling of keys: `userEmail`, `user_email`,
/// `Kunden-Nr`. A key whose first or last word counts or switches something (`user_count`, `has_email`) has no kind:
/// its value describes the data but does not contain it. Of a key longer than 96 bytes only the end is read.
pub fn kind_of_key(key: &str) -> Option<Kind> {
    let parts = parts_of(key);
    let (first, last) = (*parts.first()?, *parts.last()?);
    if matches!(first, Part::Flag | Part::Count) || matches!(last, Part::Measure | Part::Count) {
        return None;
    }
    let open = parts.iter().find_map(|part| match part {
        Part::Open(kind) => Some(*kind),
        _ => None,
    });
    if open.is_some() {
        return open;
    }
    let mut said = parts.as_slice();
    while let [before @ .., Part::Qualifier | Part::Modifier] = said {
        said = before;
    }
    let holders = |before: &[Part]| {
        before
            .iter()
            .all(|part| matches!(part, Part::Modifier | Part::Holder(_) | Part::Party(_)))
    };
    match said {
        // "email address", "mac address"
        [
            ..,
            Part::Thing(kind @ (Kind::Email | Kind::Ip | Kind::Device | Kind::Wallet)),
            Part::Thing(Kind::Person),
        ] => Some(*kind),
        [.., Part::Thing(kind)] => Some(*kind),
        [before @ .., Part::Holder(kind)] if holders(before) => Some(*kind),
        [] => None,
        [.., Part::Given, Part::Name] => Some(Kind::Person),
        [
            ..,
            Part::Holder(kind) | Part::Party(kind),
            Part::Name | Part::Ident,
        ] => Some(*kind),
        [.., Part::Thing(Kind::User | Kind::Person), Part::Name] => Some(Kind::User),
        [.., Part::Thing(kind @ (Kind::CompanyId | Kind::Ip)), Part::Name] => Some(*kind),
        [.., Part::Thing(kind), Part::Ident | Part::Code] => Some(*kind),
        [.., Part::Opener | Part::Holder(_) | Part::Party(_), Part::Key] | [.., Part::Opener, Part::Code] => {
            Some(Kind::Secret)
        }
        [.., Part::Done, Part::By] => Some(Kind::Person),
        [before @ .., Part::Name] if before.iter().all(|part| *part == Part::Modifier) => Some(Kind::Person),
        _ => None,
    }
}

/// Whether a word has a role in keys.
fn is_known(word: &str) -> bool {
    parts_of(word).iter().all(|part| *part != Part::Unknown)
}

/// The roles of a key's words, from left to right.
fn parts_of(key: &str) -> Vec<Part> {
    let folded;
    let key = if key.is_ascii() {
        key
    } else {
        folded = View::new(key);
        folded.text()
    };
    let mut parts = Vec::with_capacity(4);
    let mut word = String::new();
    let mut last = '_';
    let mut chars = tail(key).chars().peekable();
    while let Some(c) = chars.next() {
        // A capital begins a word after a lower-case letter ("userName"), and before one ("APIKey").
        let begins = c.is_uppercase()
            && (last.is_lowercase()
                || (last.is_uppercase()
                    && word.len() > 1
                    && chars.peek().is_some_and(|next| next.is_lowercase())));
        if begins || !c.is_alphabetic() {
            end_word(&mut word, &mut parts);
        }
        if c.is_alphabetic() {
            for lower in c.to_lowercase() {
                match lower {
                    'ä' => word.push_str("ae"),
                    'ö' => word.push_str("oe"),
                    'ü' => word.push_str("ue"),
                    'ß' => word.push_str("ss"),
                    _ => word.push(lower),
                }
            }
        }
        last = c;
    }
    end_word(&mut word, &mut parts);
    let from = parts.len().saturating_sub(WORDS_MAX);
    parts.split_off(from)
}

fn tail(key: &str) -> &str {
    let mut from = key.len().saturating_sub(KEY_BYTES_MAX);
    while !key.is_char_boundary(from) {
        from += 1;
    }
    &key[from..]
}

fn end_word(word: &mut String, parts: &mut Vec<Part>) {
    if word.is_empty() {
        return;
    }
    match part(word) {
        Some(known) => parts.push(known),
        None => {
            if word.len() > COMPOUND_BYTES_MAX || !take_apart(word, COMPOUND_MAX, parts) {
                parts.push(Part::Unknown);
            }
        }
    }
    word.clear();
}

/// Splits a word into known ones, the longest first. Leaves `parts` unchanged if that fails.
fn take_apart(word: &str, most: usize, parts: &mut Vec<Part>) -> bool {
    if word.is_empty() {
        return true;
    }
    let Some(most) = most.checked_sub(1) else {
        return false;
    };
    for (head, known) in beginnings(word) {
        let from = parts.len();
        parts.push(known);
        if take_apart(word.get(head.len()..).unwrap_or_default(), most, parts) {
            return true;
        }
        parts.truncate(from);
    }
    false
}

#[cfg(test)]
mod tests;
