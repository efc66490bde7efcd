//! Secrets after a word that announces them, without a separator: "Passwort lautet ...", "Bearer ...".

use crate::label::{Label, Topics};
use crate::scan::{run, run_back};
use crate::view::View;
use crate::{Found, Kind};

/// Labels of secrets that consist of digits.
#[rustfmt::skip]
const CODES: &[&str] = &[
    "login code", "otp", "passcode", "pin", "pin code", "pincode", "tan", "verification code", "zugangscode",
];
/// Words between a label and its value: "my password is ...".
const COPULAS: &[&str] = &[
    "are", "equals", "für", "ist", "is", "lautet", "now", "set", "to", "was", "war", "wird",
];
/// Most copulas in a row.
const COPULAS_MAX: usize = 3;
/// Longest value that is read, in bytes. A longer one is removed if any part of it is a token.
const VALUE_MAX: usize = 512;
/// Fewest bits of entropy per character of a random value. Words of twelve letters have less than three.
const BITS_MIN: f32 = 3.0;

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    for label in view.labels() {
        if label.topics.any(Topics::SECRET) {
            value(view, label, Kind::Secret, found);
            value_before(view, label, found);
        } else if label.topics.any(Topics::CUSTOMER) {
            value(view, label, Kind::User, found);
        }
    }
    headers(view, found);
}

/// Looks at the word after a label.
fn value(view: &View<'_>, label: &Label, kind: Kind, found: &mut Found) {
    let mut rest = view.rest(label.range.end);
    let name = view.piece(&label.range);
    // The full stop of "customer no." is part of the label.
    if name.ends_with(['o', 'r']) {
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    let mut said = false;
    for _ in 0..COPULAS_MAX {
        rest = rest.trim_start_matches([' ', ':', '=', '#', '"', '\'', '`', '(']);
        let word = rest
            .get(..rest.find(' ').unwrap_or(rest.len()).min(8))
            .unwrap_or_default();
        let dotted = word.trim_end_matches(['.', ':']);
        if COPULAS.iter().any(|copula| dotted.eq_ignore_ascii_case(copula))
            || matches!(dotted, "nr" | "Nr" | "no" | "No")
        {
            said = true;
            rest = rest.get(word.len()..).unwrap_or_default();
        }
    }
    // In a query an `&` starts the next pair.
    let in_query = view.bytes().get(label.range.end) == Some(&b'=');
    let ends =
        |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"' | '\'' | '`') || (c == '&' && in_query);
    let len = rest.find(ends).unwrap_or(rest.len()).min(VALUE_MAX);
    let Some(value) = rest.get(..len) else { return };
    let value = value.trim_end_matches(['.', ')', ':', '?']);
    let is_code = || {
        (4..=8).contains(&value.len())
            && value.bytes().all(|b| b.is_ascii_digit())
            && CODES.iter().any(|code| name.eq_ignore_ascii_case(code))
    };
    let takes = match kind {
        // "GitHub token CRC32": apart from passwords, a value is longer.
        Kind::Secret => {
            is_code() || is_secret(value, said) && (said || value.len() >= 8 || is_password(name))
        }
        _ => is_number(value),
    };
    if takes {
        let start = view.text().len() - rest.len();
        found.add(kind, start..start + value.len());
    }
}

/// Whether a label denotes passwords, which may be short.
fn is_password(label: &str) -> bool {
    let label = label.to_ascii_lowercase();
    ["pass", "pwd", "kennwort"]
        .iter()
        .any(|stem| label.starts_with(stem))
}

/// Looks at the word before a label: "hunter2 is my password".
fn value_before(view: &View<'_>, label: &Label, found: &mut Found) {
    let head = view
        .text()
        .get(..label.range.start)
        .unwrap_or_default()
        .trim_end();
    let Some(rest) = [" is my", " is the", " is her", " is his", " ist mein", " ist das"]
        .iter()
        .find_map(|end| head.strip_suffix(end))
    else {
        return;
    };
    let len = run_back(VALUE_MAX, rest.as_bytes(), rest.len(), |b| {
        !b.is_ascii_whitespace()
    });
    let Some(value) = rest.get(rest.len() - len..) else {
        return;
    };
    if is_secret(value, true) {
        found.add(Kind::Secret, rest.len() - len..rest.len());
    }
}

/// Whether a word after "password" is one. After "is" the criteria are weaker.
fn is_secret(value: &str, said: bool) -> bool {
    let has = |test: fn(char) -> bool| value.contains(test);
    let digit = has(|c| c.is_ascii_digit());
    let letter = has(char::is_alphabetic);
    let sign = has(|c| matches!(c, '!' | '$' | '%' | '*' | '+' | '?' | '@' | '^' | '~' | '#' | '_'));
    let path = has(|c| matches!(c, '/' | '(' | '<' | '{'));
    match said {
        true => value.len() >= 4 && (digit || sign) && !path,
        false => {
            value.len() >= 5
                && digit
                && letter
                && !path
                && (sign || value.len() < 12 || bits(value) >= BITS_MIN)
        }
    }
}

/// Whether a word after "customer id" is one.
fn is_number(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let ordinary = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    value.len() >= 3 && digits >= 2 && value.chars().all(ordinary)
}

/// Shannon's entropy per character, in bits.
fn bits(text: &str) -> f32 {
    let mut counts = [0_u16; 256];
    let mut total = 0_u16;
    for b in text.bytes().take(VALUE_MAX) {
        if let Some(count) = counts.get_mut(usize::from(b)) {
            *count += 1;
            total += 1;
        }
    }
    let share = |count: &u16| f32::from(*count) / f32::from(total);
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| -share(count) * share(count).log2())
        .sum()
}

/// "Bearer ..." and "Basic ..." at any position.
fn headers(view: &View<'_>, found: &mut Found) {
    for label in view.labels() {
        let scheme = view.piece(&label.range);
        let bearer = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("apikey");
        if !bearer && !scheme.eq_ignore_ascii_case("basic") {
            continue;
        }
        let Some(rest) = view.rest(label.range.end).strip_prefix(' ') else {
            continue;
        };
        let len = run(rest.as_bytes(), 0, |b| {
            b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=')
        });
        let Some(value) = rest.get(..len) else { continue };
        let digit = value.bytes().any(|b| b.is_ascii_digit());
        let cased = value.bytes().skip(1).any(|b| b.is_ascii_uppercase());
        if len >= 8 && (digit || cased || value.ends_with('=') || len >= 24) {
            let start = label.range.end + 1;
            found.add(Kind::Secret, start..start + len);
        }
    }
}
