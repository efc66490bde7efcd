//! `Forwarded`, as RFC 7239 defines it: `for=192.0.2.1;proto=https, for="[2001:db8::7]:4711"`.
//!
//! Parsed from the right: the client's part stands on the left, and a quote left open there must not hide the part
//! that a proxy added.

use super::address;
use axum::http::HeaderMap;
use axum::http::header::FORWARDED;
use std::net::IpAddr;

/// The addresses of its elements, the last one first. `None` for an element without one: `unknown`, an obfuscated
/// identifier, or no `for` at all.
pub(super) fn hops(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    headers
        .get_all(FORWARDED)
        .iter()
        .rev()
        .flat_map(|value| Parts::of(value.as_bytes(), b','))
        .map(element)
}

/// Pieces between separators outside of quotes, the last one first.
struct Parts<'h> {
    rest: Option<&'h [u8]>,
    separator: u8,
}

impl<'h> Parts<'h> {
    fn of(text: &'h [u8], separator: u8) -> Self {
        Self {
            rest: Some(text),
            separator,
        }
    }
}

impl<'h> Iterator for Parts<'h> {
    type Item = &'h [u8];

    fn next(&mut self) -> Option<&'h [u8]> {
        let text = self.rest.take()?;
        let mut quoted = false;
        for (at, byte) in text.iter().enumerate().rev() {
            if *byte == b'"' && !is_escaped(&text[..at]) {
                quoted = !quoted;
            } else if *byte == self.separator && !quoted {
                self.rest = Some(&text[..at]);
                return Some(&text[at + 1..]);
            }
        }
        Some(text)
    }
}

/// Whether the byte after these is escaped: they end in an odd number of backslashes.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The address in an element's `for`. Two `for`s count as none: proxies and clients would read different ones.
fn element(text: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in Parts::of(text, b';') {
        let Some(equals) = pair.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let (name, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"for") {
            if found.is_some() {
                return None;
            }
            found = Some(node(value));
        }
    }
    found?
}

/// A node: an address, in brackets if IPv6, optionally with a port, quoted or not.
fn node(value: &[u8]) -> Option<IpAddr> {
    let Some(quoted) = value.strip_prefix(b"\"") else {
        return address_without_port(value);
    };
    let inside = quoted.strip_suffix(b"\"")?;
    if !inside.contains(&b'\\') {
        return address_without_port(inside);
    }
    let mut bytes = inside.iter();
    let mut plain = Vec::with_capacity(inside.len());
    while let Some(byte) = bytes.next() {
        plain.push(if *byte == b'\\' { *bytes.next()? } else { *byte });
    }
    address_without_port(&plain)
}

fn address_without_port(node: &[u8]) -> Option<IpAddr> {
    // The port may be obfuscated, as in `192.0.2.1:_http`.
    let hidden = node.windows(2).position(|pair| pair == b":_");
    address(&node[..hidden.unwrap_or(node.len())])
}
