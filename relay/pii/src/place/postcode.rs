//! Postcodes: after a label, and those with an unmistakable form.

use crate::label::Topics;
use crate::scan::{after, before, run, run_up_to};
use crate::view::View;
use crate::{Found, Kind};
use std::ops::Range;

/// How far after its label a postcode may start, in bytes.
const LABEL_BYTES: usize = 16;

/// Words allowed between a label and its postcode.
const FILLERS: &[&[u8]] = &[b"code", b"in", b"is", b"ist", b"no", b"number", b"of", b"und"];

/// The postal areas of the United Kingdom, including its islands (Royal Mail, PAF).
const AREAS: &[&[u8]] = &[
    b"AB", b"AL", b"B", b"BA", b"BB", b"BD", b"BH", b"BL", b"BN", b"BR", b"BS", b"BT", b"BX", b"CA", b"CB",
    b"CF", b"CH", b"CM", b"CO", b"CR", b"CT", b"CV", b"CW", b"DA", b"DD", b"DE", b"DG", b"DH", b"DL", b"DN",
    b"DT", b"DY", b"E", b"EC", b"EH", b"EN", b"EX", b"FK", b"FY", b"G", b"GL", b"GU", b"GY", b"HA", b"HD",
    b"HG", b"HP", b"HR", b"HS", b"HU", b"HX", b"IG", b"IM", b"IP", b"IV", b"JE", b"KA", b"KT", b"KW", b"KY",
    b"L", b"LA", b"LD", b"LE", b"LL", b"LN", b"LS", b"LU", b"M", b"ME", b"MK", b"ML", b"N", b"NE", b"NG",
    b"NN", b"NP", b"NR", b"NW", b"OL", b"OX", b"PA", b"PE", b"PH", b"PL", b"PO", b"PR", b"RG", b"RH", b"RM",
    b"S", b"SA", b"SE", b"SG", b"SK", b"SL", b"SM", b"SN", b"SO", b"SP", b"SR", b"SS", b"ST", b"SW", b"SY",
    b"TA", b"TD", b"TF", b"TN", b"TQ", b"TR", b"TS", b"TW", b"UB", b"W", b"WA", b"WC", b"WD", b"WF", b"WN",
    b"WR", b"WS", b"WV", b"YO", b"ZE",
];

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    let bytes = view.bytes();
    // The letters of an area, or Girobank's.
    for word in view.words().iter().filter(|word| word.len() <= 3) {
        if let Some(range) = british(view, word) {
            found.add(Kind::Place, range);
        }
    }
    for label in view.labels_of(Topics::POSTCODE) {
        if let Some(range) = labelled(bytes, label.range.end) {
            found.add(Kind::Place, range);
        }
    }
}

/// "SW1A 1AA": an area, a district, then a digit and two letters of a limited alphabet.
fn british(view: &View<'_>, word: &Range<usize>) -> Option<Range<usize>> {
    let bytes = view.bytes();
    let start = word.start;
    let joins = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !bytes.get(start)?.is_ascii_alphabetic() || joins(before(bytes, start)) {
        return None;
    }
    let rest = bytes.get(start..)?;
    // The district follows one or two letters, except in Girobank's postcode.
    if !rest.iter().take(3).any(u8::is_ascii_digit) && !rest.starts_with(b"GIR") {
        return None;
    }
    let run = |from: usize| run(rest, from, u8::is_ascii_alphanumeric);
    let first = run(0);
    let spaced = matches!(rest.get(first), Some(b' ' | b'+')) && run(first + 1) == 3;
    let (outward, inward, end) = if spaced {
        (rest.get(..first)?, rest.get(first + 1..first + 4)?, first + 4)
    } else {
        let cut = first.checked_sub(3)?;
        (rest.get(..cut)?, rest.get(cut..first)?, first)
    };
    let range = start..start + end;
    let upper = outward.iter().all(|b| !b.is_ascii_lowercase());
    let unit = inward.get(1..)?;
    // "S3 1GB" is the size of a bucket.
    let is_size = [b"GB", b"TB", b"PB"]
        .iter()
        .any(|size| unit.eq_ignore_ascii_case(*size));
    if !(is_outward(outward) && is_inward(inward)) || joins(bytes.get(range.end).copied()) {
        return None;
    }
    let certain = spaced && upper && !is_size;
    (certain || view.labelled(&range, Topics::POSTCODE.or(Topics::ADDRESS))).then_some(range)
}

fn is_outward(outward: &[u8]) -> bool {
    let letters = run(outward, 0, u8::is_ascii_alphabetic);
    let (area, district) = outward.split_at_checked(letters).unwrap_or_default();
    let suffixes: &[u8] = match letters {
        1 => b"0123456789ABCDEFGHJKPSTUW",
        _ => b"0123456789ABEHMNPRVWXY",
    };
    match district {
        // Girobank's postcode, which has no district.
        [] => area.eq_ignore_ascii_case(b"GIR"),
        [digit, suffix @ ..] => {
            digit.is_ascii_digit()
                && suffix.len() <= 1
                && suffix.iter().all(|b| suffixes.contains(&b.to_ascii_uppercase()))
                && AREAS.iter().any(|known| known.eq_ignore_ascii_case(area))
        }
    }
}

fn is_inward(inward: &[u8]) -> bool {
    let unit = |b: &u8| b.is_ascii_alphabetic() && !b"CIKMOV".contains(&b.to_ascii_uppercase());
    matches!(inward, [digit, a, b] if digit.is_ascii_digit() && unit(a) && unit(b))
}

/// The postcode of any country directly after a label: 80331, 00-950, 1234 AB, K1A 0B6, 01310-100.
fn labelled(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let is_code = |b: &u8| b.is_ascii_digit() || b.is_ascii_uppercase();
    let start = from + run_up_to(LABEL_BYTES, bytes, from, |b| !is_code(b));
    let between = bytes.get(from..start)?;
    let mut words = between
        .split(|b| !b.is_ascii_alphabetic())
        .filter(|word| !word.is_empty());
    let plain = |b: &u8| {
        b.is_ascii_alphabetic() || matches!(b, b' ' | b':' | b'=' | b'"' | b'\'' | b'.' | b'%' | b'&')
    };
    if !between.iter().all(plain) || !words.all(|word| FILLERS.contains(&word)) {
        return None;
    }
    if before(bytes, start).is_some_and(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    // "D-80331", "SE-123 45": the country may precede it.
    let rest = after(bytes, start);
    let has_digit = |to: usize| rest.iter().take(to).any(u8::is_ascii_digit);
    let mut end = run(rest, 0, is_code);
    let mut whole = (3..=7).contains(&end) && has_digit(end);
    if matches!(rest.get(end), Some(b' ' | b'-')) {
        let next = run(rest, end + 1, is_code);
        let to = end + 1 + next;
        let alone = !rest.get(to).is_some_and(u8::is_ascii_alphanumeric);
        if (2..=5).contains(&next) && alone && (1..=5).contains(&end) && has_digit(to) {
            end = to;
            whole = true;
        }
    }
    let alone = !rest.get(end).is_some_and(u8::is_ascii_alphanumeric);
    (whole && alone).then_some(start..start + end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::check_scanner;

    #[test]
    fn postcodes_are_found_and_other_codes_are_not() {
        let check = |text: &str, want: &[&str]| check_scanner(find, text, want);
        check(
            "from N1 9GU to BT7 1NN, W1T 4TJ",
            &["N1 9GU", "BT7 1NN", "W1T 4TJ"],
        );
        check("GIR 0AA", &["GIR 0AA"]);
        check("S3 1GB, t3 2xl, v1 2ab, QQ1 1AA, N1 9GC, N1 9G", &[]);
        check("build N19GU", &[]);
        check("postcode n1 9gu", &["n1 9gu"]);
        check("PLZ: 80331 and PLZ D-10115", &["80331", "D-10115"]);
        check("zip code 94105-1234", &["94105-1234"]);
        check("postcode 1234 AB", &["1234 AB"]);
        check("80331, 10115", &[]);
        check(
            "zip 7 files, zip archive (#5707), zip files 94105, as ZIP 20260812",
            &[],
        );
    }
}
