//! Names in the documents: commands with their options, settings, metrics and other identifiers.

use super::{documents, root};
use crate::EXE;
use feedback_relay::config::Config;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

#[test]
fn every_command_that_a_document_names_exists() {
    let help = Help::default();
    let top = help.commands(&[]);
    assert!(top.contains("serve"), "{top:?}");
    let xtask = xtask_commands();
    let source = sources();
    let mut wrong = Vec::new();
    for document in documents() {
        let (_, code) = document.prose_and_code();
        let spans = document.spans();
        for text in spans.iter().map(String::as_str).chain(code) {
            if let Some((_, rest)) = text.split_once("cargo xtask ") {
                let name = rest.split_whitespace().next().unwrap_or_default();
                if !xtask.contains(name) && name != "--help" {
                    wrong.push(format!("{}: {text}", document.path.display()));
                }
            }
            let is_bare =
                text.split(' ').next().is_some_and(|first| top.contains(first)) && text.contains(' ');
            let rest = match text.split_once("feedback-relay ") {
                // `cargo test -p feedback-relay` names the package.
                Some((before, rest)) if !before.ends_with("-p ") => rest,
                _ if is_bare => text,
                _ => continue,
            };
            // A reason shown by health may begin like a command.
            let is_setting = is_bare && source.contains(text);
            if !help.has(rest) && !is_setting {
                wrong.push(format!("{}: {text}", document.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The relay's `--help`, asked once per command.
#[derive(Default)]
struct Help(RefCell<BTreeMap<Vec<String>, String>>);

impl Help {
    fn of(&self, path: &[&str]) -> String {
        let key: Vec<String> = path.iter().map(|&word| word.to_owned()).collect();
        if let Some(known) = self.0.borrow().get(&key) {
            return known.clone();
        }
        let out = Command::new(EXE).args(path).arg("--help").output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        self.0.borrow_mut().insert(key, text.clone());
        text
    }

    /// The sub-commands of a command.
    fn commands(&self, path: &[&str]) -> BTreeSet<String> {
        let text = self.of(path);
        let list = text.split_once("Commands:\n").map_or("", |(_, list)| list);
        let lines = list.lines().take_while(|line| !line.is_empty());
        // Descriptions are indented further than names.
        let names = lines.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
        let names = names.filter_map(|line| line.split_whitespace().next());
        names.filter(|name| *name != "help").map(str::to_owned).collect()
    }

    /// Whether these arguments begin with an existing command and use only options that it has.
    fn has(&self, arguments: &str) -> bool {
        let arguments = arguments.split(['#', '|', '>', '…']).next().unwrap_or_default();
        let words: Vec<&str> = arguments.split_whitespace().collect();
        let mut path = Vec::new();
        for word in &words {
            if !self.commands(&path).contains(*word) {
                break;
            }
            path.push(*word);
        }
        let is_complete = words.len() == path.len() || self.commands(&path).is_empty();
        let help = self.of(&path);
        let mut options = words.iter().filter(|word| word.starts_with("--"));
        !path.is_empty() && is_complete && options.all(|option| help.contains(*option))
    }
}

/// The commands of `cargo xtask`, from the declaration.
fn xtask_commands() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("xtask/src/main.rs")).unwrap();
    let (_, body) = text
        .split_once("enum Command {\n")
        .unwrap_or_else(|| panic!("xtask has no commands"));
    let lines = body.lines().take_while(|line| *line != "}");
    let names = lines.filter_map(|line| {
        line.strip_prefix("    ")
            .filter(|rest| rest.starts_with(char::is_uppercase))
    });
    names
        .map(|line| {
            let name = line
                .split(|c: char| !c.is_alphanumeric())
                .next()
                .unwrap_or_default();
            let mut kebab = String::new();
            for c in name.chars() {
                if c.is_uppercase() && !kebab.is_empty() {
                    kebab.push('-');
                }
                kebab.extend(c.to_lowercase());
            }
            kebab
        })
        .collect()
}

#[test]
fn every_setting_that_a_document_names_exists() {
    let example = std::fs::read_to_string(root().join("relay/relay.example.toml")).unwrap();
    let (mut known, mut section) = (BTreeSet::new(), String::new());
    for line in example.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']).to_owned();
            known.insert(section.clone());
        } else if let Some((key, _)) = line.split_once(" = ") {
            known.insert(format!("{section}.{key}"));
        }
    }
    let sections: BTreeSet<String> = known
        .iter()
        .filter_map(|key| Some(key.split_once('.')?.0.to_owned()))
        .filter(|section| !section.is_empty())
        .collect();
    let mut unknown = Vec::new();
    for document in documents() {
        for span in document.spans() {
            let key = span
                .split(" = ")
                .next()
                .unwrap_or_default()
                .trim_matches(['[', ']']);
            let Some((first, rest)) = key.split_once('.') else {
                continue;
            };
            let is_key = rest
                .chars()
                .all(|c| c.is_ascii_lowercase() || c == '_' || c == '.');
            let is_file = ["rs", "js", "toml", "db", "off", "wasm", "so"].contains(&rest);
            if is_key && !is_file && sections.contains(first) && !known.contains(key) {
                unknown.push(format!("{}: {span}", document.path.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn every_block_of_settings_in_a_document_is_a_valid_configuration() {
    let mut blocks = 0;
    for document in documents() {
        for block in document.text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            let folder = tempfile::tempdir().unwrap();
            for line in block.lines().filter(|line| line.contains("token_file")) {
                let name = line.split('"').nth(1).unwrap();
                std::fs::write(folder.path().join(name), "0123456789abcdef".repeat(4)).unwrap();
            }
            let file = folder.path().join("relay.toml");
            let rest = "[[site]]\ndomain = \"panel.example.com\"\n[upstream]\nurl = \"https://plausible.example.com\"\n";
            std::fs::write(&file, format!("{rest}{block}")).unwrap();
            let read = Config::load(&file, &|_| None);
            assert!(
                read.is_ok(),
                "{}: {block}\n{:?}",
                document.path.display(),
                read.err()
            );
            blocks += 1;
        }
    }
    assert!(blocks > 0, "no block was found");
}

#[test]
fn every_name_in_code_that_a_document_mentions_is_in_the_sources() {
    let source = sources();
    let words: BTreeSet<&str> = source.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut unknown = Vec::new();
    for document in documents() {
        for span in document.spans() {
            let name = span.split(['{', '/', ' ', '(']).next().unwrap_or_default();
            let name = name.rsplit("::").next().unwrap_or_default();
            let is_name = name.contains('_')
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if !is_name || name.ends_with('_') {
                continue;
            }
            // Prometheus adds a suffix to a metric's name, and the registry a prefix and a unit.
            let name = name.strip_prefix("feedback_relay_").unwrap_or(name);
            let stem = ["_total", "_bucket", "_info"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(name);
            let stem = stem.strip_suffix("_seconds").unwrap_or(stem);
            if ![name, stem].iter().any(|name| words.contains(name)) {
                unknown.push(format!("{}: {span}", document.path.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// The text of all sources, without the documents.
fn sources() -> String {
    let mut text = String::new();
    let mut folders: Vec<PathBuf> = ["relay", "tests", "xtask", "wasm-client", "web"]
        .iter()
        .map(|f| root().join(f))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_str().unwrap_or_default();
            if path.is_dir() && !["node_modules", "target", "bundle", "corpus"].contains(&name) {
                folders.push(path);
            } else if ["rs", "toml", "ts", "mjs", "js", "wit", "c"]
                .iter()
                .any(|e| path.extension().is_some_and(|x| x == *e))
                && name != "documents.rs"
            {
                text.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    text
}
