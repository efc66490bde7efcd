//! Numbers of businesses for value added tax, after the prefix of their country.

use super::rule::Candidate;

/// Prefixes and the shape after them: `9` is a digit, `A` a letter, `X` either, any other character itself. Each length
/// has its own line.
#[rustfmt::skip]
const SHAPES: &[(&[u8; 2], &str)] = &[
    (b"AT", "U99999999"), (b"BE", "9999999999"), (b"BE", "999999999"), (b"BG", "9999999999"),
    (b"BG", "999999999"), (b"CY", "99999999A"), (b"CZ", "9999999999"), (b"CZ", "999999999"),
    (b"CZ", "99999999"), (b"DE", "999999999"), (b"DK", "99999999"), (b"EE", "999999999"),
    (b"EL", "999999999"), (b"ES", "X9999999X"), (b"FI", "99999999"), (b"FR", "XX999999999"),
    (b"GB", "999999999999"), (b"GB", "999999999"), (b"GR", "999999999"), (b"HR", "99999999999"),
    (b"HU", "99999999"), (b"IE", "9999999AA"), (b"IE", "9X99999A"), (b"IT", "99999999999"),
    (b"LT", "999999999999"), (b"LT", "999999999"), (b"LU", "99999999"), (b"LV", "99999999999"),
    (b"MT", "99999999"), (b"NL", "999999999B99"), (b"NO", "999999999"), (b"PL", "9999999999"),
    (b"PT", "999999999"), (b"RO", "9999999999"), (b"RO", "999999999"), (b"RO", "99999999"),
    (b"SE", "999999999999"), (b"SI", "99999999"), (b"SK", "9999999999"), (b"XI", "999999999"),
];

/// Whether letters and digits have the shape of such a number. The check digit is ignored: prefix and length show the
/// intent, mistyped or not.
pub(super) fn is_vat(candidate: &Candidate) -> bool {
    let [a, b, rest @ ..] = candidate.chars() else {
        return false;
    };
    candidate.len() >= 10
        && !candidate.has_lower_case()
        && candidate.is_joined_only_by(b" -.")
        && !is_date(rest)
        && SHAPES
            .iter()
            .any(|(prefix, shape)| **prefix == [*a, *b] && fits(shape.as_bytes(), rest))
}

fn fits(shape: &[u8], chars: &[u8]) -> bool {
    shape.len() == chars.len()
        && shape.iter().zip(chars).all(|(sign, b)| match sign {
            b'9' => b.is_ascii_digit(),
            b'A' => b.is_ascii_uppercase(),
            b'X' => true,
            _ => sign == b,
        })
}

/// "SI20260812" is a build, not a business.
fn is_date(chars: &[u8]) -> bool {
    matches!(
        chars,
        [b'1', b'9', _, _, b'0' | b'1', _, b'0'..=b'3', _]
            | [b'2', b'0', _, _, b'0' | b'1', _, b'0'..=b'3', _]
    )
}
