//! Detectors for personal data in free text. A first, coarse set: what looks like an address, a
//! number that could name somebody, or a secret is taken out, word by word.
//!
//! The default plan has no free text at all; these rules stand behind `type = "text"` properties and
//! behind the guard's second look. Work is linear in the text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What stands in place of what was taken out. A fixed word, never a hash: a hash of an e-mail
/// address can be guessed back. No detector fires on it.
pub const REMOVED: &str = "[removed]";

/// Most digits a number in free text may have, separators not counted. Seven are a phone number.
const DIGITS_MAX: usize = 6;
/// Longest run of letters and digits mixed before it counts as a token.
const TOKEN_CHARS_MAX: usize = 15;

/// Whether nothing in the text looks like personal data or a secret.
pub fn is_clean(text: &str) -> bool {
    redact(text) == text
}

/// The text with everything suspicious replaced by [`REMOVED`]. Idempotent.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in split_keeping_spaces(&without_long_numbers(text)) {
        if word != REMOVED && is_suspicious(word) {
            out.push_str(REMOVED);
        } else {
            out.push_str(word);
        }
    }
    out
}

/// Words and the white space between them, in order.
fn split_keeping_spaces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = rest
            .find(|c: char| c.is_whitespace() != first.is_whitespace())
            .unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        rest = tail;
        Some(word)
    })
}

/// Replaces runs of digits and the separators people write between them, when they hold too many digits.
fn without_long_numbers(text: &str) -> String {
    let in_number = |c: char| c.is_numeric() || " +-./()\u{a0}".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(char::is_numeric) {
        let run = &rest[start..];
        let run = &run[..run.find(|c| !in_number(c)).unwrap_or(run.len())];
        let end = run.rfind(char::is_numeric).map_or(run.len(), |last| {
            last + run[last..].chars().next().map_or(1, char::len_utf8)
        });
        let number = &run[..end];
        out.push_str(&rest[..start]);
        let long = number.chars().filter(|c| c.is_numeric()).count() > DIGITS_MAX;
        out.push_str(if long { REMOVED } else { number });
        rest = &rest[start + end..];
    }
    out.push_str(rest);
    out
}

/// Whether a word is an address, a secret or hides what it is.
fn is_suspicious(word: &str) -> bool {
    word.contains(['@', '\u{ff20}'])
        || word.contains("://")
        || word.contains('%')
        || word
            .chars()
            .any(|c| is_invisible(c) || (c.is_numeric() && !c.is_ascii_digit()))
        || is_ip(word)
        || has_token(word)
        || word.contains(REMOVED)
}

/// Characters that split a word for a scanner and not for a reader, or stand in for ASCII ones.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{ff01}'..='\u{ff5e}')
}

fn is_ip(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric() && c != ':');
    let bare = word.split_once('/').map_or(word, |(address, _prefix)| address);
    let without_port = bare.rsplit_once(':').map_or(bare, |(address, _port)| address);
    bare.parse::<IpAddr>().is_ok()
        || without_port.parse::<Ipv4Addr>().is_ok()
        || without_port.trim_matches(['[', ']']).parse::<Ipv6Addr>().is_ok()
}

/// Whether a run of letters, digits and `-_` is long and mixed, as keys, hashes and UUIDs are.
fn has_token(word: &str) -> bool {
    word.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
        .any(|run| {
            let digits = run.bytes().filter(u8::is_ascii_digit).count();
            run.len() > TOKEN_CHARS_MAX && digits >= 2
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn personal_data_is_taken_out_and_ordinary_words_stay() {
        let check = |text: &str, want: &str| assert_eq!(redact(text), want);
        check("write to jane.doe@example.com today", "write to [removed] today");
        check("jane@exämple.de", REMOVED);
        check("call +49 176 123 45 67 now", "call [removed] now");
        check("card 4111-1111-1111-1111", "card [removed]");
        check("from 192.168.1.7:443", "from [removed]");
        check(
            "from 2001:db8::1 and fe80::1%eth0",
            "from [removed] and [removed]",
        );
        check("id 550e8400-e29b-41d4-a716-446655440000", "id [removed]");
        check("key AKIAIOSFODNN7EXAMPLE1", "key [removed]");
        check("https://panel.example.com/w/acme", REMOVED);
        check("ja\u{200b}ne", REMOVED);
        check("\u{ff11}\u{ff12}\u{ff13}", REMOVED);
        check(
            "it took 45 seconds in version 2.13",
            "it took 45 seconds in version 2.13",
        );
        check(
            "Authentifizierung und Autorisierung",
            "Authentifizierung und Autorisierung",
        );
        check("std::string, 12:34 o'clock", "std::string, 12:34 o'clock");
        check("", "");
    }

    proptest! {
        #[test]
        fn redaction_is_total_and_idempotent(text in "\\PC{0,120}") {
            let once = redact(&text);
            prop_assert_eq!(redact(&once), once);
        }

        #[test]
        fn no_address_survives_among_words(user in "[a-z]{1,8}", host in "[a-z]{1,8}", before in "[a-z ]{0,10}") {
            let text = format!("{before} {user}@{host}.example after");
            let address = format!("{user}@{host}");
            prop_assert!(!redact(&text).contains(&address));
        }
    }
}
