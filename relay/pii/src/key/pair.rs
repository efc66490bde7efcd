//! Keys and values written in a text: `key=value`, `key: value`, `"key":"value"`, `'key' => 'value'`.

use super::{is_known, judge};
use crate::detect::view::View;
use crate::detect::{Found, Kind};
use std::ops::Range;

/// Longest key that is looked at, in bytes. What stands before is not read.
const KEY_MAX: usize = 64;
/// Most spaces between a key, its separator and the value. Behind more, nothing is taken for a value.
const SPACES_MAX: usize = 8;
/// Longest value in quotes whose end is looked for, in bytes. A longer one is taken to its first space.
const QUOTED_MAX: usize = 1024;
/// Most words of a key in prose: "API access key: ...".
const PROSE_WORDS: usize = 3;

/// Words that follow a label in prose and are no value: "Password: required".
const NO_VALUE: &str = "a abgelaufen add all alle allow an and anlegen are at bearbeiten can cannot change changed choose \
    create deaktiviert delete deleted der die disabled edit enabled enter erforderlich erneuern \
    erstellen expired false fehlgeschlagen fehlt for geändert has hinzufügen if import in invalid invite \
    is ist list löschen manage missing must neu new no none not null off on open optional or overview \
    please remove required reset rotate search see select set settings show suchen that the this to true \
    undefined ungültig unknown update use verwalten view was when will with wrong wählen yes \
    zurücksetzen zuweisen übersicht";

/// Finds values whose key says what they are.
pub(in crate::detect) fn find(view: &View<'_>, found: &mut Found) {
    if !view.has().marks {
        return;
    }
    let bytes = view.bytes();
    // What is removed is not read again, so a chain of keys costs no more than its length.
    let mut done = 0;
    for (at, b) in bytes.iter().enumerate() {
        if !matches!(b, b'=' | b':') || at < done {
            continue;
        }
        let before = at.checked_sub(1).and_then(|i| bytes.get(i)).copied();
        let after = bytes.get(at + 1).copied();
        // "==", "!=", "::" and the like compare or qualify; "://" begins an authority.
        if matches!(before, None | Some(b'=' | b'!' | b'<' | b'>' | b':'))
            || matches!(after, Some(b'=' | b':'))
        {
            continue;
        }
        if *b == b':' && after == Some(b'/') && bytes.get(at + 2) == Some(&b'/') {
            continue;
        }
        let Some(key) = key_before(bytes, at) else {
            continue;
        };
        let from = at + 1 + usize::from(*b == b'=' && after == Some(b'>'));
        let prose = *b == b':' && !key.quoted && !begins_quoted(bytes, from);
        let alone = || view.text().get(key.range.clone()).and_then(judge);
        let kind = match (prose, key.quoted) {
            (true, _) => prose_kind(view, &key.range),
            (false, true) => alone(),
            // "User Id=sa"
            (false, false) => alone().or_else(|| prose_kind(view, &key.range)),
        };
        let Some(kind) = kind else { continue };
        let Some(value) = value_from(bytes, from, *b) else {
            continue;
        };
        let range = match view.text().get(key.range).is_some_and(is_header) {
            true if !value.quoted => value.range.start..line_end(bytes, value.range.start),
            _ => value.range,
        };
        let sentence = || prose && !is_password(view, at) && goes_on(view, &range);
        if says_something(view, &range, prose) && !sentence() {
            done = range.end;
            let end = if prose {
                whole_name(bytes, range.end)
            } else {
                range.end
            };
            found.add(kind, range.start..end);
        }
    }
}

struct Piece {
    range: Range<usize>,
    quoted: bool,
}

fn key_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'$' | b'[' | b']') || !b.is_ascii()
}

fn quote(b: Option<&u8>) -> Option<u8> {
    b.copied().filter(|b| matches!(b, b'"' | b'\'' | b'`'))
}

/// The key that ends before a separator.
fn key_before(bytes: &[u8], separator: usize) -> Option<Piece> {
    let spaces = bytes
        .iter()
        .take(separator)
        .rev()
        .take(SPACES_MAX)
        .take_while(|b| **b == b' ')
        .count();
    let end = separator - spaces;
    let last = end.checked_sub(1)?;
    let head = bytes.get(..last)?;
    if let Some(mark) = quote(bytes.get(last)) {
        // In a string inside of a string the quotes are escaped.
        let end = last - usize::from(head.last() == Some(&b'\\'));
        let len = bytes
            .get(..end)?
            .iter()
            .rev()
            .take(KEY_MAX)
            .position(|b| *b == mark)?;
        return Some(Piece {
            range: end - len..end,
            quoted: true,
        });
    }
    let head = bytes.get(..end)?;
    let len = head
        .iter()
        .rev()
        .take(KEY_MAX)
        .take_while(|b| key_byte(**b))
        .count();
    let mut start = end - len;
    while bytes.get(start).is_some_and(|b| b & 0xc0 == 0x80) {
        start += 1;
    }
    // "https://name:password@host" is no pair.
    let authority = start.checked_sub(2).and_then(|i| bytes.get(i..start)) == Some(b"//");
    (start < end && !authority).then_some(Piece {
        range: start..end,
        quoted: false,
    })
}

/// Whether the value that begins after a separator is in quotes or brackets.
fn begins_quoted(bytes: &[u8], from: usize) -> bool {
    let rest = bytes.get(from..).unwrap_or_default();
    let spaces = rest.iter().take(SPACES_MAX).take_while(|b| **b == b' ').count();
    match rest.get(spaces..) {
        Some([b'\\', mark, ..] | [mark, ..]) => matches!(mark, b'"' | b'\'' | b'`' | b'['),
        _ => false,
    }
}

/// The value that begins after a separator. Only in a query does an `&` begin the next pair; a password may
/// hold one.
fn value_from(bytes: &[u8], from: usize, separator: u8) -> Option<Piece> {
    let rest = bytes.get(from..)?;
    let start = from + rest.iter().take(SPACES_MAX).take_while(|b| **b == b' ').count();
    let rest = bytes.get(start..)?;
    let escaped = usize::from(rest.first() == Some(&b'\\'));
    if let Some(mark) = quote(rest.get(escaped)) {
        let start = start + escaped + 1;
        let inside = bytes.get(start..)?;
        let len = quoted_len(inside, mark, escaped == 1);
        let len = len.unwrap_or_else(|| inside.iter().take_while(|b| !b.is_ascii_whitespace()).count());
        return Some(Piece {
            range: start..start + len,
            quoted: true,
        });
    }
    if rest.first() == Some(&b'[') {
        let len = rest
            .iter()
            .take(QUOTED_MAX)
            .position(|b| *b == b']')
            .map_or(1, |at| at + 1);
        return Some(Piece {
            range: start..start + len,
            quoted: true,
        });
    }
    let ends = |b: &u8| {
        b.is_ascii_whitespace()
            || matches!(b, b';' | b',' | b'"' | b'}' | b'{')
            || (*b == b'&' && separator == b'=')
    };
    let mut len = rest.iter().position(ends).unwrap_or(rest.len());
    while len > 0 && matches!(rest.get(len - 1), Some(b'.' | b')' | b'\'' | b'`' | b'>' | b'\\')) {
        len -= 1;
    }
    (len > 0).then_some(Piece {
        range: start..start + len,
        quoted: false,
    })
}

fn quoted_len(inside: &[u8], mark: u8, escaped: bool) -> Option<usize> {
    let mut at = 0;
    while at < inside.len().min(QUOTED_MAX) {
        match inside.get(at) {
            Some(b'\\') if escaped && inside.get(at + 1) == Some(&mark) => return Some(at),
            Some(b'\\') => at += 2,
            Some(b) if *b == mark => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// What a label in prose says about the word behind it. Only what nobody else looks for behind a label:
/// names, places and numbers have finer rules of their own.
fn prose_kind(view: &View<'_>, key: &Range<usize>) -> Option<Kind> {
    let bytes = view.bytes();
    // "Token lifetime: 30 days" is about the token, but none.
    if !view.text().get(key.clone()).is_some_and(is_known) {
        return None;
    }
    let mut starts = [key.start; PROSE_WORDS];
    let mut start = key.start;
    for slot in starts.iter_mut().skip(1) {
        let head = bytes.get(..start).and_then(|head| head.strip_suffix(b" "));
        let len = head.map_or(0, |head| {
            head.iter()
                .rev()
                .take(KEY_MAX)
                .take_while(|b| key_byte(**b))
                .count()
        });
        if len == 0 || len == KEY_MAX {
            *slot = start;
            continue;
        }
        start -= len + 1;
        *slot = start;
    }
    let judged = starts
        .iter()
        .rev()
        .find_map(|start| judge(view.text().get(*start..key.end)?));
    judged.filter(|kind| matches!(kind, Kind::Secret | Kind::User | Kind::Device | Kind::Token))
}

/// Headers whose whole line is the value.
fn is_header(key: &str) -> bool {
    ["cookie", "set-cookie", "authorization", "proxy-authorization"]
        .iter()
        .any(|name| key.eq_ignore_ascii_case(name))
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest
        .iter()
        .position(|b| matches!(b, b'\n' | b'\r' | b'"' | b'\''))
        .unwrap_or(rest.len())
}

/// Whether a value is more than a placeholder or a word that belongs to the sentence.
fn says_something(view: &View<'_>, range: &Range<usize>, prose: bool) -> bool {
    let Some(value) = view.text().get(range.clone()) else {
        return false;
    };
    if !value.contains(char::is_alphanumeric) {
        return false;
    }
    let word = value.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let literal = matches!(word.as_str(), "true" | "false" | "null" | "none" | "undefined");
    let sentence = prose && NO_VALUE.split(' ').any(|stop| stop == word);
    let placeholder = value.bytes().all(|b| matches!(b, b'x' | b'X' | b'*' | b'.'));
    !literal && !sentence && !placeholder
}

/// Whether the word before a separator speaks of passwords: then the word behind is taken for one.
fn is_password(view: &View<'_>, separator: usize) -> bool {
    let from = separator.saturating_sub(KEY_MAX);
    let head = view.bytes().get(from..separator).unwrap_or_default();
    let len = head
        .iter()
        .rev()
        .take_while(|b| key_byte(**b) || **b == b' ')
        .count()
        .min(16);
    let word = head
        .get(head.len() - len..)
        .unwrap_or_default()
        .to_ascii_lowercase();
    [b"pass".as_slice(), b"pwd", b"kennwort", b"secret"]
        .iter()
        .any(|stem| word.windows(stem.len()).any(|at| at == *stem))
}

/// Whether a value in small letters is the beginning of a sentence: "session: kept in memory". Behind a value
/// the sentence goes on with few words.
fn goes_on(view: &View<'_>, range: &Range<usize>) -> bool {
    let (Some(value), Some(rest)) = (view.text().get(range.clone()), view.text().get(range.end..)) else {
        return false;
    };
    let next = rest.strip_prefix(' ').unwrap_or_default();
    let next = next.split([' ', ',', '.', '\n']).next().unwrap_or_default();
    let linked = matches!(
        next,
        "and" | "or" | "with" | "at" | "on" | "und" | "oder" | "mit" | "auf" | "bei" | "pass" | "password"
    );
    let small = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_lowercase() || c == '-');
    small(value) && value.bytes().all(|b| b != b'-') && small(next) && !linked
}

/// The end of a name of several words: "customer: ACME Cloud Services".
fn whole_name(bytes: &[u8], end: usize) -> usize {
    let mut end = end;
    for _ in 0..PROSE_WORDS {
        let rest = bytes.get(end..).unwrap_or_default();
        let [b' ', b'A'..=b'Z', ..] = rest else { break };
        let len = rest
            .iter()
            .skip(1)
            .take_while(|b| b.is_ascii_alphanumeric() || **b == b'-' || !b.is_ascii())
            .count();
        end += 1 + len;
    }
    end
}
