//! Secrets said to be such by a word before them, without a separator: "Passwort lautet ...", "Bearer ...".

use crate::detect::label::{Label, Topics};
use crate::detect::view::View;
use crate::detect::{Found, Kind};

/// Labels of secrets that are plain numbers.
const CODES: &[&str] = &[
    "login code",
    "otp",
    "passcode",
    "pin",
    "pin code",
    "pincode",
    "tan",
    "verification code",
    "zugangscode",
];
/// Words between a label and its value: "my password is ...".
const COPULAS: &[&str] = &[
    "are", "equals", "für", "ist", "is", "lautet", "now", "set", "to", "was", "war", "wird",
];
/// Most of them.
const COPULAS_MAX: usize = 3;
/// Longest value that is looked at, in bytes. A longer one is removed if any part of it is a token.
const VALUE_MAX: usize = 512;
/// Bits per character that a value has which nobody says aloud. Words have less than three in twelve letters.
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

/// Looks at the word behind a label.
fn value(view: &View<'_>, label: &Label, kind: Kind, found: &mut Found) {
    let Some(mut rest) = view.text().get(label.range.end..) else {
        return;
    };
    // The full stop of "customer no." is part of the label.
    if view
        .text()
        .get(label.range.clone())
        .is_some_and(|label| label.ends_with(['o', 'r']))
    {
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
    // In a query the next pair begins there.
    let in_query = view.bytes().get(label.range.end) == Some(&b'=');
    let ends =
        |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"' | '\'' | '`') || (c == '&' && in_query);
    let len = rest.find(ends).unwrap_or(rest.len()).min(VALUE_MAX);
    let Some(value) = rest.get(..len) else { return };
    let value = value.trim_end_matches(['.', ')', ':', '?']);
    let code = || {
        view.text()
            .get(label.range.clone())
            .is_some_and(|label| CODES.iter().any(|code| label.eq_ignore_ascii_case(code)))
    };
    let takes = match kind {
        Kind::Secret
            if (4..=8).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit()) && code() =>
        {
            true
        }
        // "GitHub token CRC32": what is no password is longer.
        Kind::Secret => is_secret(value, said) && (said || value.len() >= 8 || is_password(view, label)),
        _ => is_number(value),
    };
    if takes {
        let start = view.text().len() - rest.len();
        found.add(kind, start..start + value.len());
    }
}

/// Whether a label speaks of passwords, which may be short.
fn is_password(view: &View<'_>, label: &Label) -> bool {
    let word = view
        .text()
        .get(label.range.clone())
        .unwrap_or_default()
        .to_ascii_lowercase();
    ["pass", "pwd", "kennwort"]
        .iter()
        .any(|stem| word.starts_with(stem))
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
    let len = rest
        .bytes()
        .rev()
        .take(VALUE_MAX)
        .take_while(|b| !b.is_ascii_whitespace())
        .count();
    let Some(value) = rest.get(rest.len() - len..) else {
        return;
    };
    if is_secret(value, true) {
        found.add(Kind::Secret, rest.len() - len..rest.len());
    }
}

/// Whether a word behind "password" is one. Behind "is" less is asked of it.
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

/// Whether a word behind "customer id" is one.
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

/// "Bearer ..." and "Basic ..." wherever they stand.
fn headers(view: &View<'_>, found: &mut Found) {
    for label in view.labels() {
        let word = &label.range;
        let Some(scheme) = view.text().get(word.clone()) else {
            continue;
        };
        let bearer = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("apikey");
        if !bearer && !scheme.eq_ignore_ascii_case("basic") {
            continue;
        }
        let Some(value) = view
            .text()
            .get(word.end..)
            .and_then(|rest| rest.strip_prefix(' '))
        else {
            continue;
        };
        let len = value
            .bytes()
            .take_while(|b| {
                b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=')
            })
            .count();
        let Some(value) = value.get(..len) else { continue };
        let digit = value.bytes().any(|b| b.is_ascii_digit());
        let cased = value.bytes().skip(1).any(|b| b.is_ascii_uppercase());
        if len >= 8 && (digit || cased || value.ends_with('=') || len >= 24) {
            found.add(Kind::Secret, word.end + 1..word.end + 1 + len);
        }
    }
}
