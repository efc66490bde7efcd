//! `[[site]]`: the sites that events may belong to.

use crate::config::name;
use crate::config::plans::{PlanFiles, SitePlan};
use crate::config::toml::Table;
use std::collections::HashSet;

/// One site, as Plausible knows it.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// The domain under which Plausible counts the site.
    pub domain: String,
    /// Origins of pages that may send events, for example `https://panel.example.com`.
    pub origins: Vec<String>,
    /// The operator's lock for this site only.
    pub operator_lock: bool,
    /// The tracking plan: no other data of this site's events may leave the relay.
    pub plan: SitePlan,
}

impl SiteConfig {
    pub(super) fn read_all(root: &Table<'_>, plans: &mut PlanFiles<'_>) -> Vec<Self> {
        let mut seen = HashSet::new();
        let sites: Vec<Self> = root
            .sections("site", |section| Self::read(section, plans, &mut seen))
            .into_iter()
            .flatten()
            .collect();
        root.require(
            "site",
            "name at least one, as in [[site]] domain = \"panel.example.com\"",
        );
        sites
    }

    fn read(section: &Table<'_>, plans: &mut PlanFiles<'_>, seen: &mut HashSet<String>) -> Option<Self> {
        let origins = origins(section);
        let operator_lock = section.boolean("operator_lock").unwrap_or(false);
        let plan = plans.of_site(section);
        section.require(
            "domain",
            "the site's domain in Plausible, such as \"panel.example.com\"",
        );
        let domain = name::read_domain(section, "domain")?;
        if !seen.insert(domain.clone()) {
            section.mistake("domain", "is already the domain of another site");
        }
        Some(Self {
            origins: origins.unwrap_or_else(|| vec![name::origin_of(&domain)]),
            operator_lock,
            plan: plan?,
            domain,
        })
    }
}

/// The listed origins, without duplicates.
fn origins(section: &Table<'_>) -> Option<Vec<String>> {
    let mut listed = 0;
    let read = |text: &str| {
        listed += 1;
        name::origin(text)
    };
    let mut origins = section.list("origins", "origins such as \"https://panel.example.com\"", read)?;
    if listed == 0 {
        section.mistake(
            "origins",
            "lists no origin, so no page can send events; leave it out to allow the origin of `domain`",
        );
    }
    origins.sort_unstable();
    origins.dedup();
    Some(origins)
}
