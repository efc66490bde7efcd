//! The table of accounts: what the commands change and the relay reads.

use super::password::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, hash};
use crate::clock::Moment;
use rusqlite::{Connection, OptionalExtension, params};

/// Longest account name, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// Why an account was not made.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The name.
    #[error("a name has 1 to {NAME_BYTES_MAX} letters, digits, '.', '-', '_' or '@'")]
    Name,
    /// The password.
    #[error("a password has at least {PASSWORD_CHARS_MIN} characters and at most {PASSWORD_BYTES_MAX} bytes")]
    Password,
    /// The name is taken.
    #[error("there is an account {0} already; `user passwd {0}` gives it a new password")]
    Exists(String),
    /// There is no such account.
    #[error("there is no account {0}; `user list` shows them")]
    Unknown(String),
    /// Hashing failed.
    #[error("the password could not be hashed")]
    Hash,
    /// The database.
    #[error("the database cannot be written: {0}")]
    Database(#[from] rusqlite::Error),
}

/// The hash of an account's password; `None` for a name that has no account.
///
/// # Errors
/// SQLite's.
pub(super) fn password_hash(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    db.query_row(
        "SELECT password_hash FROM account WHERE name = ?1",
        [name],
        |row| row.get(0),
    )
    .optional()
}

/// Makes an account.
///
/// # Errors
/// When name or password break their rules, or the name is taken.
pub fn add(db: &Connection, name: &str, password: &str, now: Moment) -> Result<(), AddError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_@".contains(c);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(plain) {
        return Err(AddError::Name);
    }
    let hash = hash(password)?;
    let added = db.execute(
        "INSERT OR IGNORE INTO account (name, password_hash, created_at) VALUES (?1, ?2, ?3)",
        params![name, hash, now.0],
    )?;
    if added == 0 {
        Err(AddError::Exists(name.to_owned()))
    } else {
        Ok(())
    }
}

/// Gives an account a new password.
///
/// # Errors
/// When the password breaks its rules, or there is no such account.
pub fn change_password(db: &Connection, name: &str, password: &str) -> Result<(), AddError> {
    let hash = hash(password)?;
    let changed = db.execute(
        "UPDATE account SET password_hash = ?2 WHERE name = ?1",
        params![name, hash],
    )?;
    if changed == 0 {
        Err(AddError::Unknown(name.to_owned()))
    } else {
        Ok(())
    }
}

/// All accounts: name and when it was made.
///
/// # Errors
/// SQLite's.
pub fn list(db: &Connection) -> rusqlite::Result<Vec<(String, Moment)>> {
    let mut statement = db.prepare("SELECT name, created_at FROM account ORDER BY name")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, Moment(row.get(1)?))))?;
    rows.collect()
}
