//! The tracking plan of each site: the site's own, the general one, or the built-in one.

use crate::config::plan_file;
use crate::config::toml::{Diagnostics, Table};
use crate::digest::sha256;
use relay_event::Plan;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The plan shipped with the relay, for meshPanel.
pub const DEFAULT_PLAN: &str = include_str!("../../plan.toml");
/// The shipped plan's name in messages.
const DEFAULT_NAME: &str = "plan.toml (built in)";

/// The plan of one or more sites. Clones are the same plan; reading a file again creates a different one, so that
/// state kept per plan cannot mix the two.
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
    pub fn load(path: &Path) -> Result<Self, Diagnostics> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Diagnostics::of_file(
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
    pub fn parse(name: &str, text: &str) -> Result<Self, Diagnostics> {
        plan_file::read(name, text).map(|plan| Self::new(name.to_owned(), plan, text))
    }

    /// The plan shipped with the relay.
    ///
    /// # Errors
    /// Never; a test proves it. A defect would be reported like an operator's mistake.
    pub fn built_in() -> Result<Self, Diagnostics> {
        Self::parse(DEFAULT_NAME, DEFAULT_PLAN)
    }

    /// The origin of the plan, for people.
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
    /// A plan without a file.
    fn from(plan: Plan) -> Self {
        Self::new("plan".to_owned(), plan, "")
    }
}

impl From<SitePlan> for Plans {
    fn from(plan: SitePlan) -> Self {
        Self(vec![plan])
    }
}

/// Reads the files that `plan` keys name, each once, and collects their mistakes.
pub(super) struct PlanFiles<'f> {
    folder: &'f Path,
    /// The plans by path. The key `None` is the built-in plan; the value `None` is a file with mistakes.
    read: BTreeMap<Option<PathBuf>, Option<SitePlan>>,
    /// The value of the key at the top of the file.
    general: Option<PathBuf>,
    pub(super) mistakes: Diagnostics,
}

impl<'f> PlanFiles<'f> {
    pub(super) fn new(folder: &'f Path) -> Self {
        Self {
            folder,
            read: BTreeMap::new(),
            general: None,
            mistakes: Diagnostics::default(),
        }
    }

    /// Reads the key at the top of the file. Checks the file it names even if every site has its own.
    pub(super) fn general(&mut self, root: &Table<'_>) {
        if let Some(path) = self.path(root) {
            self.file(root, path.clone());
            self.general = Some(path);
        }
    }

    /// The plan of a site. `None` means mistakes, which have been recorded.
    pub(super) fn of_site(&mut self, site: &Table<'_>) -> Option<SitePlan> {
        match self.path(site) {
            Some(path) => self.file(site, path),
            // The wrong type is already recorded; using another plan instead would only add confusion.
            None if site.has("plan") => None,
            None => match self.general.clone() {
                // A missing file is recorded at the key at the top.
                Some(path) => self.read.get(&Some(path)).cloned().flatten(),
                None => self.keep(None, DEFAULT_NAME, DEFAULT_PLAN),
            },
        }
    }

    fn path(&self, section: &Table<'_>) -> Option<PathBuf> {
        section.text("plan").map(|name| self.folder.join(name))
    }

    fn file(&mut self, section: &Table<'_>, path: PathBuf) -> Option<SitePlan> {
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
        let parse = || {
            let plan = SitePlan::parse(name, text);
            plan.map_err(|wrong| mistakes.merge(wrong)).ok()
        };
        read.entry(path).or_insert_with(parse).clone()
    }
}
