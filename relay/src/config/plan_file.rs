//! `plan.toml`: the tracking plan as people write and review it.

mod kind;

use crate::config::toml::{self, Diagnostics, Table};
use relay_event::event::{KEY_BYTES_MAX, NAME_CHARS_MAX};
use relay_event::plan::{Category, EventPlan, Plan, PropPlan, Unmatched};
use relay_event::route::Template;
use std::collections::HashSet;

/// Maximum number of events in a plan, to limit the cardinality of metric labels. More is a mistake.
const EVENTS_MAX: usize = 200;
/// Maximum number of categories: users consent to each of them. More is a mistake.
const CATEGORIES_MAX: usize = 20;
/// Longest name of a category, in bytes: each consent carries it.
const CATEGORY_BYTES_MAX: usize = 40;
/// Maximum number of routes: each path is compared with all of them. More is a mistake; parameters save routes.
const ROUTES_MAX: usize = 2000;
/// Maximum number of properties of an event: Plausible stores no more (contract a.4). More is a mistake.
const PROPS_MAX: usize = 30;

/// Reads and checks a plan.
pub(super) fn read(name: &str, text: &str) -> Result<Plan, Diagnostics> {
    toml::read(name, text, plan)
}

fn plan(root: &Table<'_>) -> Plan {
    let version = root.integer("version", 1..=u32::MAX);
    root.require(
        "version",
        "write a whole number, and raise it whenever the plan lists more than before, as in version = 1",
    );
    let unmatched = root
        .parsed(
            "unmatched",
            "\"other\" (unlisted data does not leave) or \"scrub\" (unlisted data leaves if the detectors find \
             nothing in it)",
            |text| match text {
                "other" => Some(Unmatched::Other),
                "scrub" => Some(Unmatched::Scrub),
                _ => None,
            },
        )
        .unwrap_or_default();
    let scrubs = unmatched == Unmatched::Scrub;
    let campaigns = root.boolean("campaigns");
    let categories = categories(root, scrubs);
    let routes = routes(root);
    let mut names = HashSet::new();
    let events: Vec<EventPlan> = root
        .sections("event", |section| event(section, &categories, &mut names))
        .into_iter()
        .flatten()
        .collect();
    if !scrubs {
        root.require(
            "event",
            "list what may be sent, as in [[event]] name = \"pageview\", or say unmatched = \"scrub\"",
        );
    }
    if events.len() > EVENTS_MAX {
        root.mistake(
            "event",
            format!("has more than {EVENTS_MAX} entries; distinguish variants of one event by a property"),
        );
    }
    Plan {
        version: version.unwrap_or(1),
        categories,
        routes: routes.into(),
        events,
        unmatched,
        campaigns: campaigns.unwrap_or(scrubs),
    }
}

/// Reads the categories. A plan that scrubs unlisted events needs a category for them: if it has none, the default
/// one of a site without a plan.
fn categories(root: &Table<'_>, scrubs: bool) -> Vec<Category> {
    let categories = root.section("category", |categories| {
        categories.each_section(|name, category| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if name.is_empty() || name.len() > CATEGORY_BYTES_MAX || !name.bytes().all(plain) {
                category.mistake(
                    "description",
                    format!("belongs to a category whose name is not 1 to {CATEGORY_BYTES_MAX} letters, digits, '-' or '_'"),
                );
            }
            Category {
                name: name.to_owned(),
                description: description(category),
            }
        })
    });
    if categories.len() > CATEGORIES_MAX {
        root.mistake(
            "category",
            format!("has more than {CATEGORIES_MAX} entries; users would not read that many questions"),
        );
    }
    match categories.is_empty() {
        true if scrubs => Plan::unplanned().categories,
        _ => categories,
    }
}

fn routes(root: &Table<'_>) -> Vec<Template> {
    let mut seen = HashSet::new();
    let routes = root.list("routes", "routes such as \"/w/:workspace/tenants\"", |text| {
        let template = Template::parse(text).map_err(|error| error.to_string())?;
        if !seen.insert(text.to_owned()) {
            return Err(format!("{text} is listed twice"));
        }
        Ok(template)
    });
    let routes = routes.unwrap_or_default();
    if routes.len() > ROUTES_MAX {
        root.mistake(
            "routes",
            format!("must list at most {ROUTES_MAX} routes; a parameter such as :workspace stands for many"),
        );
    }
    routes
}

fn event(section: &Table<'_>, categories: &[Category], names: &mut HashSet<String>) -> Option<EventPlan> {
    let name = section.parsed(
        "name",
        "a name of 1 to 120 characters, none of them a control character",
        |t| {
            let fits = !t.trim().is_empty() && t.chars().count() <= NAME_CHARS_MAX;
            (fits && !t.chars().any(char::is_control)).then(|| t.to_owned())
        },
    );
    let category = section.text("category").unwrap_or_default();
    if !categories.iter().any(|c| c.name == category) {
        let known: Vec<_> = categories.iter().map(|c| c.name.as_str()).collect();
        section.mistake(
            "category",
            match known.as_slice() {
                [] => "must be one of the plan's categories, but the plan has none: add one, as in [category.usage] \
                    description = \"…\"".to_owned(),
                known => format!("must be one of the plan's categories: {}", known.join(", ")),
            },
        );
    }
    let description = description(section);
    let revenue = section.boolean("revenue").unwrap_or(false);
    let props: Vec<PropPlan> = section
        .section("prop", |props| props.each_section(prop))
        .into_iter()
        .flatten()
        .collect();
    if props.len() > PROPS_MAX {
        section.mistake(
            "prop",
            format!("has more than {PROPS_MAX} entries; Plausible keeps no more"),
        );
    }
    section.require("name", "the name that the page sends, as in name = \"pageview\"");
    let name = name?;
    if !names.insert(name.clone()) {
        section.mistake("name", "is already the name of another event");
    }
    Some(EventPlan {
        name,
        category,
        description,
        revenue,
        props,
    })
}

fn prop(key: &str, section: &Table<'_>) -> Option<PropPlan> {
    if key.trim().is_empty() || key.len() > KEY_BYTES_MAX || key.chars().any(char::is_control) {
        section.mistake(
            "type",
            format!("belongs to a key that is blank, longer than {KEY_BYTES_MAX} bytes or holds a control character"),
        );
    }
    let required = section.boolean("required").unwrap_or(false);
    let description = description(section);
    kind::kind(section).map(|kind| PropPlan {
        key: key.to_owned(),
        kind,
        required,
        description,
    })
}

/// A required description: users and reviewers read the plan, so every item states its purpose.
fn description(section: &Table<'_>) -> String {
    let text = section.text("description").unwrap_or_default();
    if !section.has("description") || text.trim().is_empty() {
        section.mistake(
            "description",
            "is missing: describe what this reveals, for the users who are asked for consent",
        );
    }
    text
}

#[cfg(test)]
mod tests;
