//! What stands behind the `@` of an e-mail address.

use super::{BRACKETS_MAX, is_foreign};

/// Longest host that is looked at, in bytes. The book allows 253; the rest of a longer one says no more.
const HOST_MAX: usize = 320;

/// Endings of hosts as people write them where no `@` says that it is an address; any of two letters as well.
/// Sorted.
const ENDINGS: &[&str] = &[
    "academy",
    "agency",
    "app",
    "art",
    "asia",
    "berlin",
    "biz",
    "blog",
    "cat",
    "cloud",
    "club",
    "com",
    "company",
    "consulting",
    "dev",
    "digital",
    "edu",
    "email",
    "eu",
    "example",
    "family",
    "finance",
    "global",
    "gmbh",
    "gov",
    "group",
    "hamburg",
    "health",
    "info",
    "int",
    "jobs",
    "koeln",
    "law",
    "life",
    "live",
    "local",
    "ltd",
    "mail",
    "media",
    "mil",
    "mobi",
    "museum",
    "name",
    "net",
    "network",
    "news",
    "one",
    "online",
    "org",
    "page",
    "post",
    "pro",
    "science",
    "services",
    "shop",
    "site",
    "software",
    "solutions",
    "space",
    "store",
    "studio",
    "swiss",
    "systems",
    "team",
    "tech",
    "technology",
    "tel",
    "test",
    "tld",
    "today",
    "tools",
    "top",
    "travel",
    "university",
    "vip",
    "website",
    "wien",
    "wiki",
    "work",
    "works",
    "world",
    "xyz",
    "zone",
];

/// What follows an `@` in package names and pictures, where a host of one word could stand.
const NO_HOSTS: &[&str] = &[
    "alpha",
    "beta",
    "canary",
    "dev",
    "experimental",
    "head",
    "latest",
    "main",
    "master",
    "next",
    "nightly",
    "preview",
    "rc",
    "sha256",
    "sha512",
    "stable",
    "trunk",
];

/// Whether a word is an ending of hosts.
pub(super) fn is_ending(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    let short = word.len() == 2 && word.bytes().all(|b| b.is_ascii_lowercase());
    short || word.starts_with("xn--") || ENDINGS.binary_search(&word.as_str()).is_ok()
}

/// Where the host ends that begins at an offset, if it is one. The local part begins at `local`.
pub(super) fn end(text: &str, local: usize, from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    let len = if rest.starts_with('[') {
        literal_len(rest)?
    } else {
        host_len(text.get(local..from)?, rest)?
    };
    let end = from + len;
    Some(end + comment_len(text.get(end..)?))
}

/// An address in brackets, whatever they hold.
fn literal_len(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len().min(BRACKETS_MAX) {
        match bytes.get(at)? {
            b'\\' => at += 2,
            b']' => return Some(at + 1),
            b'\n' | b'[' | b'@' => return None,
            _ => at += 1,
        }
    }
    None
}

/// A comment behind the host, with or without a space before it.
fn comment_len(rest: &str) -> usize {
    let inside = rest.trim_start_matches(' ');
    let spaces = rest.len() - inside.len();
    match inside
        .as_bytes()
        .iter()
        .take(BRACKETS_MAX)
        .position(|b| *b == b')')
    {
        Some(len) if spaces == 0 && inside.starts_with('(') => len + 1,
        Some(len) if spaces == 1 && inside.starts_with("(comment") => spaces + len + 1,
        _ => 0,
    }
}

fn host_len(local: &str, rest: &str) -> Option<usize> {
    let mut len = 0;
    for c in rest.chars() {
        if !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') || is_foreign(c)) || len > HOST_MAX {
            break;
        }
        len += c.len_utf8();
    }
    let after = rest.get(len..)?;
    // The full stop of the sentence is no part of the host.
    let host = rest.get(..len)?.trim_end_matches(['.', '-', '_']);
    let labels = || host.split('.').filter(|label| !label.is_empty());
    let first = labels().next()?;
    let last = labels().next_back()?;
    let count = labels().count();
    let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    // "jane@2001:db8::1": the host is found elsewhere, the user is found here.
    if count == 1 && first.bytes().all(|b| b.is_ascii_hexdigit()) && is_group(after) {
        return Some(0);
    }
    if is_scaled_picture(first) || is_version(first) && labels().skip(1).all(numeric) {
        return (count == 4 && labels().all(numeric)).then_some(host.len());
    }
    let known = NO_HOSTS
        .binary_search(&first.to_ascii_lowercase().as_str())
        .is_ok();
    if known && (count == 1 || numeric(last)) {
        return None;
    }
    if count > 1 {
        // "jane@example/sales.com" is no host, but an address all the same.
        return Some(host.len());
    }
    let path = after.strip_prefix('/').map(|path| {
        path.split([' ', '/', '"', '<', '?', '#'])
            .next()
            .unwrap_or_default()
    });
    if let Some(path) = path {
        let dotted = path
            .trim_end_matches('.')
            .rsplit_once('.')
            .is_some_and(|(_, ending)| is_ending(ending));
        return dotted.then_some(host.len() + 1 + path.trim_end_matches('.').len());
    }
    // One word: "root@web", not "types@node" with a path before it, not "5@noon".
    let plain = local.trim_end_matches('@');
    let who = !plain.contains('/') && plain.contains(char::is_alphabetic);
    (who && first.starts_with(char::is_alphabetic) && first.chars().count() > 1).then_some(host.len())
}

/// Whether a text goes on with a group of an IPv6 address.
fn is_group(after: &str) -> bool {
    matches!(
        after.as_bytes(),
        [b':', b':' | b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F', ..]
    )
}

/// `2x`, as in `logo@2x.png`.
fn is_scaled_picture(label: &str) -> bool {
    let rest = label.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.len() < label.len()
        && rest
            .strip_prefix(['x', 'X'])
            .is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
}

/// `1` or `v1`, as in `package@v1.2.3`, with the rest of the label as in `1-beta`.
fn is_version(label: &str) -> bool {
    let digits = label.strip_prefix(['v', 'V']).unwrap_or(label);
    digits.bytes().all(|b| b.is_ascii_digit()) && !digits.is_empty()
}
