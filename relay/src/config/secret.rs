//! A text that never shows itself in logs or errors.

use crate::config::Env;
use crate::document::Section;
use axum::http::HeaderValue;
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;

/// A machine's password below it is worth a warning.
const MACHINE_PASSWORD_CHARS_MIN: usize = 16;

/// A password or token.
#[derive(Clone)]
pub struct Secret {
    text: String,
    kept: Kept,
}

/// Where a secret is kept, so that it can be told who else may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In the process's environment.
    Environment,
    /// In the configuration's own file.
    Inline,
    /// In a file of its own.
    File(PathBuf),
}

impl Secret {
    fn new(text: impl Into<String>, kept: Kept) -> Self {
        let text = text.into();
        Self { text, kept }
    }

    /// Where it is kept.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Compares in a time that depends on the guess's length alone: what is compared are digests.
    pub fn is(&self, guess: &str) -> bool {
        Sha256::digest(&self.text).ct_eq(&Sha256::digest(guess)).into()
    }

    /// Whether it has fewer than 16 characters: for a password that no person types, it is easy to guess.
    pub fn is_short(&self) -> bool {
        self.text.chars().count() < MACHINE_PASSWORD_CHARS_MIN
    }

    /// The secret itself, to be checked or hashed.
    pub(super) fn exposed(&self) -> &str {
        &self.text
    }

    /// As the value of a request's header, behind this word. `None` if it is no header value or empty.
    pub fn header(&self, word: &str) -> Option<HeaderValue> {
        if self.text.is_empty() {
            return None;
        }
        let mut value = HeaderValue::try_from(format!("{word}{}", self.text)).ok()?;
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
            return Some(Self::new(text, Kept::Environment));
        }
        if in_file.is_some() && inline.is_some() {
            section.mistake(key, format!("and `{file_key}` are both set; keep one"));
        }
        let Some(name) = in_file else {
            return inline.map(|text| Self::new(text, Kept::Inline));
        };
        let path = folder.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(Self::new(text.trim_end_matches(['\r', '\n']), Kept::File(path))),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_what_is_equal_to_it_and_short_below_16_characters() {
        let check = |text: &str, guess: &str, is: bool, is_short: bool| {
            let secret = Secret::new(text, Kept::Inline);
            assert_eq!(
                (secret.is(guess), secret.is_short()),
                (is, is_short),
                "{text} {guess}"
            );
        };
        check("change me", "change me", true, true);
        check("change me", "change m", false, true);
        check("change me", "change me ", false, true);
        check("", "", true, true);
        check("fifteen letters", "Fifteen letters", false, true);
        check("sixteen letters!", "sixteen letters!", true, false);
        check("sixteen letters!", "", false, false);
        check("\u{fc}mlaute sind ok!", "", false, false);
    }
}
