//! Detectors for personal data, customer data and secrets in text.
//!
//! A text is read as a view: folded, so that full-width letters, zero-width spaces and foreign
//! digits hide nothing, and divided into words, some of which are labels ("IBAN", "born on"). Each
//! scanner looks at the view for one family of things; what is found is replaced in the text as it came
//! by [`REMOVED`]. Then the same is done with what the text says once it is decoded.
//!
//! Scanners are written by hand: no regular expressions, no tables larger than a page. None panics on
//! any text, and each does a bounded amount of work per byte.

mod date;
mod device;
mod email;
mod encoded;
pub mod key;
mod label;
mod national;
mod network;
mod payment;
mod person;
mod phone;
mod place;
mod secret;
mod token;
mod user;
mod view;
mod wallet;

use std::borrow::Cow;
use std::ops::Range;
use view::View;

/// What stands in place of what was taken out. A fixed word, never a hash: a hash of an e-mail
/// address can be guessed back. No detector fires on it.
pub const REMOVED: &str = "[removed]";

/// Decodings inside one another that are looked through. What is packed deeper is removed as a whole
/// where it still looks encoded.
const DEPTH_MAX: u32 = 3;

/// How often a text is scrubbed again because something new showed up next to what was taken out.
/// After the last time the text is removed as a whole.
const ROUNDS_MAX: usize = 4;

/// What a detector found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An e-mail address.
    Email,
    /// A phone number.
    Phone,
    /// An IP address.
    Ip,
    /// A payment card number.
    Card,
    /// An international bank account number, or a labelled account number.
    Iban,
    /// A number that a state gives a person, or the number of a document.
    NationalId,
    /// A number that names a company.
    CompanyId,
    /// A number that names a device: MAC, IMEI, serial.
    Device,
    /// A UUID or another long token made by a machine.
    Token,
    /// A password, a key or anything else that opens a door.
    Secret,
    /// The user part of a path or an address.
    User,
    /// A name or an address of a person, said to be one by its label.
    Person,
    /// A date of birth.
    Birth,
    /// A place: coordinates, a labelled postcode.
    Place,
    /// A licence plate.
    Plate,
    /// An address of a crypto currency.
    Wallet,
    /// Something that hides what it says.
    Encoded,
}

impl Kind {
    /// The kind in a word, for explanations. Never holds anything of the text.
    pub fn label(self) -> &'static str {
        match self {
            Self::Email => "e-mail",
            Self::Phone => "phone",
            Self::Ip => "ip",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::NationalId => "national id",
            Self::CompanyId => "company id",
            Self::Device => "device",
            Self::Token => "token",
            Self::Secret => "secret",
            Self::User => "user",
            Self::Person => "person",
            Self::Birth => "birth date",
            Self::Place => "place",
            Self::Plate => "plate",
            Self::Wallet => "wallet",
            Self::Encoded => "encoded",
        }
    }
}

/// Something found, and where in the text as it came, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Where it is. Begins and ends between characters.
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
}

/// A scanner: adds what it finds in a view. Ranges begin and end between characters of the view.
type Scanner = fn(&View<'_>, &mut Found);

/// Every scanner. The order does not matter: overlapping findings are merged.
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

/// Whether nothing in the text looks like personal data or a secret.
pub fn is_clean(text: &str) -> bool {
    findings(text).is_empty()
}

/// The text with everything suspicious replaced by [`REMOVED`]. Idempotent.
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

/// Everything suspicious, from left to right, without overlaps.
pub fn findings(text: &str) -> Vec<Finding> {
    if is_plain_word(text) {
        return Vec::new();
    }
    let mut found = Found::default();
    examine(&View::new(text), DEPTH_MAX, &mut found);
    settle(text, found.0)
}

/// Longest text that is taken for a word without a closer look, in bytes. What is encoded is longer.
const WORD_BYTES_MAX: usize = 15;

/// Whether a text is a short word in small letters, such as most keys and values are: there is nothing beside it
/// that it could be a label of.
fn is_plain_word(text: &str) -> bool {
    text.len() <= WORD_BYTES_MAX
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-'))
}

/// Runs every scanner over a view, then over what the view says once decoded. Adds findings in the
/// coordinates of the text the view was made of.
fn examine(view: &View<'_>, depth: u32, found: &mut Found) {
    let mut here = Found::default();
    if view.is_worth_scanning() {
        for scan in SCANNERS {
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

/// Orders findings, merges those that overlap, and leaves out what was removed before.
fn settle(text: &str, mut found: Vec<Finding>) -> Vec<Finding> {
    if found.is_empty() {
        return found;
    }
    found.sort_by_key(|f| (f.range.start, f.range.end));
    let mut merged: Vec<Finding> = Vec::with_capacity(found.len());
    for next in found {
        match merged.last_mut() {
            Some(last) if next.range.start < last.range.end => {
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

/// The parts of a finding between earlier replacements, as far as they say anything.
fn without_placeholders(text: &str, finding: Finding) -> Vec<Finding> {
    let Finding { kind, range } = finding;
    let mut left = Vec::new();
    let mut at = range.start;
    let mut keep = |range: Range<usize>| {
        if text[range.clone()].contains(char::is_alphanumeric) {
            left.push(Finding { kind, range });
        }
    };
    // A replacement may begin or end outside of the finding; then the part inside says nothing either.
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

#[cfg(test)]
mod tests;
