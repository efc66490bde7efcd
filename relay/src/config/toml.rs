//! Reads a TOML file key by key, so that every mistake is reported at once, with its key and line.
//!
//! `serde` stops at the first mistake and knows no line once the syntax is fine; an operator who
//! mends a file wants the whole list.

mod wording;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};
use wording::{closest, shown};

/// Longest key in a message, in characters. Of a longer one its beginning is shown.
const KEY_CHARS_MAX: usize = 60;
/// Longest message, in characters. A longer one is cut off.
const TEXT_CHARS_MAX: usize = 400;

/// Everything that is wrong with one or more files, each file's in the order of its lines.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<Mistake>);

#[derive(Debug)]
struct Mistake {
    file: String,
    line: usize,
    text: String,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            match mistake.line {
                0 => write!(f, "{}: {}", mistake.file, mistake.text)?,
                line => write!(f, "{}:{line}: {}", mistake.file, mistake.text)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

impl Mistakes {
    /// One mistake that belongs to a file as a whole.
    pub fn of_file(file: &Path, text: impl Into<String>) -> Self {
        Self(vec![Mistake {
            file: file.display().to_string(),
            line: 0,
            text: text.into(),
        }])
    }

    /// Adds another file's mistakes.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// `Ok` when there are none.
    ///
    /// # Errors
    /// All of them, when there are any.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

/// Reads a document with `read`, which takes the keys it knows; what it leaves is a mistake.
///
/// # Errors
/// Every syntax error, every mistake `read` noted and every unknown key.
pub fn read<T>(file: &str, text: &str, read: impl FnOnce(&Section<'_>) -> T) -> Result<T, Mistakes> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let notes = Rc::new(Notes {
        file: file.to_owned(),
        text: text.to_owned(),
        mistakes: RefCell::default(),
    });
    for error in &errors {
        let line = match error.span() {
            Some(span) => notes.line(span.start),
            None => unplaced(text),
        };
        // The first line only: the rest would quote the file.
        notes.add(line, error.message().lines().next().unwrap_or("is not TOML"));
    }
    let value = {
        let section = Section::new(String::new(), 1, root.get_ref(), &notes);
        let value = read(&section);
        if errors.is_empty() {
            section.finish();
        }
        value
    };
    let mut mistakes = notes.mistakes.take();
    mistakes.sort_by_key(|m| m.line);
    Mistakes(mistakes).into_result().map(|()| value)
}

/// The line with which an error first shows up that says no place, as toml's limit on nested keys does.
fn unplaced(text: &str) -> usize {
    let ends: Vec<usize> = text
        .match_indices('\n')
        .map(|(at, _)| at)
        .chain([text.len()])
        .collect();
    let fine = |end: &usize| {
        DeTable::parse_recoverable(&text[..*end])
            .1
            .iter()
            .all(|error| error.span().is_some())
    };
    ends.partition_point(fine).min(ends.len() - 1) + 1
}

struct Notes {
    file: String,
    text: String,
    mistakes: RefCell<Vec<Mistake>>,
}

impl Notes {
    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        before.iter().filter(|b| **b == b'\n').count() + 1
    }

    fn add(&self, line: usize, text: impl fmt::Display) {
        self.mistakes.borrow_mut().push(Mistake {
            file: self.file.clone(),
            line,
            text: shown(&text.to_string(), TEXT_CHARS_MAX),
        });
    }
}

/// One table of the document. Keys are taken out; those left at the end are unknown.
pub struct Section<'t> {
    path: String,
    line: usize,
    table: Option<&'t DeTable<'t>>,
    known: RefCell<BTreeSet<String>>,
    notes: Rc<Notes>,
}

impl fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Section({})", self.path)
    }
}

impl<'t> Section<'t> {
    fn new(path: String, line: usize, table: &'t DeTable<'t>, notes: &Rc<Notes>) -> Self {
        Self {
            path,
            line,
            table: Some(table),
            known: RefCell::default(),
            notes: Rc::clone(notes),
        }
    }

    fn path_of(&self, key: &str) -> String {
        let key = shown(key, KEY_CHARS_MAX);
        match self.path.as_str() {
            "" => key,
            path => format!("{path}.{key}"),
        }
    }

    fn entry(&self, key: &str) -> Option<(&'t Spanned<DeValue<'t>>, usize)> {
        self.known.borrow_mut().insert(key.to_owned());
        let found = self.table?.iter().find(|(k, _)| k.get_ref() == key);
        found.map(|(k, v): (&Spanned<DeString<'_>>, _)| (v, self.notes.line(k.span().start)))
    }

    /// The line the section starts at.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Notes a mistake about a key of this section.
    pub fn mistake(&self, key: &str, text: impl fmt::Display) {
        let found = self
            .table
            .and_then(|t| t.iter().find(|(k, _)| k.get_ref() == key));
        let line = found.map_or(self.line, |(k, _)| self.notes.line(k.span().start));
        self.notes.add(line, format!("`{}` {text}", self.path_of(key)));
    }

    /// Whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// A text that `parse` understands. `what` completes the sentence "`key` must be …".
    pub fn parsed<T>(&self, key: &str, what: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let (value, line) = self.entry(key)?;
        let parsed = value.get_ref().as_str().and_then(parse);
        if parsed.is_none() {
            self.notes
                .add(line, format!("`{}` must be {what}", self.path_of(key)));
        }
        parsed
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<String> {
        self.parsed(key, "text in quotes", |text| Some(text.to_owned()))
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        let (value, line) = self.entry(key)?;
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.notes
                .add(line, format!("`{}` must be true or false", self.path_of(key)));
        }
        found
    }

    /// A whole number within a range.
    pub fn integer(&self, key: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let (value, line) = self.entry(key)?;
        let found = value.get_ref().as_integer();
        let found = found.and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
        let found = found.filter(|n| range.contains(n));
        if found.is_none() {
            let (low, high) = (range.start(), range.end());
            self.notes.add(
                line,
                format!(
                    "`{}` must be a whole number from {low} to {high}",
                    self.path_of(key)
                ),
            );
        }
        found
    }

    /// A list of texts that `parse` understands each.
    pub fn list<T>(
        &self,
        key: &str,
        what: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let (value, line) = self.entry(key)?;
        let Some(items) = value.get_ref().as_array() else {
            self.notes
                .add(line, format!("`{}` must be a list of {what}", self.path_of(key)));
            return None;
        };
        let mut list = Vec::new();
        for item in items {
            let line = self.notes.line(item.span().start);
            let parsed = item
                .get_ref()
                .as_str()
                .ok_or_else(|| "is not text in quotes".to_owned());
            match parsed.and_then(&parse) {
                Ok(item) => list.push(item),
                Err(why) => self.notes.add(
                    line,
                    format!("`{}` must be a list of {what}: {why}", self.path_of(key)),
                ),
            }
        }
        Some(list)
    }

    /// Reads a table. When it is missing, `read` sees an empty one, so that defaults are in one place.
    pub fn section<T>(&self, key: &str, read: impl FnOnce(&Section<'_>) -> T) -> T {
        let path = self.path_of(key);
        let empty = || Section {
            path: path.clone(),
            line: self.line,
            table: None,
            known: RefCell::default(),
            notes: Rc::clone(&self.notes),
        };
        let Some((value, line)) = self.entry(key) else {
            return read(&empty());
        };
        let Some(table) = value.get_ref().as_table() else {
            self.notes
                .add(line, format!("`{path}` must be a table, as in [{path}]"));
            return read(&empty());
        };
        let section = Section::new(path, line, table, &self.notes);
        let out = read(&section);
        section.finish();
        out
    }

    /// Reads each table of a list of tables, as in `[[site]]`.
    pub fn sections<T>(&self, key: &str, mut read: impl FnMut(&Section<'_>) -> T) -> Vec<T> {
        let path = self.path_of(key);
        let Some((value, line)) = self.entry(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            self.notes.add(
                line,
                format!("`{path}` must be a list of tables, as in [[{path}]]"),
            );
            return Vec::new();
        };
        let mut out = Vec::new();
        for item in items {
            let line = self.notes.line(item.span().start);
            let Some(table) = item.get_ref().as_table() else {
                self.notes.add(
                    line,
                    format!("`{path}` must be a list of tables, as in [[{path}]]"),
                );
                continue;
            };
            let section = Section::new(path.clone(), line, table, &self.notes);
            out.push(read(&section));
            section.finish();
        }
        out
    }

    /// Every key of the section that is a table, with its table: for keys the operator chooses. In the
    /// order of the file, which is the order people are shown.
    pub fn each_section<T>(&self, mut read: impl FnMut(&str, &Section<'_>) -> T) -> Vec<T> {
        let mut keys: Vec<(usize, String)> = self
            .table
            .iter()
            .flat_map(|t| t.keys())
            .map(|k| (k.span().start, k.get_ref().to_string()))
            .collect();
        keys.sort_unstable();
        keys.iter()
            .map(|(_, key)| self.section(key, |section| read(key, section)))
            .collect()
    }

    fn finish(&self) {
        let known = self.known.borrow();
        for (key, _) in self.table.into_iter().flatten() {
            if !known.contains(key.get_ref().as_ref()) {
                let line = self.notes.line(key.span().start);
                let hint = match closest(key.get_ref(), &known) {
                    Some(near) => format!("; did you mean `{near}`?"),
                    None => String::new(),
                };
                self.notes.add(
                    line,
                    format!("`{}` is not a setting{hint}", self.path_of(key.get_ref())),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
