//! Addresses spelt out to hide them from machines: "jane (at) example (dot) com", "jane @ example . com".

use super::domain::is_ending;
use super::is_foreign;
use crate::label::Topics;
use crate::scan::before;
use crate::view::View;
use crate::words::Words;
use crate::{Found, Kind};
use std::ops::Range;

/// Most spaces around an "at" or a "dot". More spaces separate it from the address.
const SPACES_MAX: usize = 3;
/// Longest piece between the dots that is read, in bytes, and most pieces. Anything beyond stays.
const PIECE_MAX: usize = 64;
const PIECES_MAX: usize = 6;
/// How far before an address a word such as "mail" may start, in bytes.
const HINT_BEFORE_MAX: usize = 40;

/// Spellings of "at", without the sign.
const ATS: &[&str] = &["at", "ät", "klammeraffe"];
/// Spellings of "dot".
const DOTS: &[&str] = &["dot", "punkt", "."];

/// Words before "at" that introduce a place rather than a person.
const PLACES: &str = "accessible account aim all also and anything api are arrive available away back be begins best blog \
    book but buy call check closes cluster code conference das data demo der die directly docs \
    documentation down endpoint error event everything file find found free go guide help here hosted \
    image in info is issue ist it join learn least link live located log login look looks me meet \
    meeting more most new not now off often on online only open opens or order out over page panel point \
    pointed points portal price published question questions reach reached read register running see \
    served server shop sign sind site sold something start starts stay stop store support talk team them \
    then today tomorrow try tutorial up us use used user users version visit was watch we website work \
    works you";
/// Endings of verbs and nouns that no short name has.
const NO_NAME_ENDINGS: &[&str] = &["able", "ed", "ible", "ing", "ion", "ions", "ly", "ment", "ments"];
/// Words two before "at" that make the word between them a thing.
const ARTICLES: &[&str] = &["a", "an", "our", "that", "the", "these", "this", "your"];
/// Providers of mailboxes.
#[rustfmt::skip]
const PROVIDERS: Words = Words::new(&[
    "aol", "arcor", "fastmail", "freenet", "gmail", "gmx", "googlemail", "hey", "hotmail", "icloud", "live",
    "mail", "mailbox", "me", "msn", "outlook", "posteo", "proton", "protonmail", "qq", "t-online", "web",
    "yahoo", "yandex", "zoho",
]);
/// Words that announce an address.
const HINTS: &[&str] = &[
    "address", "contact", "email", "kontakt", "mail", "mails", "reach", "schreib", "write",
];

/// How clearly a word represents the sign.
#[derive(Clone, Copy, PartialEq)]
enum Clear {
    /// "(at)", "@": unambiguous.
    Sign,
    /// "at": may be the plain word.
    Word,
}

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    let text = view.text();
    for word in view.words() {
        let raw = view.piece(word);
        if matches!(raw.len(), 2 | 3 | 11) && ATS.iter().any(|at| is_word(raw, at)) {
            let (range, clear) = unbracket(text, word.clone());
            look(view, &range, clear, found);
        }
    }
    if view.has().at {
        for (at, _) in text.match_indices('@') {
            let (range, _) = unbracket(text, at..at + 1);
            look(view, &range, Clear::Sign, found);
        }
    }
}

fn is_word(raw: &str, word: &str) -> bool {
    raw.eq_ignore_ascii_case(word) || (!raw.is_ascii() && raw.to_lowercase() == word)
}

/// A word with the brackets or underscores around it, which make it a sign.
fn unbracket(text: &str, range: Range<usize>) -> (Range<usize>, Clear) {
    let (before, after) = (
        before(text.as_bytes(), range.start),
        text.as_bytes().get(range.end),
    );
    let is_pair = |pair: &&[u8; 2]| before == Some(pair[0]) && after == Some(&pair[1]);
    match [b"()", b"[]", b"{}", b"<>", b"__", b"--", b"**"]
        .iter()
        .any(is_pair)
    {
        true => (range.start - 1..range.end + 1, Clear::Sign),
        false => (range, Clear::Word),
    }
}

fn is_piece(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '%') || is_foreign(c)
}

/// Looks for an address around an "at".
fn look(view: &View<'_>, at: &Range<usize>, clear: Clear, found: &mut Found) {
    let text = view.text();
    let (Some(head), Some(tail)) = (text.get(..at.start), text.get(at.end..)) else {
        return;
    };
    let left = head.trim_end_matches(' ');
    let right = tail.trim_start_matches(' ');
    let gaps = (head.len() - left.len(), tail.len() - right.len());
    // "that" contains an "at", and "jane@example.com" is not spelt out: another scanner finds it.
    let apart = gaps.0 > 0 && gaps.1 > 0;
    if gaps.0 > SPACES_MAX || gaps.1 > SPACES_MAX || (clear == Clear::Word && !apart) {
        return;
    }
    let Some(host) = host(right) else { return };
    if text.get(at.clone()) == Some("@") && !host.spelt && gaps == (0, 0) {
        return;
    }
    // After a plain "at", a path or a port marks a place: "numbers at example.com/stats".
    let beyond = right.as_bytes().get(host.len);
    if clear == Clear::Word && !host.spelt && matches!(beyond, Some(b'/' | b':')) {
        return;
    }
    let Some(name) = name(left) else { return };
    let Some(who) = left.get(name.clone()) else { return };
    if clear == Clear::Word && !host.spelt && !is_a_person(left, &name, who, host.first) {
        return;
    }
    if clear == Clear::Word || text.get(at.clone()) == Some("@") {
        let known = is_ending(host.last);
        let stops = is_place(&who.to_ascii_lowercase());
        if !known || stops && !hinted(view, name.start) {
            return;
        }
    }
    found.add(Kind::Email, name.start..text.len() - right.len() + host.len);
}

fn is_place(word: &str) -> bool {
    PLACES.split(' ').any(|place| place == word)
}

/// Whether a word before a plain "at" is a person's name rather than part of the sentence.
fn is_a_person(left: &str, name: &Range<usize>, who: &str, house: &str) -> bool {
    let lower = who.to_lowercase();
    if is_place(&lower) {
        return false;
    }
    if PROVIDERS.has_in_any_case(house) || who.contains(|c: char| !c.is_alphabetic()) {
        return true;
    }
    let before = left.get(..name.start).unwrap_or_default().trim_end();
    let article = before.rsplit(' ').next().unwrap_or_default();
    !ARTICLES.contains(&article.to_ascii_lowercase().as_str())
        && !NO_NAME_ENDINGS.iter().any(|ending| lower.ends_with(ending))
}

/// Whether a word that announces an address occurs shortly before.
fn hinted(view: &View<'_>, at: usize) -> bool {
    view.labelled_before(at, Topics::EMAIL)
        || view.words().iter().any(|word| {
            let near = at.checked_sub(word.end).is_some_and(|gap| gap <= HINT_BEFORE_MAX);
            near && HINTS.contains(&view.piece(word).to_ascii_lowercase().as_str())
        })
}

struct Host<'t> {
    len: usize,
    first: &'t str,
    last: &'t str,
    /// Whether a dot is spelt out or has spaces around it.
    spelt: bool,
}

/// The host at the start of a text: at least two pieces.
fn host(text: &str) -> Option<Host<'_>> {
    let mut len = piece_len(text);
    let first = text.get(..len).filter(|first| !first.is_empty())?;
    let mut host = Host {
        len,
        first,
        last: "",
        spelt: false,
    };
    for _ in 0..PIECES_MAX {
        let rest = text.get(len..)?;
        let Some((dot, spelt)) = dot_len(rest) else { break };
        let piece = rest.get(dot..)?;
        let piece = piece.get(..piece_len(piece))?;
        // After a spelt dot only an ending, or one more piece with a dot, may follow; else the rest of a sentence would
        // match.
        if piece.is_empty()
            || (spelt && !is_ending(piece) && dot_len(rest.get(dot + piece.len()..)?).is_none())
        {
            break;
        }
        len += dot + piece.len();
        host = Host {
            len,
            last: piece,
            spelt: host.spelt | spelt,
            ..host
        };
    }
    let letters = host.last.chars().all(|c| c.is_alphabetic() || c == '-') || host.last.starts_with("xn--");
    (host.last.len() > 1 && letters).then_some(host)
}

fn piece_len(text: &str) -> usize {
    let len = text.find(|c| !is_piece(c)).unwrap_or(text.len());
    if len > PIECE_MAX { 0 } else { len }
}

/// The length of the dot at the start of a text, and whether it is spelt out.
fn dot_len(text: &str) -> Option<(usize, bool)> {
    if text.starts_with('.') && !text.starts_with(". ") {
        return Some((1, false));
    }
    let inner = text.trim_start_matches(' ');
    let spaces = text.len() - inner.len();
    if spaces > SPACES_MAX {
        return None;
    }
    let open = inner.starts_with(['(', '[', '{', '<', '_', '-']);
    let word = inner.get(usize::from(open)..)?;
    let dot = DOTS.iter().find(|dot| {
        word.get(..dot.len())
            .is_some_and(|word| word.eq_ignore_ascii_case(dot))
    })?;
    let after = word.get(dot.len()..)?;
    let close = after.starts_with([')', ']', '}', '>', '_', '-']);
    let end = after.get(usize::from(close && open)..)?;
    let gap = end.len() - end.trim_start_matches(' ').len();
    // A bare word or a bare dot needs a space on both sides: the full stop of a sentence has one.
    let apart = (open && close) || (!open && spaces > 0 && gap > 0);
    (apart && gap <= SPACES_MAX).then(|| (text.len() - end.len() + gap, true))
}

/// The range of the local part at the end of a text, with earlier pieces before spelt dots: "jane dot doe".
fn name(left: &str) -> Option<Range<usize>> {
    let piece_start = |text: &str| {
        let back = text
            .chars()
            .rev()
            .take(PIECE_MAX)
            .take_while(|c| is_piece(*c) || *c == '.');
        text.len() - back.map(char::len_utf8).sum::<usize>()
    };
    let end = left.len();
    let mut start = piece_start(left);
    for _ in 0..PIECES_MAX {
        let head = left.get(..start)?.trim_end_matches([' ', ')', ']', '}']);
        let before = DOTS.iter().filter(|dot| dot.len() > 1).find_map(|dot| {
            let (before, word) = head.split_at_checked(head.len().checked_sub(dot.len())?)?;
            word.eq_ignore_ascii_case(dot).then_some(before)
        });
        let Some(before) = before else { break };
        let trimmed = before.trim_end_matches([' ', '(', '[', '{']);
        if trimmed.len() == before.len() {
            break;
        }
        start = piece_start(trimmed);
    }
    let name = left.get(start..end)?;
    let skip = name.len() - name.trim_start_matches(['.', '-', '_']).len();
    name.contains(char::is_alphanumeric).then_some(start + skip..end)
}
