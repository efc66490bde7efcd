//! What one property may hold: `type` and the keys that belong to it.

use crate::document::Section;
use relay_event::event::VALUE_BYTES_MAX;
use relay_event::plan::{Buckets, PropKind};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;

/// Most values of one enum. The value of every event is compared with each, and nobody reads a longer
/// list; more is a mistake of the plan.
const VALUES_MAX: usize = 200;
/// Longest text where `max` does not say, in characters.
const TEXT_CHARS: usize = 200;
const TYPES: &str =
    "\"enum\", \"int\", \"bool\", \"version\", \"duration\", \"text\", \"route\", \"link\" or \"file\"";

/// Reads a property's kind. `None` means mistakes, which have been noted.
pub(super) fn kind(section: &Section<'_>) -> Option<PropKind> {
    let kind = section.parsed("type", TYPES, |text| match text {
        "enum" => Some(values as fn(&Section<'_>) -> Option<PropKind>),
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
    if !section.has("type") {
        section.mistake(
            "type",
            format!("is missing: say what the value may be, one of {TYPES}"),
        );
    }
    // They belong to some type; which of them are too many is not known yet.
    for key in ["values", "min", "max", "buckets"] {
        section.has(key);
    }
    None
}

fn free_text(section: &Section<'_>) -> Option<PropKind> {
    let max = section.integer("max", 1..=2000);
    Some(PropKind::Text {
        max: max.and_then(|n| usize::try_from(n).ok()).unwrap_or(TEXT_CHARS),
    })
}

fn values(section: &Section<'_>) -> Option<PropKind> {
    if !section.has("values") {
        section.mistake(
            "values",
            "is missing: list the texts that may leave, as in [\"small\", \"large\"]",
        );
        return None;
    }
    let seen = RefCell::new(HashSet::new());
    let given = Cell::new(0_usize);
    let values = section.list("values", "texts", |text| {
        given.set(given.get() + 1);
        if text.trim().is_empty() || text.len() > VALUE_BYTES_MAX || text.chars().any(char::is_control) {
            return Err("one of them is blank, too long or holds a control character".to_owned());
        }
        if !seen.borrow_mut().insert(text.to_owned()) {
            return Err(format!("\"{text}\" is listed twice"));
        }
        Ok(text.to_owned())
    })?;
    match given.get() {
        0 => section.mistake(
            "values",
            "must list at least one text; without any, no value could leave",
        ),
        n if n > VALUES_MAX => section.mistake(
            "values",
            format!("must list at most {VALUES_MAX} texts; is this a \"text\"?"),
        ),
        _ => return Some(PropKind::Enum { values }),
    }
    None
}

fn int(section: &Section<'_>) -> Option<PropKind> {
    for key in ["min", "max"] {
        if !section.has(key) {
            section.mistake(
                key,
                "is missing: an \"int\" has a `min` and a `max`, because any number could be somebody's",
            );
        }
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

fn buckets(section: &Section<'_>) -> Option<PropKind> {
    const EXAMPLE: &str = "[\"1s\", \"5s\", \"30s\", \"2m\"]";
    if !section.has("buckets") {
        section.mistake(
            "buckets",
            format!(
                "is missing: list where one bucket ends and the next begins, as in {EXAMPLE}; the exact time never leaves"
            ),
        );
        return None;
    }
    let bounds = section.list("buckets", "durations", |text| Ok(text.to_owned()))?;
    Buckets::new(bounds)
        .map(|buckets| PropKind::Duration { buckets })
        .map_err(|error| section.mistake("buckets", format!("must be durations as in {EXAMPLE}: {error}")))
        .ok()
}
