//! Shape rules: how to coarsen a path or a campaign that no template covers.
//!
//! A segment stays if it reads like a word that a programmer wrote into a route; all others become `:id`. So a path
//! that no plan lists keeps its structure and loses its identifiers.

mod campaign;

pub use campaign::{CAMPAIGN_KEYS, campaign};

use std::borrow::Cow;

/// Replaces every segment of a path that is not a route word.
pub const ID: &str = ":id";

/// Most segments of a path that are kept. Deeper ones are cut off.
const SEGMENTS_MAX: usize = 16;
/// Longest segment that can be a route word, in bytes.
const SEGMENT_BYTES_MAX: usize = 40;
/// Most digits at the end of a word: `oauth2`, `step-12`.
const WORD_DIGITS_MAX: usize = 2;
/// Shortest run of hexadecimal digits that is an id: `deadbeef`.
const HEX_DIGITS_MIN: usize = 8;
/// From this length, letters without a vowel are not a word.
const CONSONANTS_MIN: usize = 6;

/// Names of collections: the next segment identifies an instance. One-letter names are meshPanel's; they are always
/// followed by an instance.
#[rustfmt::skip]
const COLLECTIONS: &[&str] = &[
    "account", "accounts", "activate", "akte", "akten", "author", "authors", "benutzer", "bestellung",
    "bestellungen", "board", "boards", "branch", "branches", "bucket", "buckets", "callback", "case", "cases",
    "channel", "channels", "client", "clients", "cluster", "clusters", "companies", "company", "confirm",
    "contact", "contacts", "contract", "contracts", "customer", "customers", "database", "databases", "device",
    "devices", "document", "documents", "email", "employee", "employees", "environment", "environments",
    "firma", "firmen", "folder", "folders", "group", "groups", "home", "host", "hosts", "id", "instance",
    "instances", "invitation", "invitations", "invite", "invites", "invoice", "invoices", "join", "konten",
    "konto", "kunde", "kunden", "mandant", "mandanten", "meeting", "meetings", "member", "members", "message",
    "messages", "mitarbeiter", "namespace", "namespaces", "node", "nodes", "nutzer", "order", "orders", "org",
    "organisation", "organisations", "organization", "organizations", "orgs", "partner", "partners", "patient",
    "patients", "people", "person", "personen", "persons", "pipeline", "pipelines", "platform", "platforms",
    "profile", "profiles", "project", "projects", "projekt", "projekte", "q", "realm", "realms", "rechnung",
    "rechnungen", "repo", "repos", "reset", "reset-password", "room", "rooms", "s", "search", "server",
    "servers", "session", "sessions", "share", "shared", "space", "spaces", "student", "students",
    "subscription", "subscriptions", "supplier", "suppliers", "team", "teams", "tenant", "tenants", "ticket",
    "tickets", "token", "tokens", "uid", "unsubscribe", "user", "username", "users", "uuid", "vendor",
    "vendors", "verify", "verify-email", "vertraege", "vertrag", "workspace", "workspaces", "ws",
];

/// Words that follow a collection without naming one of its instances.
#[rustfmt::skip]
const ACTIONS: &[&str] = &[
    "about-us", "access", "access-management", "active", "activity", "add", "addresses", "admin", "all",
    "anlegen", "api-keys", "approve", "approved", "archive", "archived", "assign", "bearbeiten", "bestellungen",
    "billing", "bulk", "cancel", "cancelled", "careers", "changes", "checkout", "closed", "complete",
    "completed", "confirmation", "confirmed", "contacts", "costs", "count", "create", "current", "customers",
    "dashboard", "delete", "details", "devices", "done", "download", "draft", "drafts", "edit", "einstellungen",
    "email", "error", "expired", "export", "failed", "favorites", "features", "filter", "groups", "help",
    "history", "import", "inbox", "index", "info", "invitations", "invite", "invoices", "learn-more", "list",
    "login", "logout", "manage", "management", "me", "members", "metrics", "mine", "neu", "new", "newsletter",
    "next", "notifications", "open", "orders", "overview", "password", "payment", "payment-methods", "payments",
    "pending", "permissions", "plans", "preferences", "preview", "pricing", "profile", "projects", "quotas",
    "recent", "register", "registrieren", "remove", "reports", "request", "requests", "resend", "reset",
    "return", "returns", "roles", "sales", "search", "security", "select", "self", "sent", "sessions",
    "settings", "share", "shared", "sign-in", "sign-out", "sign-up", "signup", "start", "stats", "status",
    "step", "subscription", "subscriptions", "success", "summary", "support", "tags", "teams", "templates",
    "tenants", "terms", "thank-you", "track", "tracking", "transfer", "trash", "two-factor", "unread", "update",
    "upgrade", "upload", "usage", "users", "verify", "view", "welcome", "wishlist", "workspaces",
];

/// Endings of pages that are files.
const PAGE_EXTENSIONS: &[&str] = &["asp", "aspx", "do", "htm", "html", "jsf", "jsp", "php", "xhtml"];

/// A path with every segment replaced that is not a route word.
pub fn path(path: &str) -> String {
    let mut out = String::with_capacity(path.len().min(SEGMENTS_MAX * SEGMENT_BYTES_MAX));
    let mut names_an_instance = Naming::Nothing;
    let segments = path
        .split('/')
        .map(without_matrix)
        .filter(|s| !matches!(*s, "" | "." | ".."));
    for segment in segments.take(SEGMENTS_MAX) {
        out.push('/');
        let stays = match names_an_instance {
            Naming::Nothing => is_route_word(segment),
            Naming::Perhaps => is_one_of(ACTIONS, segment),
            Naming::Surely => false,
        };
        out.push_str(if stays { segment } else { ID });
        names_an_instance = match names_an_instance {
            // "/users/all/jane": the next segment may still be an instance.
            Naming::Perhaps if stays => Naming::Perhaps,
            _ if !stays => Naming::Nothing,
            _ if segment.len() == 1 => Naming::Surely,
            _ if names_a_collection(segment) => Naming::Perhaps,
            _ => Naming::Nothing,
        };
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

/// Whether the next segment identifies an instance.
#[derive(Clone, Copy, PartialEq)]
enum Naming {
    Nothing,
    Perhaps,
    Surely,
}

/// Whether a segment, or its last word, names a collection: `customers`, `partner-tenants`.
fn names_a_collection(segment: &str) -> bool {
    let last = segment.rsplit(['-', '_']).next().unwrap_or(segment);
    is_one_of(COLLECTIONS, segment) || (last.len() < segment.len() && is_one_of(COLLECTIONS, last))
}

/// A segment without its matrix parameters (RFC 3986, section 3.3).
fn without_matrix(segment: &str) -> &str {
    segment.split_once(';').map_or(segment, |(name, _)| name)
}

fn is_one_of(sorted: &[&str], segment: &str) -> bool {
    if segment.bytes().any(|b| b.is_ascii_uppercase()) {
        let lower = segment.to_ascii_lowercase();
        return sorted.binary_search(&lower.as_str()).is_ok();
    }
    sorted.binary_search(&segment).is_ok()
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
        // Lower-case letters alone are words; with digits or capitals they may be a secret or base64.
        && (stem.bytes().all(|b| b.is_ascii_lowercase() || b"-_".contains(&b)) || relay_pii::is_clean(stem))
}

fn is_hex(text: &str) -> bool {
    text.len() >= HEX_DIGITS_MIN && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// Letters, then at most two digits; a number alone only after another word. A capital must start a part of at least
/// two letters, which is rare in an encoded id.
fn is_word(word: &str, may_be_number: bool) -> bool {
    if is_status(word) || is_numeronym(word) {
        return true;
    }
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

/// An HTTP status that pages are named after: `404`.
fn is_status(word: &str) -> bool {
    matches!(word.as_bytes(), [b'4' | b'5', b'0'..=b'1', b'0'..=b'9'])
}

/// A short word with a number in place of letters: `k8s`, `b2b`, `i18n`.
fn is_numeronym(word: &str) -> bool {
    match word.as_bytes() {
        [first, inner @ .., last] => {
            (1..=2).contains(&inner.len())
                && inner.iter().all(u8::is_ascii_digit)
                && first.is_ascii_alphabetic()
                && last.is_ascii_alphabetic()
        }
        _ => false,
    }
}

/// Coarsens a text that is only a web address or a path by the rules for those, and scrubs any other with the
/// detectors.
pub fn text(text: &str) -> Cow<'_, str> {
    let clean = relay_pii::redact(text);
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
        check("/404/k8s/b2b", "/404/k8s/b2b");
        check("/a1b2c/4711", "/:id/:id");
        check("/users/all/jane", "/users/all/:id");
        check("/partner-tenants/acme", "/partner-tenants/:id");
        check("/account/payment-methods", "/account/payment-methods");
        check("/xkcdqwrt", "/:id");
        check("C:\\Users\\jane", "/:id");
        check("/docs/\\uff14\\uff14", "/docs/:id");
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
