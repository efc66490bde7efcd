//! Tokens of base64 or hexadecimal digits, which are decoded as a whole.

use super::escape::hex_byte;
use super::scan::{run_up_to, runs};
use super::view::View;
use super::{Found, examine};
use std::ops::Range;

/// Shortest base64 token that is decoded, in characters: nine bytes, less than any e-mail address.
const BASE64_CHARS_MIN: usize = 12;
/// Shortest hexadecimal token that is decoded, in digits.
const HEX_DIGITS_MIN: usize = 16;
/// A token that decodes to this much plain text, in bytes, is removed whatever its content: no word does so by chance.
const PLAIN_BYTES_MIN: usize = 12;

/// A run of characters that may be base64 or hexadecimal.
pub(super) struct Token<'v> {
    text: &'v [u8],
    pub(super) range: Range<usize>,
}

/// The runs of a view that are long enough for encoded text.
pub(super) fn tokens<'v>(view: &'v View<'_>) -> Vec<Token<'v>> {
    let bytes = view.bytes();
    if view.has().longest + usize::from(view.has().marks) * bytes.len() < BASE64_CHARS_MIN {
        return Vec::new();
    }
    let long = runs(bytes, |b| sextet(*b).is_some()).filter(|run| run.len() >= BASE64_CHARS_MIN);
    let tokens = long.map(|run| Token {
        text: &bytes[run.clone()],
        range: run.start..run.end + run_up_to(2, bytes, run.end, |b| *b == b'='),
    });
    tokens.collect()
}

/// Whether a token decodes to plain text, or to text in which a scanner finds something.
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
    // A path before the token may have joined the run: the last piece may be encoded on its own.
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
        .map(|pair| hex_byte(pair[0], pair[1]))
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

/// Decodes either alphabet of RFC 4648, without padding. Ignores trailing bits.
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
