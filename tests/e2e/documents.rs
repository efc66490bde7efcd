//! The documents stay true: the paths, links, commands, settings and names that they mention exist, and their text
//! keeps to the agreed length and wording. Nothing here starts a relay.

mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest part of the README before "Read on", in words: one screen for each kind of reader.
const README_WORDS_MAX: usize = 900;
/// Longest glossary, in words: one page.
const GLOSSARY_WORDS_MAX: usize = 600;
/// Folders from which documents name files, besides the root and the document's own folder.
const BASES: &[&str] = &[
    "relay/src",
    "relay/event/src",
    "relay/pii/src",
    "relay/policy",
    "tests",
    "tests/e2e",
    "tests/src",
    "tests/browser",
    "relay/src/spool",
    "relay/src/forward/simulation",
    "wasm-client",
    "wasm-client/js",
    "wasm-client/src",
];
/// Files and folders that an operator or a build creates, so they are not in the repository.
const GENERATED: &[&str] = &[
    "relay.toml",
    "plan.toml",
    "my-plan.toml",
    "plan.d.ts",
    "snippet.js",
    "target/",
    "relay/bundle",
    "tests/fuzz/artifacts",
    "relay/policy/examples/strict-c.wasm",
];
/// Words and sentence openings that the documents avoid; see CONTRIBUTING.md.
const UNWANTED_WORDS: &[&str] = &[
    "nobody", "somebody", "whoever", "anybody", "told", "tell", "tells",
];
const UNWANTED_OPENINGS: &[&str] = &[
    "What is ",
    "What was ",
    "What comes ",
    "What follows ",
    "Where that ",
    "Where it ",
    "Where they ",
];

/// A document, with its path from the root and its text.
struct Document {
    path: PathBuf,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The documents at the root, in `docs`, and beside code that is published separately.
fn documents() -> Vec<Document> {
    let mut found = Vec::new();
    for folder in ["", "docs", "docs/adr", "relay/pii", "relay/policy/examples/c"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = Path::new(folder).join(entry.unwrap().file_name());
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = std::fs::read_to_string(root().join(&path)).unwrap();
                found.push(Document { path, text });
            }
        }
    }
    assert!(found.len() > 30, "the documents were not found: {}", found.len());
    found
}

impl Document {
    fn words(&self) -> usize {
        self.text.split_whitespace().count()
    }

    /// The text outside fenced blocks, and the lines inside them.
    fn prose_and_code(&self) -> (String, Vec<&str>) {
        let (mut prose, mut code, mut is_code) = (String::new(), Vec::new(), false);
        for line in self.text.lines() {
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
            } else if is_code || line.starts_with("    ") {
                code.push(line.trim());
            } else {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        (prose, code)
    }

    /// The text between backticks, on one line or two.
    fn spans(&self) -> Vec<String> {
        let (prose, _) = self.prose_and_code();
        let spans = prose.split('`').skip(1).step_by(2);
        spans.map(|span| span.replace('\n', " ")).collect()
    }

    /// The targets of its links.
    fn links(&self) -> Vec<&str> {
        let after = self.text.split("](").skip(1);
        after.filter_map(|rest| rest.split(')').next()).collect()
    }

    /// The anchors of its headings, in GitHub's spelling.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.text.lines().filter(|line| line.starts_with('#'));
        headings
            .map(|line| {
                let title = line.trim_start_matches('#').trim().to_lowercase();
                let kept = title
                    .chars()
                    .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
                kept.collect::<String>().replace(' ', "-")
            })
            .collect()
    }
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut missing = Vec::new();
    for document in documents() {
        for span in document.spans().iter().filter(|span| is_path(span)) {
            let own = document.path.parent().unwrap_or(Path::new(""));
            let mut bases = BASES.iter().map(Path::new).chain([Path::new(""), own]);
            if !bases.any(|base| root().join(base).join(span).exists()) {
                missing.push(format!("{}: {span}", document.path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Whether a span names a file or a folder of the repository.
fn is_path(span: &str) -> bool {
    let first = span.split('/').next().unwrap_or_default();
    let is_plain = span
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "./_-".contains(c));
    if !is_plain || GENERATED.iter().any(|made| span.starts_with(made)) || span.starts_with(['/', '.', '-']) {
        return false;
    }
    let extension = Path::new(span)
        .extension()
        .and_then(|extension| extension.to_str());
    let is_source =
        extension.is_some_and(|e| ["rs", "md", "mjs", "js", "ts", "wit", "c", "toml", "svg"].contains(&e));
    let is_folder =
        ["relay", "tests", "xtask", "web", "wasm-client", "docs"].contains(&first) && span.contains('/');
    is_source || is_folder
}

#[test]
fn every_relative_link_leads_somewhere() {
    let documents = documents();
    let anchors: BTreeMap<PathBuf, BTreeSet<String>> = documents
        .iter()
        .map(|document| {
            (
                root().join(&document.path).canonicalize().unwrap(),
                document.anchors(),
            )
        })
        .collect();
    let mut broken = Vec::new();
    for document in &documents {
        let own = root().join(&document.path);
        for link in document.links().into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => own.clone(),
                file => own.parent().unwrap().join(file),
            };
            let target = target.canonicalize().ok();
            let leads = target.is_some_and(|target| {
                anchor.is_empty() || anchors.get(&target).is_some_and(|known| known.contains(anchor))
            });
            if !leads {
                broken.push(format!("{}: {link}", document.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_readme_and_the_glossary_stay_short() {
    let documents = documents();
    let find = |name: &str| {
        documents
            .iter()
            .find(|document| document.path == Path::new(name))
            .unwrap()
    };
    let readme = &find("README.md").text;
    let (before, _) = readme
        .split_once("## Read on")
        .expect("the heading that ends the short part");
    let words = before.split_whitespace().count();
    assert!(words <= README_WORDS_MAX, "{words} words before \"Read on\"");
    let words = find("docs/GLOSSARY.md").words();
    assert!(words <= GLOSSARY_WORDS_MAX, "{words} words in the glossary");
}

#[test]
fn every_decision_has_a_number_a_status_and_its_reasons() {
    for document in documents()
        .iter()
        .filter(|document| document.path.starts_with("docs/adr"))
    {
        let name = document.path.file_name().unwrap().to_str().unwrap();
        let title = format!("# {}: ", &name[..4]);
        for part in [
            title.as_str(),
            "**Status.**",
            "**Context.**",
            "**Decision.**",
            "**Consequences.**",
        ] {
            assert!(document.text.contains(part), "{name} lacks {part:?}");
        }
    }
}

#[test]
fn the_documents_are_in_plain_words() {
    let mut found = Vec::new();
    for document in documents() {
        let (prose, _) = document.prose_and_code();
        for line in prose.lines() {
            let lower = line.to_lowercase();
            let mut words = lower.split(|c: char| !c.is_alphanumeric() && c != '_');
            let has_opening =
                !line.starts_with('#') && UNWANTED_OPENINGS.iter().any(|opening| line.contains(opening));
            if has_opening || words.any(|word| UNWANTED_WORDS.contains(&word)) {
                found.push(format!("{}: {line}", document.path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
