//! Handles of social networks and messengers: "@jane_doe", "on skype (jane.doe)".

use crate::label::Topics;
use crate::scan::{before, run_up_to};
use crate::view::View;
use crate::{Found, Kind};
use std::ops::Range;

/// Shortest and longest handle, in bytes.
const HANDLE: std::ops::RangeInclusive<usize> = 3..=32;
/// Longest run that is read for a handle, in bytes. A longer one is too long for a handle anyway.
const RUN_MAX: usize = 64;
/// How far around the name of a messenger a handle may be, in bytes.
const BEFORE_MAX: usize = 24;
const AFTER_MAX: usize = 40;
/// Messengers whose handles have no sign. Compared by prefix, in lower case.
const MESSENGERS: &[&str] = &[
    "discord", "icq", "insta", "skype", "snapchat", "telegram", "tiktok", "whatsapp",
];
/// Endings of files and hosts, which look like names with a dot.
const NO_NAMES: &[&str] = &[
    "com", "de", "net", "org", "io", "md", "json", "js", "ts", "html", "css", "txt", "yaml", "yml", "png",
    "jpg", "pdf", "exe", "app", "dev", "me", "so", "us", "gg",
];

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    if view.has().at {
        for (at, _) in view.text().match_indices('@') {
            signed(view, at, found);
        }
    }
    sessions(view, found);
    for label in view.labels_of(Topics::USER) {
        let word = view.piece(&label.range).to_ascii_lowercase();
        if MESSENGERS.iter().any(|name| word.starts_with(name)) {
            unsigned(view, &label.range, found);
        }
    }
}

fn is_handle(b: &u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')
}

/// The word after an `@` that starts the text or follows a space or punctuation.
fn signed(view: &View<'_>, at: usize, found: &mut Found) {
    let bytes = view.bytes();
    if before(bytes, at).is_some_and(|b| !b" \n\t([,:\"'>/".contains(&b)) {
        return;
    }
    let len = run_up_to(RUN_MAX, bytes, at + 1, is_handle);
    let word = view.piece(&(at + 1..at + 1 + len)).trim_end_matches('.');
    let end = at + 1 + word.len();
    // "@angular/core", "@font-face", "@media (": a package, a rule.
    if !HANDLE.contains(&word.len()) || matches!(bytes.get(end), Some(b'/' | b'-' | b'(')) {
        return;
    }
    let letters = word.contains(|c: char| c.is_ascii_alphabetic());
    let version = word
        .trim_start_matches(['v', 'x'])
        .bytes()
        .all(|b| b.is_ascii_digit() || b == b'.');
    let scale = word.starts_with(|c: char| c.is_ascii_digit());
    let marked = word.contains('_') || (word.contains(|c: char| c.is_ascii_digit()) && !scale);
    let alone = at == 0 && end == bytes.len();
    if letters && !version && (marked || alone || (!scale && view.labelled(&(at..end), Topics::USER))) {
        found.add(Kind::User, at..end);
    }
}

/// Words before "as" that announce a user name: "logged in as".
#[rustfmt::skip]
const ENTRIES: &[&str] = &[
    "logged in", "login", "signed in", "angemeldet", "eingeloggt", "authenticated",
];
/// Nouns before the name of a user or the identifier of a customer's resource.
#[rustfmt::skip]
const NOUNS: &[&str] = &[
    "user", "users", "benutzer", "nutzer", "username", "login", "tenant", "workspace", "project", "projekt",
    "customer", "kunde", "mandant", "account", "konto", "subscription", "meshcustomer", "meshproject",
    "meshworkspace",
];

/// The nouns after which only a user's name is searched.
const USERS: &[&str] = &["user", "users", "benutzer", "nutzer", "username", "login"];

/// Names after words that identify their owner: "signed in as jane", "user jane.doe", "tenant 'acme-prod'".
fn sessions(view: &View<'_>, found: &mut Found) {
    let text = view.text();
    for label in view.labels() {
        let raw = view.piece(&label.range);
        let among = |list: &[&str]| list.iter().any(|word| raw.eq_ignore_ascii_case(word));
        let noun = among(NOUNS);
        if !noun && !among(ENTRIES) {
            continue;
        }
        let Some(rest) = view.rest(label.range.end).strip_prefix(' ') else {
            continue;
        };
        let entered = rest.strip_prefix("as ").or_else(|| rest.strip_prefix("als "));
        let Some(rest) = entered.or(noun.then_some(rest)) else {
            continue;
        };
        let inner = rest.strip_prefix(['"', '\'', '`']).unwrap_or(rest);
        let len = run_up_to(RUN_MAX, inner.as_bytes(), 0, |b| is_handle(b) || *b == b'-');
        let (value, behind) = inner.split_at_checked(len).unwrap_or_default();
        let value = value.trim_end_matches('.');
        let closed = inner.len() < rest.len() && behind.bytes().next() == rest.bytes().next();
        let takes = match entered {
            Some(_) => value.len() > 2 && (closed || !ROLES.contains(&value)),
            None if closed => is_identifier(value),
            None => {
                (is_user(value) && !value.contains('-'))
                    || (!USERS.contains(&raw.to_ascii_lowercase().as_str()) && is_slug(value))
            }
        };
        if takes {
            let start = text.len() - inner.len();
            found.add(Kind::User, start..start + value.len());
        }
    }
}

/// Roles to be signed in as, which are not names.
#[rustfmt::skip]
const ROLES: &[&str] = &[
    "admin", "administrator", "another", "guest", "owner", "partner", "root", "the", "user", "your",
];

/// Whether a quoted word is an identifier: lower-case letters, in pieces or with digits.
fn is_identifier(word: &str) -> bool {
    word.len() > 2
        && word.contains(|c: char| c == '-' || c == '_' || c == '.' || c.is_ascii_digit())
        && word.contains(|c: char| c.is_ascii_lowercase())
}

/// Whether an unquoted word is an identifier: "m25-platform", but not "step-2" or "v2-preview".
fn is_slug(word: &str) -> bool {
    let pieces = || word.split('-');
    let digits = |piece: &str| piece.bytes().all(|b| b.is_ascii_digit());
    let version = word
        .strip_prefix('v')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let counted = pieces().count() == 2 && pieces().next_back().is_some_and(digits);
    pieces().count() > 1
        && word.contains(|c: char| c.is_ascii_digit())
        && is_identifier(word)
        && !version
        && !counted
}

/// A word near the name of a messenger that looks like a user's.
fn unsigned(view: &View<'_>, label: &Range<usize>, found: &mut Found) {
    let bytes = view.bytes();
    let from = label.start.saturating_sub(BEFORE_MAX);
    let to = (label.end + AFTER_MAX).min(bytes.len());
    let mut at = from;
    while at < to {
        let len = run_up_to(RUN_MAX, bytes, at, is_handle);
        let word = view.piece(&(at..at + len)).trim_end_matches('.');
        let outside = at + len <= label.start || at >= label.end;
        let cut = before(bytes, at).is_some_and(|b| is_handle(&b));
        if outside && !cut && is_user(word) {
            found.add(Kind::User, at..at + word.len());
        }
        at += len.max(1);
    }
}

/// Whether a word is a user's name rather than an ordinary word: it has a dot, an underscore or a digit inside.
fn is_user(word: &str) -> bool {
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    let marked = word.contains(['.', '_']) || word.contains(|c: char| c.is_ascii_digit());
    let ending = word.rsplit('.').next().unwrap_or_default();
    let small = word.starts_with(|c: char| c.is_ascii_alphabetic());
    HANDLE.contains(&word.len()) && letters >= 3 && marked && small && !NO_NAMES.contains(&ending)
}
