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

/// Every label of a text divided into words; where several begin with one word, the longest.
pub(super) fn labels(text: &str, words: &[Range<usize>]) -> Vec<Label> {
    let mut found = Vec::new();
    for (first, word) in words.iter().enumerate() {
        let bucket = bucket(&text.as_bytes()[word.clone()]);
        let mut best: Option<Label> = None;
        for (table, starts) in TABLES.iter().zip(&STARTS) {
            let candidates = usize::from(starts[bucket])..usize::from(starts[bucket + 1]);
            for (entry, topics) in &table[candidates] {
                let Some(end) = end_of(entry, text, &words[first..]) else {
                    continue;
                };
                match &mut best {
                    Some(best) if best.range.end > end => {}
                    Some(best) if best.range.end == end => best.topics = best.topics.or(*topics),
                    _ => {
                        best = Some(Label {
                            range: word.start..end,
                            topics: *topics,
                        });
                    }
                }
            }
        }
        found.extend(best);
    }
    found
}

/// Where an entry ends when the text begins with it.
fn end_of(entry: &str, text: &str, words: &[Range<usize>]) -> Option<usize> {
    let (entry, is_stem) = entry
        .strip_suffix('*')
        .map_or((entry, false), |stem| (stem, true));
    let mut have = words.iter();
    let mut want = entry.split(' ').peekable();
    let mut end = None;
    while let Some(piece) = want.next() {
        let word = have.next()?;
        let is_last = want.peek().is_none();
        if !reads(&text[word.clone()], piece, is_stem && is_last) {
            return None;
        }
        end = Some(word.end);
    }
    end
}

/// Whether a word is, or begins with, a piece of an entry, which is in lower case.
fn reads(word: &str, piece: &str, as_stem: bool) -> bool {
    if word.is_ascii() {
        return match word.as_bytes().get(..piece.len()) {
            Some(head) => {
                (as_stem || word.len() == piece.len()) && head.eq_ignore_ascii_case(piece.as_bytes())
            }
            None => false,
        };
    }
    let mut lower = word.chars().flat_map(char::to_lowercase);
    piece.chars().all(|c| lower.next() == Some(c)) && (as_stem || lower.next().is_none())
}

/// Classes of a byte, in the order of the bytes: before the letters, each letter, behind them.
const CLASSES: usize = 28;

const fn class(byte: u8) -> usize {
    match byte {
        b'a'..=b'z' => (byte - b'a') as usize + 1,
        b'A'..=b'Z' => (byte - b'A') as usize + 1,
        0..=b'`' => 0,
        _ => CLASSES - 1,
    }
}

/// The bucket of words that begin alike: by their first two bytes. Keeps the order of the tables.
const fn bucket(word: &[u8]) -> usize {
    match word {
        [] => 0,
        [first] => class(*first) * CLASSES,
        // A capital in another script is other bytes than its small letter, but in the same class; the
        // class of its second byte is the same for all.
        [first, second, ..] => class(*first) * CLASSES + class(*second),
    }
}

/// Where each bucket of a table begins, and where the last one ends.
const fn starts(table: &[Entry]) -> [u16; CLASSES * CLASSES + 1] {
    let mut starts = [0; CLASSES * CLASSES + 1];
    let mut at = 0;
    let mut next = 0;
    while next < starts.len() {
        while at < table.len() && bucket(table[at].0.as_bytes()) < next {
            at += 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "tables have hundreds of entries")]
        {
            starts[next] = at as u16;
        }
        next += 1;
    }
    starts
}

const STARTS: [[u16; CLASSES * CLASSES + 1]; 3] = [
    starts(contact::WORDS),
    starts(identity::WORDS),
    starts(secret::WORDS),
];

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
                assert!(!entry.starts_with('*'), "{entry}");
            }
        }
    }
}
