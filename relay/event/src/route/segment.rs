//! One segment of a route template, and the segments of a path.

use super::TemplateError;
use percent_encoding::percent_decode_str;

/// One segment of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// `tenants`: this text, which the page shows.
    Literal(String),
    /// `:view{overview|costs}`: one of these words, which the page shows.
    Words {
        /// The parameter's name.
        name: String,
        /// The words, at least two.
        words: Vec<String>,
    },
    /// `:id{int}`: a text of this form. The page shows `:id` in its place.
    Typed {
        /// The parameter's name.
        name: String,
        /// The form.
        form: Form,
    },
    /// `:workspace`: any one segment. The page shows `:workspace` in its place.
    Any {
        /// The parameter's name.
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
            return match is_plain(text) {
                true => Ok(Self::Literal(text.to_owned())),
                false => Err(TemplateError::Segment(text.to_owned())),
            };
        };
        let (name, inside) = match parameter.split_once('{') {
            None => (parameter, None),
            Some((name, rest)) => match rest.strip_suffix('}') {
                None => return Err(TemplateError::Brace(text.to_owned())),
                inside => (name, inside),
            },
        };
        if !is_plain(name) {
            return Err(TemplateError::Segment(text.to_owned()));
        }
        let name = name.to_owned();
        let Some(inside) = inside else {
            return Ok(Self::Any { name });
        };
        match Form::ALL.into_iter().find(|form| form.name() == inside) {
            Some(form) => Ok(Self::Typed { name, form }),
            None => Self::words(name, inside),
        }
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
        // A single word is a misspelt form, or a literal in braces.
        match words.as_slice() {
            [only] => Err(TemplateError::Form(only.clone())),
            _ => Ok(Self::Words { name, words }),
        }
    }

    /// Whether the segment matches one of a path, after its percent-escapes are decoded.
    pub(super) fn fits(&self, have: Have<'_>) -> bool {
        match self {
            Self::Literal(text) => have.says(text),
            Self::Words { words, .. } => words.iter().any(|word| have.says(word)),
            Self::Typed { form, .. } => form.fits(have.text),
            Self::Any { .. } => !have.text.is_empty(),
        }
    }

    /// Appends the text that the page shows for a matching segment. Only `Words` needs to know which segment matched.
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

    /// The segment's rank: the smaller, the more specific.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 0,
            Self::Words { .. } => 1,
            Self::Typed { form: Form::Slug, .. } => 3,
            Self::Typed { .. } => 2,
            Self::Any { .. } => 4,
        }
    }

    /// Whether this segment matches every text that the other one matches.
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
    const ALL: [Self; 3] = [Self::Int, Self::Uuid, Self::Slug];

    /// The form's name, as written in a template.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Uuid => "uuid",
            Self::Slug => "slug",
        }
    }

    fn fits(self, have: &str) -> bool {
        let mut bytes = percent_decode_str(have).peekable();
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

/// Whether a text has only characters of a hand-written path segment.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
}

/// One segment of a path, analysed once for all templates.
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

    /// Whether it is this text, with or without escapes.
    fn says(self, want: &str) -> bool {
        self.text == want || (self.has_escapes && percent_decode_str(self.text).eq(want.bytes()))
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

/// A page's segments; empty for the root, and `None` for a text that is not a page.
pub(super) fn of_page(page: &str) -> Option<Vec<&str>> {
    match page.strip_prefix('/')? {
        "" => Some(Vec::new()),
        given => Some(given.split('/').collect()),
    }
}
