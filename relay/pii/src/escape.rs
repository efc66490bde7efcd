//! Decodes one escape: percent, HTML entities, `\u`, `\x` and escaped quotes.

use super::scan::run_up_to;

/// A decoded escape.
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

/// Decodes the escape at the start of the bytes, and returns its length.
pub(super) fn escape(bytes: &[u8]) -> Option<(Decoded, usize)> {
    match bytes {
        [b'%', b'u' | b'U', hex @ ..] => Some((Decoded::Char(hex_char(hex.get(..4)?)?), 6)),
        [b'%', high, low, ..] => Some((Decoded::Byte(hex_byte(*high, *low)?), 3)),
        [b'\\', b'u' | b'U', b'{', rest @ ..] => {
            let len = rest.iter().take(7).position(|b| *b == b'}')?;
            Some((Decoded::Char(hex_char(&rest[..len])?), len + 4))
        }
        [b'\\', b'u', hex @ ..] => utf16_escape(hex),
        [b'\\', b'x', high, low, ..] => Some((Decoded::Byte(hex_byte(*high, *low)?), 4)),
        [b'\\', sign @ (b'"' | b'/' | b'\''), ..] => Some((Decoded::Byte(*sign), 2)),
        [b'&', b'#', rest @ ..] => number_entity(rest),
        [b'&', rest @ ..] => named_entity(rest),
        _ => None,
    }
}

/// `\uD83D\uDE00` is one character; a lone surrogate is not decoded.
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
    let len = run_up_to(8, digits, 0, |b| char::from(*b).is_digit(radix));
    let number = std::str::from_utf8(&digits[..len]).ok()?;
    let c = char::from_u32(u32::from_str_radix(number, radix).ok()?)?;
    let semicolon = usize::from(digits.get(len) == Some(&b';'));
    Some((Decoded::Char(c), prefix + len + semicolon))
}

/// The entities for characters in addresses and numbers (HTML, section 13.5).
#[rustfmt::skip]
const ENTITIES: &[(&str, char)] = &[
    ("amp", '&'), ("apos", '\''), ("bsol", '\\'), ("colon", ':'), ("comma", ','), ("commat", '@'),
    ("dash", '-'), ("equals", '='), ("gt", '>'), ("hyphen", '-'), ("lowbar", '_'), ("lpar", '('), ("lt", '<'),
    ("nbsp", ' '), ("num", '#'), ("period", '.'), ("plus", '+'), ("quot", '"'), ("rpar", ')'),
    ("shy", '\u{ad}'), ("sol", '/'), ("zwj", '\u{200d}'), ("zwnj", '\u{200c}'),
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

/// The value of a hexadecimal digit.
pub(super) fn hex_digit(b: u8) -> Option<u8> {
    char::from(b)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// The byte that two hexadecimal digits denote.
pub(super) fn hex_byte(high: u8, low: u8) -> Option<u8> {
    Some(hex_digit(high)? << 4 | hex_digit(low)?)
}
