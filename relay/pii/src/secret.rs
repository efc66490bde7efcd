//! Passwords, keys and tokens: by their prefix, by their form, by their label.

mod labelled;
mod prefix;

use super::view::View;
use super::{Found, Kind, key};

/// Longest key between its armour lines that is searched for a closing line, in bytes. The rest of a longer one is
/// removed too: without a closing line, everything after the opening line counts as key.
const PEM_MAX: usize = 16 * 1024;

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    key::find(view, found);
    labelled::find(view, found);
    if view.has().longest >= prefix::BYTES_MIN {
        prefix::find(view, found);
    }
    // The prefixes of webhook addresses end in slashes.
    if view.bytes().contains(&b'/') {
        prefix::hooks(view, found);
    }
    if view.has().longest >= 10 {
        pem(view, found);
    }
}

/// Armoured private keys, from the opening line to the closing one or to the end.
fn pem(view: &View<'_>, found: &mut Found) {
    let text = view.text();
    let mut done = 0;
    for (at, _) in text.match_indices("-----BEGIN ") {
        let Some(rest) = text.get(at..) else { continue };
        let title = rest.split_inclusive("-----").nth(1).unwrap_or_default();
        if at < done || !(title.contains("PRIVATE") || title.contains("KEY")) {
            continue;
        }
        let end = match rest.find("-----END ") {
            Some(last) if last < PEM_MAX => {
                let tail = rest.get(last + 9..).unwrap_or_default();
                last + 9 + tail.find("-----").map_or(tail.len(), |len| len + 5)
            }
            _ => rest.len(),
        };
        done = at + end;
        found.add(Kind::Secret, at..done);
    }
}

#[cfg(test)]
mod tests;
