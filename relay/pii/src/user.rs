//! User names: in paths, in addresses, behind their label; and what names customers in addresses of APIs.

mod handle;
mod path;

use super::view::View;
use super::{Found, Kind};

/// Longest authority of an address that is looked at, in bytes. The book sets no limit; of a longer one the
/// beginning up to the limit is removed.
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
        let start = at + 2;
        let scheme = at.checked_sub(1).and_then(|i| view.bytes().get(i)) == Some(&b':');
        let Some(rest) = text.get(start..).filter(|_| scheme) else {
            continue;
        };
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '<' | '>'))
            .unwrap_or(rest.len());
        // A password may hold a slash or a question mark by mistake; then the user before it is found.
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
