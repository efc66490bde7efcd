//! Handles of networks: "@jane_doe", "on skype (jane.doe)".

use crate::detect::label::Topics;
use crate::detect::view::View;
use crate::detect::{Found, Kind};
use std::ops::Range;

/// Shortest and longest handle, in bytes.
const HANDLE: std::ops::RangeInclusive<usize> = 3..=32;
/// How far around the name of a messenger a handle may stand, in bytes.
const BEFORE_MAX: usize = 24;
const AFTER_MAX: usize = 40;
/// Messengers whose users write their names without a sign. Compared by beginning, in lower case.
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
    for label in view.labels() {
        let messenger = view.text().get(label.range.clone()).is_some_and(|word| {
            let word = word.to_ascii_lowercase();
            MESSENGERS.iter().any(|name| word.starts_with(name))
        });
        if label.topics.any(Topics::USER) && messenger {
            unsigned(view, &label.range, found);
        }
    }
}

fn is_handle(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')
}

/// A word behind a sign that nothing stands before.
fn signed(view: &View<'_>, at: usize, found: &mut Found) {
    let bytes = view.bytes();
    let before = at.checked_sub(1).and_then(|i| bytes.get(i));
    if !matches!(
        before,
        None | Some(b' ' | b'\n' | b'\t' | b'(' | b'[' | b',' | b':' | b'"' | b'\'' | b'>' | b'/')
    ) {
        return;
    }
    let len = bytes
        .iter()
        .skip(at + 1)
        .take(64)
        .take_while(|b| is_handle(**b))
        .count();
    let Some(word) = view.text().get(at + 1..at + 1 + len) else {
        return;
    };
    let word = word.trim_end_matches('.');
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

/// Words before "as" that say that somebody came in under a name.
const ENTRIES: &[&str] = &[
    "logged in",
    "login",
    "signed in",
    "angemeldet",
    "eingeloggt",
    "authenticated",
];
/// Words behind a customer's noun that stand for no identifier.
const NOUNS: &[&str] = &[
    "user",
    "users",
    "benutzer",
    "nutzer",
    "username",
    "login",
    "tenant",
    "workspace",
    "project",
    "projekt",
    "customer",
    "kunde",
    "mandant",
    "account",
    "konto",
    "subscription",
    "meshcustomer",
    "meshproject",
    "meshworkspace",
];

/// Those of them behind which only a user's name is looked for.
const USERS: &[&str] = &["user", "users", "benutzer", "nutzer", "username", "login"];

/// Names behind words that say whose they are: "signed in as jane", "user jane.doe", "tenant 'acme-prod'".
fn sessions(view: &View<'_>, found: &mut Found) {
    let text = view.text();
    for label in view.labels() {
        let Some(raw) = text.get(label.range.clone()) else {
            continue;
        };
        let among = |list: &[&str]| list.iter().any(|word| raw.eq_ignore_ascii_case(word));
        let noun = among(NOUNS);
        if !noun && !among(ENTRIES) {
            continue;
        }
        let Some(rest) = text
            .get(label.range.end..)
            .and_then(|rest| rest.strip_prefix(' '))
        else {
            continue;
        };
        let entered = rest.strip_prefix("as ").or_else(|| rest.strip_prefix("als "));
        let Some(rest) = entered.or(noun.then_some(rest)) else {
            continue;
        };
        let quote = rest
            .as_bytes()
            .first()
            .filter(|b| matches!(b, b'"' | b'\'' | b'`'));
        let inner = rest.get(usize::from(quote.is_some())..).unwrap_or_default();
        let len = inner
            .bytes()
            .take(64)
            .take_while(|b| is_handle(*b) || *b == b'-')
            .count();
        let value = inner.get(..len).unwrap_or_default().trim_end_matches('.');
        let closed = quote.is_some() && inner.as_bytes().get(len) == quote;
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

/// What one is signed in as besides a name.
const ROLES: &[&str] = &[
    "admin",
    "administrator",
    "another",
    "guest",
    "owner",
    "partner",
    "root",
    "the",
    "user",
    "your",
];

/// Whether a word in quotes is an identifier: small letters, in pieces or with digits.
fn is_identifier(word: &str) -> bool {
    word.len() > 2
        && word.contains(|c: char| c == '-' || c == '_' || c == '.' || c.is_ascii_digit())
        && word.contains(|c: char| c.is_ascii_lowercase())
}

/// Whether a word without quotes is an identifier all the same: "m25-platform", not "step-2" or "v2-preview".
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
        let len = bytes
            .iter()
            .skip(at)
            .take(64)
            .take_while(|b| is_handle(**b))
            .count();
        let outside = at + len <= label.start || at >= label.end;
        let cut = at
            .checked_sub(1)
            .and_then(|i| bytes.get(i))
            .is_some_and(|b| is_handle(*b));
        if let Some(word) = view.text().get(at..at + len)
            && outside
            && !cut
            && is_user(word.trim_end_matches('.'))
        {
            found.add(Kind::User, at..at + word.trim_end_matches('.').len());
        }
        at += len.max(1);
    }
}

/// Whether a word is a user's name rather than a word: it has a dot, a line or a digit inside.
fn is_user(word: &str) -> bool {
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    let marked = word.contains(['.', '_']) || word.contains(|c: char| c.is_ascii_digit());
    let ending = word.rsplit('.').next().unwrap_or_default();
    let small = word.starts_with(|c: char| c.is_ascii_alphabetic());
    HANDLE.contains(&word.len()) && letters >= 3 && marked && small && !NO_NAMES.contains(&ending)
}
