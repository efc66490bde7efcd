//! What a text says once it is decoded: escapes in place, base64 and hexadecimal tokens as a whole.

use super::view::View;
use super::{Found, examine};
use std::ops::Range;

/// Shortest base64 token looked into, in characters: nine bytes, less than any e-mail address.
const BASE64_CHARS_MIN: usize = 12;
/// Shortest hexadecimal token looked into, in digits.
const HEX_DIGITS_MIN: usize = 16;
/// A token that decodes to this much plain text, in bytes, hides something whatever it says: no word
/// does so by chance.
const PLAIN_BYTES_MIN: usize = 12;

/// What an escape stands for.
pub(super) enum Decoded {
    /// One byte of UTF-8.
    Byte(u8),
    /// A character.
    Char(char),
}

impl Decoded {
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Byte(byte) => out.push(*byte),
            Self::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Decodes the escape that bytes begin with, and says how long it is.
pub(super) fn escape(bytes: &[u8]) -> Option<(Decoded, usize)> {
    match bytes {
        [b'%', b'u' | b'U', hex @ ..] => Some((Decoded::Char(hex_char(hex.get(..4)?)?), 6)),
        [b'%', high, low, ..] => Some((Decoded::Byte(hex_digit(*high)? << 4 | hex_digit(*low)?), 3)),
        [b'\\', b'u' | b'U', b'{', rest @ ..] => {
            let len = rest.iter().take(7).position(|b| *b == b'}')?;
            Some((Decoded::Char(hex_char(&rest[..len])?), len + 4))
        }
        [b'\\', b'u', hex @ ..] => utf16_escape(hex),
        [b'\\', b'x', high, low, ..] => Some((Decoded::Byte(hex_digit(*high)? << 4 | hex_digit(*low)?), 4)),
        [b'\\', sign @ (b'"' | b'/' | b'\''), ..] => Some((Decoded::Byte(*sign), 2)),
        [b'&', b'#', rest @ ..] => number_entity(rest),
        [b'&', rest @ ..] => named_entity(rest),
        _ => None,
    }
}

/// `\uD83D\uDE00` is one character, a lone half is none.
fn utf16_escape(hex: &[u8]) -> Option<(Decoded, usize)> {
    let first = hex_number(hex.get(..4)?)?;
    if let Some(c) = char::from_u32(first) {
        return Some((Decoded::Char(c), 6));
    }
    let second = match hex.get(4..10)? {
        [b'\\', b'u', second @ ..] => hex_number(second)?,
        _ => return None,
    };
    let units = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
    let c = char::decode_utf16(units).next()?.ok()?;
    Some((Decoded::Char(c), 12))
}

fn number_entity(rest: &[u8]) -> Option<(Decoded, usize)> {
    let (digits, radix, prefix) = match rest {
        [b'x' | b'X', rest @ ..] => (rest, 16, 3),
        _ => (rest, 10, 2),
    };
    let len = digits
        .iter()
        .take(8)
        .take_while(|b| char::from(**b).is_digit(radix))
        .count();
    let number = std::str::from_utf8(&digits[..len]).ok()?;
    let c = char::from_u32(u32::from_str_radix(number, radix).ok()?)?;
    let semicolon = usize::from(digits.get(len) == Some(&b';'));
    Some((Decoded::Char(c), prefix + len + semicolon))
}

/// The entities that stand for signs of addresses and numbers (HTML, section 13.5).
const ENTITIES: &[(&str, char)] = &[
    ("amp", '&'),
    ("apos", '\''),
    ("bsol", '\\'),
    ("colon", ':'),
    ("comma", ','),
    ("commat", '@'),
    ("dash", '-'),
    ("equals", '='),
    ("gt", '>'),
    ("hyphen", '-'),
    ("lowbar", '_'),
    ("lpar", '('),
    ("lt", '<'),
    ("nbsp", ' '),
    ("num", '#'),
    ("period", '.'),
    ("plus", '+'),
    ("quot", '"'),
    ("rpar", ')'),
    ("shy", '\u{ad}'),
    ("sol", '/'),
    ("zwj", '\u{200d}'),
    ("zwnj", '\u{200c}'),
];

fn named_entity(rest: &[u8]) -> Option<(Decoded, usize)> {
    let len = rest.iter().take(8).position(|b| *b == b';')?;
    let (_, c) = ENTITIES
        .iter()
        .find(|(name, _)| name.as_bytes() == &rest[..len])?;
    Some((Decoded::Char(*c), len + 2))
}

fn hex_char(hex: &[u8]) -> Option<char> {
    char::from_u32(hex_number(hex)?)
}

fn hex_number(hex: &[u8]) -> Option<u32> {
    if hex.is_empty() || hex.len() > 6 {
        return None;
    }
    hex.iter()
        .try_fold(0, |n, b| Some(n << 4 | u32::from(hex_digit(*b)?)))
}

fn hex_digit(b: u8) -> Option<u8> {
    match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    }
}

/// A run of characters that may be base64 or hexadecimal.
pub(super) struct Token<'v> {
    text: &'v [u8],
    pub(super) range: Range<usize>,
}

/// The runs of a view that are long enough to be encoded text.
pub(super) fn tokens<'v>(view: &'v View<'_>) -> Vec<Token<'v>> {
    let bytes = view.bytes();
    let mut found = Vec::new();
    if view.has().longest + usize::from(view.has().marks) * bytes.len() < BASE64_CHARS_MIN {
        return found;
    }
    let mut at = 0;
    while at < bytes.len() {
        let len = bytes[at..].iter().take_while(|b| sextet(**b).is_some()).count();
        if len >= BASE64_CHARS_MIN {
            let padding = bytes[at + len..]
                .iter()
                .take(2)
                .take_while(|b| **b == b'=')
                .count();
            found.push(Token {
                text: &bytes[at..at + len],
                range: at..at + len + padding,
            });
        }
        at += len.max(1);
    }
    found
}

/// Whether a token decodes to plain text, or to something a scanner knows.
pub(super) fn hides_something(token: &Token<'_>, depth: u32) -> bool {
    let speaks = |bytes: Option<Vec<u8>>| {
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        text.is_some_and(|text| {
            let readable = text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace());
            (readable && text.len() >= PLAIN_BYTES_MIN && text.is_ascii())
                || (readable && holds_something(&text, depth))
        })
    };
    if token.text.len() >= HEX_DIGITS_MIN
        && token.text.len().is_multiple_of(2)
        && speaks(from_hex(token.text))
    {
        return true;
    }
    // A path before it may have become part of the run: the last piece may be encoded on its own.
    let last = token.text.rsplit(|b| *b == b'/').next().unwrap_or_default();
    speaks(from_base64(token.text)) || (last.len() >= BASE64_CHARS_MIN && speaks(from_base64(last)))
}

fn holds_something(text: &str, depth: u32) -> bool {
    let mut found = Found::default();
    examine(&View::new(text), depth, &mut found);
    !found.0.is_empty()
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    digits
        .chunks_exact(2)
        .map(|pair| Some(hex_digit(pair[0])? << 4 | hex_digit(pair[1])?))
        .collect()
}

fn sextet(b: u8) -> Option<u8> {
    match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// Decodes either alphabet of RFC 4648, without padding. Trailing bits are not looked at.
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for b in group {
            bits = bits << 6 | u32::from(sextet(*b)?);
        }
        bits <<= 6 * (4 - group.len());
        out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(out)
}
