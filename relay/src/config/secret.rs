//! A text that never appears in logs or errors.

use crate::config::Env;
use crate::config::toml::Table;
use crate::hidden::hidden_debug;
use axum::http::HeaderValue;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;

/// Minimum length of a machine's password; a shorter one causes a warning.
const MACHINE_PASSWORD_CHARS_MIN: usize = 16;

/// A password or token.
#[derive(Clone)]
pub struct Secret {
    text: String,
    source: SecretSource,
}

/// The origin of a secret, so that the relay can report who else may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The process's environment.
    Environment,
    /// The configuration file itself.
    Inline,
    /// A separate file.
    File(PathBuf),
}

impl Secret {
    fn new(text: impl Into<String>, source: SecretSource) -> Self {
        let text = text.into();
        Self { text, source }
    }

    /// The origin of the secret.
    pub fn source(&self) -> &SecretSource {
        &self.source
    }

    /// Compares digests, in a time that depends only on the guess's length.
    pub fn is(&self, guess: &str) -> bool {
        Sha256::digest(&self.text).ct_eq(&Sha256::digest(guess)).into()
    }

    /// Whether it has fewer than 16 characters: too easy to guess for a password that people do not type.
    pub fn is_short(&self) -> bool {
        self.text.chars().count() < MACHINE_PASSWORD_CHARS_MIN
    }

    /// The plain secret, to be checked or hashed.
    pub(super) fn exposed(&self) -> &str {
        &self.text
    }

    /// The value of a request header, after `word`. `None` if it is empty or not a valid header value.
    pub fn header(&self, word: &str) -> Option<HeaderValue> {
        if self.text.is_empty() {
            return None;
        }
        let mut value = HeaderValue::try_from(format!("{word}{}", self.text)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Reads a secret from the environment variable, otherwise from `KEY_file`, otherwise from `KEY`.
    pub(crate) fn read(
        section: &Table<'_>,
        key: &str,
        folder: &Path,
        variable: &str,
        env: Env<'_>,
    ) -> Option<Self> {
        let file_key = format!("{key}_file");
        let in_file = section.text(&file_key);
        let inline = section.text(key);
        if let Some(text) = env(variable) {
            return Some(Self::new(text, SecretSource::Environment));
        }
        if in_file.is_some() && inline.is_some() {
            section.mistake(key, format!("and `{file_key}` are both set; keep one"));
        }
        let Some(name) = in_file else {
            return inline.map(|text| Self::new(text, SecretSource::Inline));
        };
        let path = folder.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(Self::new(
                text.trim_end_matches(['\r', '\n']),
                SecretSource::File(path),
            )),
            Err(error) => {
                section.mistake(&file_key, format!("names a file that cannot be read: {error}"));
                None
            }
        }
    }
}

hidden_debug!(Secret);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_what_is_equal_to_it_and_short_below_16_characters() {
        let check = |text: &str, guess: &str, is: bool, is_short: bool| {
            let secret = Secret::new(text, SecretSource::Inline);
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
