//! Numbers that states, insurers and registers assign to persons and companies.
//!
//! A text is split once into runs of letters and digits. From each run, neighbours with one separator between them are
//! joined up to the longest length of a number, and each candidate is compared with the [`rule`]s of its length. After
//! a label, the shape of a number is enough.

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
use super::scan::{self, run, run_back};
use super::view::View;
use super::{Found, Kind};
use rule::{Candidate, Rule, of_length, starts};
use std::ops::Range;

/// The rules by region, with the index of the first rule of each length.
static TABLES: [(&[Rule], [u8; rule::STARTS]); 7] = [
    (germany::RULES, starts(germany::RULES)),
    (west::RULES, starts(west::RULES)),
    (central::RULES, starts(central::RULES)),
    (north::RULES, starts(north::RULES)),
    (south::RULES, starts(south::RULES)),
    (americas::RULES, starts(americas::RULES)),
    (asia::RULES, starts(asia::RULES)),
];

/// Topics whose values are numbers of persons and documents.
const PERSONS: Topics = Topics::ID
    .or(Topics::TAX)
    .or(Topics::INSURANCE)
    .or(Topics::DOCUMENT);
/// The same, and of companies.
const NUMBERS: Topics = PERSONS.or(Topics::COMPANY);

/// Most groups of one number: the French personal number has seven.
const GROUPS_MAX: usize = 8;
/// Fewest digits of a number without a label: the Indian PAN has four.
const DIGITS_MIN: usize = 4;
/// Fewest letters and digits that any rule matches.
const CHARS_MIN: usize = 8;
/// Longest run of letters that may be part of a number: "MORGA 753116 SM9IJ".
const LETTERS_MAX: usize = 5;

/// Expected number of runs that are kept, for the allocation.
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
    let labels = view.labels_of(NUMBERS).next().is_some();
    if digits == 0 || (digits < DIGITS_MIN && !labels) {
        return;
    }
    let bytes = view.bytes();
    let runs = runs(bytes);
    let mut at = 0;
    while let Some(rest) = runs.get(at..).filter(|rest| !rest.is_empty()) {
        at += 1;
        if !begins_number(bytes, rest) {
            continue;
        }
        let hit = number(bytes, rest)
            .or_else(|| labelled(view, rest, labels))
            .or_else(|| glued(view, rest, labels));
        if let Some(mut hit) = hit {
            let opens = view.piece(&hit.range).contains('(');
            hit.range.end += usize::from(opens && bytes.get(hit.range.end) == Some(&b')'));
            found.add(hit.kind, hit.range);
            at += hit.runs - 1;
        }
    }
}

/// Whether a run has digits, or directly precedes a run that has.
fn begins_number(bytes: &[u8], runs: &[Run]) -> bool {
    match runs {
        [first, ..] if first.digits > 0 => true,
        [first, next, ..] => next.digits > 0 && joint(bytes, first, next).is_some(),
        _ => false,
    }
}

/// A number, and its count of runs.
struct Hit {
    kind: Kind,
    range: Range<usize>,
    runs: usize,
}

/// The runs that may be part of a number: those with digits, and short ones next to those.
fn runs(bytes: &[u8]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::with_capacity(RUNS_LIKELY);
    for range in scan::runs(bytes, u8::is_ascii_alphanumeric) {
        let part = bytes.get(range.clone()).unwrap_or_default();
        let run = Run {
            range,
            digits: part.iter().filter(|b| b.is_ascii_digit()).count(),
            lower: part.iter().any(u8::is_ascii_lowercase),
        };
        if run.digits == 0 {
            if !(1..=LETTERS_MAX).contains(&run.len()) {
                continue;
            }
            // Of several words in a row, the last may begin a number and the first may end one.
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

/// The one character between two runs, if it may occur within a number. A bracket may: "A123456(3)".
fn joint(bytes: &[u8], left: &Run, right: &Run) -> Option<u8> {
    let one = right.range.start == left.range.end + 1;
    let sign = bytes.get(left.range.end).copied();
    sign.filter(|sign| one && matches!(sign, b' ' | b'-' | b'.' | b'/' | b':' | b'_' | b'+' | b'('))
}

/// The longest number at the first run that matches a rule.
fn number(bytes: &[u8], runs: &[Run]) -> Option<Hit> {
    let first = runs.first()?;
    let mut candidate = Candidate::default();
    let mut best = None;
    let mut last = first;
    for (count, run) in runs.iter().take(GROUPS_MAX).enumerate() {
        let sign = joint(bytes, last, run);
        if (count > 0 && sign.is_none()) || !candidate.push(sign, bytes.get(run.range.clone())?) {
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

/// The kind of a candidate by the rules.
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

/// Whether a number is not part of something longer: another group after the same separator, a decimal, a version. If
/// the groups differ in length, a space may also separate two numbers.
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

/// A number directly after a word: "code is030594W903B", "SSN078051120".
fn glued(view: &View<'_>, runs: &[Run], labels: bool) -> Option<Hit> {
    let bytes = view.bytes();
    let first = &runs.first()?.range;
    let part = bytes.get(first.clone())?;
    let letters = run(part, 0, u8::is_ascii_alphabetic);
    let word = part.get(..letters)?;
    if letters < 2 || letters == part.len() {
        return None;
    }
    let start = first.start + letters;
    let range = start..first.end;
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

/// A piece next to a label that looks like its value.
fn labelled(view: &View<'_>, runs: &[Run], labels: bool) -> Option<Hit> {
    let bytes = view.bytes();
    let first = runs.first()?;
    let weak = match first.digits {
        0 => Weak::None,
        _ => weak_label(bytes, first.range.start),
    };
    if !labels && weak == Weak::None {
        return None;
    }
    let mut candidate = Candidate::default();
    let mut best = None;
    let mut last = first;
    for (count, run) in runs.iter().take(GROUPS_MAX).enumerate() {
        let sign = joint(bytes, last, run);
        let goes_on = count == 0 || (sign.is_some() && (run.digits > 0 || run.len() <= 2));
        if !goes_on || (run.digits == 0 && run.lower) || !candidate.push(sign, bytes.get(run.range.clone())?)
        {
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
    let by_label = labels && view.labelled(&range, NUMBERS);
    let kind = if by_label && !view.labelled(&range, PERSONS) {
        Kind::CompanyId
    } else {
        Kind::NationalId
    };
    let by_weak = weak == Weak::Said || (weak == Weak::Beside && candidate.is_mixed());
    (by_label || (by_weak && candidate.digits() >= 6)).then_some(Hit { kind, range, runs })
}

/// Words that are weak labels: they count only directly before a value, as in "ID: 4711123".
const WEAK: [&[u8]; 3] = [b"id", b"license", b"licence"];
/// Words allowed between a weak label and its value.
const BETWEEN: [&[u8]; 5] = [b"is", b"ist", b"number", b"no", b"nr"];
/// How far before a value a weak label may start, in bytes.
const WEAK_BYTES_MAX: usize = 24;

/// The values that a weak label admits.
#[derive(Clone, Copy, PartialEq)]
enum Weak {
    None,
    /// "license U1K711J11M": a value that contains letters.
    Beside,
    /// "ID: 4711123", "id is 4711123": any number.
    Said,
}

fn weak_label(bytes: &[u8], at: usize) -> Weak {
    let Some(mut before) = bytes.get(at.saturating_sub(WEAK_BYTES_MAX)..at) else {
        return Weak::None;
    };
    let mut weak = Weak::Beside;
    loop {
        let (rest, signs) = split_end(before, |b| matches!(b, b' ' | b':' | b'=' | b'#' | b'.'));
        let (rest, word) = split_end(rest, u8::is_ascii_alphabetic);
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

/// Splits off the longest suffix of bytes that satisfy `is_end`.
fn split_end(bytes: &[u8], is_end: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let len = run_back(bytes.len(), bytes, bytes.len(), is_end);
    bytes.split_at(bytes.len() - len)
}

#[cfg(test)]
mod tests;
