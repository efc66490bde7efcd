//! Route templates: `/w/:workspace/p/:project` stands for every workspace and project.
//!
//! | segment | stands for | the page shows |
//! |---|---|---|
//! | `tenants` | this text | `tenants` |
//! | `:view{overview\|costs}` | one of these words | the word: the plan lists it |
//! | `:id{int}`, `:id{uuid}`, `:id{slug}` | a text of this form | `:id` |
//! | `:workspace` | any text | `:workspace` |

mod segment;

use segment::Have;
pub use segment::{Form, Segment};

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The page that stands for every path no template fits.
pub const OTHER: &str = "/other";

/// Longest template, in bytes: with scheme and host it stays far below Plausible's 2000. A page is never
/// longer than its template.
const TEMPLATE_BYTES_MAX: usize = 500;

/// One route template of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    /// Empty for the root.
    segments: Vec<Segment>,
    /// The page, where it is always the same.
    page: Option<String>,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It does not begin with a slash.
    #[error("a route starts with a slash, as in /w/:workspace/tenants")]
    NoSlash,
    /// It ends with one.
    #[error("leave out the slash at the end: a route stands for both")]
    TrailingSlash,
    /// A segment is empty, or holds what a path segment written by hand would not.
    #[error(
        "the segment \"{0}\" is not letters, digits, '-', '_', '.' or '~', or a ':' and the name of what it stands for"
    )]
    Segment(String),
    /// A parameter's brace does not close the segment.
    #[error("the parameter \"{0}\" does not end with the '}}' of its '{{', as in :id{{int}}")]
    Brace(String),
    /// Not one of the forms, and not a list of words either.
    #[error(
        "\"{0}\" is no form; write int, uuid or slug, or two or more words that the page may show, as in {{overview|costs}}"
    )]
    Form(String),
    /// One of the listed words could not be in a path.
    #[error("the word \"{0}\" is not letters, digits, '-', '_', '.' or '~'")]
    Word(String),
    /// A word is listed twice.
    #[error("the word \"{0}\" is listed twice")]
    Repeated(String),
    /// It is too long.
    #[error("a route has at most {TEMPLATE_BYTES_MAX} characters")]
    TooLong,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
        let rest = text.strip_prefix('/').ok_or(TemplateError::NoSlash)?;
        if rest.ends_with('/') {
            return Err(TemplateError::TrailingSlash);
        }
        let segments = match rest {
            "" => Vec::new(),
            rest => rest.split('/').map(Segment::parse).collect::<Result<_, _>>()?,
        };
        let mut template = Self {
            text: text.to_owned(),
            segments,
            page: None,
        };
        let varies = |segment: &Segment| matches!(segment, Segment::Words { .. });
        if !template.segments.iter().any(varies) {
            template.page = Some(template.show(None));
        }
        Ok(template)
    }

    /// The template as it is written in the plan.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its segments; none for the root.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether the template stands for a path, given by its segments.
    fn fits(&self, path: &[Have<'_>]) -> bool {
        let mut pairs = self.segments.iter().zip(path);
        self.segments.len() == path.len() && pairs.all(|(segment, have)| segment.fits(*have))
    }

    /// The page of a path that fits.
    fn page(&self, path: &[Have<'_>]) -> Cow<'_, str> {
        match &self.page {
            Some(page) => Cow::Borrowed(page),
            None => Cow::Owned(self.show(Some(path))),
        }
    }

    /// The page, of a path that fits where the template holds words to choose from.
    fn show(&self, path: Option<&[Have<'_>]>) -> String {
        let mut page = String::with_capacity(self.text.len());
        for (n, segment) in self.segments.iter().enumerate() {
            page.push('/');
            segment.show(path.and_then(|path| path.get(n)).copied(), &mut page);
        }
        if page.is_empty() {
            page.push('/');
        }
        page
    }

    /// Whether a page, given by its segments, is one that the template can give.
    fn can_give(&self, page: &[&str]) -> bool {
        let mut pairs = self.segments.iter().zip(page);
        self.segments.len() == page.len() && pairs.all(|(segment, shown)| segment.can_show(shown))
    }

    /// Whether every path that the other one fits is fitted by this one.
    fn covers(&self, other: &Self) -> bool {
        let pairs = self.segments.iter().zip(&other.segments);
        self.segments.len() == other.segments.len() && pairs.into_iter().all(|(a, b)| a.covers(b))
    }

    /// Orders templates by how much they say, from the left: literals first, then words, then forms, then
    /// what stands for anything.
    fn specificity(&self) -> impl Ord + use<> {
        self.segments.iter().map(Segment::rank).collect::<Vec<_>>()
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;
    fn try_from(text: String) -> Result<Self, TemplateError> {
        Self::parse(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.text
    }
}

/// All templates of a plan, the most specific first; equally specific ones as they were given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Template>", into = "Vec<Template>")]
pub struct Routes(Vec<Template>);

impl Routes {
    /// The page that stands for a path: what the first template that fits shows of it, or [`OTHER`].
    /// Query and matrix parameters are no part of a page. A page's own page is itself.
    pub fn page(&self, path: &str) -> Cow<'_, str> {
        let path = path.split_once('?').map_or(path, |(path, _query)| path);
        if path == OTHER && !self.lists(path) {
            return Cow::Borrowed(OTHER);
        }
        // A parameter's name may be shown for a text that the parameter itself would not stand for.
        if path.contains("/:") && self.lists(path) {
            return Cow::Owned(path.to_owned());
        }
        let path = segment::of_path(path);
        let fitting = self.0.iter().find(|template| template.fits(&path));
        fitting.map_or(Cow::Borrowed(OTHER), |template| template.page(&path))
    }

    /// Whether a text is a page that one of the templates can give. [`OTHER`] is none of them, unless it
    /// is a route of the site.
    pub fn lists(&self, page: &str) -> bool {
        segment::of_page(page).is_some_and(|page| self.0.iter().any(|template| template.can_give(&page)))
    }

    /// The templates, the most specific first.
    pub fn iter(&self) -> impl Iterator<Item = &Template> {
        self.0.iter()
    }

    /// Templates that no page is ever counted as, each with one that comes first and fits all its paths.
    pub fn shadowed(&self) -> impl Iterator<Item = (&Template, &Template)> {
        self.0.iter().enumerate().filter_map(|(i, template)| {
            let earlier = self.0[..i].iter().find(|earlier| earlier.covers(template))?;
            Some((template, earlier))
        })
    }
}

impl From<Vec<Template>> for Routes {
    fn from(mut templates: Vec<Template>) -> Self {
        templates.sort_by_cached_key(Template::specificity);
        Self(templates)
    }
}

impl From<Routes> for Vec<Template> {
    fn from(routes: Routes) -> Self {
        routes.0
    }
}

#[cfg(test)]
mod tests;
