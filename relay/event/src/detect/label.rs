//! Labels: words that say what stands beside them. "IBAN", "born on", "Kennwort".

mod contact;
mod identity;
mod secret;

use std::ops::Range;

/// A set of topics.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Topics(u32);

/// Declares the topics, one bit each.
macro_rules! topics {
    ($($(#[$doc:meta])+ $name:ident = $bit:literal,)+) => {
        impl Topics {
            $($(#[$doc])+ pub(in crate::detect) const $name: Self = Self(1 << $bit);)+
        }
    };
}

topics! {
    /// E-mail addresses.
    EMAIL = 0,
    /// Phone, mobile and fax numbers.
    PHONE = 1,
    /// Network addresses.
    IP = 2,
    /// Payment cards.
    CARD = 3,
    /// Bank accounts.
    BANK = 4,
    /// Numbers of persons and their documents, whatever the country.
    ID = 5,
    /// Tax numbers of persons.
    TAX = 6,
    /// Health and social insurance.
    INSURANCE = 7,
    /// Passports, identity cards, driving licences.
    DOCUMENT = 8,
    /// Numbers of companies and professions.
    COMPANY = 9,
    /// Licence plates.
    PLATE = 10,
    /// Dates of birth.
    BIRTH = 11,
    /// Streets and towns.
    ADDRESS = 12,
    /// Postcodes.
    POSTCODE = 13,
    /// Names of persons.
    NAME = 14,
    /// User names, handles, logins.
    USER = 15,
    /// Passwords, keys, tokens.
    SECRET = 16,
    /// Devices: MAC, IMEI, serial numbers.
    DEVICE = 17,
    /// Crypto currencies.
    WALLET = 18,
    /// Customers, tenants, contracts, orders.
    CUSTOMER = 19,
    /// Coordinates.
    GEO = 20,
}

impl Topics {
    /// Either set's topics.
    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the sets share a topic.
    pub(super) const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A label in a text.
#[derive(Clone)]
pub(super) struct Label {
    pub(super) range: Range<usize>,
    pub(super) topics: Topics,
}

/// A label as the tables list it: words in lower case, separated by single spaces. A `*` at the end stands
/// for any ending of the last word, as in `telefon*`.
pub(super) type Entry = (&'static str, Topics);

/// The tables, each sorted by text, which a test checks.
const TABLES: [&[Entry]; 3] = [contact::WORDS, identity::WORDS, secret::WORDS];

/// Most words of one label.
const WORDS_MAX: usize = 4;
/// Longest word that can be part of a label, in bytes. A longer one is none.
const WORD_BYTES_MAX: usize = 32;

/// Every label of a text divided into words.
pub(super) fn labels(text: &str, words: &[Range<usize>]) -> Vec<Label> {
    let mut found: Vec<Label> = Vec::new();
    let mut phrase = String::new();
    for first in 0..words.len() {
        phrase.clear();
        let mut best: Option<Label> = None;
        for word in words.iter().skip(first).take(WORDS_MAX) {
            let raw = &text[word.clone()];
            if raw.len() > WORD_BYTES_MAX {
                break;
            }
            if !phrase.is_empty() {
                phrase.push(' ');
            }
            if raw.is_ascii() {
                phrase.extend(raw.chars().map(|c| c.to_ascii_lowercase()));
            } else {
                phrase.extend(raw.chars().flat_map(char::to_lowercase));
            }
            let (topics, goes_on) = look_up(&phrase);
            if let Some(topics) = topics {
                best = Some(Label {
                    range: words[first].start..word.end,
                    topics,
                });
            }
            if !goes_on {
                break;
            }
        }
        found.extend(best);
    }
    found
}

/// The topics of a phrase, and whether a longer phrase begins with it.
fn look_up(phrase: &str) -> (Option<Topics>, bool) {
    let mut topics: Option<Topics> = None;
    let mut goes_on = false;
    for table in TABLES {
        // Entries that are a prefix of the phrase, or begin with it, share its first three bytes or are
        // shorter; the tables are small enough to walk over those.
        let head = &phrase.as_bytes()[..phrase.len().min(2)];
        let from = table.partition_point(|(entry, _)| entry.as_bytes() < head);
        for (entry, of) in table[from..]
            .iter()
            .take_while(|(entry, _)| entry.as_bytes().starts_with(head))
        {
            let hit = match entry.strip_suffix('*') {
                Some(stem) => {
                    goes_on |= entry.as_bytes().get(phrase.len()) == Some(&b' ') && entry.starts_with(phrase);
                    phrase
                        .strip_prefix(stem)
                        .is_some_and(|ending| !ending.contains(' '))
                }
                None => {
                    goes_on |= entry.as_bytes().get(phrase.len()) == Some(&b' ') && entry.starts_with(phrase);
                    *entry == phrase
                }
            };
            if hit {
                topics = Some(topics.map_or(*of, |t| t.or(*of)));
            }
        }
    }
    (topics, goes_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_and_in_lower_case() {
        for table in TABLES {
            for pair in table.windows(2) {
                assert!(pair[0].0 < pair[1].0, "{} before {}", pair[0].0, pair[1].0);
            }
            for (entry, _) in table {
                assert_eq!(*entry, entry.to_lowercase());
                assert!(entry.split(' ').count() <= WORDS_MAX, "{entry}");
            }
        }
    }
}
