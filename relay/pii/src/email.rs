//! E-mail addresses, in every spelling in use.
//!
//! An `@` marks an address if text precedes it and something like a host follows it, valid by RFC 5321 or not.
//! Spelt-out addresses ("jane at example dot com") are in [`spelled`].

mod domain;
mod spelled;

use super::scan::run_back;
use super::view::View;
use super::{Found, Kind};

/// Longest local part that is read, in bytes. RFC 5321 allows 64. Of a longer one only the end is removed; the rest is
/// no longer an address.
const LOCAL_MAX: usize = 320;
/// Longest comment or bracketed address that is read, in bytes. A longer one is not part of an address.
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

/// Characters of a local part that need no quotes. Of the characters beyond ASCII, all except punctuation are allowed.
fn is_atom(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        _ => "!#$%&'*+-/=?^_`{|}~.".contains(c) || is_foreign(c),
    }
}

/// Whether a character beyond ASCII may be part of a word.
fn is_foreign(c: char) -> bool {
    !c.is_ascii()
        && !matches!(c, '\u{80}'..='\u{a9}' | '«' | '»' | '\u{2000}'..='\u{206f}' | '\u{3001}'..='\u{303f}' | char::REPLACEMENT_CHARACTER)
}

/// The start of the local part that ends at an offset.
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
    let mut atoms = head.char_indices().rev().take_while(|(_, c)| is_atom(*c));
    let mut len = 0;
    while len <= LOCAL_MAX
        && let Some((at, _)) = atoms.next()
    {
        len = head.len() - at;
    }
    len
}

/// The start of the quoted text at the end of a text: `"jane \"j\" doe"`.
fn quoted_start(head: &str) -> Option<usize> {
    let bytes = head.as_bytes();
    let last = bytes.len().checked_sub(1)?;
    (last.saturating_sub(LOCAL_MAX)..last).rev().find(|at| {
        let escapes = || run_back(usize::MAX, bytes, *at, |b| *b == b'\\');
        bytes.get(*at) == Some(&b'"') && escapes() % 2 == 0
    })
}

/// The start of the comment at the end of a text: `(home (mail))`.
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

/// Skips characters that a local part may contain but that precede it in a URL or a query: `https://a.b/?to=`.
fn without_url(text: &str, start: usize, end: usize) -> usize {
    let Some(local) = text.get(start..end) else {
        return end;
    };
    let mut from = 0;
    let address = local.contains("//") || local.starts_with('/') || local.contains(['?', '&']);
    if address && local.contains(char::is_alphanumeric) {
        from = local.rfind(['/', '=', '?', '&']).map_or(0, |at| at + 1);
    } else if let Some((key, _)) = local.split_once('=')
        && (super::key::kind_of_key(key).is_some()
            || matches!(key, "to" | "cc" | "bcc" | "q" | "search" | "query"))
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
