//! Phone numbers.

mod plan;

use super::digits::{Digits, chain, closes, gap, groups, is_date, is_epoch, lengths, opens, value};
use super::label::{Label, Topics};
use super::scan::{after, run, run_up_to};
use super::view::View;
use super::{Found, Kind};
use plan::{
    DIGITS, NATIONAL_DIGITS, NATIONAL_DIGITS_AFTER_ZEROS, code_length, is_international, is_north_american,
    is_turkish_mobile,
};
use std::ops::{Range, RangeInclusive};

/// Digits of a number that starts with the trunk prefix 0, ungrouped and grouped.
const TRUNK_DIGITS: RangeInclusive<usize> = 9..=12;
const TRUNK_DIGITS_GROUPED: RangeInclusive<usize> = 8..=13;
/// Most groups of a number.
const GROUPS_MAX: usize = 8;
/// Most characters between two groups: `) (`, ` - `.
const GAP_MAX: usize = 3;
/// A labelled number with fewer digits must directly follow its label.
const SHORT_DIGITS: usize = 9;
/// Most bytes between the label of such a short number and the number.
const SHORT_LABEL_BYTES: usize = 20;

/// Words before an extension, longest first.
const EXTENSIONS: &[&str] = &["durchwahl", "extension", "ext.", "ext", "dw", "x", "#"];

pub(super) fn find(view: &View<'_>, found: &mut Found) {
    if view.has().digits < *DIGITS.start() {
        return;
    }
    let text = Text {
        view,
        bytes: view.bytes(),
    };
    found.search(Kind::Phone, &groups(view), |rest| text.number(rest));
}

struct Text<'v, 't> {
    view: &'v View<'t>,
    bytes: &'v [u8],
}

impl Text<'_, '_> {
    /// The phone number at the start of some groups.
    fn number(&self, groups: &[Range<usize>]) -> Option<Range<usize>> {
        let mut digits = groups.first().map_or(0, Range::len);
        let chain = chain(self.bytes, groups, GROUPS_MAX, |gap, next| {
            digits += next.len();
            let known = |b: &u8| matches!(b, b' ' | b'-' | b'.' | b'/' | b'(' | b')' | b'_');
            digits <= *DIGITS.end() && gap.len() <= GAP_MAX && gap.iter().all(known)
        });
        let first = chain.first()?;
        if chain.iter().map(Range::len).sum::<usize>() < *DIGITS.start() {
            return None;
        }
        let (start, plus) = self.start(first.start);
        let opens = plus || opens(self.bytes, start);
        let labelled = self.labels(first.start);
        let dump = chain.len() > 5 && chain.iter().all(|group| group.len() == 2);
        if (!opens || dump) && labelled.is_none() {
            return None;
        }
        // The longest number wins: a part of it identifies the person nearly as well.
        (1..=chain.len()).rev().find_map(|count| {
            let groups = chain.get(..count)?;
            if groups.iter().map(Range::len).sum::<usize>() < *DIGITS.start() {
                return None;
            }
            let digits = Digits::of(self.bytes, groups)?;
            let end = self.end(groups.last()?.end)?;
            let is_phone = (plus && is_international(&digits, NATIONAL_DIGITS))
                || (opens && !is_date(self.bytes, groups) && self.is_national(groups, &digits))
                || labelled.is_some_and(|label| self.is_labelled(groups, &digits, label))
                || (opens && self.is_labelled_behind(groups, &digits, end));
            is_phone.then_some(start..end)
        })
    }

    /// The start of a number whose digits begin at an offset, and whether it has a plus.
    fn start(&self, at: usize) -> (usize, bool) {
        match self.bytes.get(..at).unwrap_or_default() {
            [.., b'(', b'+'] => (at - 2, true),
            [.., b'+', b'('] | [.., b'+', b' '] => (at - 2, true),
            [.., b'+', b'+'] => (at, false),
            [.., b'+'] => (at - 1, true),
            [.., b'('] => (at - 1, false),
            _ => (at, false),
        }
    }

    /// The end of a number whose digits end at an offset, including its extension. `None` inside a word.
    fn end(&self, at: usize) -> Option<usize> {
        let rest = after(self.bytes, at);
        let skip = |from: usize, signs: &[u8]| from + run_up_to(3, rest, from, |b| signs.contains(b));
        let word_at = skip(0, b" ,;");
        let extension = EXTENSIONS.iter().find_map(|word| {
            let there = rest.get(word_at..word_at + word.len())?;
            let digits_at = skip(word_at + word.len(), b" .:");
            let digits = run(rest, digits_at, u8::is_ascii_digit);
            (there.eq_ignore_ascii_case(word.as_bytes()) && (1..=6).contains(&digits))
                .then_some(digits_at + digits)
        });
        let end = at + extension.unwrap_or(0);
        closes(self.bytes, end).then_some(end)
    }

    /// The closest label of phones before an offset.
    fn labels(&self, at: usize) -> Option<&Label> {
        if !self.view.labelled_before(at, Topics::PHONE) {
            return None;
        }
        let mut before = self.view.labels().iter().rev();
        before.find(|label| label.topics.any(Topics::PHONE) && label.range.end <= at)
    }

    fn is_labelled(&self, groups: &[Range<usize>], digits: &[u8], label: &Label) -> bool {
        let Some(first) = groups.first() else { return false };
        let between = self.bytes.get(label.range.end..first.start).unwrap_or_default();
        let name = self.bytes.get(label.range.clone()).unwrap_or_default();
        // "The number is" may refer to any number.
        let vague = name.ends_with(b" is") || name.ends_with(b" ist");
        let close = between.len() <= SHORT_LABEL_BYTES
            && !between
                .iter()
                .any(|b| matches!(b, b'\n' | b';' | b'!' | b'?' | b'0'..=b'9'));
        DIGITS.contains(&digits.len())
            && !is_date(self.bytes, groups)
            && (close || !is_epoch(digits))
            && (digits.len() >= SHORT_DIGITS || (close && !vague))
    }

    /// "0301234567 is my phone".
    fn is_labelled_behind(&self, groups: &[Range<usize>], digits: &[u8], end: usize) -> bool {
        let place = end..end;
        (SHORT_DIGITS..=*DIGITS.end()).contains(&digits.len())
            && !is_epoch(digits)
            && !is_date(self.bytes, groups)
            && self.view.labelled(&place, Topics::PHONE)
            && !self.view.labelled_before(end, Topics::PHONE)
    }

    /// Whether digits look like a phone number without a label and without a plus.
    fn is_national(&self, groups: &[Range<usize>], digits: &[u8]) -> bool {
        match digits {
            [b'0', b'0', abroad @ ..] if groups.len() > 1 => is_international(abroad, NATIONAL_DIGITS),
            [b'0', b'0', abroad @ ..] => is_international(abroad, NATIONAL_DIGITS_AFTER_ZEROS),
            [b'0', ..] => self.has_trunk_zero(groups, digits),
            _ => self.is_grouped(groups, digits) || (groups.len() == 1 && is_turkish_mobile(digits)),
        }
    }

    /// A number that starts with a zero: quantities do not.
    fn has_trunk_zero(&self, groups: &[Range<usize>], digits: &[u8]) -> bool {
        let [first, others @ ..] = groups else {
            return false;
        };
        let Some(second) = others.first() else {
            return TRUNK_DIGITS.contains(&digits.len());
        };
        let gap = gap(self.bytes, first, second);
        // "0.123456789" is a fraction, "0 (532)" and "0 532 123" are not.
        let lone =
            first.len() > 1 || gap.contains(&b'(') || (gap != b"." && others.len() > 1 && second.len() > 1);
        // Text that continues like "01 00 02 0a" is a byte dump.
        let zeros = groups
            .iter()
            .filter(|group| self.bytes.get(group.start) == Some(&b'0'))
            .count();
        let pairs = groups.iter().all(|group| group.len() == 2);
        let bytes = pairs && (zeros > 2 || groups.len() != 5);
        TRUNK_DIGITS_GROUPED.contains(&digits.len())
            && first.len() <= 6
            && lone
            && !bytes
            && others.len() <= 5
            && others.iter().all(|group| group.len() >= 2)
    }

    /// Groupings that only phone numbers have.
    fn is_grouped(&self, groups: &[Range<usize>], digits: &[u8]) -> bool {
        let [first, others @ ..] = groups else {
            return false;
        };
        let in_parentheses = |group: &Range<usize>| {
            self.bytes.get(..group.start).is_some_and(|b| b.ends_with(b"("))
                && self.bytes.get(group.end) == Some(&b')')
        };
        let lengths = lengths(groups);
        if in_parentheses(first) {
            let area = digits.get(..first.len()).unwrap_or_default();
            let year = area.len() == 4 && (1900..2100).contains(&value(area));
            return matches!(
                lengths,
                [2..=5, 3..=5, 4, 0, ..] | [2..=5, 3, 2, 2, 0, _] | [3, 7, 0, ..]
            ) && digits.len() >= SHORT_DIGITS
                && !year;
        }
        let even = others
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if self.gap_before(a, groups) == self.gap_before(b, groups)));
        match lengths {
            [3, 3, 4, 0, ..] => is_north_american(digits) && even,
            [3, 3, 2, 2, 0, _] => digits.first().is_some_and(|d| *d >= b'2') && even,
            // India with its country code, Brazil without.
            [2, 5, 5, 0, ..] => digits.starts_with(b"91") && even,
            [2, 4..=5, 4, 0, ..] => matches!(others, [a, b] if self.gap_before(a, groups) == b" "
                && self.gap_before(b, groups) == b"-"),
            [1..=3, 3, 3, 4, 0, _] | [1..=3, 3, 3, 2, 2, 0] => {
                let parenthesised = others.first().is_some_and(in_parentheses);
                // "8 (912) 345-67-89": the 8 is Russia's trunk prefix, not a country code.
                if digits.starts_with(b"8") && parenthesised && first.len() == 1 {
                    return true;
                }
                let (code, national) = digits.split_at_checked(first.len()).unwrap_or_default();
                code_length(digits) == Some(code.len())
                    && (even || parenthesised)
                    && (code != b"1" || national.first().is_some_and(|d| *d >= b'2'))
            }
            _ => false,
        }
    }

    /// The bytes between a group and the previous one.
    fn gap_before(&self, group: &Range<usize>, groups: &[Range<usize>]) -> &[u8] {
        let at = groups.partition_point(|other| other.start < group.start);
        match at.checked_sub(1).and_then(|before| groups.get(before)) {
            Some(before) => gap(self.bytes, before, group),
            None => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::check_scanner;

    #[test]
    fn phone_numbers_are_found_and_their_likes_are_not() {
        let check = |text: &str, want: &[&str]| check_scanner(find, text, want);
        // International numbers.
        check("+49 89 636-48018", &["+49 89 636-48018"]);
        check("ring +41446681800!", &["+41446681800"]);
        check("(+44) (0)20 7946 0018.", &["(+44) (0)20 7946 0018"]);
        check("0049 (0) 30 / 2260-1234", &["0049 (0) 30 / 2260-1234"]);
        check("+1 206 555 0100, +1 106 555 0100", &["+1 206 555 0100"]);
        check("+2101234567 is no country, nor is +999 123456789", &[]);
        check("C++ 2026, 12:00:00+0100, +500 ms, +1500000", &[]);
        check("0000012345678", &[]);
        // National numbers.
        check("030 2260-1234 x 12", &["030 2260-1234 x 12"]);
        check(
            "0171/5550123, 06.39.98.12.34",
            &["0171/5550123", "06.39.98.12.34"],
        );
        check("020 7946 0018 020 7946 0019", &["020 7946 0018", "020 7946 0019"]);
        check("id 01715550123", &["01715550123"]);
        check("id 00000171, 01022026, 0.1715550123, 1,0171555012", &[]);
        check("01.02.2026, 01/02/2026, 04-08-2026 12", &[]);
        check(
            "(206) 555-0100 206-555-0101 206.555.0102",
            &["(206) 555-0100", "206-555-0101", "206.555.0102"],
        );
        check("1-206-555-0100 ext. 7", &["1-206-555-0100 ext. 7"]);
        check("106-555-0100, 206-155-0100, 206-555-010", &[]);
        check("(11) 98456-0001", &["(11) 98456-0001"]);
        check(
            "11 91234-5678, 91-98765-43210",
            &["11 91234-5678", "91-98765-43210"],
        );
        check("11-91234-5678, 92-98765-43210", &[]);
        check("as of (2026) 555-0100", &[]);
        check("532 555 01 00", &["532 555 01 00"]);
        check("5325550100", &["5325550100"]);
        check("5205550100", &[]);
        // With a label.
        check("Telefon: 5550100", &["5550100"]);
        check("call me at 555-0100", &["555-0100"]);
        check("5550100 items", &[]);
        check("tel04012345", &["04012345"]);
        check("138 1234 5678 is my mobile", &["138 1234 5678"]);
        check("my number is 13812345678", &["13812345678"]);
        check("the number is 138123", &[]);
        check("phone seen 2026-08-12 09:11, handset count 12345", &[]);
        // Look-alikes.
        check("<Buffer 02 01 04 03 06>, 06 12 34 56 78 90", &[]);
        check("2026-08-12 09, v1.22.333.4444, 10.0.0.1, 1 234 567,89", &[]);
        check("100-200, 1712345678, 1712345678901, 20260812", &[]);
        check("550e8400-e29b-41d4-a716-446655440000", &[]);
        check("hosted-eu-20260812-09 build-206-555-0100-7", &[]);
    }
}
