//! Dates of birth: dates with a label that says so. Other dates reveal nothing about a person.

use super::label::{Label, Topics};
use super::view::View;
use super::{Found, Kind};
use std::ops::{Range, RangeInclusive};

/// How far before a date its label may start, in bytes: "born in a land far away on ...".
const LABEL_BEFORE: usize = 64;
/// The same for a year alone.
const LABEL_BEFORE_YEAR: usize = 16;
/// Words allowed between the label and the date.
const FILLERS: &[&str] = &[
    "", "am", "en", "im", "in", "is", "ist", "jahr", "the", "was", "year",
];
/// How far after a date its label may start, in bytes.
const LABEL_AFTER: usize = 24;
/// Years of birth.
const YEARS: RangeInclusive<u32> = 1880..=2099;

/// First letters of the names of months: English, German, French, Spanish, Italian, Dutch, Portuguese, Polish, Turkish,
/// Swedish. Only compared next to the label of a birth, so they need not be exact.
const MONTHS: &[&str] = &[
    "abr", "ago", "ağu", "aoû", "apr", "ara", "aug", "avr", "cze", "dec", "des", "dez", "dic", "déc", "eki",
    "ene", "eyl", "feb", "fev", "fév", "gen", "giu", "gru", "haz", "jan", "jui", "jul", "jun", "jän", "kas",
    "kwi", "lip", "lis", "lug", "lut", "maa", "mag", "mai", "maj", "mar", "may", "mei", "mrt", "mär", "nis",
    "nov", "oca", "oct", "okt", "ott", "out", "paź", "sep", "set", "sie", "sty", "tem", "wrz", "şub",
];

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    if view.has().digits == 0 {
        return;
    }
    let labels: Vec<&Label> = view.labels_of(Topics::BIRTH).collect();
    if labels.is_empty() {
        return;
    }
    let gap = |from: usize, to: usize, most| to.checked_sub(from).is_some_and(|gap| gap <= most);
    let near = |range: &Range<usize>| {
        labels.iter().any(|label| {
            gap(label.range.end, range.start, LABEL_BEFORE) || gap(range.end, label.range.start, LABEL_AFTER)
        })
    };
    // "born in 1976", but not "birthday banner 2026".
    let next_to = |range: &Range<usize>| {
        labels.iter().any(|label| {
            let mut between = view
                .piece(&(label.range.end..range.start))
                .split(|c: char| !c.is_alphabetic());
            gap(label.range.end, range.start, LABEL_BEFORE_YEAR)
                && between.all(|word| FILLERS.contains(&word))
        })
    };
    found.search(Kind::Birth, view.words(), |words| {
        let date = date(view, words).filter(near);
        date.or_else(|| year(view, words).filter(next_to))
    });
}

/// A word of a date.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Number(u32, usize),
    Month,
    /// "th", "of", "de": ignored.
    Filler,
    Other,
}

fn part(view: &View<'_>, word: &Range<usize>) -> Part {
    let word = view.piece(word);
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        return match word.parse() {
            Ok(number) if word.len() <= 8 => Part::Number(number, word.len()),
            _ => Part::Other,
        };
    }
    let lower = word.to_lowercase();
    let is_month = |stem: &&str| lower.starts_with(*stem);
    match lower.as_str() {
        "st" | "nd" | "rd" | "th" | "of" | "de" | "del" | "er" | "the" | "do" | "ten" | "a" => Part::Filler,
        "年" | "月" | "日" | "년" | "월" | "일" => Part::Filler,
        _ if lower.chars().count() <= 12 && MONTHS.iter().any(is_month) => Part::Month,
        _ => Part::Other,
    }
}

/// The date at the start of the words.
fn date(view: &View<'_>, words: &[Range<usize>]) -> Option<Range<usize>> {
    let start = words.first()?.start;
    let mut parts = [Part::Other; 3];
    let mut count = 0;
    let mut date = start..start;
    let mut at = start;
    for word in words.iter().take(8) {
        let between = view.piece(&(at..word.start));
        let joined = between.len() <= 3 && between.bytes().all(|b| b" .,-/'".contains(&b));
        let part = part(view, word);
        if !joined || part == Part::Other || (count == 0 && part == Part::Filler) {
            break;
        }
        at = word.end;
        // A filler is part of the date only if another part follows.
        if part != Part::Filler {
            *parts.get_mut(count)? = part;
            count += 1;
            date.end = word.end;
        }
        if count == 3 {
            break;
        }
    }
    is_date(parts, count).then_some(date)
}

fn is_date(parts: [Part; 3], count: usize) -> bool {
    let day = |n: u32| (1..=31).contains(&n);
    let year = |n: u32, len: usize| len == 2 || (len == 4 && YEARS.contains(&n));
    match (parts, count) {
        ([Part::Number(a, la), Part::Number(b, lb), Part::Number(c, lc)], 3) => {
            let small = |x: u32, y: u32| day(x) && day(y) && x.min(y) <= 12;
            (year(c, lc) && la <= 2 && lb <= 2 && small(a, b))
                || (la == 4 && YEARS.contains(&a) && lb <= 2 && lc <= 2 && small(b, c))
        }
        ([Part::Number(a, la), Part::Month, Part::Number(b, lb)], 3) => {
            (day(a) && la <= 2 && year(b, lb)) || (la == 4 && YEARS.contains(&a) && day(b))
        }
        ([Part::Month, Part::Number(a, la), Part::Number(b, lb)], 3) => day(a) && la <= 2 && year(b, lb),
        ([Part::Number(a, la), Part::Month, _], 2..) | ([Part::Month, Part::Number(a, la), _], 2..) => {
            (day(a) && la <= 2) || year(a, la)
        }
        // Without separators: 19760617, 17061976.
        ([Part::Number(a, 8), ..], 1) => YEARS.contains(&(a / 10_000)) || YEARS.contains(&(a % 10_000)),
        _ => false,
    }
}

/// A year alone: "born in 1976".
fn year(view: &View<'_>, words: &[Range<usize>]) -> Option<Range<usize>> {
    let word = words.first()?;
    let is_year = matches!(part(view, word), Part::Number(number, 4) if YEARS.contains(&number));
    is_year.then(|| word.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::check_scanner;

    #[test]
    fn dates_of_birth_are_found_and_other_dates_are_not() {
        let check = |text: &str, want: &[&str]| check_scanner(find, text, want);
        check("date of birth: 24/12/1981.", &["24/12/1981"]);
        check("DOB 12/24/81, geb. 24.12.1981", &["12/24/81", "24.12.1981"]);
        check(
            "born on the 24th of December, 1981 in Ulm",
            &["24th of December, 1981"],
        );
        check("birthday is December 24th", &["December 24"]);
        check("geboren am 3. März 1980", &["3. März 1980"]);
        check("née le 1er février 1990", &["1er février 1990"]);
        check("nacido el 4 de mayo de 1977", &["4 de mayo de 1977"]);
        check(
            "d.o.b. 24-dec-1981; 1981-12-24 is my birthday",
            &["24-dec-1981", "1981-12-24"],
        );
        check("生年月日 1980年1月2日", &["1980年1月2"]);
        check("birthdate=19811224", &["19811224"]);
        check("she was born in 1981", &["1981"]);
        // No date, or no label.
        check("born 45/13/3981, released 12/2026 and 2026-01", &[]);
        check("released on 24/12/2025, 2026-01-01, December 24, 2025", &[]);
        check("birthday banner 2026, 1981", &[]);
    }
}
