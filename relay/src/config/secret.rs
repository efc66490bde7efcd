//! A text that never shows itself in logs or errors.

use crate::config::Env;
use crate::document::Section;
use axum::http::HeaderValue;
use std::fmt;
use std::path::Path;
use subtle::ConstantTimeEq;

/// A password or token.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Compares without telling by its duration how much was right.
    pub fn is(&self, guess: &str) -> bool {
        self.0.as_bytes().ct_eq(guess.as_bytes()).into()
    }

    /// As the value of a request's header, behind this word. `None` if it is no header value or empty.
    pub fn header(&self, word: &str) -> Option<HeaderValue> {
        if self.0.is_empty() {
            return None;
        }
        let mut value = HeaderValue::try_from(format!("{word}{}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Reads a secret from the environment variable, else from `KEY_file`, else from `KEY`.
    pub(crate) fn read(
        section: &Section<'_>,
        key: &str,
        folder: &Path,
        variable: &str,
        env: Env<'_>,
    ) -> Option<Self> {
        let file_key = format!("{key}_file");
        let in_file = section.text(&file_key);
        let inline = section.text(key);
        if let Some(text) = env(variable) {
            return Some(Self(text));
        }
        if in_file.is_some() && inline.is_some() {
            section.mistake(key, format!("and `{file_key}` are both set; keep one"));
        }
        let Some(name) = in_file else {
            return inline.map(Self);
        };
        match std::fs::read_to_string(folder.join(name)) {
            Ok(text) => Some(Self(text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(error) => {
                section.mistake(&file_key, format!("names a file that cannot be read: {error}"));
                None
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}
