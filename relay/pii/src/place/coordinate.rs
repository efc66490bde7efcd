//! Coordinates: pairs of decimals, degrees with minutes and seconds, labelled latitudes, plus codes.

use crate::detect::label::Topics;
use crate::detect::view::View;
use crate::detect::{Found, Kind};
use std::ops::Range;

/// Decimals of a coordinate, from which on it says where somebody is: three are a hundred metres.
const DECIMALS_MIN: usize = 3;
/// Most characters between the numbers of a pair.
const GAP_MAX: usize = 8;
/// How far behind its label a coordinate stands, in bytes.
const LABEL_BYTES: usize = 12;
/// The alphabet of plus codes.
const PLUS_CODE: &[u8] = b"23456789CFGHJMPQRVWX";

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    let bytes = view.bytes();
    let has_plus = bytes.contains(&b'+');
    // The sign is two bytes, and there is a word for it.
    let has_degrees = !bytes.is_ascii() || view.text().contains("deg");
    let mut last: Option<Decimal> = None;
    let mut at = 0;
    for word in view.words() {
        if word.start < at || !bytes.get(word.start).is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let angle = if has_degrees {
            degrees(view.text(), word.start)
        } else {
            None
        };
        if let Some(range) = angle.or_else(|| {
            if has_plus {
                plus_code(bytes, word.start)
            } else {
                None
            }
        }) {
            at = range.end;
            found.add(Kind::Place, range);
            last = None;
            continue;
        }
        let Some(decimal) = decimal(bytes, word) else {
            continue;
        };
        at = decimal.range.end;
        let labelled = view.labels().iter().any(|label| {
            let gap = decimal.range.start.checked_sub(label.range.end);
            label.topics.any(Topics::GEO) && gap.is_some_and(|gap| gap <= LABEL_BYTES)
        });
        if labelled {
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

/// A number with a fraction, its sign included.
fn decimal(bytes: &[u8], word: &Range<usize>) -> Option<Decimal> {
    let whole = bytes.get(word.clone())?;
    let fraction = match bytes.get(word.end..)? {
        [b'.', fraction @ ..] => fraction,
        _ => return None,
    };
    let decimals = fraction
        .iter()
        .take(20)
        .take_while(|b| b.is_ascii_digit())
        .count();
    let end = word.end + 1 + decimals;
    let before = bytes.get(..word.start)?;
    let part_of_more = matches!(before, [.., b'.'])
        || before.last().is_some_and(u8::is_ascii_alphabetic)
        || matches!(bytes.get(end..)?, [b'.', digit, ..] if digit.is_ascii_digit());
    if whole.len() > 3 || decimals == 0 || part_of_more {
        return None;
    }
    let sign = usize::from(matches!(before.last(), Some(b'-' | b'+')));
    Some(Decimal {
        range: word.start - sign..end,
        whole: super::super::payment::digits::value(whole),
        decimals,
    })
}

/// Whether two numbers are a latitude and a longitude, in either order.
fn is_pair(bytes: &[u8], first: &Decimal, second: &Decimal) -> bool {
    let gap = bytes.get(first.range.end..second.range.start).unwrap_or_default();
    let plain = |b: &u8| {
        matches!(
            b,
            b' ' | b',' | b';' | b'/' | b'|' | b'+' | b'\t' | b'[' | b']' | b'"'
        )
    };
    let compass = |b: &u8| matches!(b, b'N' | b'S' | b'E' | b'W' | 0xc2 | 0xb0);
    let separated = gap.iter().any(plain);
    first.decimals >= DECIMALS_MIN
        && second.decimals >= DECIMALS_MIN
        && first.whole <= 180
        && second.whole <= 180
        && first.whole.min(second.whole) <= 90
        // Shares and rates; nobody is at zero, zero.
        && first.whole.max(second.whole) > 0
        && separated
        && gap.len() <= GAP_MAX
        && gap.iter().all(|b| plain(b) || compass(b))
}

/// Degrees, minutes and perhaps seconds with a letter of the compass: 52°31'12"N 13°24'18"E.
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
        let digits = number
            .bytes()
            .take(12)
            .take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b','))
            .count();
        let Some(unit) = number
            .get(digits..)
            .and_then(|r| unit.iter().find(|unit| r.starts_with(**unit)))
        else {
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
    let known = |b: &&u8| PLUS_CODE.contains(b);
    let head_back = bytes.get(..at)?.iter().rev().take(8).take_while(known).count();
    let start = at - head_back;
    if start
        .checked_sub(1)
        .and_then(|before| bytes.get(before))
        .is_some_and(u8::is_ascii_alphanumeric)
    {
        return None;
    }
    let head = bytes.get(start..)?.iter().take_while(known).count();
    let tail = bytes.get(start + head + 1..)?.iter().take_while(known).count();
    let end = start + head + 1 + tail;
    let whole = !bytes.get(end).is_some_and(u8::is_ascii_alphanumeric);
    let letters = bytes.get(start..end)?.iter().any(u8::is_ascii_uppercase);
    (head == 8 && (2..=7).contains(&tail) && bytes.get(start + head) == Some(&b'+') && letters && whole)
        .then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::check_scanner;

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
