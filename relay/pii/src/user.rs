//! User names in paths, in URLs and after their label, and identifiers of customers in API paths.

mod handle;
mod path;

use super::scan::before;
use super::view::View;
use super::{Found, Kind};

/// Longest part of an authority that is searched for its last `@`, in bytes. RFC 3986 sets no limit.
const AUTHORITY_MAX: usize = 512;

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    if view.has().marks {
        if view.has().at {
            authorities(view, found);
        }
        path::find(view, found);
    }
    handle::find(view, found);
}

/// Users and passwords in addresses: `scheme://user:password@host`.
fn authorities(view: &View<'_>, found: &mut Found) {
    let text = view.text();
    for (at, _) in text.match_indices("//") {
        if before(view.bytes(), at) != Some(b':') {
            continue;
        }
        let start = at + 2;
        let rest = view.rest(start);
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '<' | '>'))
            .unwrap_or(rest.len());
        // A slash or question mark ends the authority, even if a password contains it unescaped.
        let Some(authority) = rest.get(..end.min(AUTHORITY_MAX)) else {
            continue;
        };
        if let Some(len) = authority.rfind('@') {
            found.add(Kind::User, start..start + len);
        }
    }
}

#[cfg(test)]
mod tests;
