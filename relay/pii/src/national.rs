//! Numbers that states, insurers and registers give to persons and companies.
//!
//! A text is cut into runs of letters and digits once. From each run, neighbours that one separator joins
//! are put together for as long as a number may be, and what that gives is looked up in the [`rule`]s of
//! its length. Behind a label, the shape of a number is enough.

mod americas;
mod asia;
mod central;
mod check;
mod germany;
mod north;
mod rule;
mod south;
mod vat;
mod west;

use super::label::{Label, Topics};
use super::view::View;
use super::{Found, Kind};
use rule::{Candidate, Rule, of_length, starts};
use std::ops::Range;

/// The rules, by region, and where those of each length begin.
static TABLES: [(&[Rule], [u8; rule::STARTS]); 7] = [
    (germany::RULES, starts(germany::RULES)),
    (west::RULES, starts(west::RULES)),
    (central::RULES, starts(central::RULES)),
    (north::RULES, starts(north::RULES)),
    (south::RULES, starts(south::RULES)),
    (americas::RULES, starts(americas::RULES)),
    (asia::RULES, starts(asia::RULES)),
];

/// Topics whose values are numbers of persons, documents and companies.
const NUMBERS: Topics = Topics::ID
    .or(Topics::TAX)
    .or(Topics::INSURANCE)
    .or(Topics::DOCUMENT)
    .or(Topics::COMPANY);

/// Most groups of one number: the French number of a person has seven.
const GROUPS_MAX: usize = 8;
/// Fewest digits of a number that is taken without a label: the Indian PAN has four.
const DIGITS_MIN: usize = 4;
/// Fewest letters and digits of one that a rule knows.
const CHARS_MIN: usize = 8;
/// Longest run of letters that may be a part of a number: "MORGA 753116 SM9IJ".
const LETTERS_MAX: usize = 5;

/// Runs of a text that are likely to be kept.
const RUNS_LIKELY: usize = 32;

/// Letters and digits between other characters.
struct Run {
    range: Range<usize>,
    digits: usize,
    lower: bool,
}

impl Run {
    fn len(&self) -> usize {
        self.range.len()
    }
}

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    let digits = view.has().digits;
    let labels = view.labels().iter().any(|label| label.topics.any(NUMBERS));
    if digits == 0 || (digits < DIGITS_MIN && !labels) {
        return;
    }
    let bytes = view.bytes();
    let runs = runs(bytes);
    let mut at = 0;
    while let Some(rest) = runs.get(at..).filter(|rest| !rest.is_empty()) {
        if !begins_number(bytes, rest) {
            at += 1;
            continue;
        }
        let hit = number(bytes, rest)
            .or_else(|| labelled(view, rest, labels))
            .or_else(|| glued(view, rest, labels));
        match hit {
            Some(mut hit) => {
                let opens = bytes
                    .get(hit.range.clone())
                    .is_some_and(|part| part.contains(&b'('));
                if opens && bytes.get(hit.range.end) == Some(&b')') {
                    hit.range.end += 1;
                }
                found.add(hit.kind, hit.range);
                at += hit.runs;
            }
            None => at += 1,
        }
    }
}

/// Whether a run has digits, or is right before some.
fn begins_number(bytes: &[u8], runs: &[Run]) -> bool {
    match runs {
        [first, ..] if first.digits > 0 => true,
        [first, next, ..] => next.digits > 0 && joint(bytes, first, next).is_some(),
        _ => false,
    }
}

/// A number, and how many runs it takes up.
struct Hit {
    kind: Kind,
    range: Range<usize>,
    runs: usize,
}

/// The runs that may be a part of a number: those with digits, and short ones beside those.
fn runs(bytes: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::with_capacity(RUNS_LIKELY);
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let mut run = Run {
            range: at..at,
            digits: 0,
            lower: false,
        };
        for b in rest.iter().take_while(|b| b.is_ascii_alphanumeric()) {
            run.digits += usize::from(b.is_ascii_digit());
            run.lower |= b.is_ascii_lowercase();
            run.range.end += 1;
        }
        at = run.range.end.max(at + 1);
        if run.digits == 0 {
            if !(1..=LETTERS_MAX).contains(&run.len()) {
                continue;
            }
            // Of words in a row, the last may begin a number. The first may end one.
            if let [.., before, last] = runs.as_slice()
                && last.digits == 0
                && before.digits == 0
            {
                runs.pop();
            }
        }
        runs.push(run);
    }
    runs
}

/// The one character between two runs, if it may be inside of a number. A bracket may: "A123456(3)".
fn joint(bytes: &[u8], left: &Run, right: &Run) -> Option<u8> {
    let one = right.range.start == left.range.end + 1;
    let sign = bytes.get(left.range.end).copied();
    sign.filter(|sign| one && matches!(sign, b' ' | b'-' | b'.' | b'/' | b':' | b'_' | b'+' | b'('))
}

/// The longest number by a rule that begins with the first run.
fn number(bytes: &[u8], runs: &[Run]) -> Option<Hit> {
    let first = runs.first()?;
    let mut candidate = Candidate::default();
    let mut best = None;
    let mut last = first;
    for (count, run) in runs.iter().take(GROUPS_MAX).enumerate() {
        let sign = if count == 0 {
            None
        } else {
            match joint(bytes, last, run) {
                None => break,
                sign => sign,
            }
        };
        let Some(part) = bytes.get(run.range.clone()) else {
            break;
        };
        if !candidate.push(sign, part) {
            break;
        }
        last = run;
        let range = first.range.start..run.range.end;
        if let Some(kind) = kind(&candidate)
            && stands_alone(bytes, &range, &candidate)
        {
            best = Some(Hit {
                kind,
                range,
                runs: count + 1,
            });
        }
    }
    best
}

/// What a candidate is by the rules.
fn kind(candidate: &Candidate) -> Option<Kind> {
    if candidate.digits() == 0 {
        return None;
    }
    if germany::is_register_entry(candidate) || vat::is_vat(candidate) {
        return Some(Kind::CompanyId);
    }
    if candidate.digits() < DIGITS_MIN || candidate.len() < CHARS_MIN {
        return None;
    }
    TABLES.iter().find_map(|(rules, starts)| {
        of_length(rules, starts, candidate.len())
            .iter()
            .find(|rule| rule.matches(candidate))
            .map(Rule::kind)
    })
}

/// Whether nothing beside a number says that it is a part of something longer: another group behind the
/// same separator, a decimal point, a version. Between groups of several lengths, a space may just as well
/// be between two numbers.
fn stands_alone(bytes: &[u8], range: &Range<usize>, candidate: &Candidate) -> bool {
    let goes_on = |sign: Option<&u8>, beyond: Option<&u8>| {
        let (Some(sign), Some(beyond)) = (sign, beyond) else {
            return false;
        };
        let separates = *sign == b' ' && !candidate.is_even();
        beyond.is_ascii_digit()
            && (matches!(sign, b'.' | b',') || candidate.is_joined_by(*sign))
            && !separates
    };
    let before = |by: usize| range.start.checked_sub(by).and_then(|at| bytes.get(at));
    !goes_on(before(1), before(2)) && !goes_on(bytes.get(range.end), bytes.get(range.end + 1))
}

/// A number right behind a word: "code is030594W903B", "SSN078051120".
fn glued(view: &View<'_>, runs: &[Run], labels: bool) -> Option<Hit> {
    let bytes = view.bytes();
    let run = runs.first()?;
    let part = bytes.get(run.range.clone())?;
    let letters = part.iter().take_while(|b| b.is_ascii_alphabetic()).count();
    let word = part.get(..letters)?;
    if letters < 2 || letters == part.len() {
        return None;
    }
    let start = run.range.start + letters;
    let range = start..run.range.end;
    let hit = |kind| Hit {
        kind,
        range: range.clone(),
        runs: 1,
    };
    let mut candidate = Candidate::default();
    if candidate.push(None, part.get(letters..)?)
        && candidate.len() >= 10
        && word.iter().all(u8::is_ascii_lowercase)
        && let Some(kind) = kind(&candidate)
    {
        return Some(hit(kind));
    }
    let label = |label: &Label| label.range.end == start && label.topics.any(NUMBERS);
    let value = Candidate::of(bytes.get(range.clone())?)?;
    (labels && value.is_value() && view.labels().iter().any(label)).then(|| hit(Kind::NationalId))
}

/// What stands beside a label and looks like a value of it.
fn labelled(view: &View<'_>, runs: &[Run], labels: bool) -> Option<Hit> {
    let bytes = view.bytes();
    let first = runs.first()?;
    let weak = if first.digits > 0 {
        weak_label(bytes, first.range.start)
    } else {
        Weak::None
    };
    if !labels && weak == Weak::None {
        return None;
    }
    let mut candidate = Candidate::default();
    let mut best = None;
    let mut last = first;
    for (count, run) in runs.iter().take(GROUPS_MAX).enumerate() {
        let sign = if count == 0 { None } else { joint(bytes, last, run) };
        let goes_on = count == 0 || (sign.is_some() && (run.digits > 0 || run.len() <= 2));
        if !goes_on || (run.digits == 0 && run.lower) {
            break;
        }
        let Some(part) = bytes.get(run.range.clone()) else {
            break;
        };
        if !candidate.push(sign, part) {
            break;
        }
        last = run;
        if run.digits > 0 || count > 0 {
            best = candidate
                .is_value()
                .then(|| (first.range.start..run.range.end, count + 1));
        }
    }
    let (range, runs) = best?;
    let kind = if labels && view.labelled(&range, NUMBERS) {
        let person = Topics::ID
            .or(Topics::TAX)
            .or(Topics::INSURANCE)
            .or(Topics::DOCUMENT);
        if view.labelled(&range, person) {
            Kind::NationalId
        } else {
            Kind::CompanyId
        }
    } else if candidate.digits() >= 6
        && (weak == Weak::Said || (weak == Weak::Beside && candidate.is_mixed()))
    {
        Kind::NationalId
    } else {
        return None;
    };
    Some(Hit { kind, range, runs })
}

/// Words that say too little on their own, so that they count only right before a value: "ID: 4711123".
const WEAK: [&[u8]; 3] = [b"id", b"license", b"licence"];
/// What may stand between such a word and its value.
const BETWEEN: [&[u8]; 5] = [b"is", b"ist", b"number", b"no", b"nr"];
/// How far before a value such a word may begin, in bytes.
const WEAK_BYTES_MAX: usize = 24;

/// What a weak label says about the value behind it.
#[derive(Clone, Copy, PartialEq)]
enum Weak {
    None,
    /// "license U1K711J11M": a value with letters in it is one.
    Beside,
    /// "ID: 4711123", "id is 4711123": any number is.
    Said,
}

fn weak_label(bytes: &[u8], at: usize) -> Weak {
    let Some(mut before) = bytes.get(at.saturating_sub(WEAK_BYTES_MAX)..at) else {
        return Weak::None;
    };
    let mut weak = Weak::Beside;
    loop {
        let (rest, signs) = split_end(before, |b| matches!(b, b' ' | b':' | b'=' | b'#' | b'.'));
        let (rest, word) = split_end(rest, |b| b.is_ascii_alphabetic());
        if signs.is_empty() || word.is_empty() {
            return Weak::None;
        }
        if signs.iter().any(|b| matches!(b, b':' | b'=' | b'#')) {
            weak = Weak::Said;
        }
        if WEAK.iter().any(|w| word.eq_ignore_ascii_case(w)) {
            return weak;
        }
        if !BETWEEN.iter().any(|w| word.eq_ignore_ascii_case(w)) {
            return Weak::None;
        }
        weak = Weak::Said;
        before = rest;
    }
}

/// Splits off the longest end of some kind of bytes.
fn split_end(bytes: &[u8], is_end: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let len = bytes.iter().rev().take_while(|b| is_end(**b)).count();
    bytes.split_at(bytes.len() - len)
}

#[cfg(test)]
mod tests;
