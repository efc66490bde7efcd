//! `[[site]]`: the sites events may belong to.

use crate::config::plans::{PlanFiles, SitePlan};
use crate::document::Section;
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
        let origins = section.list("origins", "origins such as \"https://panel.example.com\"", origin);
        let operator_lock = section.boolean("operator_lock").unwrap_or(false);
        let plan = plans.of_site(section);
        if !section.has("domain") {
            section.mistake(
                "domain",
                "is missing: the site's domain in Plausible, such as \"panel.example.com\"",
            );
            return None;
        }
        let domain = section.parsed(
            "domain",
            "a domain such as \"panel.example.com\", without www. and port",
            domain,
        )?;
        if !seen.insert(domain.clone()) {
            section.mistake("domain", "is the domain of another site as well");
        }
        Some(Self {
            origins: origins.unwrap_or_else(|| vec![format!("https://{domain}")]),
            operator_lock,
            plan: plan?,
            domain,
        })
    }
}

/// Plausible looks a domain up exactly and case-sensitively, and takes `www.` away (contract a.3).
fn domain(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._/".contains(c);
    let ok = !text.is_empty() && text.len() <= 253 && text.chars().all(plain) && !text.starts_with("www.");
    ok.then(|| text.to_owned())
}

fn origin(text: &str) -> Result<String, String> {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']) => {
            Ok(text.to_ascii_lowercase())
        }
        _ => Err("an origin is scheme, host and port only, without a path".to_owned()),
    }
}
