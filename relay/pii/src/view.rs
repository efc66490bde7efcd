//! The form of a text that the scanners read: folded, divided into words, with its labels.

use super::escape::{Decoded, escape};
use super::label::{Label, Topics, labels};
use std::borrow::Cow;
use std::ops::Range;

/// How far before a value its label may be, in bytes: "my credit card, the new one, is ...".
const LABEL_BEFORE_MAX: usize = 48;
/// Longest label that the search allows for, in bytes. A longer one counts only if it starts closer.
const LABEL_BYTES_MAX: usize = 64;
/// How far after a value its label may be, in bytes: "... is my birthday".
const LABEL_AFTER_MAX: usize = 24;

/// Units after a number, which make it a quantity.
#[rustfmt::skip]
const UNITS: &[&str] = &[
    "b", "bytes", "characters", "entries", "eur", "events", "files", "gb", "gib", "hits", "hours", "items", "kb", "kib",
    "lines", "mb", "mib", "microseconds", "milliseconds", "min", "minutes", "ms", "nanoseconds", "ns", "operations",
    "pixels", "px", "records", "requests", "rows", "s", "seconds", "sekunden", "tb", "times", "tokens", "us", "usd",
    "words", "zeichen", "zeilen",
];

/// A folded text. Offsets are bytes of the folded text; [`View::original`] maps them back.
pub(super) struct View<'t> {
    text: Cow<'t, str>,
    /// The position in the original of each byte of `text`, and of its end. `None`: the same positions.
    origin: Option<Vec<usize>>,
    words: Vec<Range<usize>>,
    labels: Vec<Label>,
    has: Has,
}

/// Which characters a text has, to skip scanners that cannot find anything.
#[derive(Clone, Copy, Default)]
pub(super) struct Has {
    /// Number of ASCII digits.
    pub(super) digits: usize,
    /// An `@`.
    pub(super) at: bool,
    /// Any of `: = & % \ / # + ~ $ ;`, a quote or a bracket.
    pub(super) marks: bool,
    /// Longest run of letters, digits, `-` and `_`, in bytes.
    pub(super) longest: usize,
}

impl<'t> View<'t> {
    /// Folds a text.
    pub(super) fn new(text: &'t str) -> Self {
        if text.is_ascii() {
            return Self::of(Cow::Borrowed(text), None);
        }
        let mut folding = Folding::default();
        for (at, c) in text.char_indices() {
            folding.push(c, at);
        }
        folding.finish(text.len())
    }

    fn of(text: Cow<'t, str>, origin: Option<Vec<usize>>) -> Self {
        let (words, has) = divide(&text);
        let labels = labels(&text, &words);
        Self {
            text,
            origin,
            words,
            labels,
            has,
        }
    }

    /// The folded text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The folded text's bytes. ASCII bytes are characters; all others are parts of letters or signs.
    pub(super) fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// A piece of the text. Empty if the range splits a character.
    pub(super) fn piece(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }

    /// The rest of the text after an offset. Empty if the offset splits a character.
    pub(super) fn rest(&self, at: usize) -> &str {
        self.text.get(at..).unwrap_or_default()
    }

    /// Which characters the text has.
    pub(super) fn has(&self) -> Has {
        self.has
    }

    /// Words from left to right: runs of letters or runs of digits. An inner capital starts a new one.
    pub(super) fn words(&self) -> &[Range<usize>] {
        &self.words
    }

    /// Labels from left to right.
    pub(super) fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// Labels of one of the topics, from left to right.
    pub(super) fn labels_of(&self, topics: Topics) -> impl Iterator<Item = &Label> {
        self.labels.iter().filter(move |label| label.topics.any(topics))
    }

    /// Whether a label of one of the topics occurs close before or after a place.
    pub(super) fn labelled(&self, place: &Range<usize>, topics: Topics) -> bool {
        let behind = self.labels.partition_point(|label| label.range.start < place.end);
        let after = self.labels.iter().skip(behind);
        self.labelled_before(place.start, topics)
            || after
                .take_while(|label| label.range.start - place.end <= LABEL_AFTER_MAX)
                .any(|label| label.topics.any(topics))
    }

    /// Whether a label of one of the topics occurs close before an offset.
    pub(super) fn labelled_before(&self, at: usize, topics: Topics) -> bool {
        // Searches backwards from the nearest. Labels may overlap, so one that ends too late is skipped.
        let before = self.labels.partition_point(|label| label.range.start < at);
        self.labels[..before]
            .iter()
            .rev()
            .take_while(|label| at - label.range.start <= LABEL_BEFORE_MAX + LABEL_BYTES_MAX)
            .any(|label| {
                label.topics.any(topics) && label.range.end <= at && at - label.range.end <= LABEL_BEFORE_MAX
            })
    }

    /// Whether a place contains a plain quantity: `105961890 bytes`.
    pub(super) fn is_quantity(&self, place: &Range<usize>) -> bool {
        let number = &self.text[place.clone()];
        let behind = self.text[place.end..].trim_start_matches(' ');
        let unit = behind.split(|c: char| !c.is_alphabetic()).next().unwrap_or("");
        number.bytes().all(|b| b.is_ascii_digit())
            && !number.starts_with('0')
            && UNITS.iter().any(|known| unit.eq_ignore_ascii_case(known))
    }

    /// Whether any scanner could find anything: prose without digits, marks and labels contains nothing.
    pub(super) fn is_worth_scanning(&self) -> bool {
        self.has.digits > 0
            || self.has.at
            || self.has.marks
            || self.has.longest >= 16
            || !self.labels.is_empty()
    }

    /// Maps a range of this view back to the text from which it was made. The range grows if it would split a character
    /// or an escape.
    pub(super) fn original(&self, range: Range<usize>) -> Range<usize> {
        match &self.origin {
            None => range,
            Some(origin) => origin[range.start]..origin[range.end],
        }
    }

    /// The text with its escapes decoded, once: `%41`, `&#65;`, `&amp;`, `\u0041`, `\x41`, `\"`. `None` if it has none.
    pub(super) fn unescaped(&self) -> Option<View<'static>> {
        if !self.has.marks || !self.bytes().iter().any(|b| matches!(b, b'%' | b'&' | b'\\')) {
            return None;
        }
        let mut out: Vec<u8> = Vec::with_capacity(self.text.len());
        let mut origin = Vec::with_capacity(self.text.len() + 1);
        let bytes = self.bytes();
        let mut at = 0;
        let mut changed = false;
        while at < bytes.len() {
            let (decoded, len) = match escape(&bytes[at..]) {
                Some((decoded, len)) => {
                    changed = true;
                    (decoded, len)
                }
                None => (Decoded::Byte(bytes[at]), 1),
            };
            let from = self.original(at..at).start;
            let before = out.len();
            decoded.append_to(&mut out);
            origin.resize(origin.len() + out.len() - before, from);
            at += len;
        }
        if !changed {
            return None;
        }
        // Each invalid sequence, one to three bytes, becomes one replacement character, which no scanner matches.
        let mut folding = Folding::default();
        let mut done = 0;
        for chunk in out.utf8_chunks() {
            for (offset, c) in chunk.valid().char_indices() {
                folding.push(c, origin[done + offset]);
            }
            done += chunk.valid().len();
            if !chunk.invalid().is_empty() {
                folding.push(char::REPLACEMENT_CHARACTER, origin[done]);
                done += chunk.invalid().len();
            }
        }
        Some(folding.finish(self.original(bytes.len()..bytes.len()).start))
    }
}

/// Builds a folded text and its map.
#[derive(Default)]
struct Folding {
    text: String,
    origin: Vec<usize>,
}

impl Folding {
    fn push(&mut self, c: char, at: usize) {
        let Some(c) = fold(c) else { return };
        self.text.push(c);
        self.origin.resize(self.text.len(), at);
    }

    fn finish(mut self, end: usize) -> View<'static> {
        self.origin.push(end);
        View::of(Cow::Owned(self.text), Some(self.origin))
    }
}

/// The zero of each script's decimal digits (Unicode 16, general category Nd, up to U+FFFF and the
/// mathematical ones).
const ZEROS: &[u32] = &[
    0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66, 0x0de6,
    0x0e50, 0x0ed0, 0x0f20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0,
    0x1c40, 0x1c50, 0x2080, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x1d7ce, 0x1d7d8,
    0x1d7e2, 0x1d7ec, 0x1d7f6,
];

/// The plain form of a character, as a reader perceives it. `None` for an invisible one.
fn fold(c: char) -> Option<char> {
    if c.is_ascii() {
        return Some(c);
    }
    let n = u32::from(c);
    let letter = |offset: u32, first: char| char::from_u32(u32::from(first) + offset);
    Some(match n {
        // Invisible: soft hyphen, joiners, directions, fillers, variation selectors, tags.
        0xad | 0x34f | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f => return None,
        0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0x3164 | 0xfe00..=0xfe0f => return None,
        0xfeff | 0xffa0 | 0xfff9..=0xfffb | 0xe0000..=0xe0fff => return None,
        // Spaces and line ends of every width.
        0x85 | 0xa0 | 0x1680 | 0x2000..=0x200a | 0x2028 | 0x2029 | 0x202f | 0x205f | 0x3000 => ' ',
        0x2010..=0x2015 | 0x2043 | 0x2212 | 0xfe58 | 0xfe63 => '-',
        0x2024 | 0x3002 | 0xfe52 | 0xff61 => '.',
        0x2044 | 0x2215 | 0x29f8 => '/',
        0x2018..=0x201b | 0x2032 => '\'',
        0x201c..=0x201f | 0x2033 => '"',
        0xa789 | 0x2236 | 0xfe55 => ':',
        0xfe6b => '@',
        0xfe62 => '+',
        0xff01..=0xff5e => char::from_u32(n - 0xfee0).unwrap_or(c),
        0xb2 => '2',
        0xb3 => '3',
        0xb9 => '1',
        0x2070 => '0',
        0x2074..=0x2079 => letter(n - 0x2070, '0').unwrap_or(c),
        0x2460..=0x2468 => letter(n - 0x2460, '1').unwrap_or(c),
        // Mathematical letters: thirteen alphabets of 52 letters each.
        0x1d400..=0x1d6a3 => match (n - 0x1d400) % 52 {
            upper @ 0..26 => letter(upper, 'A').unwrap_or(c),
            lower => letter(lower - 26, 'a').unwrap_or(c),
        },
        // Letters in circles.
        0x24b6..=0x24cf => letter(n - 0x24b6, 'A').unwrap_or(c),
        0x24d0..=0x24e9 => letter(n - 0x24d0, 'a').unwrap_or(c),
        _ => {
            let script = ZEROS.partition_point(|zero| *zero <= n);
            match script.checked_sub(1).map(|i| n - ZEROS[i]) {
                Some(digit @ 0..10) => letter(digit, '0').unwrap_or(c),
                _ => c,
            }
        }
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Lower,
    Upper,
    Digit,
    Between,
}

/// The class of each ASCII character.
const ASCII: [Class; 128] = {
    let mut classes = [Class::Between; 128];
    let mut byte = 0u8;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b'a'..=b'z' => Class::Lower,
            b'A'..=b'Z' => Class::Upper,
            b'0'..=b'9' => Class::Digit,
            _ => Class::Between,
        };
        byte += 1;
    }
    classes
};

fn class(c: char) -> Class {
    match ASCII.get(c as usize) {
        Some(class) => *class,
        None if c.is_uppercase() => Class::Upper,
        None if c.is_alphanumeric() => Class::Lower,
        None => Class::Between,
    }
}

/// Divides a text into words and records which characters it has.
fn divide(text: &str) -> (Vec<Range<usize>>, Has) {
    let mut words = Vec::with_capacity(text.len() / 4);
    let mut has = Has::default();
    let mut start = 0;
    let mut run = 0;
    let mut last = Class::Between;
    for (at, c) in text.char_indices() {
        let this = class(c);
        match (this, c) {
            (Class::Lower | Class::Upper, _) => {}
            (Class::Digit, _) => has.digits += 1,
            (_, '@') => has.at = true,
            (_, ':' | '=' | '&' | '%' | '\\' | '/' | '#' | '+' | '~' | '$' | ';' | '"' | '{' | '[' | '(') => {
                has.marks = true
            }
            _ => {}
        }
        run = match this {
            Class::Between if c != '-' && c != '_' => 0,
            _ => run + c.len_utf8(),
        };
        has.longest = has.longest.max(run);
        // "userName" is two words, "IBANs" and "PLZ" are one each.
        let goes_on = matches!(
            (last, this),
            (Class::Lower, Class::Lower)
                | (Class::Upper, Class::Upper | Class::Lower)
                | (Class::Digit, Class::Digit)
                | (Class::Between, Class::Between)
        );
        if !goes_on {
            if last != Class::Between {
                words.push(start..at);
            }
            start = at;
        }
        last = this;
    }
    if last != Class::Between {
        words.push(start..text.len());
    }
    (words, has)
}
