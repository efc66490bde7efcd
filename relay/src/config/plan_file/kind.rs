//! The allowed values of one property: `type` and the keys that belong to it.

use crate::config::toml::Table;
use relay_event::event::VALUE_BYTES_MAX;
use relay_event::plan::{Buckets, PropKind};
use std::collections::HashSet;

/// Maximum number of values of one enum. Every event's value is compared with each, and a longer list is unreadable;
/// more is a mistake in the plan.
const VALUES_MAX: usize = 200;
/// Longest text without `max`, in characters.
const TEXT_CHARS: usize = 200;
const TYPES: &str =
    "\"enum\", \"int\", \"bool\", \"version\", \"duration\", \"text\", \"route\", \"link\" or \"file\"";

/// Reads a property's kind. `None` means mistakes, which have been recorded.
pub(super) fn kind(section: &Table<'_>) -> Option<PropKind> {
    let kind = section.parsed("type", TYPES, |text| match text {
        "enum" => Some(values as fn(&Table<'_>) -> Option<PropKind>),
        "int" => Some(int),
        "bool" => Some(|_| Some(PropKind::Bool)),
        "version" => Some(|_| Some(PropKind::Version)),
        "duration" => Some(buckets),
        "text" => Some(free_text),
        "route" => Some(|_| Some(PropKind::Route)),
        "link" => Some(|_| Some(PropKind::Link)),
        "file" => Some(|_| Some(PropKind::File)),
        _ => None,
    });
    if let Some(read) = kind {
        return read(section);
    }
    section.require("type", format!("write the type of the value, one of {TYPES}"));
    // Marks these keys as known, because each belongs to some type; which of them are wrong is not known yet.
    for key in ["values", "min", "max", "buckets"] {
        section.has(key);
    }
    None
}

fn free_text(section: &Table<'_>) -> Option<PropKind> {
    let max = section.integer("max", 1..=2000).unwrap_or(TEXT_CHARS);
    Some(PropKind::Text { max })
}

fn values(section: &Table<'_>) -> Option<PropKind> {
    section.require(
        "values",
        "list the texts that may leave, as in [\"small\", \"large\"]",
    );
    let (mut seen, mut given) = (HashSet::new(), 0);
    let values = section.list("values", "texts", |text| {
        given += 1;
        if text.trim().is_empty() || text.len() > VALUE_BYTES_MAX || text.chars().any(char::is_control) {
            return Err("one of them is blank, too long or holds a control character".to_owned());
        }
        if !seen.insert(text.to_owned()) {
            return Err(format!("\"{text}\" is listed twice"));
        }
        Ok(text.to_owned())
    })?;
    match given {
        0 => section.mistake(
            "values",
            "must list at least one text; without any, no value could leave",
        ),
        n if n > VALUES_MAX => section.mistake(
            "values",
            format!("must list at most {VALUES_MAX} texts; should its type be \"text\"?"),
        ),
        _ => return Some(PropKind::Enum { values }),
    }
    None
}

fn int(section: &Table<'_>) -> Option<PropKind> {
    for key in ["min", "max"] {
        section.require(
            key,
            "an \"int\" has a `min` and a `max`, because an unbounded number could identify a person",
        );
    }
    let any = i64::MIN..=i64::MAX;
    let (min, max) = (section.integer("min", any.clone()), section.integer("max", any));
    let (min, max) = (min?, max?);
    if min > max {
        section.mistake("min", format!("must not be larger than `max`, which is {max}"));
        return None;
    }
    Some(PropKind::Int { min, max })
}

fn buckets(section: &Table<'_>) -> Option<PropKind> {
    const EXAMPLE: &str = "[\"1s\", \"5s\", \"30s\", \"2m\"]";
    section.require(
        "buckets",
        format!("list the bounds between the buckets, as in {EXAMPLE}; the exact time never leaves"),
    );
    let bounds = section.list("buckets", "durations", |text| Ok(text.to_owned()))?;
    Buckets::new(bounds)
        .map(|buckets| PropKind::Duration { buckets })
        .map_err(|error| section.mistake("buckets", format!("must be durations as in {EXAMPLE}: {error}")))
        .ok()
}
