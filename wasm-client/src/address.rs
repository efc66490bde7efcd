//! Reduces a URL to the page it denotes, before it is compared, cut or sent. Works on text only, independent of pages
//! and events.
//!
//! A page is an origin, a path and the route of a hash router. Everything else in a URL is state, an anchor or a secret
//! in transit (`#id_token=…`, `?code=…`), and stays in the browser. The one exception is a campaign, whose keys the
//! relay reads.

/// Plausible rejects a longer URL.
pub(crate) const URL_BYTES_MAX: usize = 2000;
/// A longer hash route is cut here, so that origin and path always fit before it.
const ROUTE_BYTES_MAX: usize = 1000;
/// A longer segment is cut here. A route template replaces such a segment without reading it, so a ticket of 4000 bytes
/// within the path does not hide the segments behind it.
const SEGMENT_BYTES_MAX: usize = 200;
/// A longer value is not a campaign: the relay reads at most this many bytes of one, escapes included.
const CAMPAIGN_VALUE_BYTES_MAX: usize = 180;
/// The query keys that the relay reads. The first five are unambiguous, so they also count within a hash, where
/// `source` and `ref` may be the application's own keys.
const CAMPAIGN_KEYS: [&str; 7] = [
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_content",
    "utm_term",
    "source",
    "ref",
];
const HASH_CAMPAIGN_KEYS: usize = 5;
/// Keys with these endings carry the answer of an identity provider. Some put it into a segment: `#/id_token=…`.
const LOGIN_KEYS: [&str; 4] = ["token", "code", "state", "error"];

/// A reduced URL.
#[derive(Debug, Default)]
pub(crate) struct Address {
    /// Origin and path.
    base: String,
    /// The query reduced to its campaign keys, without the question mark.
    campaign: String,
    /// The hash route, without the hash sign. Empty if there is none.
    route: String,
    /// A fingerprint, equal for equal pages, whatever was cut from the texts.
    page: u64,
}

impl Address {
    /// Reduces an absolute URL.
    pub(crate) fn reduce(url: &str) -> Self {
        let (before, fragment) = split_at(url, position(url, b"#"));
        let (path, query) = split_at(before, position(before, b"?"));
        let (route, hash_query) = route_of(fragment);
        let mut page = Fingerprint::new();
        let base = segments(path, &mut page);
        page.separate();
        let route = segments(route, &mut page);
        let route = shortened(&route, ROUTE_BYTES_MAX).to_owned();
        let room = URL_BYTES_MAX - route.len() - 1;
        Self {
            base: shortened(&base, room).to_owned(),
            campaign: campaign(query, hash_query),
            route,
            page: page.0,
        }
    }

    /// Whether both denote the same page: a query, an anchor, a campaign, a trailing slash, `#/` or the spelling of an
    /// escape makes no difference.
    pub(crate) fn is_page_of(&self, other: &Self) -> bool {
        self.page == other.page
    }

    /// Whether the next URL is this one plus its first hash route, as added by a hash router.
    pub(crate) fn is_completed_by(&self, next: &Self) -> bool {
        self.base == next.base && matches!(self.route.as_str(), "" | "/")
    }

    /// Adopts another URL for the same view. Routers remove the query first, so a campaign stays.
    pub(crate) fn follow(&mut self, next: Self) {
        let campaign = std::mem::take(&mut self.campaign);
        *self = next;
        if self.campaign.is_empty() {
            self.campaign = campaign;
        }
    }

    /// The URL to send, at most [`URL_BYTES_MAX`] bytes. A campaign that does not fit is omitted.
    pub(crate) fn written(&self) -> String {
        let mut out = self.base.clone();
        if !self.campaign.is_empty()
            && self.base.len() + self.campaign.len() + self.route.len() + 2 <= URL_BYTES_MAX
        {
            out.push('?');
            out.push_str(&self.campaign);
        }
        if !self.route.is_empty() {
            out.push('#');
            out.push_str(&self.route);
        }
        out
    }
}

/// Whether a referrer has the same host, which Plausible ignores: `www.` makes no difference.
pub(crate) fn is_own_page(referrer: &str, page: &str) -> bool {
    let host = host_of(referrer);
    !host.is_empty() && host.eq_ignore_ascii_case(host_of(page))
}

/// The host of a URL, without user, port and `www.`; empty if there is none.
fn host_of(url: &str) -> &str {
    let Some(start) = authority_at(url) else {
        return "";
    };
    let rest = url.get(start..).unwrap_or_default();
    let host = without_user(split_at(rest, position(rest, b"/?#\\")).0);
    // The colons of an IPv6 address are within brackets.
    let port = host.bytes().rposition(|byte| byte == b':' || byte == b']');
    let (host, _) = match host.ends_with(']') {
        true => (host, ""),
        false => split_at(host, port),
    };
    match host.split_at_checked(4) {
        Some((www, name)) if www.eq_ignore_ascii_case("www.") => name,
        _ => host,
    }
}

/// The offset of the host, including its user and port.
fn authority_at(url: &str) -> Option<usize> {
    let colon = position(url, b":")?;
    let start = colon + 3;
    (url.get(colon..start) == Some("://")).then_some(start)
}

fn without_user(authority: &str) -> &str {
    let user = authority.bytes().rposition(|byte| byte == b'@');
    user.and_then(|at| authority.get(at + 1..)).unwrap_or(authority)
}

/// The offset of the first of these ASCII characters. The standard library's searches for longer texts are larger than
/// this whole module.
fn position(text: &str, any: &[u8]) -> Option<usize> {
    text.bytes().position(|byte| any.contains(&byte))
}

/// The text before and after a character of one byte.
fn split_at(text: &str, at: Option<usize>) -> (&str, &str) {
    at.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?)))
        .unwrap_or((text, ""))
}

/// The route in a fragment and the query after it. A fragment that starts with neither `/` nor `!/` is an anchor, a
/// text directive or a login's answer.
fn route_of(fragment: &str) -> (&str, &str) {
    let hashbang = fragment.strip_prefix('!').unwrap_or(fragment);
    if !hashbang.starts_with('/') {
        return ("", "");
    }
    // Identity providers append their answer with `&`; an anchor within a route has its own hash sign.
    let (route, query) = split_at(hashbang, position(hashbang, b"?&#"));
    let directive = route.as_bytes().windows(3).position(|three| three == b":~:");
    let (route, _) = split_at(route, directive);
    let mut end = 0;
    for segment in route.split('/') {
        let key = position(segment, b"=").and_then(|at| segment.get(..at));
        if key.is_some_and(|key| LOGIN_KEYS.iter().any(|ending| key.ends_with(ending))) {
            break;
        }
        end += segment.len() + 1;
    }
    (shortened(route, end), query)
}

/// A path without matrix parameters (`;page=2`), each segment within its bound. The uncut segments go into the
/// fingerprint, which ignores trailing and doubled slashes.
fn segments(path: &str, page: &mut Fingerprint) -> String {
    let authority = authority_at(path);
    let mut out = String::new();
    let mut at = 0;
    for segment in path.split('/') {
        if at > 0 {
            out.push('/');
        }
        let (mut kept, _) = split_at(segment, position(segment, b";"));
        if authority == Some(at) {
            kept = without_user(kept);
        }
        at += segment.len() + 1;
        page.segment(kept);
        out.push_str(shortened(kept, SEGMENT_BYTES_MAX));
    }
    out
}

/// The campaign keys of the query and of a query within the hash, the first of each.
fn campaign(query: &str, hash_query: &str) -> String {
    let mut out = String::new();
    let mut seen = [false; CAMPAIGN_KEYS.len()];
    let mut keep = |pair: &str, keys: usize| {
        let (key, value) = split_at(pair, position(pair, b"="));
        let listed = CAMPAIGN_KEYS
            .iter()
            .zip(&mut seen)
            .take(keys)
            .find(|(listed, _)| **listed == key);
        let Some((_, seen)) = listed.filter(|_| (1..=CAMPAIGN_VALUE_BYTES_MAX).contains(&value.len())) else {
            return;
        };
        if !std::mem::replace(seen, true) {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(pair);
        }
    };
    query.split('&').for_each(|pair| keep(pair, CAMPAIGN_KEYS.len()));
    hash_query
        .split(['&', '?', '#'])
        .for_each(|pair| keep(pair, HASH_CAMPAIGN_KEYS));
    out
}

/// FNV-1a over the unescaped segments of a page. Sixty-four bits suffice to distinguish the pages of one visit, without
/// storing any in full length.
struct Fingerprint(u64);

impl Fingerprint {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }

    fn separate(&mut self) {
        self.byte(b'#');
    }

    fn segment(&mut self, segment: &str) {
        if segment.is_empty() {
            return;
        }
        self.byte(b'/');
        let mut rest = segment.as_bytes();
        while let [first, tail @ ..] = rest {
            rest = tail;
            let escaped = match (first, tail) {
                (b'%', [high, low, behind @ ..]) => {
                    digit(*high).zip(digit(*low)).map(|(h, l)| (h * 16 + l, behind))
                }
                _ => None,
            };
            match escaped {
                // An escaped slash does not separate segments.
                Some((byte, behind)) => {
                    self.byte(if byte == b'/' { 0 } else { byte });
                    rest = behind;
                }
                None => self.byte(*first),
            }
        }
    }
}

fn digit(hex: u8) -> Option<u8> {
    char::from(hex)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// The longest prefix of a text with at most `bytes_max` bytes.
pub(crate) fn shortened(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
