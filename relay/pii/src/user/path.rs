//! Users in file paths, and identifiers after the name of a collection in API paths.

use crate::scan::{after, before, run_up_to};
use crate::view::View;
use crate::words::Words;
use crate::{Found, Kind, key};
use std::ops::Range;

/// Folders of users.
#[rustfmt::skip]
const HOMES: Words = Words::new(&[
    "benutzer", "documents and settings", "home", "homes", "profiles", "users",
]);
/// Folders that all users share.
#[rustfmt::skip]
const SHARED: Words = Words::new(&[
    "all", "all users", "default", "default user", "guest", "public", "runner", "shared",
]);

/// Collections of people and of customers' resources.
#[rustfmt::skip]
const COLLECTIONS: Words = Words::new(&[
    "account", "accounts", "benutzer", "client", "clients", "contact", "contacts", "contract", "contracts",
    "customer", "customers", "device", "devices", "employee", "employees", "group", "groups", "i", "invoice",
    "invoices", "kunde", "kunden", "mandant", "mandanten", "member", "members", "order", "orders", "org",
    "organisation", "organisations", "organization", "organizations", "orgs", "p", "patient", "patients",
    "people", "person", "persons", "profile", "profiles", "project", "projects", "projekt", "projekte",
    "session", "sessions", "subscription", "subscriptions", "team", "teams", "tenant", "tenants", "u", "user",
    "users", "w", "workspace", "workspaces",
]);
/// Segments after a collection that do not identify a member of it.
#[rustfmt::skip]
const ROUTES: Words = Words::new(&[
    "access", "activate", "active", "add", "admin", "all", "api", "archive", "archived", "auth", "bulk",
    "callback", "config", "count", "create", "current", "dashboard", "default", "delete", "details", "edit",
    "export", "filter", "help", "home", "import", "index", "info", "invitations", "invite", "list", "login",
    "logout", "manage", "me", "new", "overview", "password", "permissions", "policies", "preferences",
    "public", "register", "reset", "role", "roles", "search", "security", "self", "settings", "shared",
    "signin", "signup", "stats", "status", "summary", "tags", "templates", "types", "update", "upload",
    "usage", "verify", "view",
]);

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    let bytes = view.bytes();
    let mut last: Option<Range<usize>> = None;
    let mut at = 0;
    while let Some(skip) = after(bytes, at).iter().position(|b| matches!(b, b'/' | b'\\')) {
        let mark = at + skip;
        if skip > 0 {
            last = None;
        }
        let windows = bytes.get(mark) == Some(&b'\\');
        // In a string literal every backslash is doubled.
        let start = mark + run_up_to(2, bytes, mark, |b| windows && *b == b'\\').max(1);
        let segment = start..start + segment_len(view.rest(start));
        if let Some(last) = &last {
            member(view, last, &segment, windows, found);
        }
        at = segment.end;
        last = (!segment.is_empty()).then_some(segment);
    }
    tildes(view, found);
}

/// The length of the segment at the start of a text, without the punctuation of the sentence.
fn segment_len(text: &str) -> usize {
    let ends = |c: char| "/\\?#&,;\"'`<>|()[]{}".contains(c) || c.is_whitespace();
    let segment = text.split(ends).next().unwrap_or_default();
    segment.trim_end_matches(['.', ':', '!']).len()
}

/// Looks at the segment after a collection.
fn member(view: &View<'_>, noun: &Range<usize>, segment: &Range<usize>, windows: bool, found: &mut Found) {
    let (noun, value) = (view.piece(noun), view.piece(segment));
    if value.is_empty() || value.len() > 256 || noun.len() > 24 {
        return;
    }
    let noun = noun.to_lowercase();
    let (home, collection) = (HOMES.has(&noun), COLLECTIONS.has(&noun));
    if !home && !collection {
        return;
    }
    let lower = value.to_lowercase();
    let template = value.starts_with([':', '$', '*', '[', '{', '%']);
    if home && (windows || noun != "profiles") {
        let list = !windows && collection && (ROUTES.has(&lower) || COLLECTIONS.has(&lower));
        if !list && !template && !SHARED.has(&lower) {
            let more = if windows {
                more_of_user(view.rest(segment.end))
            } else {
                0
            };
            found.add(Kind::User, segment.start..segment.end + more);
        }
        return;
    }
    if windows || !collection || template {
        return;
    }
    let word = value.chars().all(|c| c.is_ascii_lowercase());
    // After a single letter an application puts its identifiers, never a page.
    let page = noun.len() > 1
        && word
        && (ROUTES.has(&lower) || COLLECTIONS.has(&lower) || key::kind_of_key(&lower).is_some());
    // "access-management" and "index.html" are pages, whatever precedes them.
    let file = value.contains('.') && !value.contains(|c: char| c.is_ascii_digit()) && noun.len() > 1;
    if !page && !file && value.contains(char::is_alphanumeric) {
        found.add(Kind::User, segment.clone());
    }
}

/// The length of the rest of a Windows user's name, which may contain spaces, after its first word.
fn more_of_user(rest: &str) -> usize {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '.' | '-');
    let end = rest.char_indices().take(40).find(|(_, c)| !is_name(*c));
    match end {
        Some((len, '\\')) if rest.starts_with(' ') => len,
        _ => 0,
    }
}

/// Home folders by name: `~jane/`.
fn tildes(view: &View<'_>, found: &mut Found) {
    let bytes = view.bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'~') {
        let start = at + 1;
        let in_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let len = run_up_to(64, bytes, start, in_word);
        if !before(bytes, at).is_some_and(|b| in_word(&b))
            && bytes.get(start).is_some_and(u8::is_ascii_alphabetic)
            && bytes.get(start + len) == Some(&b'/')
        {
            found.add(Kind::User, start..start + len);
        }
    }
}
