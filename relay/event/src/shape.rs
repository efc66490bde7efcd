//! Shape rules: what a path or a campaign looks like when no template says what it means.
//!
//! A segment stays when it reads like a word that a programmer wrote into a route; all others become
//! `:id`. So a path nobody planned for keeps its structure and loses its identifiers.

use crate::detect;
use std::borrow::Cow;

/// What stands in a path for whatever is no route word.
pub const ID: &str = ":id";

/// Most segments of a path that are kept. Deeper ones are cut off.
const SEGMENTS_MAX: usize = 16;
/// Longest segment that can be a route word, in bytes.
const SEGMENT_BYTES_MAX: usize = 40;
/// Most digits at the end of a word: `oauth2`, `step-12`.
const WORD_DIGITS_MAX: usize = 2;
/// Shortest run of hexadecimal digits that is an id: `deadbeef`.
const HEX_DIGITS_MIN: usize = 8;
/// Letters without any vowel from which on a word is none.
const CONSONANTS_MIN: usize = 6;
/// Longest campaign value that leaves, in bytes. A longer one is left out.
const CAMPAIGN_BYTES_MAX: usize = 60;
/// Most digits in a row in a campaign value: a year.
const CAMPAIGN_DIGITS_MAX: usize = 4;

/// The query keys that Plausible reads (contract b.1). No other leaves.
pub const CAMPAIGN_KEYS: [&str; 7] = [
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_content",
    "utm_term",
    "source",
    "ref",
];

/// Names of collections: the segment after one names somebody's or something's instance. One-letter ones
/// are meshPanel's; nothing else follows them.
#[rustfmt::skip]
const COLLECTIONS: &[&str] = &[
    "account", "accounts", "author", "authors", "benutzer", "client", "clients", "cluster", "clusters", "companies",
    "company", "contact", "contacts", "contract", "contracts", "customer", "customers", "device", "devices",
    "document", "documents", "email", "employee", "employees", "environment", "environments", "firma", "firmen",
    "folder", "folders", "group", "groups", "home", "host", "hosts", "id", "instance", "instances", "invitation",
    "invitations", "invite", "invites", "invoice", "invoices", "konten", "konto", "kunde", "kunden", "mandant",
    "mandanten", "member", "members", "message", "messages", "mitarbeiter", "namespace", "namespaces", "nutzer",
    "order", "orders", "org", "organisation", "organisations", "organization", "organizations", "orgs", "patient",
    "patients", "people", "person", "personen", "persons", "platform", "platforms", "profile", "profiles", "project",
    "projects", "projekt", "projekte", "q", "repo", "repos", "s", "search", "server", "servers", "session", "sessions",
    "share", "shared", "student", "students", "subscription", "subscriptions", "team", "teams", "tenant", "tenants",
    "ticket", "tickets", "token", "tokens", "uid", "user", "username", "users", "uuid", "vertrag", "workspace",
    "workspaces",
];

/// Words that follow a collection without naming one of its instances.
#[rustfmt::skip]
const ACTIONS: &[&str] = &[
    "access", "access-management", "activity", "add", "admin", "all", "api-keys", "archive", "archived", "billing",
    "bulk", "changes", "costs", "count", "create", "current", "dashboard", "delete", "details", "edit", "export",
    "favorites", "filter", "help", "history", "import", "index", "invitations", "invite", "list", "login", "logout",
    "manage", "management", "me", "members", "metrics", "new", "notifications", "overview", "password", "pending",
    "permissions", "preferences", "profile", "quotas", "recent", "register", "remove", "reports", "reset", "roles",
    "search", "security", "select", "self", "settings", "signup", "stats", "status", "summary", "support", "tags",
    "templates", "trash", "update", "upload", "usage", "welcome",
];

/// Endings of pages that are files.
const PAGE_EXTENSIONS: &[&str] = &["asp", "aspx", "do", "htm", "html", "jsf", "jsp", "php", "xhtml"];

/// A path of which only route words are left.
pub fn path(path: &str) -> String {
    let mut out = String::with_capacity(path.len().min(SEGMENTS_MAX * SEGMENT_BYTES_MAX));
    let mut names_an_instance = Naming::Nothing;
    let segments = path.split('/').map(without_matrix).filter(|s| !s.is_empty());
    for segment in segments.take(SEGMENTS_MAX) {
        out.push('/');
        let stays = match names_an_instance {
            Naming::Nothing => is_route_word(segment),
            Naming::Perhaps => is_one_of(ACTIONS, segment),
            Naming::Surely => false,
        };
        out.push_str(if stays { segment } else { ID });
        names_an_instance = match segment.len() {
            _ if !stays => Naming::Nothing,
            1 => Naming::Surely,
            _ if is_one_of(COLLECTIONS, segment) => Naming::Perhaps,
            _ => Naming::Nothing,
        };
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

/// What a segment says about the next one.
#[derive(Clone, Copy, PartialEq)]
enum Naming {
    Nothing,
    Perhaps,
    Surely,
}

/// A segment without its matrix parameters (RFC 3986, section 3.3).
fn without_matrix(segment: &str) -> &str {
    segment.split_once(';').map_or(segment, |(name, _)| name)
}

fn is_one_of(sorted: &[&str], segment: &str) -> bool {
    sorted
        .binary_search_by(|word| word.bytes().cmp(segment.bytes().map(|b| b.to_ascii_lowercase())))
        .is_ok()
}

/// Whether a segment reads like a word that a programmer wrote into a route.
fn is_route_word(segment: &str) -> bool {
    let stem = match segment.rsplit_once('.') {
        Some((stem, extension)) if is_one_of(PAGE_EXTENSIONS, extension) => stem,
        Some(_) => return false,
        None => segment,
    };
    (1..=SEGMENT_BYTES_MAX).contains(&stem.len())
        && stem.is_ascii()
        && !is_hex(stem)
        && stem
            .split(['-', '_'])
            .enumerate()
            .all(|(i, word)| is_word(word, i > 0))
        // Small letters alone are words; with digits or capitals they can be more, or base64.
        && (stem.bytes().all(|b| b.is_ascii_lowercase() || b"-_".contains(&b)) || detect::is_clean(stem))
}

fn is_hex(text: &str) -> bool {
    text.len() >= HEX_DIGITS_MIN && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// Letters, then at most two digits; a number of its own only behind another word. Capitals begin a part of
/// at least two letters, which the letters of an encoded id rarely do.
fn is_word(word: &str, may_be_number: bool) -> bool {
    let letters = word.trim_end_matches(|c: char| c.is_ascii_digit());
    if word.len() - letters.len() > WORD_DIGITS_MAX || word.is_empty() {
        return false;
    }
    if letters.is_empty() {
        return may_be_number;
    }
    if !letters.bytes().all(|b| b.is_ascii_alphabetic()) {
        return false;
    }
    let has_vowel = letters.bytes().any(|b| b"aeiouyAEIOUY".contains(&b));
    if !has_vowel && letters.len() >= CONSONANTS_MIN {
        return false;
    }
    let bytes = letters.as_bytes();
    let begins_part =
        |at: &usize| *at > 0 && bytes[*at].is_ascii_uppercase() && bytes[*at - 1].is_ascii_lowercase();
    let mut start = 0;
    for at in (1..bytes.len()).filter(begins_part).chain([bytes.len()]) {
        if at - start < 2 && (start > 0 || at < bytes.len()) {
            return false;
        }
        start = at;
    }
    true
}

/// The campaign keys of a query whose values read like a campaign, as a query of their own: `utm_source=news`.
/// Empty when there are none.
pub fn campaign(query: &str) -> String {
    let mut out = String::new();
    let mut seen: Vec<&str> = Vec::new();
    for pair in query.split('&') {
        let Some((key, value)) = pair.split_once('=') else {
            continue;
        };
        // Plausible reads one of each; a second one could say anything.
        if !CAMPAIGN_KEYS.contains(&key) || seen.contains(&key) {
            continue;
        }
        seen.push(key);
        if let Some(value) = campaign_value(value) {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(key);
            out.push('=');
            out.push_str(&value);
        }
    }
    out
}

/// Words, and numbers as long as a year, as `spring_2026` or `google`. With spaces as `+`.
fn campaign_value(raw: &str) -> Option<String> {
    let value = raw.replace("%20", "+").replace(' ', "+");
    let text = value.replace('+', " ");
    let plain = |b: u8| b.is_ascii_alphanumeric() || b" -_.".contains(&b);
    let ok = (1..=CAMPAIGN_BYTES_MAX).contains(&text.len())
        && text.bytes().all(plain)
        && text.split([' ', '-', '_', '.']).all(is_campaign_word)
        && detect::is_clean(&text);
    ok.then_some(value)
}

fn is_campaign_word(word: &str) -> bool {
    word.is_empty()
        || is_word(word, false)
        || (word.len() <= CAMPAIGN_DIGITS_MAX && word.bytes().all(|b| b.is_ascii_digit()))
}

/// A text that is nothing but a web address or a path, by the rules for those; any other by the detectors.
pub fn text(text: &str) -> Cow<'_, str> {
    let clean = detect::redact(text);
    let is_path = clean.starts_with('/') && !clean.contains(char::is_whitespace);
    if !is_path {
        return clean;
    }
    let (route, _query) = clean.split_once(['?', '#']).unwrap_or((&clean, ""));
    let shaped = path(route);
    if shaped == clean {
        clean
    } else {
        Cow::Owned(shaped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_keeps_route_words_and_loses_what_names_somebody() {
        let check = |from: &str, want: &str| {
            assert_eq!(path(from), want, "{from}");
            assert_eq!(path(want), want, "not idempotent: {want}");
        };
        check("", "/");
        check("/", "/");
        check("/dashboard/api-keys", "/dashboard/api-keys");
        check(
            "/w/m25-platform/access-management/api-keys",
            "/w/:id/access-management/api-keys",
        );
        check(
            "/w/acme/p/billing/i/azure/overview/azure_kubernetes_service",
            "/w/:id/p/:id/i/:id/overview/azure_kubernetes_service",
        );
        check("/workspaces/acme/settings", "/workspaces/:id/settings");
        check("/workspaces/create", "/workspaces/create");
        check("/users/12345/edit", "/users/:id/edit");
        check("/Users/Jane", "/Users/:id");
        check("/home/jane/notes.txt", "/home/:id/:id");
        check("/orders/550e8400-e29b-41d4-a716-446655440000", "/orders/:id");
        check("/x/deadbeef", "/x/:id");
        check("/reports/deadbeef42", "/reports/:id");
        check("/reports/dGVzdGluZw", "/reports/:id");
        check("/reports/NDExMSAxMTExIDExMTEgMTExMQ", "/reports/:id");
        check("/reports/jane%40example.com", "/reports/:id");
        check("/reports/jane@example.com", "/reports/:id");
        check("/reports/a1b2c3", "/reports/:id");
        check("/reports/2024-01", "/reports/:id");
        check("/oauth2/step-2/v2", "/oauth2/step-2/v2");
        check(
            "/docs/intro;jsessionid=A1B2C3/start.html",
            "/docs/intro/start.html",
        );
        check("/docs/john.doe", "/docs/:id");
        check("/accessManagement/roleMapping", "/accessManagement/roleMapping");
        check("/xkcdqwrt", "/:id");
        check("C:\\Users\\jane", "/:id");
        check("/docs/\\uff14\\uff14", "/docs/:id");
    }

    #[test]
    fn a_campaign_keeps_what_reads_like_one() {
        let check = |from: &str, want: &str| assert_eq!(campaign(from), want, "{from}");
        check(
            "utm_source=newsletter&utm_campaign=spring_2026",
            "utm_source=newsletter&utm_campaign=spring_2026",
        );
        check("utm_term=cloud+platform%20costs", "utm_term=cloud+platform+costs");
        check("utm_term=cloud costs", "utm_term=cloud+costs");
        check("ref=jane%40example.com&source=google", "source=google");
        check("ref=jane@example.com", "");
        check("utm_content=a8f3k2zz91", "");
        check("utm_content=4915112345678", "");
        check("token=abc&user=jane", "");
        check("utm_source=a&utm_source=second", "utm_source=a");
        check("utm_source=", "");
        check("", "");
    }

    #[test]
    fn the_lists_are_sorted() {
        for list in [COLLECTIONS, ACTIONS, PAGE_EXTENSIONS] {
            assert!(list.is_sorted());
        }
    }

    proptest! {
        #[test]
        fn shaping_is_total_and_idempotent(from in "\\PC{0,80}", route in "(/[a-zA-Z0-9:;.%_-]{0,12}){0,6}", query in "[a-z_=&%0-9]{0,60}") {
            for from in [&from, &route] {
                let once = path(from);
                prop_assert!(once.starts_with('/'));
                prop_assert_eq!(path(&once), once);
            }
            let once = campaign(&query);
            prop_assert_eq!(campaign(&once), once);
            let _ = campaign(&from);
        }
    }
}
