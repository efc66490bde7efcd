//! `[[site]]`: the sites events may belong to.

use crate::config::name;
use crate::config::plans::{PlanFiles, SitePlan};
use crate::document::Section;
use std::cell::Cell;
use std::collections::HashSet;

/// One site, as Plausible knows it.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// The domain under which Plausible counts the site.
    pub domain: String,
    /// Origins of pages that may send events, as `https://panel.example.com`.
    pub origins: Vec<String>,
    /// The operator's lock for this site alone.
    pub operator_lock: bool,
    /// The tracking plan: all that may ever leave of this site's events.
    pub plan: SitePlan,
}

impl SiteConfig {
    pub(super) fn read_all(root: &Section<'_>, plans: &mut PlanFiles<'_>) -> Vec<Self> {
        let mut seen = HashSet::new();
        let sites: Vec<Self> = root
            .sections("site", |section| Self::read(section, plans, &mut seen))
            .into_iter()
            .flatten()
            .collect();
        if !root.has("site") {
            root.mistake(
                "site",
                "is missing: name at least one, as in [[site]] domain = \"panel.example.com\"",
            );
        }
        sites
    }

    fn read(section: &Section<'_>, plans: &mut PlanFiles<'_>, seen: &mut HashSet<String>) -> Option<Self> {
        let origins = origins(section);
        let operator_lock = section.boolean("operator_lock").unwrap_or(false);
        let plan = plans.of_site(section);
        if !section.has("domain") {
            section.mistake(
                "domain",
                "is missing: the site's domain in Plausible, such as \"panel.example.com\"",
            );
            return None;
        }
        let domain = name::domain(&section.text("domain")?)
            .map_err(|why| section.mistake("domain", format!("is wrong: {why}")))
            .ok()?;
        if !seen.insert(domain.clone()) {
            section.mistake("domain", "is the domain of another site as well");
        }
        Some(Self {
            origins: origins.unwrap_or_else(|| vec![name::origin_of(&domain)]),
            operator_lock,
            plan: plan?,
            domain,
        })
    }
}

/// The origins listed, each once.
fn origins(section: &Section<'_>) -> Option<Vec<String>> {
    let listed = Cell::new(0_usize);
    let read = |text: &str| {
        listed.set(listed.get() + 1);
        name::origin(text)
    };
    let mut origins = section.list("origins", "origins such as \"https://panel.example.com\"", read)?;
    if listed.get() == 0 {
        section.mistake(
            "origins",
            "lists no origin, so no page may send; leave it out for the origin of `domain`",
        );
    }
    origins.sort_unstable();
    origins.dedup();
    Some(origins)
}
