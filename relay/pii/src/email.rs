//! E-mail addresses, in every spelling people use.
//!
//! An `@` is an address when something stands before it and something like a host behind it; what is
//! valid by the book does not matter. Addresses spelt out ("jane at example dot com") are [`spelled`].

mod domain;
mod spelled;

use super::view::View;
use super::{Found, Kind};

/// Longest local part that is looked at, in bytes. The book allows 64; of a longer one the end is removed,
/// and what is left no longer reaches anybody.
const LOCAL_MAX: usize = 320;
/// Longest comment or address in brackets that is looked at, in bytes. A longer one is no part of an address.
const BRACKETS_MAX: usize = 96;

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    if view.has().at {
        let bytes = view.bytes();
        for (at, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'@') {
            if let Some(start) = local_start(view.text(), at)
                && let Some(end) = domain::end(view.text(), start, at + 1)
            {
                found.add(Kind::Email, start..end);
            }
        }
    }
    spelled::find(view, found);
}

/// The characters of a local part, as far as they need no quotes. Beyond ASCII every letter may stand in one,
/// and what is a letter is nobody's to say, so everything may but punctuation.
fn is_atom(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        '!' | '#' | '$' | '%' | '&' | '\'' | '*' | '+' | '-' | '/' | '=' | '?' | '^' | '_' | '`' | '{'
        | '|' | '}' | '~' | '.' => true,
        _ => is_foreign(c),
    }
}

/// Whether a character beyond ASCII may be part of a word.
fn is_foreign(c: char) -> bool {
    !c.is_ascii()
        && !matches!(c, '\u{80}'..='\u{a9}' | '«' | '»' | '\u{2000}'..='\u{206f}' | '\u{3001}'..='\u{303f}' | char::REPLACEMENT_CHARACTER)
}

/// Where the local part that ends at an offset begins.
fn local_start(text: &str, end: usize) -> Option<usize> {
    let head = text.get(..end)?;
    let mut start = match head.as_bytes().last()? {
        b'"' => quoted_start(head)?,
        b')' => {
            let start = comment_start(head)?;
            start - atoms_len(text.get(..start)?)
        }
        _ => end - atoms_len(head),
    };
    start = without_url(text, start, end);
    if start == end {
        return None;
    }
    if head.as_bytes().get(..start)?.last() == Some(&b')') {
        start = comment_start(text.get(..start)?).unwrap_or(start);
    }
    Some(start)
}

fn atoms_len(head: &str) -> usize {
    let mut len = 0;
    for c in head.chars().rev().take_while(|c| is_atom(*c)) {
        len += c.len_utf8();
        if len > LOCAL_MAX {
            break;
        }
    }
    len
}

/// Where the quoted text begins that ends a text: `"jane \"j\" doe"`.
fn quoted_start(head: &str) -> Option<usize> {
    let bytes = head.as_bytes();
    let last = bytes.len().checked_sub(1)?;
    (last.saturating_sub(LOCAL_MAX)..last).rev().find(|at| {
        let escapes = bytes.iter().take(*at).rev().take_while(|b| **b == b'\\').count();
        bytes.get(*at) == Some(&b'"') && escapes % 2 == 0
    })
}

/// Where the comment begins that ends a text: `(home (mail))`.
fn comment_start(head: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (back, b) in head.bytes().rev().take(BRACKETS_MAX).enumerate() {
        match b {
            b')' => depth += 1,
            b'(' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(head.len() - back - 1);
        }
    }
    None
}

/// Leaves out what a local part may hold but stands before it in an address or a query: `https://a.b/?to=`.
fn without_url(text: &str, start: usize, end: usize) -> usize {
    let Some(local) = text.get(start..end) else {
        return end;
    };
    let mut from = 0;
    let address = local.contains("//")
        || local.starts_with('/')
        || local.starts_with('?')
        || local.contains(['?', '&']);
    if address && local.contains(char::is_alphanumeric) {
        from = local.rfind(['/', '=', '?', '&']).map_or(0, |at| at + 1);
    } else if let Some((key, _)) = local.split_once('=')
        && (super::key::judge(key).is_some() || matches!(key, "to" | "cc" | "bcc" | "q" | "search" | "query"))
    {
        from = key.len() + 1;
    }
    let rest = local.get(from..).unwrap_or_default();
    if rest.contains(char::is_alphanumeric) {
        // Quotes and signs around the address: `'jane@example.com'`, `{jane@example.com}`.
        from = local.len()
            - rest
                .trim_start_matches(['\'', '`', '*', '{', '|', '/', '='])
                .len();
    } else if from > 0 {
        return end;
    }
    start + from
}

#[cfg(test)]
mod tests;
