//! Finds and removes personal data and secrets in text.
//!
//! ```
//! use relay_pii::{Kind, findings, kind_of_key, redact};
//!
//! let text = "Tel. 030 1234567, or jane.doe@example.com";
//! assert_eq!(redact(text), "Tel. [removed], or [removed]");
//!
//! let kinds: Vec<Kind> = findings(text).iter().map(|finding| finding.kind).collect();
//! assert_eq!(kinds, [Kind::Phone, Kind::Email]);
//!
//! // The key of a value can reveal its kind, whatever the value is.
//! assert_eq!(kind_of_key("customer[firstName]"), Some(Kind::Person));
//! assert_eq!(kind_of_key("author"), None);
//! ```
//!
//! The crate's README lists the kinds with examples, and the data that it does not find.
//!
//! # How it works
//!
//! 1. A text is folded into a view, so that full-width letters, zero-width spaces and foreign digits cannot hide data,
//!    and divided into words, some of which are labels ("IBAN", "born on").
//! 2. Each scanner searches the view for one family of data. Findings are mapped back to the original text.
//! 3. The view is decoded (percent, HTML entities, `\u` and `\x` escapes, base64, hexadecimal) and scanned again, three
//!    levels deep.
//! 4. [`redact`] replaces the findings by [`REMOVED`] and repeats, because a replacement can expose a label.
//!
//! Everything here is a function of its arguments: no IO, no clock, no randomness, no dependencies. Scanners are
//! written by hand, without regular expressions. None panics on any text, and each does a bounded amount of work
//! per byte. Callers limit the length of a text.

mod date;
mod device;
mod digits;
mod email;
mod encoded;
mod escape;
mod key;
mod kind;
mod label;
mod national;
mod network;
mod payment;
mod person;
mod phone;
mod place;
mod scan;
mod secret;
mod token;
mod user;
mod view;
mod wallet;
mod words;

pub use key::kind_of_key;
pub use kind::Kind;

use std::borrow::Cow;
use std::hint::black_box;
use std::ops::Range;
use view::View;

/// The replacement for every finding. A fixed word, never a hash: the e-mail address behind a hash can be guessed. No
/// scanner finds anything in it.
pub const REMOVED: &str = "[removed]";

/// Most levels of encoding that are decoded. Text that is encoded deeper is removed as a whole if it still looks
/// encoded.
const DEPTH_MAX: u32 = 3;

/// Most rounds of redaction. A round can expose something new next to a replacement. If anything is found after
/// the last round, the whole text is replaced.
const ROUNDS_MAX: usize = 4;

/// A piece of personal data or a secret, and its position in the original text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kind of data.
    pub kind: Kind,
    /// The position in bytes. Both ends are character boundaries.
    pub range: Range<usize>,
}

/// Collects findings in the coordinates of one view.
#[derive(Default)]
struct Found(Vec<Finding>);

impl Found {
    fn add(&mut self, kind: Kind, range: Range<usize>) {
        if !range.is_empty() {
            self.0.push(Finding { kind, range });
        }
    }

    /// Adds what `find` finds at the start of some pieces (words or groups of digits), from left to right. The search
    /// continues behind each finding.
    fn search(
        &mut self,
        kind: Kind,
        pieces: &[Range<usize>],
        find: impl Fn(&[Range<usize>]) -> Option<Range<usize>>,
    ) {
        let mut rest = pieces;
        while !rest.is_empty() {
            let next = find(rest).map_or(1, |range| {
                let next = rest.partition_point(|piece| piece.start < range.end).max(1);
                self.add(kind, range);
                next
            });
            rest = rest.get(next..).unwrap_or_default();
        }
    }
}

/// A scanner: adds its findings in a view. Ranges start and end at character boundaries of the view.
type Scanner = fn(&View<'_>, &mut Found);

/// Every scanner. Their order decides only the kind of findings that overlap: these are merged.
const SCANNERS: &[Scanner] = &[
    date::find,
    device::find,
    email::find,
    network::find,
    national::find,
    payment::find,
    person::find,
    phone::find,
    place::find,
    secret::find,
    token::find,
    user::find,
    wallet::find,
];

/// Whether the text contains nothing that looks like personal data or a secret.
pub fn is_clean(text: &str) -> bool {
    findings(text).is_empty()
}

/// The text with every finding replaced by [`REMOVED`]. Idempotent, and [`is_clean`] holds for the result.
///
/// If replacing exposes new findings again and again, the result is [`REMOVED`] alone. A clean text is borrowed.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..ROUNDS_MAX {
        let found = findings(&text);
        if found.is_empty() {
            return text;
        }
        text = Cow::Owned(replace(&text, &found));
    }
    if is_clean(&text) {
        text
    } else {
        Cow::Borrowed(REMOVED)
    }
}

/// All findings, from left to right. Those that overlap are merged into one, of the kind that begins first.
pub fn findings(text: &str) -> Vec<Finding> {
    if is_plain_word(text) {
        return Vec::new();
    }
    let mut found = Found::default();
    examine(&View::new(text), DEPTH_MAX, &mut found);
    settle(text, found.0)
}

/// Longest text that counts as a plain word without a scan, in bytes. Encoded data is longer.
const WORD_BYTES_MAX: usize = 15;

/// Whether a text is one short lower-case word, like most keys and values: without neighbours it cannot be a label.
fn is_plain_word(text: &str) -> bool {
    text.len() <= WORD_BYTES_MAX
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-'))
}

/// Runs every scanner over a view, then over the decoded view. Adds findings in the coordinates of the text from which
/// the view was made.
fn examine(view: &View<'_>, depth: u32, found: &mut Found) {
    let mut here = Found::default();
    if view.is_worth_scanning() {
        // Otherwise the optimiser inlines all of them into this function, and compiling so large a function of the policy to
        // native code takes twice the memory of all others.
        for scan in black_box(SCANNERS) {
            scan(view, &mut here);
        }
    }
    for Finding { kind, range } in here.0 {
        // One number in five has a check digit that fits some state's rule by chance.
        let may_be_chance = matches!(kind, Kind::NationalId | Kind::CompanyId | Kind::Phone);
        if !(may_be_chance && view.is_quantity(&range)) {
            found.add(kind, view.original(range));
        }
    }
    if let Some(depth) = depth.checked_sub(1) {
        if let Some(decoded) = view.unescaped() {
            examine(&decoded, depth, found);
        }
        for token in encoded::tokens(view) {
            if encoded::hides_something(&token, depth) {
                found.add(Kind::Encoded, view.original(token.range));
            }
        }
    }
}

/// Sorts findings, merges those that overlap, and drops earlier replacements.
fn settle(text: &str, mut found: Vec<Finding>) -> Vec<Finding> {
    if found.is_empty() {
        return found;
    }
    found.sort_by_key(|f| (f.range.start, f.range.end));
    let mut merged: Vec<Finding> = Vec::with_capacity(found.len());
    for next in found {
        match merged.last_mut() {
            Some(last) if next.range.start < last.range.end => {
                // Any other kind is more specific than `Token` for the same piece.
                if last.kind == Kind::Token && next.range.start == last.range.start {
                    last.kind = next.kind;
                }
                last.range.end = last.range.end.max(next.range.end);
            }
            _ => merged.push(next),
        }
    }
    merged
        .into_iter()
        .flat_map(|finding| without_placeholders(text, finding))
        .collect()
}

/// The parts of a finding between earlier replacements, if they contain letters or digits.
fn without_placeholders(text: &str, finding: Finding) -> Vec<Finding> {
    let Finding { kind, range } = finding;
    let mut left = Vec::new();
    let mut at = range.start;
    let mut keep = |range: Range<usize>| {
        if text[range.clone()].contains(char::is_alphanumeric) {
            left.push(Finding { kind, range });
        }
    };
    // A replacement may extend beyond the finding; the part inside belongs to it, too.
    let from = floor_boundary(text, range.start.saturating_sub(REMOVED.len()));
    let to = ceil_boundary(text, range.end + REMOVED.len());
    for (offset, _) in text[from..to].match_indices(REMOVED) {
        let (start, end) = (from + offset, from + offset + REMOVED.len());
        if end <= at || start >= range.end {
            continue;
        }
        if start > at {
            keep(at..start);
        }
        at = end;
    }
    if at < range.end {
        keep(at..range.end);
    }
    left
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn ceil_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

fn replace(text: &str, found: &[Finding]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for Finding { range, .. } in found {
        out.push_str(&text[at..range.start]);
        out.push_str(REMOVED);
        at = range.end;
    }
    out.push_str(&text[at..]);
    out
}

/// The README's example as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
