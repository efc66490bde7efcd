//! Rules, and the candidates that are matched against them.

use crate::Kind;

/// Most letters and digits of a number.
const CHARS_MAX: usize = 20;
/// Lengths from zero to one more than the longest.
pub(super) const STARTS: usize = CHARS_MAX + 2;
/// Most characters of a candidate's form: eight groups and their separators.
const FORM_MAX: usize = 15;

/// A number in any grouping, with single separators of `-`, `.` and space, even mixed.
pub(super) const ANY_FORM: u8 = 1;
/// Accepted without separators.
pub(super) const BARE: u8 = 2;
/// Accepted without separators if it begins with a zero, which no counter does.
pub(super) const ZERO: u8 = 4;
/// Lower-case letters count as capitals.
pub(super) const ANY_CASE: u8 = 8;
/// Belongs to a company.
pub(super) const COMPANY: u8 = 16;

/// One kind of number.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    len: usize,
    /// The numbers of groups it may have, one bit each.
    groups: u16,
    /// The positions that have a letter, one bit each.
    letters: u32,
    /// The positions that have a letter or a digit, one bit each.
    either: u32,
    flags: u8,
    /// Groupings, separated by `|`: `3-2-4`. A `~` is a space, a `-` or a `.`, the same one throughout.
    forms: &'static str,
    check: fn(&[u8]) -> bool,
}

/// A rule for a shape of `9` (digit), `A` (letter) and `X` (either).
pub(super) const fn rule(shape: &str, flags: u8, forms: &'static str, check: fn(&[u8]) -> bool) -> Rule {
    let signs = shape.as_bytes();
    assert!(signs.len() <= CHARS_MAX);
    let (mut letters, mut either) = (0, 0);
    let mut at = 0;
    while at < signs.len() {
        match signs[at] {
            b'A' => letters |= 1 << at,
            b'X' => either |= 1 << at,
            _ => {}
        }
        at += 1;
    }
    Rule {
        len: at,
        groups: groups(flags, forms.as_bytes()),
        letters,
        either,
        flags,
        forms,
        check,
    }
}

/// The numbers of groups that flags and forms allow, one bit each.
const fn groups(flags: u8, forms: &[u8]) -> u16 {
    if flags & ANY_FORM != 0 {
        return u16::MAX;
    }
    let mut groups = if flags & (BARE | ZERO) != 0 { 1 << 1 } else { 0 };
    let (mut at, mut start) = (0, 0);
    while at <= forms.len() && !forms.is_empty() {
        if at == forms.len() || forms[at] == b'|' {
            groups |= 1 << ((at - start) / 2 + 1);
            start = at + 1;
        }
        at += 1;
    }
    groups
}

/// The index of the first rule of each length, up to one more than the longest, in a table sorted by length.
pub(super) const fn starts(rules: &[Rule]) -> [u8; STARTS] {
    assert!(rules.len() <= u8::MAX as usize);
    let mut starts = [0; STARTS];
    let (mut at, mut len) = (0u8, 0);
    while len < STARTS {
        while (at as usize) < rules.len() && rules[at as usize].len < len {
            at += 1;
            let (this, next) = (at as usize - 1, at as usize);
            assert!(next == rules.len() || rules[this].len <= rules[next].len);
        }
        starts[len] = at;
        len += 1;
    }
    starts
}

/// The rules of a length.
pub(super) fn of_length<'r>(rules: &'r [Rule], starts: &[u8; STARTS], len: usize) -> &'r [Rule] {
    let bound = |len: usize| starts.get(len).map_or(rules.len(), |at| usize::from(*at));
    rules.get(bound(len)..bound(len + 1)).unwrap_or_default()
}

impl Rule {
    pub(super) fn kind(&self) -> Kind {
        if self.is(COMPANY) {
            Kind::CompanyId
        } else {
            Kind::NationalId
        }
    }

    fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether a candidate of the rule's length is such a number.
    pub(super) fn matches(&self, candidate: &Candidate) -> bool {
        candidate.letters & !self.either == self.letters
            && self.groups & 1 << candidate.form_len.div_ceil(2) != 0
            && (!candidate.lower || self.is(ANY_CASE))
            && self.accepts_form(candidate)
            && (self.check)(candidate.chars())
    }

    fn accepts_form(&self, candidate: &Candidate) -> bool {
        let form = candidate.form();
        if form.len() <= 1 {
            let chars = candidate.chars();
            return !candidate.is_time_stamp()
                && (self.is(BARE) || (self.is(ZERO) && chars.first() == Some(&b'0')));
        }
        if self.is(ANY_FORM) {
            return candidate.is_joined_only_by(b" -.");
        }
        self.forms.split('|').any(|wanted| fits(wanted.as_bytes(), form))
    }
}

fn fits(wanted: &[u8], form: &[u8]) -> bool {
    let mut sign = None;
    wanted.len() == form.len()
        && wanted.iter().zip(form).all(|(w, f)| match w {
            b'~' => matches!(f, b' ' | b'-' | b'.') && *sign.get_or_insert(*f) == *f,
            _ => w == f,
        })
}

/// Letters and digits that may be a number, in capitals, without their separators.
#[derive(Default)]
pub(super) struct Candidate {
    chars: [u8; CHARS_MAX],
    len: usize,
    letters: u32,
    lower: bool,
    /// The lengths of the groups, as digits, with their separators: `3-2-4`.
    form: [u8; FORM_MAX],
    form_len: usize,
}

impl Candidate {
    /// A candidate of one group.
    pub(super) fn of(part: &[u8]) -> Option<Self> {
        let mut candidate = Self::default();
        candidate.push(None, part).then_some(candidate)
    }

    /// Appends a group and the separator before it. Returns false if there is no room.
    pub(super) fn push(&mut self, sign: Option<u8>, part: &[u8]) -> bool {
        let end = self.len + part.len();
        let Some(room) = self.chars.get_mut(self.len..end) else {
            return false;
        };
        for (at, (to, from)) in room.iter_mut().zip(part).enumerate() {
            *to = from.to_ascii_uppercase();
            self.letters |= u32::from(from.is_ascii_alphabetic()) << (self.len + at);
            self.lower |= from.is_ascii_lowercase();
        }
        self.len = end;
        let size = u8::try_from(part.len()).unwrap_or(u8::MAX).saturating_add(b'0');
        for sign in sign.into_iter().chain([size]) {
            let Some(to) = self.form.get_mut(self.form_len) else {
                return false;
            };
            *to = sign;
            self.form_len += 1;
        }
        true
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn chars(&self) -> &[u8] {
        self.chars.get(..self.len).unwrap_or_default()
    }

    pub(super) fn digits(&self) -> usize {
        self.len - self.letters.count_ones() as usize
    }

    /// Whether it has capitals and digits, and no lower-case letters.
    pub(super) fn is_mixed(&self) -> bool {
        self.letters != 0 && !self.lower
    }

    pub(super) fn has_lower_case(&self) -> bool {
        self.lower
    }

    fn form(&self) -> &[u8] {
        self.form.get(..self.form_len).unwrap_or_default()
    }

    fn signs(&self) -> impl Iterator<Item = u8> {
        self.form().iter().skip(1).step_by(2).copied()
    }

    fn sizes(&self) -> impl Iterator<Item = u8> {
        self.form().iter().step_by(2).map(|b| b - b'0')
    }

    /// Whether all groups have the same length.
    pub(super) fn is_even(&self) -> bool {
        let first = self.sizes().next();
        self.sizes().all(|size| Some(size) == first)
    }

    /// Whether one of the separators is this one.
    pub(super) fn is_joined_by(&self, sign: u8) -> bool {
        self.signs().any(|s| s == sign)
    }

    /// Whether every separator is one of these.
    pub(super) fn is_joined_only_by(&self, signs: &[u8]) -> bool {
        self.signs().all(|s| signs.contains(&s))
    }

    /// Seconds, milliseconds or microseconds since 1970, in the years 2014 to 2036.
    fn is_time_stamp(&self) -> bool {
        self.letters == 0
            && matches!(self.len, 10 | 13 | 16)
            && matches!(self.chars(), [b'1', b'4'..=b'9', ..] | [b'2', b'0', ..])
    }

    /// Whether this may be the value of a label: long enough, mostly digits, not a date, a time, a version.
    pub(super) fn is_value(&self) -> bool {
        self.len >= 5 && self.digits() >= 4 && !self.is_date() && !self.is_version_or_time()
    }

    fn is_date(&self) -> bool {
        self.letters == 0
            && match self.form() {
                [b'2', a, b'2', b, b'4'] => a == b && is_year(&self.chars[4..6]),
                [b'4', a, b'2', b, b'2'] => a == b && is_year(&self.chars[..2]),
                [b'8'] => {
                    is_year(&self.chars[..2])
                        && matches!(self.chars[4..6], [b'0', b'1'..=b'9'] | [b'1', b'0'..=b'2'])
                }
                _ => false,
            }
    }

    fn is_version_or_time(&self) -> bool {
        let small = self.sizes().all(|size| size <= 2);
        self.form_len > 1
            && ((self.is_joined_only_by(b".") && (self.form_len == 3 || self.sizes().any(|size| size == 1)))
                || (small && self.is_joined_only_by(b":")))
    }
}

fn is_year(century: &[u8]) -> bool {
    matches!(century, b"19" | b"20")
}
