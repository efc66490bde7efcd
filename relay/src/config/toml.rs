//! Reads a TOML file key by key, so that every mistake is reported at once, with its key and line.
//!
//! `serde` stops at the first mistake and reports no line for it once the syntax is valid; an operator who fixes a
//! file needs the whole list.

mod wording;

use crate::notice::prose::either;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};
use wording::{closest, shown};

/// Longest key in a message, in characters. A longer one is truncated.
const KEY_CHARS_MAX: usize = 60;
/// Longest message, in characters. A longer one is truncated.
const TEXT_CHARS_MAX: usize = 400;

/// All mistakes in one or more files, per file in line order.
#[derive(Debug, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

#[derive(Debug)]
struct Diagnostic {
    file: String,
    line: usize,
    text: String,
}

impl fmt::Display for Diagnostics {
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

impl std::error::Error for Diagnostics {}

impl Diagnostics {
    /// One mistake that concerns a whole file.
    pub fn of_file(file: &Path, text: impl Into<String>) -> Self {
        Self(vec![Diagnostic {
            file: file.display().to_string(),
            line: 0,
            text: text.into(),
        }])
    }

    /// Adds another file's mistakes.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// `Ok` if there are none.
    ///
    /// # Errors
    /// All mistakes, if there are any.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

/// Reads a document with `read`, which takes the keys it recognises; any remaining key is a mistake.
///
/// # Errors
/// Every syntax error, every mistake that `read` recorded and every unknown key.
pub fn read<T>(file: &str, text: &str, read: impl FnOnce(&Table<'_>) -> T) -> Result<T, Diagnostics> {
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
        // Only the first line: the others would quote the file.
        notes.add(line, error.message().lines().next().unwrap_or("is not TOML"));
    }
    let root = Table::new(String::new(), 1, Some(root.get_ref()), &notes);
    let value = match errors.is_empty() {
        true => root.read(read),
        // A key may be unknown only because of the syntax errors.
        false => read(&root),
    };
    let mut mistakes = notes.mistakes.take();
    mistakes.sort_by_key(|m| m.line);
    Diagnostics(mistakes).into_result().map(|()| value)
}

/// The line that first causes an error without a position, such as toml's limit on nested keys.
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
    mistakes: RefCell<Vec<Diagnostic>>,
}

impl Notes {
    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        before.iter().filter(|b| **b == b'\n').count() + 1
    }

    fn add(&self, line: usize, text: impl fmt::Display) {
        self.mistakes.borrow_mut().push(Diagnostic {
            file: self.file.clone(),
            line,
            text: shown(&text.to_string(), TEXT_CHARS_MAX),
        });
    }
}

/// One table of the document. Readers take keys out; those left at the end are unknown.
pub struct Table<'t> {
    path: String,
    line: usize,
    table: Option<&'t DeTable<'t>>,
    known: RefCell<BTreeSet<String>>,
    notes: Rc<Notes>,
}

impl fmt::Debug for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({})", self.path)
    }
}

impl<'t> Table<'t> {
    fn new(path: String, line: usize, table: Option<&'t DeTable<'t>>, notes: &Rc<Notes>) -> Self {
        Self {
            path,
            line,
            table,
            known: RefCell::default(),
            notes: Rc::clone(notes),
        }
    }

    fn read<T>(self, read: impl FnOnce(&Table<'_>) -> T) -> T {
        let value = read(&self);
        self.report_unknown_keys();
        value
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

    /// The line on which the section starts.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Records a mistake about a key of this section.
    pub fn mistake(&self, key: &str, text: impl fmt::Display) {
        let found = self
            .table
            .and_then(|t| t.iter().find(|(k, _)| k.get_ref() == key));
        let line = found.map_or(self.line, |(k, _)| self.notes.line(k.span().start));
        self.notes.add(line, format!("`{}` {text}", self.path_of(key)));
    }

    fn must_be(&self, key: &str, line: usize, what: impl fmt::Display) {
        self.notes
            .add(line, format!("`{}` must be {what}", self.path_of(key)));
    }

    /// Whether a key exists.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Whether a required key exists. If not, records that, with what to write.
    pub fn require(&self, key: &str, hint: impl fmt::Display) -> bool {
        let found = self.has(key);
        if !found {
            self.mistake(key, format!("is missing: {hint}"));
        }
        found
    }

    /// A text that `parse` accepts. `what` completes the sentence "`key` must be …".
    pub fn parsed<T>(&self, key: &str, what: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let (value, line) = self.entry(key)?;
        let parsed = value.get_ref().as_str().and_then(parse);
        if parsed.is_none() {
            self.must_be(key, line, what);
        }
        parsed
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<String> {
        self.parsed(key, "text in quotes", |text| Some(text.to_owned()))
    }

    /// One of several words, as the value it stands for.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
        self.parsed(key, &either(&words), |text| {
            let chosen = choices.iter().find(|(word, _)| *word == text);
            chosen.map(|(_, value)| *value)
        })
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        let (value, line) = self.entry(key)?;
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.must_be(key, line, "true or false");
        }
        found
    }

    /// A whole number within a range.
    pub fn integer<T>(&self, key: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display,
    {
        let (value, line) = self.entry(key)?;
        let number = value.get_ref().as_integer();
        let found = number
            .and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok())
            .and_then(|n| T::try_from(n).ok())
            .filter(|n| range.contains(n));
        if found.is_none() {
            let (low, high) = (range.start(), range.end());
            self.must_be(key, line, format!("a whole number from {low} to {high}"));
        }
        found
    }

    /// A duration in whole seconds.
    pub fn seconds(&self, key: &str, range: RangeInclusive<u64>, default: u64) -> Duration {
        Duration::from_secs(self.integer(key, range).unwrap_or(default))
    }

    /// A duration in whole milliseconds.
    pub fn milliseconds(&self, key: &str, range: RangeInclusive<u64>, default: u64) -> Duration {
        Duration::from_millis(self.integer(key, range).unwrap_or(default))
    }

    /// A list of texts, each of which `parse` accepts.
    pub fn list<T>(
        &self,
        key: &str,
        what: &str,
        mut parse: impl FnMut(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let (value, line) = self.entry(key)?;
        let Some(items) = value.get_ref().as_array() else {
            self.must_be(key, line, format!("a list of {what}"));
            return None;
        };
        let mut list = Vec::new();
        for item in items {
            let text = item
                .get_ref()
                .as_str()
                .ok_or_else(|| "is not text in quotes".to_owned());
            match text.and_then(&mut parse) {
                Ok(item) => list.push(item),
                Err(why) => {
                    let line = self.notes.line(item.span().start);
                    self.must_be(key, line, format!("a list of {what}: {why}"));
                }
            }
        }
        Some(list)
    }

    /// Reads a table. If it is missing, `read` gets an empty one, so that defaults are in one place.
    pub fn section<T>(&self, key: &str, read: impl FnOnce(&Table<'_>) -> T) -> T {
        let (path, found) = (self.path_of(key), self.entry(key));
        let table = found.and_then(|(value, line)| Some((value.get_ref().as_table()?, line)));
        if let (Some((_, line)), None) = (found, table) {
            self.must_be(key, line, format!("a table, as in [{path}]"));
        }
        let (table, line) = table.map_or((None, self.line), |(table, line)| (Some(table), line));
        Table::new(path, line, table, &self.notes).read(read)
    }

    /// Reads each table of a list of tables, as in `[[site]]`.
    pub fn sections<T>(&self, key: &str, mut read: impl FnMut(&Table<'_>) -> T) -> Vec<T> {
        let path = self.path_of(key);
        let what = format!("a list of tables, as in [[{path}]]");
        let Some((value, line)) = self.entry(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            self.must_be(key, line, what);
            return Vec::new();
        };
        let mut out = Vec::new();
        for item in items {
            let line = self.notes.line(item.span().start);
            match item.get_ref().as_table() {
                Some(table) => {
                    out.push(Table::new(path.clone(), line, Some(table), &self.notes).read(&mut read))
                }
                None => self.must_be(key, line, &what),
            }
        }
        out
    }

    /// Each key of the section that is a table, with its table: for keys that the operator chooses. In the order of
    /// the file, which people see.
    pub fn each_section<T>(&self, mut read: impl FnMut(&str, &Table<'_>) -> T) -> Vec<T> {
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

    fn report_unknown_keys(&self) {
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
