//! TypeScript declarations of a plan: what a page may send, checked while it is written.

use relay_event::plan::{EventPlan, Plan, PropKind, PropPlan, Unmatched};
use std::fmt::Write;

/// The declarations as the text of a `.d.ts` file.
pub fn typescript(plan: &Plan) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write(&mut out, plan);
    out
}

fn write(out: &mut String, plan: &Plan) -> std::fmt::Result {
    writeln!(
        out,
        "// Made by `feedback-relay plan types`; change the tracking plan instead.\n"
    )?;
    comment(
        out,
        "",
        "The version of the tracking plan, which consent is given to.",
    )?;
    writeln!(out, "export type FeedbackPlanVersion = {};\n", plan.version)?;

    comment(out, "", "What a user can agree to on its own.")?;
    let categories = union(plan.categories.iter().map(|category| category.name.as_str()));
    writeln!(out, "export type FeedbackCategory = {categories};\n")?;

    comment(out, "", "The properties of each event, by its name.")?;
    writeln!(out, "export interface FeedbackEvents {{")?;
    for event in &plan.events {
        comment(out, "  ", &event.description)?;
        if event.props.is_empty() {
            // Not {}, which any value is assignable to.
            writeln!(out, "  {}: Record<string, never>;", quoted(&event.name))?;
            continue;
        }
        writeln!(out, "  {}: {{", quoted(&event.name))?;
        for prop in &event.props {
            comment(out, "    ", &told(prop))?;
            let optional = if prop.required { "" } else { "?" };
            writeln!(
                out,
                "    {}{optional}: {};",
                quoted(&prop.key),
                type_of(&prop.kind)
            )?;
        }
        writeln!(out, "  }};")?;
    }
    writeln!(out, "}}\n")?;

    comment(out, "", "The name of an event.")?;
    writeln!(out, "export type FeedbackEventName = keyof FeedbackEvents;\n")?;
    comment(out, "", "Any event with its properties, told apart by its name.")?;
    writeln!(
        out,
        "export type FeedbackEvent = {{\n  [Name in FeedbackEventName]: {{ name: Name; props: FeedbackEvents[Name] }};\n}}[FeedbackEventName];\n"
    )?;

    comment(
        out,
        "",
        "`feedback.track` as far as the plan goes: `const track: FeedbackTrack = feedback.track`.",
    )?;
    writeln!(out, "export interface FeedbackTrack {{")?;
    for event in &plan.events {
        comment(out, "  ", &event.description)?;
        writeln!(out, "  (name: {}{}): void;", quoted(&event.name), argument(event))?;
    }
    if plan.unmatched == Unmatched::Scrub {
        comment(
            out,
            "  ",
            "An event that the plan does not list: what looks personal is removed.",
        )?;
        writeln!(
            out,
            "  (name: string, props?: Record<string, string | number | boolean>): void;"
        )?;
    }
    writeln!(out, "}}")
}

fn argument(event: &EventPlan) -> String {
    let optional = if event.props.iter().any(|prop| prop.required) {
        ""
    } else {
        "?"
    };
    match event.props.is_empty() {
        true => String::new(),
        false => format!(", props{optional}: FeedbackEvents[{}]", quoted(&event.name)),
    }
}

fn type_of(kind: &PropKind) -> String {
    match kind {
        PropKind::Enum { values } => union(values.iter().map(String::as_str)),
        PropKind::Int { .. } | PropKind::Duration { .. } => "number".to_owned(),
        PropKind::Bool => "boolean".to_owned(),
        PropKind::Version | PropKind::Text { .. } | PropKind::Route | PropKind::Link | PropKind::File => {
            "string".to_owned()
        }
    }
}

/// A property's description, and what its type does not say.
fn told(prop: &PropPlan) -> String {
    let rule = match &prop.kind {
        PropKind::Enum { .. } | PropKind::Bool => return prop.description.clone(),
        PropKind::Int { min, max } => format!("A whole number from {min} to {max}."),
        PropKind::Version => "A version such as 2026.11.0.".to_owned(),
        PropKind::Duration { buckets } => format!(
            "In milliseconds; leaves as one of {}.",
            buckets.labels().join(", ")
        ),
        PropKind::Text { max } => format!("At most {max} characters; what looks personal is removed."),
        PropKind::Route => "A page; leaves as its route.".to_owned(),
        PropKind::Link => "A link; only its host leaves.".to_owned(),
        PropKind::File => "A link to a file; only the file's ending leaves.".to_owned(),
    };
    format!("{}\n{rule}", prop.description.trim())
}

fn union<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let texts: Vec<String> = texts.map(quoted).collect();
    match texts.is_empty() {
        true => "never".to_owned(),
        false => texts.join(" | "),
    }
}

/// A text as a JavaScript string. JSON is one; the two line separators that older JavaScript does not take
/// are escaped besides.
fn quoted(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned());
    json.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// A doc comment. Nothing in it can end it early.
fn comment(out: &mut String, indent: &str, text: &str) -> std::fmt::Result {
    let text = text.replace("*/", "*\\/");
    let separator = |c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}';
    let lines: Vec<String> = text
        .trim()
        .lines()
        .map(|line| line.replace(separator, " ").trim().to_owned())
        .collect();
    match lines.as_slice() {
        [line] => writeln!(out, "{indent}/** {line} */"),
        lines => {
            writeln!(out, "{indent}/**")?;
            for line in lines {
                writeln!(out, "{}", format!("{indent} * {line}").trim_end())?;
            }
            writeln!(out, "{indent} */")
        }
    }
}
