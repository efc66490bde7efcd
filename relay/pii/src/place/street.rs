//! Streets with a house number, and the town that follows.

use crate::label::Topics;
use crate::view::View;
use crate::{Found, Kind};
use std::ops::Range;

/// Endings of German, Dutch and Scandinavian street names that have no other meaning.
const ENDS: &[&str] = &[
    "straße", "strasse", "straat", "gasse", "allee", "gatan", "gata", "vägen", "veien", "vej", "gade",
    "katu", "str", "chaussee", "utca",
];
/// Endings of street names that other words have as well: only next to a label of an address.
const ENDS_LABELLED: &[&str] = &[
    "weg", "platz", "ring", "damm", "ufer", "plein", "laan", "kade", "gracht", "hof", "steig", "markt",
];
/// English words after a street name.
const BEHIND: &[&str] = &["street", "avenue", "boulevard", "blvd", "road"];
const BEHIND_LABELLED: &[&str] = &[
    "st", "ave", "rd", "lane", "ln", "drive", "dr", "way", "court", "ct", "place", "pl", "square", "sq",
    "terrace", "close", "crescent", "parkway", "pkwy", "highway", "hwy", "row", "walk", "hill", "gardens",
    "park",
];
/// Romance, Slavic and Turkish words before a street name.
#[rustfmt::skip]
const BEFORE: &[&str] = &[
    "rue", "calle", "avenida", "rua", "ulica", "ul", "viale", "piazza", "corso", "carrer", "ulitsa", "улица",
    "ул",
];
#[rustfmt::skip]
const BEFORE_LABELLED: &[&str] = &[
    "via", "plaza", "praça", "place", "quai", "chemin", "paseo", "largo", "strada", "cadde", "sokak",
    "mahallesi",
];

/// Particles between the words of a street's name.
const PARTICLES: &[&str] = &[
    "d", "da", "de", "del", "della", "des", "di", "do", "dos", "du", "el", "l", "la", "las", "le", "les",
    "los",
];

/// Most words of a street's name.
const NAME_WORDS_MAX: usize = 4;
/// Most digits of a house number.
const HOUSE_DIGITS_MAX: usize = 5;

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    for (at, word) in view.words().iter().enumerate() {
        let is_number = view.bytes().get(word.start).is_some_and(u8::is_ascii_digit);
        if !is_number || word.len() > HOUSE_DIGITS_MAX {
            continue;
        }
        let Some((range, certain)) = number_behind(view, at).or_else(|| number_before(view, at)) else {
            continue;
        };
        if certain || view.labelled(&range, Topics::ADDRESS.or(Topics::POSTCODE)) {
            let end = town(view, range.end).unwrap_or(range.end);
            found.add(Kind::Person, range.start..end);
        }
    }
}

/// The street before a house number: "Hauptstraße 12a", "Lange Str. 5", "Calle Mayor 5".
fn number_behind(view: &View<'_>, at: usize) -> Option<(Range<usize>, bool)> {
    let words = view.words();
    let name = words.get(at.checked_sub(1)?)?;
    let end = house_number(view, at, name.end)?;
    if let Some((start, certain)) = compound(view, at - 1) {
        return Some((start..end, certain));
    }
    let mut from = name.end;
    let mut names = 0;
    for word in words.get(..at)?.iter().rev().take(NAME_WORDS_MAX) {
        let raw = view.text().get(word.clone())?;
        let gap = view.text().get(word.end..from)?;
        if from != name.end && !matches!(gap, " " | "+" | ". " | "'" | "-") {
            return None;
        }
        if names > 0
            && let Some(certain) = among(raw, BEFORE, BEFORE_LABELLED)
        {
            return Some((word.start..end, certain));
        }
        let particle = PARTICLES.contains(&raw);
        if !particle && !is_name(view, word) {
            return None;
        }
        names += usize::from(!particle);
        from = word.start;
        // "Anschrift: Am Waldrand 7": after a label, any name counts.
        if said_to_be_an_address(view, from) {
            return Some((from..end, true));
        }
    }
    None
}

/// The start of a street's name that ends with the word for a street, in one word or in two.
fn compound(view: &View<'_>, at: usize) -> Option<(usize, bool)> {
    let words = view.words();
    let word = words.get(at)?;
    let lower = view.text().get(word.clone())?.to_lowercase();
    let head = |ends: &[&str]| ends.iter().find_map(|end| lower.strip_suffix(end)).map(str::len);
    let (head, certain) = match head(ENDS) {
        Some(head) => (head, true),
        None => (head(ENDS_LABELLED)?, false),
    };
    let before = at
        .checked_sub(1)
        .and_then(|before| words.get(before))
        .filter(|before| {
            let joined = matches!(view.text().get(before.end..word.start), Some(" " | "-"));
            joined && is_name(view, before)
        });
    // "straße" alone is a plain word, so a name must precede it.
    match before {
        Some(before) if head == 0 => Some((before.start, certain)),
        _ if head >= 3 && is_name(view, word) => Some((word.start, certain)),
        _ => None,
    }
}

/// The street after a house number: "221b Baker Street", "12 rue de la Paix".
fn number_before(view: &View<'_>, at: usize) -> Option<(Range<usize>, bool)> {
    let words = view.words();
    let start = words.get(at)?.start;
    let mut end = words.get(at)?.end;
    let mut names = 0;
    let mut romance = None;
    for (place, word) in words.get(at + 1..)?.iter().enumerate().take(NAME_WORDS_MAX + 2) {
        let raw = view.text().get(word.clone())?;
        let gap = view.text().get(end..word.start)?;
        let joined = matches!(gap, " " | "+" | "'" | "-" | ". ") || (place == 0 && matches!(gap, "" | ", "));
        if !joined {
            break;
        }
        if names == 0
            && romance.is_none()
            && let Some(certain) = among(raw, BEFORE, BEFORE_LABELLED)
        {
            romance = Some(certain);
        } else if names > 0
            && romance.is_none()
            && is_name(view, word)
            && let Some(certain) = among(raw, BEHIND, BEHIND_LABELLED)
        {
            return Some((start..word.end, certain));
        } else if is_name(view, word) {
            names += 1;
        } else if !(PARTICLES.contains(&raw) && romance.is_some() || (place == 0 && raw.len() == 1)) {
            break;
        }
        end = word.end;
    }
    let certain = match romance {
        Some(certain) => certain,
        // "address: 639 Gregory Coves": after a label, any name counts.
        None => said_to_be_an_address(view, start).then_some(true)?,
    };
    (names > 0).then_some((start..end, certain))
}

/// Whether a label of an address and a separator directly precede an offset.
fn said_to_be_an_address(view: &View<'_>, at: usize) -> bool {
    view.labels().iter().any(|label| {
        let gap = view.text().get(label.range.end..at).unwrap_or_default();
        label.topics.any(Topics::ADDRESS) && matches!(gap, ": " | ":" | "=" | " = " | "\": \"" | "\":\"")
    })
}

/// Whether a word is in the first of two tables. `None` if it is in neither.
fn among(word: &str, certain: &[&str], labelled: &[&str]) -> Option<bool> {
    let is = |known: &&str| known.eq_ignore_ascii_case(word);
    match () {
        () if certain.iter().any(is) => Some(true),
        () if labelled.iter().any(is) => Some(false),
        () => None,
    }
}

/// The end of a house number that starts with a word, after an offset and an optional dot or comma.
fn house_number(view: &View<'_>, at: usize, from: usize) -> Option<usize> {
    let word = view.words().get(at)?;
    let gap = view.text().get(from..word.start)?;
    let number = view.bytes().get(word.clone())?;
    let joined = matches!(gap, " " | ". " | "." | ", " | "+" | " nr. " | " Nr. " | ", nº ");
    if !joined || number.len() > HOUSE_DIGITS_MAX - 1 || !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // "12a", "12-14". But "12.5" and "12:30" are not house numbers.
    let rest = view.bytes().get(word.end..)?;
    match rest {
        [b'.' | b',' | b':', digit, ..] if digit.is_ascii_digit() => None,
        [letter, after, ..] if letter.is_ascii_alphabetic() && after.is_ascii_alphanumeric() => None,
        [letter, ..] if letter.is_ascii_alphabetic() => Some(word.end + 1),
        _ => Some(word.end),
    }
}

/// The end of the postcode and town that follow a street: ", 10115 Berlin", ", London".
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

/// A word that starts with a capital.
fn is_name(view: &View<'_>, word: &Range<usize>) -> bool {
    let mut letters = view.text().get(word.clone()).unwrap_or_default().chars();
    letters.next().is_some_and(char::is_uppercase) && letters.next().is_some_and(char::is_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::check_scanner;

    #[test]
    fn streets_with_a_number_are_found_and_other_words_are_not() {
        let check = |text: &str, want: &[&str]| check_scanner(find, text, want);
        check(
            "wohnt in der Goethestraße 12a, 80336 München.",
            &["Goethestraße 12a, 80336 München"],
        );
        check("Lange Str. 5", &["Lange Str. 5"]);
        check("Anschrift: Holzweg 7", &["Holzweg 7"]);
        check(
            "Anschrift: Am Waldrand 7, 80331 München",
            &["Am Waldrand 7, 80331 München"],
        );
        check("Am Waldrand 7", &[]);
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
