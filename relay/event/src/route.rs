//! Route templates: `/w/:workspace/p/:project` stands for every workspace and project.

use serde::{Deserialize, Serialize};

/// The page that stands for every path no template fits.
pub const OTHER: &str = "/other";

/// Longest template, in bytes: with scheme and host it stays far below Plausible's 2000.
const TEMPLATE_BYTES_MAX: usize = 500;

/// One route template of the plan. `:name` segments stand for any single segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(String);

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It does not begin with a slash.
    #[error("a route starts with a slash, as in /w/:workspace/tenants")]
    NoSlash,
    /// A segment is empty, or holds what a path segment written by hand would not.
    #[error(
        "a segment is letters, digits, '-', '_', '.' or '~', or a ':' and the name of what it stands for"
    )]
    Segment,
    /// It is too long.
    #[error("a route has at most {TEMPLATE_BYTES_MAX} characters")]
    TooLong,
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::TooLong);
        }
        let rest = text.strip_prefix('/').ok_or(TemplateError::NoSlash)?;
        if !rest.is_empty() && !rest.split('/').all(segment_ok) {
            return Err(TemplateError::Segment);
        }
        Ok(Self(text.to_owned()))
    }

    /// The template as text. This is the page name an analyst reads.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the template stands for a path.
    fn fits(&self, path: &str) -> bool {
        let mut want = segments(&self.0);
        let mut have = segments(path);
        loop {
            match (want.next(), have.next()) {
                (None, None) => return true,
                (Some(want), Some(have)) if want == have || (want.starts_with(':') && !have.is_empty()) => {}
                _ => return false,
            }
        }
    }

    /// Orders templates by how much they say: literal segments before named ones, from the left.
    fn specificity(&self) -> impl Ord + use<> {
        segments(&self.0).map(|s| s.starts_with(':')).collect::<Vec<_>>()
    }
}

fn segment_ok(segment: &str) -> bool {
    let name = segment.strip_prefix(':').unwrap_or(segment);
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
}

/// A path's segments. A trailing slash makes no difference.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).split('/')
}

impl TryFrom<String> for Template {
    type Error = TemplateError;
    fn try_from(text: String) -> Result<Self, TemplateError> {
        Self::parse(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.0
    }
}

/// All templates of a plan, the most specific first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Template>", into = "Vec<Template>")]
pub struct Routes(Vec<Template>);

impl Routes {
    /// The template that stands for a path, or [`OTHER`].
    pub fn page(&self, path: &str) -> &str {
        let path = if path.is_empty() { "/" } else { path };
        self.0
            .iter()
            .find(|t| t.fits(path))
            .map_or(OTHER, Template::as_str)
    }

    /// The templates, the most specific first.
    pub fn iter(&self) -> impl Iterator<Item = &Template> {
        self.0.iter()
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
mod tests {
    use super::*;

    fn routes(list: &[&str]) -> Routes {
        list.iter()
            .map(|t| Template::parse(t).unwrap())
            .collect::<Vec<_>>()
            .into()
    }

    #[test]
    fn the_most_specific_template_names_the_page() {
        let routes = routes(&[
            "/",
            "/w/:workspace",
            "/w/:workspace/p/:project",
            "/w/:workspace/p/new",
            "/version",
        ]);
        let check = |path: &str, page: &str| assert_eq!(routes.page(path), page, "{path}");
        check("/", "/");
        check("", "/");
        check("/version", "/version");
        check("/version/", "/version");
        check("/w/acme-prod", "/w/:workspace");
        check("/w/acme-prod/p/billing-7", "/w/:workspace/p/:project");
        check("/w/acme-prod/p/new", "/w/:workspace/p/new");
        check("/w/acme-prod/p/billing-7/secret", OTHER);
        check("/w", OTHER);
        check("/w//p/x", OTHER);
        check("//w/acme", OTHER);
        check("/jane@example.com", OTHER);
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let check = |text: &str, error| assert_eq!(Template::parse(text).err(), error, "{text}");
        check("/w/:workspace/p/:project", None);
        check("/", None);
        check("w/:workspace", Some(TemplateError::NoSlash));
        check("/w/:", Some(TemplateError::Segment));
        check("/w//p", Some(TemplateError::Segment));
        check("/w/a b", Some(TemplateError::Segment));
        check("/w/?q", Some(TemplateError::Segment));
        check(&"/a".repeat(300), Some(TemplateError::TooLong));
    }
}
