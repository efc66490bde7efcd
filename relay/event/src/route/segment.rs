//! One segment of a route template, and the segments of a path.

use super::TemplateError;

/// What one segment of a template stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// `tenants`: this text, which the page shows.
    Literal(String),
    /// `:view{overview|costs}`: one of these words, which the page shows.
    Words {
        /// What the words are.
        name: String,
        /// The words, two at least.
        words: Vec<String>,
    },
    /// `:id{int}`: a text of this form. The page shows `:id` in its place.
    Typed {
        /// What it stands for.
        name: String,
        /// The form.
        form: Form,
    },
    /// `:workspace`: any one segment. The page shows `:workspace` in its place.
    Any {
        /// What it stands for.
        name: String,
    },
}

/// The form of a typed parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Digits.
    Int,
    /// A UUID with its hyphens, in either case.
    Uuid,
    /// Lower-case letters, digits and hyphens, a letter or digit first.
    Slug,
}

impl Segment {
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        let Some(parameter) = text.strip_prefix(':') else {
            return if is_plain(text) {
                Ok(Self::Literal(text.to_owned()))
            } else {
                Err(TemplateError::Segment(text.to_owned()))
            };
        };
        let (name, inside) = match parameter.split_once('{') {
            None => (parameter, None),
            Some((name, rest)) => {
                let inside = rest.strip_suffix('}');
                (
                    name,
                    Some(inside.ok_or_else(|| TemplateError::Brace(text.to_owned()))?),
                )
            }
        };
        if !is_plain(name) {
            return Err(TemplateError::Segment(text.to_owned()));
        }
        let name = name.to_owned();
        match inside {
            None => Ok(Self::Any { name }),
            Some("int") => Ok(Self::typed(name, Form::Int)),
            Some("uuid") => Ok(Self::typed(name, Form::Uuid)),
            Some("slug") => Ok(Self::typed(name, Form::Slug)),
            Some(words) => Self::words(name, words),
        }
    }

    fn typed(name: String, form: Form) -> Self {
        Self::Typed { name, form }
    }

    fn words(name: String, inside: &str) -> Result<Self, TemplateError> {
        let mut words: Vec<String> = Vec::new();
        for word in inside.split('|') {
            if !is_plain(word) {
                return Err(TemplateError::Word(word.to_owned()));
            }
            if words.iter().any(|known| known == word) {
                return Err(TemplateError::Repeated(word.to_owned()));
            }
            words.push(word.to_owned());
        }
        // One word alone is a form that was misspelt, or a literal written the long way.
        match words.as_slice() {
            [only] => Err(TemplateError::Form(only.clone())),
            _ => Ok(Self::Words { name, words }),
        }
    }

    /// Whether the segment stands for one of a path. Percent-escapes count as what they stand for.
    pub(super) fn fits(&self, have: Have<'_>) -> bool {
        match self {
            Self::Literal(text) => have.says(text),
            Self::Words { words, .. } => words.iter().any(|word| have.says(word)),
            Self::Typed { form, .. } => form.fits(have.text),
            Self::Any { .. } => !have.text.is_empty(),
        }
    }

    /// What the page shows in place of a segment that fits; only of words it has to be known which one that is.
    pub(super) fn show(&self, have: Option<Have<'_>>, page: &mut String) {
        match self {
            Self::Literal(text) => page.push_str(text),
            Self::Words { words, .. } => {
                let word = words.iter().find(|word| have.is_some_and(|have| have.says(word)));
                page.push_str(word.map_or("", String::as_str));
            }
            Self::Typed { name, .. } | Self::Any { name } => {
                page.push(':');
                page.push_str(name);
            }
        }
    }

    /// Whether a page can show this text in the segment's place.
    pub(super) fn can_show(&self, shown: &str) -> bool {
        match self {
            Self::Literal(text) => text == shown,
            Self::Words { words, .. } => words.iter().any(|word| word == shown),
            Self::Typed { name, .. } | Self::Any { name } => shown.strip_prefix(':') == Some(name),
        }
    }

    /// How little the segment says: the smaller, the more specific.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 0,
            Self::Words { .. } => 1,
            Self::Typed { form: Form::Slug, .. } => 3,
            Self::Typed { .. } => 2,
            Self::Any { .. } => 4,
        }
    }

    /// Whether every text that the other one fits is fitted by this one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any { .. }, _) => true,
            (Self::Typed { form: a, .. }, Self::Typed { form: b, .. }) => {
                a == b || (*a, *b) == (Form::Slug, Form::Int)
            }
            (_, Self::Literal(text)) => self.fits(Have::of(text)),
            (_, Self::Words { words, .. }) => words.iter().all(|word| self.fits(Have::of(word))),
            _ => false,
        }
    }
}

impl Form {
    /// As written in a template.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Uuid => "uuid",
            Self::Slug => "slug",
        }
    }

    fn fits(self, have: &str) -> bool {
        let mut bytes = decoded(have).peekable();
        match self {
            Self::Int => bytes.peek().is_some() && bytes.all(|b| b.is_ascii_digit()),
            Self::Uuid => {
                let mut length = 0;
                let ok = bytes.all(|b| {
                    let hyphen = matches!(length, 8 | 13 | 18 | 23);
                    length += 1;
                    length <= 36 && if hyphen { b == b'-' } else { b.is_ascii_hexdigit() }
                });
                ok && length == 36
            }
            Self::Slug => {
                let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
                bytes.peek().is_some_and(|b| plain(*b)) && bytes.all(|b| plain(b) || b == b'-')
            }
        }
    }
}

/// What a path segment written by hand is made of.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
}

/// One segment of a path, looked at once for all templates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Have<'p> {
    text: &'p str,
    has_escapes: bool,
}

impl<'p> Have<'p> {
    fn of(text: &'p str) -> Self {
        Self {
            text,
            has_escapes: text.contains('%'),
        }
    }

    /// Whether it is this text, written with or without escapes.
    fn says(self, want: &str) -> bool {
        self.text == want || (self.has_escapes && decoded(self.text).eq(want.bytes()))
    }
}

/// A segment's bytes, percent-escapes decoded once. What is no escape stands for itself.
fn decoded(segment: &str) -> impl Iterator<Item = u8> {
    let mut rest = segment.as_bytes();
    std::iter::from_fn(move || {
        let (first, tail) = rest.split_first()?;
        let escape = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escape {
            Some((high, low)) => {
                rest = tail.get(2..).unwrap_or_default();
                Some(high << 4 | low)
            }
            None => {
                rest = tail;
                Some(*first)
            }
        }
    })
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// A path's segments without their matrix parameters (`acme;tab=1`); none for the root. A trailing slash makes no
/// difference.
pub(super) fn of_path(path: &str) -> Vec<Have<'_>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let segments = path
        .split('/')
        .map(|segment| Have::of(segment.split_once(';').map_or(segment, |(before, _)| before)));
    let segments: Vec<_> = segments.collect();
    match segments.as_slice() {
        [only] if only.text.is_empty() => Vec::new(),
        _ => segments,
    }
}

/// A page's segments; none for the root, and nothing for what is no page.
pub(super) fn of_page(page: &str) -> Option<Vec<&str>> {
    match page.strip_prefix('/')? {
        "" => Some(Vec::new()),
        given => Some(given.split('/').collect()),
    }
}
