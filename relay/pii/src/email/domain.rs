//! The host after the `@` of an e-mail address.

use super::{BRACKETS_MAX, is_foreign};
use crate::words::Words;

/// Longest host that is read, in bytes. RFC 1035 allows 253; the rest of a longer one reveals nothing more.
const HOST_MAX: usize = 320;

/// Top-level domains accepted in spelt-out addresses, which have no `@`. Any two letters count as well.
#[rustfmt::skip]
const ENDINGS: Words = Words::new(&[
    "academy", "agency", "app", "art", "asia", "berlin", "biz", "blog", "cat", "cloud", "club", "com",
    "company", "consulting", "dev", "digital", "edu", "email", "eu", "example", "family", "finance", "global",
    "gmbh", "gov", "group", "hamburg", "health", "info", "int", "jobs", "koeln", "law", "life", "live",
    "local", "ltd", "mail", "media", "mil", "mobi", "museum", "name", "net", "network", "news", "one",
    "online", "org", "page", "post", "pro", "science", "services", "shop", "site", "software", "solutions",
    "space", "store", "studio", "swiss", "systems", "team", "tech", "technology", "tel", "test", "tld",
    "today", "tools", "top", "travel", "university", "vip", "website", "wien", "wiki", "work", "works",
    "world", "xyz", "zone",
]);

/// Words after an `@` in package names and picture names, which are not hosts of one word.
#[rustfmt::skip]
const NO_HOSTS: Words = Words::new(&[
    "alpha", "beta", "canary", "dev", "experimental", "head", "latest", "main", "master", "next", "nightly",
    "preview", "rc", "sha256", "sha512", "stable", "trunk",
]);

/// Whether a word is a top-level domain.
pub(super) fn is_ending(word: &str) -> bool {
    let short = word.len() == 2 && word.bytes().all(|b| b.is_ascii_alphabetic());
    let encoded = word
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("xn--"));
    short || encoded || ENDINGS.has_in_any_case(word)
}

/// The end of the host at an offset, or `None` if there is no host. The local part begins at `local`.
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

/// The length of an address in brackets, with any content.
fn literal_len(rest: &str) -> Option<usize> {
    let mut bytes = rest.bytes().enumerate().take(BRACKETS_MAX).skip(1);
    while let Some((at, b)) = bytes.next() {
        match b {
            b'\\' => drop(bytes.next()),
            b']' => return Some(at + 1),
            b'\n' | b'[' | b'@' => return None,
            _ => {}
        }
    }
    None
}

/// The length of a comment after the host, with or without a space before it.
fn comment_len(rest: &str) -> usize {
    let inside = rest.trim_start_matches(' ');
    let spaces = rest.len() - inside.len();
    match inside.bytes().take(BRACKETS_MAX).position(|b| b == b')') {
        Some(len) if spaces == 0 && inside.starts_with('(') => len + 1,
        Some(len) if spaces == 1 && inside.starts_with("(comment") => spaces + len + 1,
        _ => 0,
    }
}

fn host_len(local: &str, rest: &str) -> Option<usize> {
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_') || is_foreign(c);
    let ends = |(at, c): &(usize, char)| !is_host(*c) || *at > HOST_MAX;
    let len = rest.char_indices().find(ends).map_or(rest.len(), |(at, _)| at);
    let (host, after) = rest.split_at_checked(len)?;
    // The full stop of the sentence is not part of the host.
    let host = host.trim_end_matches(['.', '-', '_']);
    let labels = || host.split('.').filter(|label| !label.is_empty());
    let first = labels().next()?;
    let last = labels().next_back()?;
    let count = labels().count();
    let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    // "jane@2001:db8::1": another scanner finds the host, this one finds the user.
    if count == 1 && first.bytes().all(|b| b.is_ascii_hexdigit()) && is_group(after) {
        return Some(0);
    }
    if is_scaled_picture(first) || is_version(first) && labels().skip(1).all(numeric) {
        return (count == 4 && labels().all(numeric)).then_some(host.len());
    }
    if NO_HOSTS.has_in_any_case(first) && (count == 1 || numeric(last)) {
        return None;
    }
    if count > 1 {
        // "jane@example/sales.com" is not a host, but still an address.
        return Some(host.len());
    }
    if let Some(path) = after.strip_prefix('/') {
        let path = path
            .split([' ', '/', '"', '<', '?', '#'])
            .next()?
            .trim_end_matches('.');
        let dotted = path.rsplit_once('.').is_some_and(|(_, ending)| is_ending(ending));
        return dotted.then_some(host.len() + 1 + path.len());
    }
    // One word: "root@web", not "types@node" with a path before it, not "5@noon".
    let plain = local.trim_end_matches('@');
    let who = !plain.contains('/') && plain.contains(char::is_alphabetic);
    (who && first.starts_with(char::is_alphabetic) && first.chars().count() > 1).then_some(host.len())
}

/// Whether a text continues with a group of an IPv6 address.
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
