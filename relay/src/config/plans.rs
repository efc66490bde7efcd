//! Which tracking plan applies to which site: the site's own, the one for all, or the one built in.

use crate::config::plan_file;
use crate::document::{Mistakes, Section};
use crate::sandbox::sha256;
use relay_event::Plan;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The plan shipped with the relay, for meshPanel.
pub const DEFAULT_PLAN: &str = include_str!("../../plan.toml");
/// What the plan shipped is called in messages.
const DEFAULT_NAME: &str = "plan.toml (built in)";

/// The plan of one or more sites. Clones are the same plan; a second reading of a file is another one,
/// so that whoever keeps something per plan cannot mistake one for the other.
#[derive(Clone)]
pub struct SitePlan(Arc<Named>);

struct Named {
    name: String,
    plan: Plan,
    digest: String,
}

impl SitePlan {
    fn new(name: String, plan: Plan, text: &str) -> Self {
        let digest = sha256(text.as_bytes());
        Self(Arc::new(Named { name, plan, digest }))
    }

    /// Reads a plan from a file.
    ///
    /// # Errors
    /// Every mistake of the plan, with its line.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Mistakes::of_file(
                path,
                format!("cannot be read: {error}. Name a tracking plan, such as a copy of relay/plan.toml"),
            )
        })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads a plan from text. Its mistakes begin with the name.
    ///
    /// # Errors
    /// Every mistake of the plan, with its line.
    pub fn parse(name: &str, text: &str) -> Result<Self, Mistakes> {
        plan_file::read(name, text).map(|plan| Self::new(name.to_owned(), plan, text))
    }

    /// The plan shipped with the relay.
    ///
    /// # Errors
    /// Never, as a test proves; a defect of ours would be reported like an operator's mistake.
    pub fn built_in() -> Result<Self, Mistakes> {
        default_plan().map(|plan| Self::new(DEFAULT_NAME.to_owned(), plan, DEFAULT_PLAN))
    }

    /// Where the plan was read from, for people.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The file it was read from; `None` for the plan shipped with the relay.
    pub fn file(&self) -> Option<&Path> {
        let name = self.name();
        (name != DEFAULT_NAME).then(|| Path::new(name))
    }

    /// The SHA-256 of its text.
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// Whether both are the same reading of the same plan.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for SitePlan {
    type Target = Plan;
    fn deref(&self) -> &Plan {
        &self.0.plan
    }
}

impl fmt::Debug for SitePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SitePlan({})", self.0.name)
    }
}

/// The plans that sites use, each once.
#[derive(Clone, Debug, Default)]
pub struct Plans(Vec<SitePlan>);

impl Plans {
    /// Each plan in use.
    pub fn iter(&self) -> impl Iterator<Item = &SitePlan> {
        self.0.iter()
    }

    pub(crate) fn in_use<'p>(plans: impl Iterator<Item = &'p SitePlan>) -> Self {
        let mut list: Vec<SitePlan> = Vec::new();
        for plan in plans {
            if !list.iter().any(|known| known.is(plan)) {
                list.push(plan.clone());
            }
        }
        Self(list)
    }
}

impl From<Plan> for SitePlan {
    /// A plan that no file holds.
    fn from(plan: Plan) -> Self {
        Self::new("plan".to_owned(), plan, "")
    }
}

impl From<SitePlan> for Plans {
    fn from(plan: SitePlan) -> Self {
        Self(vec![plan])
    }
}

/// Reads the files that `plan` keys name, each once, and gathers their mistakes.
pub(super) struct PlanFiles<'f> {
    folder: &'f Path,
    /// By path; `None` as the path is the plan built in, as the plan a file with mistakes.
    read: BTreeMap<Option<PathBuf>, Option<SitePlan>>,
    /// What the key at the top of the file says.
    general: Option<PathBuf>,
    pub(super) mistakes: Mistakes,
}

impl<'f> PlanFiles<'f> {
    pub(super) fn new(folder: &'f Path) -> Self {
        Self {
            folder,
            read: BTreeMap::new(),
            general: None,
            mistakes: Mistakes::default(),
        }
    }

    /// Reads the key at the top of the file. A file named there is checked even when every site has its own.
    pub(super) fn general(&mut self, root: &Section<'_>) {
        if let Some(path) = self.path(root) {
            self.file(root, path.clone());
            self.general = Some(path);
        }
    }

    /// The plan of a site. `None` means mistakes, which have been noted.
    pub(super) fn of_site(&mut self, site: &Section<'_>) -> Option<SitePlan> {
        match self.path(site) {
            Some(path) => self.file(site, path),
            // A key of the wrong type has been noted; another plan in its place would only add confusion.
            None if site.has("plan") => None,
            None => match self.general.clone() {
                // Noted at the key at the top when it is missing here.
                Some(path) => self.read.get(&Some(path)).cloned().flatten(),
                None => self.keep(None, DEFAULT_NAME, DEFAULT_PLAN),
            },
        }
    }

    fn path(&self, section: &Section<'_>) -> Option<PathBuf> {
        section.text("plan").map(|name| self.folder.join(name))
    }

    fn file(&mut self, section: &Section<'_>, path: PathBuf) -> Option<SitePlan> {
        if let Some(read) = self.read.get(&Some(path.clone())) {
            return read.clone();
        }
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let name = path.display().to_string();
                self.keep(Some(path), &name, &text)
            }
            Err(error) => {
                section.mistake("plan", format!("names a file that cannot be read: {error}"));
                None
            }
        }
    }

    fn keep(&mut self, path: Option<PathBuf>, name: &str, text: &str) -> Option<SitePlan> {
        let Self { read, mistakes, .. } = self;
        read.entry(path)
            .or_insert_with(|| {
                plan_file::read(name, text)
                    .map(|plan| SitePlan::new(name.to_owned(), plan, text))
                    .map_err(|wrong| mistakes.merge(wrong))
                    .ok()
            })
            .clone()
    }
}

/// The plan in a file.
///
/// # Errors
/// Every mistake of the file, by line.
pub fn read_plan(path: &Path) -> Result<SitePlan, Mistakes> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Mistakes::of_file(path, format!("cannot be read: {error}")))?;
    let name = path.display().to_string();
    plan_file::read(&name, &text).map(|plan| SitePlan::new(name, plan, &text))
}

/// The plan shipped with the relay.
///
/// # Errors
/// Never, as a test proves; a defect of ours would be reported like an operator's mistake.
pub fn default_plan() -> Result<Plan, Mistakes> {
    plan_file::read(DEFAULT_NAME, DEFAULT_PLAN)
}
