//! Streets with a house number, and the town that follows.

use crate::detect::label::Topics;
use crate::detect::view::View;
use crate::detect::{Found, Kind};
use std::ops::Range;

/// Ends of German, Dutch and Scandinavian street names that mean nothing else.
const ENDS: &[&str] = &[
    "straße", "strasse", "straat", "gasse", "allee", "gatan", "gata", "vägen", "veien", "vej", "gade",
    "katu", "str", "chaussee", "utca",
];
/// Ends of street names that are also ends of other words: only beside a label of an address.
const ENDS_LABELLED: &[&str] = &[
    "weg", "platz", "ring", "damm", "ufer", "plein", "laan", "kade", "gracht", "hof", "steig", "markt",
];
/// English words behind a street name.
const BEHIND: &[&str] = &["street", "avenue", "boulevard", "blvd", "road"];
const BEHIND_LABELLED: &[&str] = &[
    "st", "ave", "rd", "lane", "ln", "drive", "dr", "way", "court", "ct", "place", "pl", "square", "sq",
    "terrace", "close", "crescent", "parkway", "pkwy", "highway", "hwy", "row", "walk", "hill", "gardens",
    "park",
];
/// Romance, Slavic and Turkish words before a street name.
const BEFORE: &[&str] = &[
    "rue",
    "calle",
    "avenida",
    "rua",
    "ulica",
    "ul",
    "viale",
    "piazza",
    "corso",
    "carrer",
    "ulitsa",
    "улица",
    "ул",
];
const BEFORE_LABELLED: &[&str] = &[
    "via",
    "plaza",
    "praça",
    "place",
    "quai",
    "chemin",
    "paseo",
    "largo",
    "strada",
    "cadde",
    "sokak",
    "mahallesi",
];

/// Words of a street's name at most.
const NAME_WORDS_MAX: usize = 4;
/// Digits of a house number.
const HOUSE_DIGITS_MAX: usize = 5;

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    let words = view.words();
    let topics = Topics::ADDRESS.or(Topics::POSTCODE);
    for (at, word) in words.iter().enumerate() {
        let Some(text) = view.text().get(word.clone()) else {
            continue;
        };
        if text.len() < 2 || text.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let candidate = behind_name(view, at, text)
            .or_else(|| before_name(view, at, text))
            .or_else(|| compound(view, at, text));
        let Some((range, certain)) = candidate else {
            continue;
        };
        if certain || view.labelled(&range, topics) {
            let end = town(view, range.end).unwrap_or(range.end);
            found.add(Kind::Person, range.start..end);
        }
    }
}

/// "Hauptstraße 12a", "Lange Str. 5".
fn compound(view: &View<'_>, at: usize, text: &str) -> Option<(Range<usize>, bool)> {
    let words = view.words();
    let lower = text.to_lowercase();
    let has_end = |ends: &[&str]| {
        ends.iter()
            .find(|end| lower.ends_with(**end))
            .map(|end| lower.len() - end.len())
    };
    let (head, certain) = match has_end(ENDS) {
        Some(head) => (head, true),
        None => (has_end(ENDS_LABELLED)?, false),
    };
    let word = words.get(at)?;
    let before = at.checked_sub(1).and_then(|before| words.get(before));
    let before = before.filter(|before| {
        word.start - before.end == 1
            && matches!(view.bytes().get(before.end), Some(b' ' | b'-'))
            && is_name(view, before)
    });
    // "straße" alone is a word, "str" alone even less: a name belongs to it, in one word or before it.
    let start = match before {
        Some(before) if head == 0 => before.start,
        _ if head >= 3 && is_name(view, word) => word.start,
        _ => return None,
    };
    let end = house_number(view, at + 1, word.end)?;
    Some((start..end, certain))
}

/// "221b Baker Street".
fn behind_name(view: &View<'_>, at: usize, text: &str) -> Option<(Range<usize>, bool)> {
    let lower = text.to_ascii_lowercase();
    let certain = BEHIND.contains(&lower.as_str());
    if !(certain || BEHIND_LABELLED.contains(&lower.as_str()))
        || !text.starts_with(|c: char| c.is_ascii_uppercase())
    {
        return None;
    }
    let words = view.words();
    let mut names = 0;
    for word in words.get(..at)?.iter().rev().take(NAME_WORDS_MAX + 2) {
        let raw = view.text().get(word.clone())?;
        if raw.starts_with(|c: char| c.is_ascii_digit()) {
            return (names > 0 && raw.len() <= HOUSE_DIGITS_MAX)
                .then_some((word.start..words.get(at)?.end, certain));
        }
        // "221b": a letter of the house number is a word of its own.
        let letter = raw.len() == 1 && raw.starts_with(|c: char| c.is_ascii_alphabetic());
        if !(is_name(view, word) || letter) {
            return None;
        }
        names += usize::from(!letter);
    }
    None
}

/// "12 rue de la Paix", "Calle Mayor 5".
fn before_name(view: &View<'_>, at: usize, text: &str) -> Option<(Range<usize>, bool)> {
    let lower = text.to_lowercase();
    let certain = BEFORE.contains(&lower.as_str());
    if !(certain || BEFORE_LABELLED.contains(&lower.as_str())) {
        return None;
    }
    let words = view.words();
    let word = words.get(at)?;
    let mut end = word.end;
    let mut names = 0;
    let number_before = at
        .checked_sub(1)
        .and_then(|before| words.get(before))
        .filter(|before| {
            let digits = view
                .bytes()
                .get((*before).clone())
                .is_some_and(|b| b.iter().all(u8::is_ascii_digit));
            digits && before.len() <= HOUSE_DIGITS_MAX && word.start - before.end <= 2
        });
    for (place, next) in words.iter().enumerate().skip(at + 1).take(NAME_WORDS_MAX) {
        let gap = view.text().get(end..next.start)?;
        if gap.len() > 2 || gap.contains(['\n', ',', ';']) {
            break;
        }
        let raw = view.text().get(next.clone())?;
        if raw.starts_with(|c: char| c.is_ascii_digit()) {
            break;
        }
        let particle = matches!(
            raw,
            "de" | "la"
                | "le"
                | "les"
                | "du"
                | "des"
                | "del"
                | "della"
                | "da"
                | "do"
                | "di"
                | "los"
                | "las"
                | "el"
                | "l"
                | "d"
        );
        if !particle && !is_name(view, next) {
            break;
        }
        end = next.end;
        names += usize::from(!particle);
        if let Some(house) = house_number(view, place + 1, end) {
            return Some((word.start..house, certain));
        }
    }
    let number = number_before?;
    (names > 0).then_some((number.start..end, certain))
}

/// Where a house number ends that begins with a word, a dot or a comma after an offset.
fn house_number(view: &View<'_>, at: usize, from: usize) -> Option<usize> {
    let word = view.words().get(at)?;
    let gap = view.text().get(from..word.start)?;
    let number = view.bytes().get(word.clone())?;
    let joined = matches!(gap, " " | ". " | "." | ", " | "+" | " nr. " | " Nr. " | ", nº ");
    if !joined || number.len() > HOUSE_DIGITS_MAX - 1 || !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // "12a", "12-14": but not "12.5" or "12:30", which are no houses.
    let rest = view.bytes().get(word.end..)?;
    match rest {
        [b'.' | b',' | b':', digit, ..] if digit.is_ascii_digit() => None,
        [letter, after, ..] if letter.is_ascii_alphabetic() && after.is_ascii_alphanumeric() => None,
        [letter, ..] if letter.is_ascii_alphabetic() => Some(word.end + 1),
        _ => Some(word.end),
    }
}

/// Where a postcode and a town end that follow a street: ", 10115 Berlin", ", London".
fn town(view: &View<'_>, from: usize) -> Option<usize> {
    let text = view.text();
    let at = view.words().partition_point(|word| word.start < from);
    let mut end = from;
    let mut found = None;
    for (place, word) in view.words().iter().enumerate().skip(at).take(6) {
        let gap = text.get(end..word.start)?;
        let raw = text.get(word.clone())?;
        let digits = raw.bytes().all(|b| b.is_ascii_digit());
        if gap.len() > 3 || gap.contains(['.', ';', ':', '=']) || (place == at && !gap.contains([',', '\n']))
        {
            break;
        }
        let prefix = raw == "in";
        if !(digits && (4..=6).contains(&raw.len()) || is_name(view, word) || prefix) {
            break;
        }
        end = word.end;
        if !prefix {
            found = Some(end);
        }
    }
    found
}

/// A word that begins with a capital.
fn is_name(view: &View<'_>, word: &Range<usize>) -> bool {
    let mut letters = view.text().get(word.clone()).unwrap_or_default().chars();
    letters.next().is_some_and(char::is_uppercase) && letters.next().is_some_and(char::is_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streets_with_a_number_are_found_and_other_words_are_not() {
        let check = |text: &str, want: &[&str]| {
            let view = View::new(text);
            let mut found = Found::default();
            find(&view, &mut found);
            let got: Vec<_> = found.0.iter().map(|f| &view.text()[f.range.clone()]).collect();
            assert_eq!(got, want, "{text}");
        };
        check(
            "wohnt in der Goethestraße 12a, 80336 München.",
            &["Goethestraße 12a, 80336 München"],
        );
        check("Lange Str. 5", &["Lange Str. 5"]);
        check("Anschrift: Holzweg 7", &["Holzweg 7"]);
        check("at 221b Baker Street, London", &["221b Baker Street, London"]);
        check("My address is 12 Old Mill Lane", &["12 Old Mill Lane"]);
        check("12 rue de la Paix, Paris", &["12 rue de la Paix, Paris"]);
        check("Calle Mayor 5", &["Calle Mayor 5"]);
        check("Speicherplatz 50 ist belegt, Arbeitsweg 3", &[]);
        check("the Road 66 and Main Street, Straße 7", &[]);
        check("3 Shared Drive folders", &[]);
        check("5 new road maps, via Terraform 1", &[]);
    }
}
