//! Addresses spelt out, so that machines do not find them: "jane (at) example (dot) com", "jane @ example . com".

use super::domain::is_ending;
use super::is_foreign;
use crate::detect::label::Topics;
use crate::detect::view::View;
use crate::detect::{Found, Kind};
use std::ops::Range;

/// Most spaces around an "at" or a "dot". Behind more begins something else.
const SPACES_MAX: usize = 3;
/// Longest piece between the dots that is looked at, in bytes, and most pieces. What goes beyond is left.
const PIECE_MAX: usize = 64;
const PIECES_MAX: usize = 6;
/// How far before an address a word such as "mail" may stand, in bytes.
const HINT_BEFORE_MAX: usize = 40;

/// How "at" is written, the sign aside.
const ATS: &[&str] = &["at", "ät", "klammeraffe"];
/// How "dot" is written.
const DOTS: &[&str] = &["dot", "punkt", "."];

/// Words before "at" that say where something is, not who.
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
/// Words before the word before "at" that make it a thing.
const ARTICLES: &[&str] = &["a", "an", "our", "that", "the", "these", "this", "your"];
/// Houses where people have addresses.
const PROVIDERS: &[&str] = &[
    "aol",
    "arcor",
    "fastmail",
    "freenet",
    "gmail",
    "gmx",
    "googlemail",
    "hey",
    "hotmail",
    "icloud",
    "live",
    "mail",
    "mailbox",
    "me",
    "msn",
    "outlook",
    "posteo",
    "proton",
    "protonmail",
    "qq",
    "t-online",
    "web",
    "yahoo",
    "yandex",
    "zoho",
];
/// Words that announce an address.
const HINTS: &[&str] = &[
    "address", "contact", "email", "kontakt", "mail", "mails", "reach", "schreib", "write",
];

/// How clearly a word stands for the sign.
#[derive(Clone, Copy, PartialEq)]
enum Clear {
    /// "(at)", "@": nothing else is meant.
    Sign,
    /// "at": may be the plain word.
    Word,
}

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    let text = view.text();
    for word in view.words() {
        let range = word.clone();
        let Some(raw) = text.get(range.clone()) else {
            continue;
        };
        if (raw.len() == 2 || raw.len() == 3 || raw.len() == 11) && ATS.iter().any(|at| is_word(raw, at)) {
            let (range, clear) = unbracket(text, range);
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

/// A word with the brackets or lines around it, which make it a sign.
fn unbracket(text: &str, range: Range<usize>) -> (Range<usize>, Clear) {
    let bytes = text.as_bytes();
    let before = range.start.checked_sub(1).and_then(|i| bytes.get(i));
    let pair = matches!(
        (before, bytes.get(range.end)),
        (Some(b'('), Some(b')'))
            | (Some(b'['), Some(b']'))
            | (Some(b'{'), Some(b'}'))
            | (Some(b'<'), Some(b'>'))
            | (Some(b'_'), Some(b'_'))
            | (Some(b'-'), Some(b'-'))
            | (Some(b'*'), Some(b'*'))
    );
    match pair {
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
    // "that" holds an "at", and "jane@example.com" is found without spelling.
    let apart = gaps.0 > 0 && gaps.1 > 0;
    if gaps.0 > SPACES_MAX || gaps.1 > SPACES_MAX || (clear == Clear::Word && !apart) {
        return;
    }
    let Some(host) = host(right) else { return };
    if text.get(at.clone()) == Some("@") && !host.spelt && gaps == (0, 0) {
        return;
    }
    // Behind a plain "at" a path or a port makes it a place: "numbers at example.com/stats".
    let beyond = right.as_bytes().get(host.len);
    if clear == Clear::Word && !host.spelt && matches!(beyond, Some(b'/' | b':')) {
        return;
    }
    let Some(name) = name(left) else { return };
    let Some(who) = left.get(name.clone()) else { return };
    if clear == Clear::Word && !host.spelt && !is_somebody(left, &name, who, host.first) {
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

/// Whether a word before a plain "at" is a person's rather than a part of the sentence.
fn is_somebody(left: &str, name: &Range<usize>, who: &str, house: &str) -> bool {
    let lower = who.to_lowercase();
    if is_place(&lower) {
        return false;
    }
    if PROVIDERS
        .binary_search(&house.to_ascii_lowercase().as_str())
        .is_ok()
        || who.contains(|c: char| !c.is_alphabetic())
    {
        return true;
    }
    let article = left
        .get(..name.start)
        .unwrap_or_default()
        .trim_end()
        .rsplit(' ')
        .next()
        .unwrap_or_default();
    !ARTICLES.contains(&article.to_ascii_lowercase().as_str())
        && !NO_NAME_ENDINGS.iter().any(|ending| lower.ends_with(ending))
}

/// Whether a word that announces an address stands close before.
fn hinted(view: &View<'_>, at: usize) -> bool {
    view.labelled_before(at, Topics::EMAIL)
        || view.words().iter().any(|word| {
            word.end <= at
                && at - word.end <= HINT_BEFORE_MAX
                && view
                    .text()
                    .get(word.clone())
                    .is_some_and(|word| HINTS.contains(&word.to_ascii_lowercase().as_str()))
        })
}

struct Host<'t> {
    len: usize,
    first: &'t str,
    last: &'t str,
    /// Whether a dot is spelt out or has spaces around it.
    spelt: bool,
}

/// The host that a text begins with: at least two pieces.
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
        // Behind a spelt dot only an ending or one more piece with a dot can follow, so no sentence is eaten.
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

/// The length of the dot that a text begins with, and whether it is spelt.
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

/// Where the local part is that a text ends with, with pieces before spelt dots: "jane dot doe".
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
        let Some(dot) = DOTS.iter().filter(|dot| dot.len() > 1).find(|dot| {
            head.len()
                .checked_sub(dot.len())
                .and_then(|at| head.get(at..))
                .is_some_and(|word| word.eq_ignore_ascii_case(dot))
        }) else {
            break;
        };
        let before = head.get(..head.len() - dot.len())?;
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
