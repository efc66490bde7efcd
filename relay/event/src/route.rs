//! Route templates: `/w/:workspace/p/:project` matches every workspace and project.
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

/// The page for every path that no template matches.
pub const OTHER: &str = "/other";

/// Longest template, in bytes: with scheme and host it stays far below Plausible's 2000. A page is never longer than
/// its template.
const TEMPLATE_BYTES_MAX: usize = 500;

/// One route template of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    /// Empty for the root.
    segments: Vec<Segment>,
    /// The page, if it is the same for every path.
    page: Option<String>,
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It does not begin with a slash.
    #[error("a route starts with a slash, as in /w/:workspace/tenants")]
    NoSlash,
    /// It ends with a slash.
    #[error("remove the trailing slash: a route matches paths with and without it")]
    TrailingSlash,
    /// A segment is empty, or contains a character that a hand-written path segment would not have.
    #[error(
        "the segment \"{0}\" must consist of letters, digits, '-', '_', '.' or '~', or be a ':' and a parameter name"
    )]
    Segment(String),
    /// A parameter's brace does not close the segment.
    #[error("the parameter \"{0}\" must end with the '}}' that closes its '{{', as in :id{{int}}")]
    Brace(String),
    /// Neither one of the forms nor a list of words.
    #[error(
        "\"{0}\" is not a form; write int, uuid or slug, or two or more words that the page may show, \
         as in {{overview|costs}}"
    )]
    Form(String),
    /// One of the listed words cannot occur in a path.
    #[error("the word \"{0}\" must consist of letters, digits, '-', '_', '.' or '~'")]
    Word(String),
    /// A word is listed twice.
    #[error("the word \"{0}\" is listed twice")]
    Repeated(String),
    /// It is too long.
    #[error("a route must have at most {TEMPLATE_BYTES_MAX} characters")]
    TooLong,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// If the text is not a template. The message says what to write instead.
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

    /// The template as written in the plan.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its segments; none for the root.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether the template matches a path, given by its segments.
    fn fits(&self, path: &[Have<'_>]) -> bool {
        let mut pairs = self.segments.iter().zip(path);
        self.segments.len() == path.len() && pairs.all(|(segment, have)| segment.fits(*have))
    }

    /// The page of a matching path.
    fn page(&self, path: &[Have<'_>]) -> Cow<'_, str> {
        match &self.page {
            Some(page) => Cow::Borrowed(page),
            None => Cow::Owned(self.show(Some(path))),
        }
    }

    /// The page. `path` is a matching path; it is needed only if the template has words to choose from.
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

    /// Whether the template can produce a page, given by its segments.
    fn can_give(&self, page: &[&str]) -> bool {
        let mut pairs = self.segments.iter().zip(page);
        self.segments.len() == page.len() && pairs.all(|(segment, shown)| segment.can_show(shown))
    }

    /// Whether this template matches every path that the other one matches.
    fn covers(&self, other: &Self) -> bool {
        let pairs = self.segments.iter().zip(&other.segments);
        self.segments.len() == other.segments.len() && pairs.into_iter().all(|(a, b)| a.covers(b))
    }

    /// Orders templates by specificity, from the left: literals first, then words, then forms, then parameters that
    /// match anything.
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

/// All templates of a plan, the most specific first; equally specific ones in the order given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Template>", into = "Vec<Template>")]
pub struct Routes(Vec<Template>);

impl Routes {
    /// The page for a path: the output of the first template that matches, or [`OTHER`]. Query and matrix parameters
    /// are not part of a page. A page maps to itself.
    pub fn page(&self, path: &str) -> Cow<'_, str> {
        let path = path.split_once('?').map_or(path, |(path, _query)| path);
        if path == OTHER && !self.lists(path) {
            return Cow::Borrowed(OTHER);
        }
        // A page may show a parameter's name, such as `:id`, which the parameter's own form would not match.
        if path.contains("/:") && self.lists(path) {
            return Cow::Owned(path.to_owned());
        }
        let path = segment::of_path(path);
        let fitting = self.0.iter().find(|template| template.fits(&path));
        fitting.map_or(Cow::Borrowed(OTHER), |template| template.page(&path))
    }

    /// Whether one of the templates can produce this page. [`OTHER`] does not count, unless it is a route of the site.
    pub fn lists(&self, page: &str) -> bool {
        segment::of_page(page).is_some_and(|page| self.0.iter().any(|template| template.can_give(&page)))
    }

    /// The templates, the most specific first.
    pub fn iter(&self) -> impl Iterator<Item = &Template> {
        self.0.iter()
    }

    /// Templates that never produce a page, each with an earlier one that matches all its paths.
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
