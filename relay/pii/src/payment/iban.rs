//! International bank account numbers.

use crate::label::Topics;
use crate::scan::run_up_to;
use crate::view::View;
use crate::{Found, Kind};
use std::ops::Range;

/// Countries and the lengths of their account numbers: the registry (ISO 13616, release 99), and the states that use
/// the form without being listed.
#[rustfmt::skip]
const COUNTRIES: &[([u8; 2], usize)] = &[
    (*b"AD", 24), (*b"AE", 23), (*b"AL", 28), (*b"AO", 25), (*b"AT", 20), (*b"AZ", 28), (*b"BA", 20),
    (*b"BE", 16), (*b"BF", 28), (*b"BG", 22), (*b"BH", 22), (*b"BI", 27), (*b"BJ", 28), (*b"BR", 29),
    (*b"BY", 28), (*b"CF", 27), (*b"CG", 27), (*b"CH", 21), (*b"CI", 28), (*b"CM", 27), (*b"CR", 22),
    (*b"CV", 25), (*b"CY", 28), (*b"CZ", 24), (*b"DE", 22), (*b"DJ", 27), (*b"DK", 18), (*b"DO", 28),
    (*b"DZ", 26), (*b"EE", 20), (*b"EG", 29), (*b"ES", 24), (*b"FI", 18), (*b"FK", 18), (*b"FO", 18),
    (*b"FR", 27), (*b"GA", 27), (*b"GB", 22), (*b"GE", 22), (*b"GI", 23), (*b"GL", 18), (*b"GQ", 27),
    (*b"GR", 27), (*b"GT", 28), (*b"GW", 25), (*b"HN", 28), (*b"HR", 21), (*b"HU", 28), (*b"IE", 22),
    (*b"IL", 23), (*b"IQ", 23), (*b"IR", 26), (*b"IS", 26), (*b"IT", 27), (*b"JO", 30), (*b"KM", 27),
    (*b"KW", 30), (*b"KZ", 20), (*b"LB", 28), (*b"LC", 32), (*b"LI", 21), (*b"LT", 20), (*b"LU", 20),
    (*b"LV", 21), (*b"LY", 25), (*b"MA", 28), (*b"MC", 27), (*b"MD", 24), (*b"ME", 22), (*b"MG", 27),
    (*b"MK", 19), (*b"ML", 28), (*b"MN", 20), (*b"MR", 27), (*b"MT", 31), (*b"MU", 30), (*b"MZ", 25),
    (*b"NE", 28), (*b"NI", 28), (*b"NL", 18), (*b"NO", 15), (*b"OM", 23), (*b"PK", 24), (*b"PL", 28),
    (*b"PS", 29), (*b"PT", 25), (*b"QA", 29), (*b"RO", 24), (*b"RS", 22), (*b"RU", 33), (*b"SA", 24),
    (*b"SC", 31), (*b"SD", 18), (*b"SE", 24), (*b"SI", 19), (*b"SK", 24), (*b"SM", 27), (*b"SN", 28),
    (*b"SO", 23), (*b"ST", 25), (*b"SV", 28), (*b"TD", 27), (*b"TG", 28), (*b"TL", 23), (*b"TN", 24),
    (*b"TR", 26), (*b"UA", 29), (*b"VA", 22), (*b"VG", 24), (*b"XK", 20), (*b"YE", 30),
];

/// Length of the shortest and the longest account number, in characters.
const LENGTH_MIN: usize = 15;
const LENGTH_MAX: usize = 34;

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    if view.has().digits < 6 {
        return;
    }
    let mut done = 0;
    for pair in view.words().windows(2) {
        let [letters, digits] = pair else { continue };
        if letters.start < done || digits.len() < 2 || digits.start - letters.end > 1 {
            continue;
        }
        if let Some(range) = number(view, letters, digits) {
            done = range.end;
            found.add(Kind::Iban, range);
        }
    }
}

/// The account number whose country ends one word and whose check digits start the next.
fn number(view: &View<'_>, letters: &Range<usize>, digits: &Range<usize>) -> Option<Range<usize>> {
    let bytes = view.bytes();
    let [rest @ .., first, second] = bytes.get(letters.clone())? else {
        return None;
    };
    let attached = rest.eq_ignore_ascii_case(b"iban");
    if !(rest.is_empty() || attached) || !bytes.get(digits.clone())?.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let before = bytes.get(..letters.start).unwrap_or_default().last();
    if !attached && before.is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    let start = letters.end - 2;
    let labelled = attached || view.labelled_before(start, Topics::BANK);
    let country = [first.to_ascii_uppercase(), second.to_ascii_uppercase()];
    let length = COUNTRIES
        .binary_search_by_key(&country, |(country, _)| *country)
        .ok()
        .and_then(|at| COUNTRIES.get(at))
        .map(|(_, length)| *length);
    if let Some(candidate) = length.and_then(|length| Candidate::read(bytes, start, length)) {
        let whole = !bytes.get(candidate.end).is_some_and(u8::is_ascii_alphanumeric);
        if whole && (candidate.checks() || candidate.has_form(labelled)) {
            return Some(start..candidate.end);
        }
    }
    // The label is explicit, so the country and the length need not be known.
    let compact = run_up_to(LENGTH_MAX, bytes, start, u8::is_ascii_alphanumeric);
    let whole = !bytes.get(start + compact).is_some_and(u8::is_ascii_alphanumeric);
    (labelled && compact >= LENGTH_MIN && whole).then_some(start..start + compact)
}

/// Letters and digits, as many as a country's numbers have.
struct Candidate {
    characters: [u8; LENGTH_MAX],
    length: usize,
    /// Its end in the text.
    end: usize,
    /// Whether separators occur between the characters, and whether after every fourth.
    spaced: bool,
    in_fours: bool,
}

impl Candidate {
    fn read(bytes: &[u8], start: usize, length: usize) -> Option<Self> {
        let mut candidate = Self {
            characters: [0; LENGTH_MAX],
            length,
            end: start,
            spaced: false,
            in_fours: true,
        };
        let mut read = 0;
        let mut gap = 0;
        for (at, b) in bytes.iter().enumerate().skip(start) {
            match b {
                b' ' | b'-' | b'.' | b'_' | b'/' | b'+' | b':' if gap < 2 => {
                    gap += 1;
                    candidate.spaced = true;
                    candidate.in_fours &= read % 4 == 0;
                }
                _ if b.is_ascii_alphanumeric() => {
                    gap = 0;
                    *candidate.characters.get_mut(read)? = b.to_ascii_uppercase();
                    read += 1;
                    if read == length {
                        candidate.end = at + 1;
                        return Some(candidate);
                    }
                }
                _ => return None,
            }
        }
        None
    }

    fn characters(&self) -> &[u8] {
        self.characters.get(..self.length).unwrap_or_default()
    }

    /// The check of ISO/IEC 7064, modulo 97, over the number with its first four characters moved to the end.
    fn checks(&self) -> bool {
        let Some((head, tail)) = self.characters().split_at_checked(4) else {
            return false;
        };
        let rest = tail.iter().chain(head).fold(0, |rest: u32, b| match b {
            b'0'..=b'9' => (rest * 10 + u32::from(b - b'0')) % 97,
            _ => (rest * 100 + u32::from(b.wrapping_sub(b'A')) + 10) % 97,
        });
        rest == 1
    }

    /// Whether it looks like an account number although its check digits are wrong, as after a typing error.
    fn has_form(&self, labelled: bool) -> bool {
        let digits = self.characters().iter().filter(|b| b.is_ascii_digit()).count();
        let uniform = !self.spaced || self.in_fours;
        uniform && (labelled || digits * 2 >= self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::check_scanner;

    #[test]
    fn countries_are_sorted() {
        assert!(COUNTRIES.is_sorted_by(|a, b| a.0 < b.0));
        assert!(
            COUNTRIES
                .iter()
                .all(|(_, length)| (LENGTH_MIN..=LENGTH_MAX).contains(length))
        );
    }

    #[test]
    fn account_numbers_are_found_and_their_likes_are_not() {
        let check = |text: &str, want: &[&str]| check_scanner(find, text, want);
        check("pay DE75512108001245126199 today", &["DE75512108001245126199"]);
        check("de75 5121 0800 1245 1261 99.", &["de75 5121 0800 1245 1261 99"]);
        check("DE75-5121-0800-1245-1261-99 X", &["DE75-5121-0800-1245-1261-99"]);
        check(
            "NL02ABNA0123456789/FI1410093000123458",
            &["NL02ABNA0123456789", "FI1410093000123458"],
        );
        check("IBANDE75512108001245126199", &["DE75512108001245126199"]);
        check(
            "FR76 3000 6000 0112 3456 7890 189",
            &["FR76 3000 6000 0112 3456 7890 189"],
        );
        // One digit is wrong: found only in the grouping of an IBAN, or with a label.
        check("DE75512108001245126198", &["DE75512108001245126198"]);
        check("DE7 5512108001245126198", &[]);
        check("DE75 51210 80012 45126 198", &[]);
        check("iban DE75512108001245", &["DE75512108001245"]);
        // A digit more or less, another country, part of a token.
        check("DE755121080012451261990", &[]);
        check("ZZ75512108001245126199", &[]);
        check("aDE75512108001245126199", &[]);
        check("IE 11 is gone, SE 2026 and NO 2 follow", &[]);
    }
}
