//! Keys and values written in a text: `key=value`, `key: value`, `"key":"value"`, `'key' => 'value'`.

use super::{is_known, kind_of_key};
use crate::scan::{after, before, run, run_back, run_up_to};
use crate::view::View;
use crate::{Found, Kind};
use std::ops::Range;

/// Longest key that is read, in bytes. Of a longer one only the end is read.
const KEY_MAX: usize = 64;
/// Most spaces between a key, its separator and the value. After more, the text is not read as a value.
const SPACES_MAX: usize = 8;
/// Longest quoted value for which the closing quote is searched, in bytes. A longer one ends at its first space.
const QUOTED_MAX: usize = 1024;
/// Most words of a key in prose: "API access key: ...".
const PROSE_WORDS: usize = 3;

/// Words that follow a label in prose and are not a value: "Password: required".
const NO_VALUE: &str = "a abgelaufen add all alle allow an and anlegen are at bearbeiten can cannot change changed choose \
    create deaktiviert delete deleted der die disabled edit enabled enter erforderlich erneuern \
    erstellen expired false fehlgeschlagen fehlt for geändert has hinzufügen if import in invalid invite \
    is ist list löschen manage missing must neu new no none not null off on open optional or overview \
    please remove required reset rotate search see select set settings show suchen that the this to true \
    undefined ungültig unknown update use verwalten view was when will with wrong wählen yes \
    zurücksetzen zuweisen übersicht";

/// Finds values whose key reveals their kind.
pub(crate) fn find(view: &View<'_>, found: &mut Found) {
    if !view.has().marks {
        return;
    }
    let bytes = view.bytes();
    // A removed value is not read again, so the cost of a chain of keys is linear.
    let mut done = 0;
    for (at, b) in bytes.iter().enumerate() {
        if !matches!(b, b'=' | b':') || at < done {
            continue;
        }
        let rest = after(bytes, at + 1);
        // "==", "!=", "::" and similar compare or qualify; "://" begins an authority.
        if matches!(before(bytes, at), None | Some(b'=' | b'!' | b'<' | b'>' | b':'))
            || matches!(rest, [b'=' | b':', ..])
            || (*b == b':' && rest.starts_with(b"//"))
        {
            continue;
        }
        let Some(key) = key_before(bytes, at) else {
            continue;
        };
        let from = at + 1 + usize::from(*b == b'=' && rest.starts_with(b">"));
        let prose = *b == b':' && !key.quoted && !begins_quoted(bytes, from);
        let alone = || kind_of_key(view.piece(&key.range));
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
        let range = match is_header(view.piece(&key.range)) {
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

fn key_byte(b: &u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'$' | b'[' | b']') || !b.is_ascii()
}

fn quote(b: Option<&u8>) -> Option<u8> {
    b.copied().filter(|b| matches!(b, b'"' | b'\'' | b'`'))
}

/// The key that ends before a separator.
fn key_before(bytes: &[u8], separator: usize) -> Option<Piece> {
    let end = separator - run_back(SPACES_MAX, bytes, separator, |b| *b == b' ');
    let last = end.checked_sub(1)?;
    let head = bytes.get(..last)?;
    if let Some(mark) = quote(bytes.get(last)) {
        // In a string within a string the quotes are escaped.
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
    let mut start = end - run_back(KEY_MAX, bytes, end, key_byte);
    while bytes.get(start).is_some_and(|b| b & 0xc0 == 0x80) {
        start += 1;
    }
    // "https://name:password@host" is not a pair.
    let authority = start.checked_sub(2).and_then(|i| bytes.get(i..start)) == Some(b"//");
    (start < end && !authority).then_some(Piece {
        range: start..end,
        quoted: false,
    })
}

/// Whether the value after a separator is in quotes or brackets.
fn begins_quoted(bytes: &[u8], from: usize) -> bool {
    match after(bytes, from + run_up_to(SPACES_MAX, bytes, from, |b| *b == b' ')) {
        [b'\\', mark, ..] | [mark, ..] => matches!(mark, b'"' | b'\'' | b'`' | b'['),
        [] => false,
    }
}

/// The value after a separator. An `&` begins the next pair only in a query; a password may contain one.
fn value_from(bytes: &[u8], from: usize, separator: u8) -> Option<Piece> {
    let start = from + run_up_to(SPACES_MAX, bytes, from, |b| *b == b' ');
    let rest = bytes.get(start..)?;
    let escaped = usize::from(rest.first() == Some(&b'\\'));
    if let Some(mark) = quote(rest.get(escaped)) {
        let start = start + escaped + 1;
        let inside = bytes.get(start..)?;
        let len = quoted_len(inside, mark, escaped == 1);
        let len = len.unwrap_or_else(|| run(inside, 0, |b| !b.is_ascii_whitespace()));
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

/// The kind that a label in prose gives to the next word. Only kinds without their own scanner: names, places and
/// numbers have stricter rules.
fn prose_kind(view: &View<'_>, key: &Range<usize>) -> Option<Kind> {
    let bytes = view.bytes();
    // "Token lifetime: 30 days" describes the token but does not contain it.
    if !is_known(view.piece(key)) {
        return None;
    }
    let mut starts = [key.start; PROSE_WORDS];
    let mut start = key.start;
    for slot in starts.iter_mut().skip(1) {
        let len = match before(bytes, start) {
            Some(b' ') => run_back(KEY_MAX, bytes, start - 1, key_byte),
            _ => 0,
        };
        if (1..KEY_MAX).contains(&len) {
            start -= len + 1;
        }
        *slot = start;
    }
    let judged = starts
        .iter()
        .rev()
        .find_map(|start| kind_of_key(view.text().get(*start..key.end)?));
    judged.filter(|kind| matches!(kind, Kind::Secret | Kind::User | Kind::Device | Kind::Token))
}

/// Headers whose value is the whole line.
fn is_header(key: &str) -> bool {
    ["cookie", "set-cookie", "authorization", "proxy-authorization"]
        .iter()
        .any(|name| key.eq_ignore_ascii_case(name))
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    from + run(bytes, from, |b| !matches!(b, b'\n' | b'\r' | b'"' | b'\''))
}

/// Whether a value is more than a placeholder or a word of the sentence.
fn says_something(view: &View<'_>, range: &Range<usize>, prose: bool) -> bool {
    let value = view.piece(range);
    if !value.contains(char::is_alphanumeric) {
        return false;
    }
    let word = value.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let literal = matches!(word.as_str(), "true" | "false" | "null" | "none" | "undefined");
    let sentence = prose && NO_VALUE.split(' ').any(|stop| stop == word);
    let placeholder = value.bytes().all(|b| matches!(b, b'x' | b'X' | b'*' | b'.'));
    !literal && !sentence && !placeholder
}

/// Whether the word before a separator denotes passwords; then the next word is taken as one.
fn is_password(view: &View<'_>, separator: usize) -> bool {
    let len = run_back(16, view.bytes(), separator, |b| key_byte(b) || *b == b' ');
    let word = view.bytes().get(separator - len..separator).unwrap_or_default();
    let word = String::from_utf8_lossy(word).to_ascii_lowercase();
    ["pass", "pwd", "kennwort", "secret"]
        .iter()
        .any(|stem| word.contains(stem))
}

/// Whether a lower-case value is the beginning of a sentence: "session: kept in memory". After a real value only
/// certain words follow, such as "and".
fn goes_on(view: &View<'_>, range: &Range<usize>) -> bool {
    let value = view.piece(range);
    let next = view.rest(range.end).strip_prefix(' ').unwrap_or_default();
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
        if let [b' ', b'A'..=b'Z', ..] = after(bytes, end) {
            let in_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-' || !b.is_ascii();
            end += 1 + run(bytes, end + 1, in_name);
        }
    }
    end
}
