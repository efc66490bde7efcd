//! UUIDs and other long machine-generated tokens, and customer numbers.

mod shape;

use super::label::Topics;
use super::scan::runs;
use super::view::View;
use super::words::Words;
use super::{Found, Kind};
use std::ops::Range;

pub(crate) use shape::is_random;

/// Shortest run that is examined, in bytes: "KD-12345".
const RUN_MIN: usize = 8;
/// Shortest run without digits that is examined, in bytes.
const LETTERS_MIN: usize = 20;
/// Longest run that is split into pieces, in bytes. No file name and no word is longer: a longer one with digits is a
/// token.
const RUN_MAX: usize = 256;

/// Prefixes of the numbers that programs and clerks assign to customers, users and contracts: `cus_`, `KD-`.
#[rustfmt::skip]
const PREFIXES: Words = Words::new(&[
    "abo", "acc", "acct", "ben", "cid", "clt", "contract", "cst", "ctr", "cus", "cust", "customer", "emp",
    "employee", "kd", "kdnr", "kn", "knd", "kunde", "kunden", "mandant", "mem", "member", "mid",
    "mitarbeiter", "ord", "org", "pat", "patient", "pers", "ses", "ten", "tenant", "tid", "tnt", "txn", "uid",
    "user", "usr", "ws",
]);

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    let has = view.has();
    if has.longest < RUN_MIN {
        return;
    }
    if has.digits > 0 || has.longest >= LETTERS_MIN {
        let is_run = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        for run in runs(view.bytes(), is_run).filter(|run| run.len() >= RUN_MIN) {
            examine(view, run, found);
        }
    }
    if has.marks {
        clouds(view, found);
    }
}

fn examine(view: &View<'_>, run: Range<usize>, found: &mut Found) {
    let text = view.piece(&run);
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    // Without a digit only a very long run can be more than words.
    if digits == 0 && text.len() < LETTERS_MIN {
        return;
    }
    if text.len() > RUN_MAX {
        if digits > 1 {
            found.add(Kind::Token, run);
        }
        return;
    }
    let mut any = false;
    for (at, _) in text.match_indices('-').filter(|_| text.len() >= 36) {
        if let Some(start) = at.checked_sub(8)
            && text.get(start..start + 36).is_some_and(shape::is_uuid)
        {
            found.add(Kind::Token, run.start + start..run.start + start + 36);
            any = true;
        }
    }
    if any {
        return;
    }
    // A piece after a dash or an underscore is also examined alone: "user-5f3a...".
    let mut from = 0;
    for piece in text.split(['-', '_']) {
        let start = run.start + from;
        from += piece.len() + 1;
        if shape::is_hex(piece) || shape::is_ulid(piece) || is_random(piece) {
            found.add(Kind::Token, start..start + piece.len());
            any = true;
        }
    }
    // The account number on a cloud bill.
    let account = text.len() == 12 && digits == 12 && view.labelled_before(run.start, Topics::CUSTOMER);
    if account || is_numbered(text) || (!any && digits > 0 && shape::is_pieced(text)) {
        found.add(Kind::Token, run);
    }
}

/// Whether a run is a number with a prefix that identifies its owner: `cus_NffrFeUfNV2Hib`, `CUST-00012345`,
/// `KD-123456`.
fn is_numbered(text: &str) -> bool {
    let Some((prefix, number)) = text.split_once(['_', '-']) else {
        return false;
    };
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let known = PREFIXES.has_in_any_case(prefix);
    // "cs_test_a1b2c3": the mode comes before the number.
    let tail = number.rsplit('_').next().unwrap_or_default();
    let mixed = tail.len() >= 8 && shape::is_mixed(tail);
    known && ((digits >= 4 && digits == number.len()) || mixed) || (digits >= 2 && tail.len() >= 14 && mixed)
}

/// Resources of cloud providers, which name their owner: removes everything after the provider's part.
fn clouds(view: &View<'_>, found: &mut Found) {
    let text = view.text();
    // No piece is read twice, so the cost of a chain of resources is linear.
    let mut done = 0;
    for (at, _) in text.match_indices("arn:aws") {
        // arn:partition:service:region:account:resource
        let Some(rest) = text.get(at..).filter(|_| at >= done) else {
            continue;
        };
        let len = resource_len(rest);
        done = at + len;
        let colons = rest.get(..len).unwrap_or_default().match_indices(':');
        if let Some((colon, _)) = colons.take(4).nth(3) {
            found.add(Kind::Token, at + colon + 1..at + len);
        }
    }
    for folder in ["/subscriptions/", "/resourceGroups/"] {
        let mut done = 0;
        for (at, _) in text.match_indices(folder) {
            let from = at + folder.len();
            if let Some(rest) = text.get(from..).filter(|_| from >= done) {
                done = from + resource_len(rest);
                found.add(Kind::Token, from..done);
            }
        }
    }
}

fn resource_len(rest: &str) -> usize {
    rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | ')' | '>' | '?' | '&'))
        .unwrap_or(rest.len())
}

#[cfg(test)]
mod tests;
