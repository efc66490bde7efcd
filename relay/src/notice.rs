//! Output generated from a tracking plan: advice for its author, the privacy page for users, types for developers.
//!
//! The plan itself is `relay_event::plan`; `config` reads its file and reports mistakes.

pub mod advice;
pub mod page;
pub mod prose;
pub mod types;

use relay_event::plan::{EventPlan, Plan, PropKind};

/// Counts of a plan's items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The version.
    pub version: u32,
    /// Number of categories.
    pub categories: usize,
    /// Number of events.
    pub events: usize,
    /// Number of routes.
    pub routes: usize,
    /// Number of properties of each kind, by the kind's name in the file.
    pub props: Vec<(&'static str, usize)>,
}

impl Summary {
    /// Counts the items of a plan.
    pub fn of(plan: &Plan) -> Self {
        let mut props: Vec<(&'static str, usize)> = Vec::new();
        for prop in plan.events.iter().flat_map(|event| &event.props) {
            let name = kind_name(&prop.kind);
            match props.iter_mut().find(|(known, _)| *known == name) {
                Some((_, count)) => *count += 1,
                None => props.push((name, 1)),
            }
        }
        Self {
            version: plan.version,
            categories: plan.categories.len(),
            events: plan.events.len(),
            routes: plan.routes.iter().count(),
            props,
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds: Vec<String> = self.props.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        let kinds = match kinds.is_empty() {
            true => "none".to_owned(),
            false => kinds.join(", "),
        };
        write!(
            f,
            "version {}: {} categories, {} events, {} routes; properties: {kinds}",
            self.version, self.categories, self.events, self.routes
        )
    }
}

/// A kind's name in the file.
pub(crate) fn kind_name(kind: &PropKind) -> &'static str {
    match kind {
        PropKind::Enum { .. } => "enum",
        PropKind::Int { .. } => "int",
        PropKind::Bool => "bool",
        PropKind::Version => "version",
        PropKind::Duration { .. } => "duration",
        PropKind::Text { .. } => "text",
        PropKind::Route => "route",
        PropKind::Link => "link",
        PropKind::File => "file",
    }
}

/// The events of a category, in the plan's order.
fn events_of<'p>(plan: &'p Plan, category: &'p str) -> impl Iterator<Item = &'p EventPlan> {
    plan.events.iter().filter(move |event| event.category == category)
}

#[cfg(test)]
mod tests;
