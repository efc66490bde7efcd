//! Labels: words that name the data next to them. "IBAN", "born on", "Kennwort".

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
            $($(#[$doc])+ pub(crate) const $name: Self = Self(1 << $bit);)+
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
    /// Numbers of persons and their documents, of any country.
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
    /// The union of both sets.
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

/// A label in a table: words in lower case, separated by single spaces. A `*` at the end matches any ending of the last
/// word, as in `telefon*`.
pub(super) type Entry = (&'static str, Topics);

/// The tables, each sorted by text, which a test checks.
const TABLES: [&[Entry]; 3] = [contact::WORDS, identity::WORDS, secret::WORDS];

/// Every label of a text divided into words. If several start at one word, the longest counts.
pub(super) fn labels(text: &str, words: &[Range<usize>]) -> Vec<Label> {
    let mut found = Vec::new();
    for (first, word) in words.iter().enumerate() {
        let bytes = &text.as_bytes()[word.clone()];
        let bucket = bucket(bytes);
        let third = bytes.get(2).map(u8::to_ascii_lowercase);
        // Computed once per word: many entries are compared with it.
        let small = (!bytes.is_ascii()).then(|| text[word.clone()].to_lowercase());
        let first_word = small.as_deref().map_or(bytes, str::as_bytes);
        let mut best: Option<Label> = None;
        for (table, starts) in TABLES.iter().zip(&STARTS) {
            let candidates = usize::from(starts[bucket])..usize::from(starts[bucket + 1]);
            for (entry, topics) in &table[candidates] {
                // Most candidates differ here already; only few are compared further.
                let differs =
                    |want: u8| want.is_ascii_lowercase() && third.is_some_and(|b| b.is_ascii() && b != want);
                if entry.as_bytes().get(2).is_some_and(|want| differs(*want)) {
                    continue;
                }
                let Some(end) = end_of(entry, first_word, text, &words[first..]) else {
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

/// The end of an entry at the start of the text, or `None`. `first` is the first word, without capitals beyond ASCII.
fn end_of(entry: &str, first: &[u8], text: &str, words: &[Range<usize>]) -> Option<usize> {
    let (entry, is_stem) = match entry.as_bytes() {
        [stem @ .., b'*'] => (stem, true),
        whole => (whole, false),
    };
    let mut words = words.iter();
    let mut word = words.next()?;
    let mut rest = Letters::Ascii(first.iter());
    for byte in entry {
        if *byte == b' ' {
            if rest.next().is_some() {
                return None;
            }
            word = words.next()?;
            rest = Letters::of(&text[word.clone()]);
        } else if rest.next() != Some(*byte) {
            return None;
        }
    }
    (is_stem || rest.next().is_none()).then_some(word.end)
}

/// The bytes of a word in lower case.
enum Letters<'w> {
    Ascii(std::slice::Iter<'w, u8>),
    Other(std::vec::IntoIter<u8>),
}

impl<'w> Letters<'w> {
    fn of(word: &'w str) -> Self {
        if word.is_ascii() {
            Self::Ascii(word.as_bytes().iter())
        } else {
            Self::Other(word.to_lowercase().into_bytes().into_iter())
        }
    }

    fn next(&mut self) -> Option<u8> {
        match self {
            Self::Ascii(bytes) => bytes.next().map(u8::to_ascii_lowercase),
            Self::Other(bytes) => bytes.next(),
        }
    }
}

/// Classes of a byte, in byte order: before the letters, each letter, after them.
const CLASSES: usize = 28;

const fn class(byte: u8) -> usize {
    match byte {
        b'a'..=b'z' => (byte - b'a') as usize + 1,
        b'A'..=b'Z' => (byte - b'A') as usize + 1,
        0..=b'`' => 0,
        _ => CLASSES - 1,
    }
}

/// The bucket of words with the same start: by their first two bytes. Keeps the order of the tables.
const fn bucket(word: &[u8]) -> usize {
    match word {
        [] => 0,
        [first] => class(*first) * CLASSES,
        // A capital in another script has different bytes than its lower-case letter, but the same class; the class of
        // its second byte is the same for all.
        [first, second, ..] => class(*first) * CLASSES + class(*second),
    }
}

/// The index at which each bucket of a table begins, and the end of the last one.
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

    /// Most words of one label: a longer one would cost time at each word that starts one.
    const WORDS_MAX: usize = 4;

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
