//! Hashes and compares passwords.

use super::AccountError;
use crate::clock;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::sync::LazyLock;

/// Shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Longest password, in bytes: senders must not control the hashing time.
pub(super) const PASSWORD_BYTES_MAX: usize = 1024;

/// The hash of a discarded random password. Logins with unknown names are checked against it.
pub(super) static NOBODY: LazyLock<String> =
    LazyLock::new(|| hash(&URL_SAFE_NO_PAD.encode(clock::random::<32>())).unwrap_or_default());

/// Whether a password matches a hash. Takes tens of milliseconds.
pub(super) fn verify(hash: &str, password: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

/// Argon2id with the crate's defaults, which are OWASP's: 19 MiB, two passes, one lane.
///
/// # Errors
/// If the password breaks its rules.
pub(super) fn hash(password: &str) -> Result<String, AccountError> {
    if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(AccountError::Password);
    }
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|_| AccountError::Hash)
}
