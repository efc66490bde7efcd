//! Users in paths of files, and whatever stands behind the name of a collection in paths of APIs.

use crate::detect::view::View;
use crate::detect::{Found, Kind, key};
use std::ops::Range;

/// Folders of users. Sorted.
const HOMES: &[&str] = &[
    "benutzer",
    "documents and settings",
    "home",
    "homes",
    "profiles",
    "users",
];
/// Folders that all users share. Sorted.
const SHARED: &[&str] = &[
    "all",
    "all users",
    "default",
    "default user",
    "guest",
    "public",
    "runner",
    "shared",
];

/// Collections of people and of what customers own. Sorted.
const COLLECTIONS: &[&str] = &[
    "account",
    "accounts",
    "benutzer",
    "client",
    "clients",
    "contact",
    "contacts",
    "contract",
    "contracts",
    "customer",
    "customers",
    "device",
    "devices",
    "employee",
    "employees",
    "group",
    "groups",
    "i",
    "invoice",
    "invoices",
    "kunde",
    "kunden",
    "mandant",
    "mandanten",
    "member",
    "members",
    "order",
    "orders",
    "org",
    "organisation",
    "organisations",
    "organization",
    "organizations",
    "orgs",
    "p",
    "patient",
    "patients",
    "people",
    "person",
    "persons",
    "profile",
    "profiles",
    "project",
    "projects",
    "projekt",
    "projekte",
    "session",
    "sessions",
    "subscription",
    "subscriptions",
    "team",
    "teams",
    "tenant",
    "tenants",
    "u",
    "user",
    "users",
    "w",
    "workspace",
    "workspaces",
];
/// Segments behind a collection that name no member of it. Sorted.
const ROUTES: &[&str] = &[
    "access",
    "active",
    "activate",
    "add",
    "admin",
    "all",
    "api",
    "archive",
    "archived",
    "auth",
    "bulk",
    "callback",
    "config",
    "count",
    "create",
    "current",
    "dashboard",
    "default",
    "delete",
    "details",
    "edit",
    "export",
    "filter",
    "help",
    "home",
    "import",
    "index",
    "info",
    "invitations",
    "invite",
    "list",
    "login",
    "logout",
    "manage",
    "me",
    "new",
    "overview",
    "password",
    "permissions",
    "policies",
    "preferences",
    "public",
    "register",
    "reset",
    "role",
    "roles",
    "search",
    "security",
    "self",
    "settings",
    "shared",
    "signin",
    "signup",
    "stats",
    "status",
    "summary",
    "tags",
    "templates",
    "types",
    "update",
    "upload",
    "usage",
    "verify",
    "view",
];

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    let bytes = view.bytes();
    let mut before: Option<Range<usize>> = None;
    let mut at = 0;
    while at < bytes.len() {
        let Some(skip) = bytes
            .get(at..)
            .and_then(|rest| rest.iter().position(|b| matches!(b, b'/' | b'\\')))
        else {
            break;
        };
        let mark = at + skip;
        if skip > 0 {
            before = None;
        }
        let mark_byte = bytes.get(mark).copied();
        // In a string of code every backslash is two.
        let start = mark
            + bytes
                .iter()
                .skip(mark)
                .take(2)
                .take_while(|b| Some(**b) == mark_byte && **b == b'\\')
                .count()
                .max(1);
        let segment = start..segment_end(view.text(), start);
        if let Some(last) = &before {
            member(view, last, &segment, mark_byte == Some(b'\\'), found);
        }
        at = segment.end.max(start);
        before = (!segment.is_empty()).then_some(segment);
    }
    tildes(view, found);
}

fn segment_end(text: &str, start: usize) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    let ends = |c: char| {
        matches!(
            c,
            '/' | '\\'
                | '?'
                | '#'
                | '&'
                | ','
                | ';'
                | '"'
                | '\''
                | '`'
                | '<'
                | '>'
                | '|'
                | '('
                | ')'
                | '['
                | ']'
                | '{'
                | '}'
        ) || c.is_whitespace()
    };
    let len = rest.find(ends).unwrap_or(rest.len());
    // "Documents and Settings", and users with two names, only where a separator follows.
    start
        + rest
            .get(..len)
            .unwrap_or_default()
            .trim_end_matches(['.', ':', '!'])
            .len()
}

/// Looks at the segment behind another.
fn member(view: &View<'_>, noun: &Range<usize>, segment: &Range<usize>, windows: bool, found: &mut Found) {
    let text = view.text();
    let (Some(noun), Some(value)) = (text.get(noun.clone()), text.get(segment.clone())) else {
        return;
    };
    if value.is_empty() || value.len() > 256 || noun.len() > 24 {
        return;
    }
    let noun = noun.to_lowercase();
    let among = |list: &[&str], word: &str| list.binary_search(&word).is_ok();
    let (home, collection) = (among(HOMES, &noun), among(COLLECTIONS, &noun));
    if !home && !collection {
        return;
    }
    let lower = value.to_lowercase();
    let template = value.starts_with([':', '$', '*', '[', '{', '%']);
    if home && (windows || noun != "profiles") {
        let list = !windows && collection && (among(ROUTES, &lower) || among(COLLECTIONS, &lower));
        if !list && !template && !among(SHARED, &lower) {
            found.add(Kind::User, segment.start..whole_user(text, segment.end, windows));
        }
        return;
    }
    if windows || !collection || template {
        return;
    }
    let word = value.chars().all(|c| c.is_ascii_lowercase());
    // Behind a single letter an application puts its identifiers, never a page of its own.
    let page = noun.len() > 1
        && word
        && (among(ROUTES, &lower) || among(COLLECTIONS, &lower) || key::judge(&lower).is_some());
    // "access-management" and "index.html" are pages, whatever stands before.
    let file = value.contains('.') && !value.contains(|c: char| c.is_ascii_digit()) && noun.len() > 1;
    if !page && !file && value.contains(char::is_alphanumeric) {
        found.add(Kind::User, segment.clone());
    }
}

/// The end of a user's folder: names of Windows users may hold spaces.
fn whole_user(text: &str, end: usize, windows: bool) -> usize {
    let rest = text.get(end..).unwrap_or_default();
    if !windows || !rest.starts_with(' ') {
        return end;
    }
    let more = rest
        .char_indices()
        .take(40)
        .find(|(_, c)| !c.is_alphanumeric() && !matches!(c, ' ' | '.' | '-'));
    match more {
        Some((len, '\\')) => end + len,
        _ => end,
    }
}

/// Home folders by name: `~jane/`.
fn tildes(view: &View<'_>, found: &mut Found) {
    let bytes = view.bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'~') {
        let start = at + 1;
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if at
            .checked_sub(1)
            .and_then(|i| bytes.get(i))
            .is_some_and(|b| word(*b))
        {
            continue;
        }
        let len = bytes
            .iter()
            .skip(start)
            .take(64)
            .take_while(|b| word(**b))
            .count();
        if bytes.get(start).is_some_and(u8::is_ascii_alphabetic) && bytes.get(start + len) == Some(&b'/') {
            found.add(Kind::User, start..start + len);
        }
    }
}
