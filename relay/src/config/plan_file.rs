//! `plan.toml`: the tracking plan as people write and review it.

use crate::document::{self, Mistakes, Section};
use relay_event::event::{KEY_BYTES_MAX, NAME_CHARS_MAX, VALUE_BYTES_MAX};
use relay_event::plan::{Category, EventPlan, Plan, PropKind, PropPlan, Unmatched};
use relay_event::route::Template;
use std::collections::HashSet;

/// Most events of a plan: they become metric labels, which must stay few.
const EVENTS_MAX: usize = 200;

/// Reads and checks a plan.
pub(super) fn read(name: &str, text: &str) -> Result<Plan, Mistakes> {
    document::read(name, text, plan)
}

fn plan(root: &Section<'_>) -> Plan {
    let version = root.integer("version", 1..=i64::from(u32::MAX));
    if !root.has("version") {
        root.mistake(
            "version",
            "is missing: a whole number, raised whenever the plan lists more than before",
        );
    }
    let unmatched = root.parsed(
        "unmatched",
        "\"other\" (what the plan does not list does not leave) or \"scrub\" (it is scrubbed)",
        |text| match text {
            "other" => Some(Unmatched::Other),
            "scrub" => Some(Unmatched::Scrub),
            _ => None,
        },
    );
    let categories = root.section("category", |categories| {
        categories.each_section(|name, category| Category {
            name: name.to_owned(),
            description: description(category),
        })
    });
    let routes = root.list("routes", "routes such as \"/w/:workspace/tenants\"", |text| {
        Template::parse(text).map_err(|error| error.to_string())
    });
    let mut names = HashSet::new();
    let events: Vec<EventPlan> = root
        .sections("event", |section| event(section, &categories, &mut names))
        .into_iter()
        .flatten()
        .collect();
    if events.is_empty() || events.len() > EVENTS_MAX {
        root.mistake(
            "event",
            format!("must be there 1 to {EVENTS_MAX} times, as in [[event]]"),
        );
    }
    Plan {
        version: version.and_then(|v| u32::try_from(v).ok()).unwrap_or(1),
        categories,
        routes: routes.unwrap_or_default().into(),
        events,
        unmatched: unmatched.unwrap_or_default(),
        campaigns: false,
    }
}

fn event(section: &Section<'_>, categories: &[Category], names: &mut HashSet<String>) -> Option<EventPlan> {
    let name = section.parsed("name", "a name of 1 to 120 characters", |t| {
        (!t.trim().is_empty() && t.chars().count() <= NAME_CHARS_MAX).then(|| t.to_owned())
    });
    let category = section.text("category").unwrap_or_default();
    if !categories.iter().any(|c| c.name == category) {
        let known: Vec<_> = categories.iter().map(|c| c.name.as_str()).collect();
        section.mistake(
            "category",
            format!("must be one of the plan's categories: {}", known.join(", ")),
        );
    }
    let description = description(section);
    let props = section
        .section("prop", |props| props.each_section(prop))
        .into_iter()
        .flatten()
        .collect();
    let Some(name) = name else {
        if !section.has("name") {
            section.mistake("name", "is missing");
        }
        return None;
    };
    if !names.insert(name.clone()) {
        section.mistake("name", "is the name of another event as well");
    }
    Some(EventPlan {
        name,
        category,
        description,
        props,
    })
}

fn prop(key: &str, section: &Section<'_>) -> Option<PropPlan> {
    if key.len() > KEY_BYTES_MAX {
        section.mistake(
            "type",
            format!("belongs to a key of more than {KEY_BYTES_MAX} bytes"),
        );
    }
    let required = section.boolean("required").unwrap_or(false);
    let description = description(section);
    let kind = kind(section);
    kind.map(|kind| PropPlan {
        key: key.to_owned(),
        kind,
        required,
        description,
    })
}

fn kind(section: &Section<'_>) -> Option<PropKind> {
    const TYPES: &str = "\"enum\", \"int\", \"bool\", \"version\", \"text\", \"route\", \"link\" or \"file\"";
    let Some(kind) = section.text("type") else {
        section.mistake("type", format!("is missing: {TYPES}"));
        return None;
    };
    Some(match kind.as_str() {
        "enum" => {
            let values = section.list("values", "texts", |t| {
                let ok = !t.trim().is_empty() && t.len() <= VALUE_BYTES_MAX;
                ok.then(|| t.to_owned())
                    .ok_or_else(|| "one of them is blank or too long".to_owned())
            });
            match values {
                Some(values) if !values.is_empty() => PropKind::Enum { values },
                _ => {
                    section.mistake("values", "must list at least one text");
                    return None;
                }
            }
        }
        "int" => {
            let any = i64::MIN..=i64::MAX;
            match (section.integer("min", any.clone()), section.integer("max", any)) {
                (Some(min), Some(max)) if min <= max => PropKind::Int { min, max },
                _ => {
                    section.mistake("min", "and `max` must be whole numbers, the smaller first");
                    return None;
                }
            }
        }
        "bool" => PropKind::Bool,
        "version" => PropKind::Version,
        "text" => {
            let max = section
                .integer("max", 1..=2000)
                .and_then(|n| usize::try_from(n).ok());
            PropKind::Text {
                max: max.unwrap_or(200),
            }
        }
        "route" => PropKind::Route,
        "link" => PropKind::Link,
        "file" => PropKind::File,
        _ => {
            section.mistake("type", format!("must be {TYPES}"));
            return None;
        }
    })
}

/// A plan is read by users and reviewers, so everything in it says what it is for.
fn description(section: &Section<'_>) -> String {
    let text = section.text("description").unwrap_or_default();
    if text.trim().is_empty() {
        section.mistake(
            "description",
            "is missing: say what this tells, for the users who are asked",
        );
    }
    text
}
