//! Names of persons after a label, a greeting, a title or a farewell.
//!
//! A capital alone proves nothing: products are full of names. So words count as a name only in a position that is
//! usual for names, unless they are common there themselves ("Dear customer", "Thanks team").

mod words;

use super::label::Topics;
use super::view::View;
use super::{Found, Kind};
use std::ops::Range;
use words::{
    FAREWELLS, GREETINGS, INTRODUCTIONS, INTRODUCTIONS_PERHAPS, NOT_NAMES, OWNERS, PARTICLES, THANKS, TITLES,
};

/// Most words of a name, not counting particles.
const WORDS_MAX: usize = 4;
/// Longest word of a name, in bytes.
const WORD_BYTES_MAX: usize = 24;
/// Most words of a line before a signature.
const CLOSING_WORDS_MAX: usize = 5;

/// The role of the words before a name.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Greeting,
    Title,
    Introduction,
    IntroductionPerhaps,
    Farewell,
    /// A field: "Name:".
    Field,
}

impl Role {
    fn of(label: &str) -> Self {
        // An apostrophe may join two words of a phrase.
        let mut label = label.to_lowercase();
        if label.contains('\'') {
            label = label.replace('\'', " ");
        }
        match () {
            () if GREETINGS.has(&label) => Self::Greeting,
            () if TITLES.has(&label) => Self::Title,
            () if INTRODUCTIONS.has(&label) => Self::Introduction,
            () if INTRODUCTIONS_PERHAPS.has(&label) => Self::IntroductionPerhaps,
            () if FAREWELLS.has(&label) => Self::Farewell,
            () => Self::Field,
        }
    }
}

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    let text = view.text();
    let mut greeted = None;
    let mut farewells = false;
    for label in view.labels_of(Topics::NAME) {
        let before = text.get(..label.range.start).unwrap_or_default();
        let raw = view.piece(&label.range);
        let at = label.range.end;
        let range = match Role::of(raw) {
            Role::Greeting => {
                greeted = Some(at);
                opens_sentence(before).then(|| behind_word(text, at)).flatten()
            }
            Role::Title if raw.starts_with(char::is_uppercase) => behind_title(text, at),
            Role::Title => None,
            Role::Introduction => behind_word(text, at),
            Role::IntroductionPerhaps => {
                let near = greeted.is_some_and(|greeted| label.range.start.saturating_sub(greeted) <= 2);
                perhaps(text, raw, at, near)
            }
            Role::Farewell => {
                farewells = true;
                behind_farewell(text, before, raw, at)
            }
            Role::Field => field(text, before, raw, at),
        };
        if let Some(range) = range {
            found.add(Kind::Person, range);
        }
    }
    if farewells {
        signatures(text, found);
    }
}

/// "Name: John Smith", "first_name=Anna".
fn field(text: &str, before: &str, label: &str, at: usize) -> Option<Range<usize>> {
    let rest = text.get(at..)?;
    let value = rest
        .trim_start_matches(['"', '\'', ' ', '*', '_'])
        .strip_prefix([':', '='])?;
    let value = value.trim_start_matches(['"', '\'', ' ', '*', '>']);
    if label.eq_ignore_ascii_case("name") && !opens_field(before) {
        return None;
    }
    Some(name(text, text.len() - value.len())?.range)
}

/// Whether "name" starts a field here, or is a person's: in "Landing Zone name" it is not.
fn opens_field(before: &str) -> bool {
    let before = before.trim_end_matches([' ', '_', '-']);
    let word = before
        .rsplit(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default();
    word.is_empty() || OWNERS.has_in_any_case(word)
}

/// Whether a sentence or a line starts after a text.
fn opens_sentence(before: &str) -> bool {
    let before = before.trim_end_matches([' ', '-', '"', '(', '*', '+']);
    before.is_empty()
        || before.ends_with(['.', '!', '?', ',', ';', ':', '\n', '>', '=', '\'', '/'])
        || before.ends_with("ehr")
}

/// A name after a word and one space or plus.
fn behind_word(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = text.get(at..)?;
    let blank = rest.len() - rest.trim_start_matches([' ', ',', ':', '+']).len();
    let name = name(text, at + blank)?;
    ((1..=2).contains(&blank)).then_some(name.range)
}

/// "Dr. Anna Schmidt": a title may follow another.
fn behind_title(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = text.get(at..)?;
    let blank = rest.len() - rest.trim_start_matches(['.', ' ', '+']).len();
    let rest = rest.get(blank..)?;
    if !(1..=3).contains(&blank) {
        return None;
    }
    for title in ["Dr", "Prof", "Ing", "Dipl", "med", "h.c"] {
        if rest
            .strip_prefix(title)
            .is_some_and(|rest| rest.starts_with(['.', ' ', '-']))
        {
            return behind_title(text, at + blank + title.len());
        }
    }
    Some(name(text, at + blank)?.range)
}

/// "I'm Hilda,", "Hey it's David Johnson with ACME": but not "I'm Waiting", nor "This is Azure".
fn perhaps(text: &str, label: &str, at: usize, greeted: bool) -> Option<Range<usize>> {
    let range = behind_word(text, at)?;
    let rest = text.get(range.end..)?;
    let goes_on = [" from ", " here", " with ", " at ", " von ", " aus ", " speaking"];
    let placed = greeted || goes_on.iter().any(|next| rest.starts_with(next));
    let of_oneself = label.starts_with(['i', 'I']) && !label.starts_with("it") && !label.starts_with("It");
    let ends =
        rest.is_empty() || rest.starts_with([',', '.', '!', '\n', ';', ')']) || rest.starts_with(" and ");
    let participle = text.get(range.clone())?.ends_with("ing");
    (placed || (of_oneself && ends && !participle)).then_some(range)
}

/// "Thanks -Jon", "thanks Joshua.", "Best regards, Anna": a farewell with the name in the same line.
fn behind_farewell(text: &str, before: &str, label: &str, at: usize) -> Option<Range<usize>> {
    let rest = text.get(at..)?;
    let blank = rest.len() - rest.trim_start_matches([' ', ',', '.', '!', '-', '~', ':']).len();
    let name = name(text, at + blank)?;
    let parted = !rest.get(..blank)?.trim_end_matches(' ').is_empty();
    // "Best Practices", "to have a Timestamp": without a comma, only thanks may be followed by a name.
    let opens = if parted {
        opens_sentence(before) || label.len() > 4
    } else {
        THANKS.contains(&&*label.to_lowercase())
    };
    let rest = text.get(name.range.end..)?;
    // In its line, only a full stop may follow a signature.
    let line = rest.split('\n').next().unwrap_or_default();
    let ends = line.trim_end().trim_end_matches(['.', ',', '!']).is_empty();
    (blank > 0 && opens && ends && name.words <= 3).then_some(name.range)
}

/// Lines that contain only a name, below a farewell or another short last line.
fn signatures(text: &str, found: &mut Found) {
    let mut above: Option<(&str, bool)> = None;
    let mut start = 0;
    for line in text.split('\n') {
        let trimmed = line.trim();
        if trimmed.is_empty() {
            above = above.map(|(line, _)| (line, true));
        } else {
            let dashed = trimmed.trim_start_matches(['-', '~', '*', ' ', '>']);
            let at = start + line.trim_end().len() - dashed.len();
            let name = name(text, at).filter(|name| {
                let rest = text.get(name.range.end..at + dashed.len()).unwrap_or_default();
                name.words <= 3 && rest.trim_end_matches(['.', ',', '!']).is_empty()
            });
            if let (Some(name), Some((closing, blank))) = (name, above)
                && is_closing(closing, blank)
            {
                found.add(Kind::Person, name.range);
            }
            above = Some((trimmed, false));
        }
        start += line.len() + 1;
    }
}

/// Whether a signature may follow a line: a short one that ends with a comma or an exclamation mark, or a farewell.
fn is_closing(line: &str, blank: bool) -> bool {
    let lower = line.trim_end_matches([',', '.', '!', ' ']).to_lowercase();
    let says_so = FAREWELLS.iter().any(|phrase| lower.ends_with(phrase));
    line.split_whitespace().count() <= CLOSING_WORDS_MAX
        && (says_so || line.ends_with([',', '!']) || (blank && line.ends_with('.')))
}

struct Name {
    range: Range<usize>,
    words: usize,
}

/// The name at an offset.
fn name(text: &str, at: usize) -> Option<Name> {
    let mut end = at;
    let mut words = 0;
    let mut from = at;
    while words < WORDS_MAX {
        let rest = text.get(from..)?;
        let word = word(rest);
        if words > 0 && PARTICLES.has(word) {
            from += word.len() + usize::from(rest.get(word.len()..)?.starts_with(' '));
            continue;
        }
        if !is_name_word(word) {
            break;
        }
        words += 1;
        end = from + word.len();
        // An initial keeps its dot.
        if word.chars().count() == 1 && text.get(end..)?.starts_with('.') {
            end += 1;
        }
        if !text.get(end..)?.starts_with(' ') {
            break;
        }
        from = end + 1;
    }
    let rest = text.get(end..)?;
    // "AWS2" and "Greta@acme" are not names. Neither is "Azure Team", though "Azure" alone might be one.
    let goes_on = rest
        .starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '@' | '/' | '\\' | '<' | '('))
        || rest
            .strip_prefix(['.', ':'])
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_lowercase() || c == ':'));
    let next = word(rest.strip_prefix(' ').unwrap_or_default());
    let group = next.starts_with(char::is_uppercase) && next.len() > 1 && !is_name_word(next);
    let initial = text
        .get(at..end)?
        .chars()
        .filter(|c| c.is_alphabetic())
        .nth(1)
        .is_none();
    (words > 0 && !goes_on && !group && !initial).then_some(Name {
        range: at..end,
        words,
    })
}

/// The letters at the start of a text, including hyphens and apostrophes between them.
fn word(text: &str) -> &str {
    let mut end = 0;
    for (at, c) in text.char_indices() {
        if c.is_alphabetic() {
            end = at + c.len_utf8();
        } else if !matches!(c, '-' | '\'') || at == 0 || end != at {
            break;
        }
    }
    text.get(..end).unwrap_or_default()
}

fn is_name_word(word: &str) -> bool {
    // "McNeill", "O'Neill" and "Anna-Lena" have inner capitals; so has "TargetKind", and "AWS" has nothing else.
    let plain = word.split(['-', '\'']).all(|part| {
        let part = ["Mc", "Mac", "De", "Di", "La", "Le", "Van", "Von", "Fitz"]
            .iter()
            .find_map(|prefix| {
                part.strip_prefix(prefix)
                    .filter(|rest| rest.starts_with(char::is_uppercase))
            })
            .unwrap_or(part);
        !part.chars().skip(1).any(char::is_uppercase)
    });
    plain
        && word.starts_with(char::is_uppercase)
        && word.len() <= WORD_BYTES_MAX
        && !NOT_NAMES.has(&word.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::check_scanner;

    #[test]
    fn names_are_found_where_people_put_them() {
        let check = |text: &str, want: &[&str]| check_scanner(find, text, want);
        // Labels.
        check("Name: Greta Lind", &["Greta Lind"]);
        check("full name = \"Ada van der Berg\", x", &["Ada van der Berg"]);
        check("Ansprechpartner: Jürgen Maier-Schulz.", &["Jürgen Maier-Schulz"]);
        check("Landing Zone name: Blue Sky, name of the tenant", &[]);
        check(
            "Platform Type identifier from name, name: TargetKind, Name: AWS, name: Vec<u8>",
            &[],
        );
        // Greetings and titles.
        check("Dear Greta, thanks a lot", &["Greta"]);
        check("Hallo Herr Maier, hello Team", &["Maier"]);
        check("Frau Dr. Lind and Mr. O'Neill", &["Lind", "O'Neill"]);
        check(
            "Dear customer, Dear Customer, Hello World, Hello Node.js, Hi there, Hi Azure Team",
            &[],
        );
        // Introductions.
        check("my name is Greta and I wait", &["Greta"]);
        check(
            "I'm Greta, this is Greta Lind from Acme",
            &["Greta", "Greta Lind"],
        );
        check("Hey, it's Greta Lind with Acme", &["Greta Lind"]);
        check("I'm Waiting for it. This is Required. It's Blue Sky", &[]);
        // Farewells.
        check("It works. Thanks -Greta", &["Greta"]);
        check("Good.\n\nKind regards,\nGreta L.\nAcme", &["Greta L."]);
        check("Viele Grüße\nGreta Lind", &["Greta Lind"]);
        check("Thank you for the Landing Zones. Thanks Team", &[]);
        check("Best practices for Azure, best of Terraform, Best Practices", &[]);
        check("fields have a Timestamp", &[]);
        check("made by Troels Liebe Bentsen", &[]);
    }
}
