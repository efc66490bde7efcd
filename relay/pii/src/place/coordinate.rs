//! Coordinates: pairs of decimals, degrees with minutes and seconds, labelled latitudes and longitudes, plus codes.

use crate::digits::value;
use crate::label::{Label, Topics};
use crate::scan::{after, before, run, run_back, run_up_to};
use crate::view::View;
use crate::{Found, Kind};
use std::ops::Range;

/// Fewest decimals with which a coordinate locates a person: three are about a hundred metres.
const DECIMALS_MIN: usize = 3;
/// Most characters between the numbers of a pair.
const GAP_MAX: usize = 8;
/// How far after its label a coordinate may start, in bytes.
const LABEL_BYTES: usize = 12;
/// The alphabet of plus codes.
const PLUS_CODE: &[u8] = b"23456789CFGHJMPQRVWX";

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    let bytes = view.bytes();
    let has_plus = bytes.contains(&b'+');
    // The degree sign is two bytes; "deg" may replace it.
    let has_degrees = !bytes.is_ascii() || view.text().contains("deg");
    let mut last: Option<Decimal> = None;
    let mut at = 0;
    for word in view.words() {
        if word.start < at || !bytes.get(word.start).is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let angle = has_degrees.then(|| degrees(view.text(), word.start)).flatten();
        let plus_code = || has_plus.then(|| plus_code(bytes, word.start)).flatten();
        if let Some(range) = angle.or_else(plus_code) {
            at = range.end;
            found.add(Kind::Place, range);
            last = None;
            continue;
        }
        let Some(decimal) = decimal(bytes, word) else {
            continue;
        };
        at = decimal.range.end;
        let gap = |label: &Label| decimal.range.start.checked_sub(label.range.end);
        let near = |label| gap(label).is_some_and(|gap| gap <= LABEL_BYTES);
        if view.labels_of(Topics::GEO).any(near) {
            found.add(Kind::Place, decimal.range.clone());
        }
        match last.take() {
            Some(first) if is_pair(bytes, &first, &decimal) => {
                found.add(Kind::Place, first.range.start..decimal.range.end);
            }
            _ => last = Some(decimal),
        }
    }
}

struct Decimal {
    range: Range<usize>,
    whole: u64,
    decimals: usize,
}

/// A decimal number with its sign.
fn decimal(bytes: &[u8], word: &Range<usize>) -> Option<Decimal> {
    let whole = bytes.get(word.clone())?;
    let decimals = run_up_to(20, bytes, word.end + 1, u8::is_ascii_digit);
    let end = word.end + 1 + decimals;
    let before = before(bytes, word.start);
    let part_of_more = before.is_some_and(|b| b == b'.' || b.is_ascii_alphabetic())
        || matches!(after(bytes, end), [b'.', b'0'..=b'9', ..]);
    if bytes.get(word.end) != Some(&b'.') || whole.len() > 3 || decimals == 0 || part_of_more {
        return None;
    }
    let sign = usize::from(matches!(before, Some(b'-' | b'+')));
    Some(Decimal {
        range: word.start - sign..end,
        whole: value(whole),
        decimals,
    })
}

/// Whether two numbers are a latitude and a longitude, in either order.
fn is_pair(bytes: &[u8], first: &Decimal, second: &Decimal) -> bool {
    let gap = bytes.get(first.range.end..second.range.start).unwrap_or_default();
    let plain = |b: &u8| b" ,;/|+\t[]\"".contains(b);
    let compass = |b: &u8| matches!(b, b'N' | b'S' | b'E' | b'W' | 0xc2 | 0xb0);
    let separated = gap.iter().any(plain);
    first.decimals >= DECIMALS_MIN
        && second.decimals >= DECIMALS_MIN
        && first.whole <= 180
        && second.whole <= 180
        && first.whole.min(second.whole) <= 90
        // Both below one: shares and rates. As coordinates they would be near (0, 0), in the open sea.
        && first.whole.max(second.whole) > 0
        && separated
        && gap.len() <= GAP_MAX
        && gap.iter().all(|b| plain(b) || compass(b))
}

/// Degrees, minutes and optional seconds with a compass letter: 52°31'12"N 13°24'18"E.
fn degrees(text: &str, at: usize) -> Option<Range<usize>> {
    let mut end = at;
    let mut rest = text.get(at..)?;
    let mut parts = 0;
    for unit in [
        &["°", "º", "deg", " deg"][..],
        &["'", "′", " '"],
        &["\"", "''", "″"],
    ] {
        let blank = rest.len() - rest.trim_start_matches(' ').len();
        let number = rest.get(blank..)?;
        let is_part = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b',');
        let digits = run_up_to(12, number.as_bytes(), 0, is_part);
        let behind = number.get(digits..)?;
        let Some(unit) = unit.iter().find(|unit| behind.starts_with(**unit)) else {
            break;
        };
        if digits == 0 || blank > 1 {
            break;
        }
        parts += 1;
        end += blank + digits + unit.len();
        rest = text.get(end..)?;
    }
    let letter = rest.trim_start_matches(' ').chars().next();
    let compass = letter.is_some_and(|c| matches!(c, 'N' | 'S' | 'E' | 'W' | 'O'));
    if compass && parts > 0 {
        end += rest.len() - rest.trim_start_matches(' ').len() + 1;
    }
    (parts > 1 || (parts == 1 && compass && text.get(at..end)?.contains('.'))).then_some(at..end)
}

/// Four to eight characters, a plus, and two or more: 9F4MGC22+22.
fn plus_code(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let known = |b: &u8| PLUS_CODE.contains(b);
    let start = at - run_back(8, bytes, at, known);
    let head = run(bytes, start, known);
    let tail = run(bytes, start + head + 1, known);
    let end = start + head + 1 + tail;
    let whole = !before(bytes, start).is_some_and(|b| b.is_ascii_alphanumeric())
        && !bytes.get(end).is_some_and(u8::is_ascii_alphanumeric);
    let letters = bytes.get(start..end)?.iter().any(u8::is_ascii_uppercase);
    (head == 8 && (2..=7).contains(&tail) && bytes.get(start + head) == Some(&b'+') && letters && whole)
        .then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::check_scanner;

    #[test]
    fn coordinates_are_found_and_other_decimals_are_not() {
        let check = |text: &str, want: &[&str]| check_scanner(find, text, want);
        check("at 48.13743, 11.57549.", &["48.13743, 11.57549"]);
        check("@48.13743,-11.57549,17z", &["48.13743,-11.57549"]);
        check("geo:48.137,11.575", &["48.137,11.575"]);
        check("48.13743° N, 11.57549° E", &["48.13743° N", "11.57549° E"]);
        check("48°08'14\"N 11°34'31\"E", &["48°08'14\"N", "11°34'31\"E"]);
        check("8FWH4HX8+9C", &["8FWH4HX8+9C"]);
        check("lat=48.1&lng=11.5", &["48.1", "11.5"]);
        check("took 48.13, 11.57 ms, ratio 0.1234, 0.5678", &[]);
        check("rates 48.13743 and 11.57549", &[]);
        check("200.137, 11.575, 191.137", &[]);
        check("v48.137,11.575.1", &[]);
        check("turned by 45°, 20' later; 4+4", &[]);
    }
}
