//! The table of accounts: what the commands change and the relay reads.

use super::password::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, hash};
use crate::clock::{self, Moment};
use rusqlite::{Connection, OptionalExtension, params};

/// Longest account name, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// Why an account was not changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
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

/// An account, as `user list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Moment,
    /// Since when it cannot log in; `None` if it can.
    pub disabled_at: Option<Moment>,
}

/// What a login is judged by.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) password_hash: String,
    pub(super) version: Version,
    pub(super) is_disabled: bool,
}

/// Which state of an account a session belongs to. Each change of the password, and each time the account is made,
/// disabled or enabled, gives it a new random one, so that no state ever comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version(i64);

impl Version {
    fn fresh() -> Self {
        Self(i64::from_be_bytes(clock::random()))
    }
}

/// What an account's login is judged by; `None` for a name that has no account.
///
/// # Errors
/// SQLite's.
pub(super) fn credentials(db: &Connection, name: &str) -> rusqlite::Result<Option<Credentials>> {
    let mut select = db.prepare_cached(
        "SELECT password_hash, version, disabled_at IS NOT NULL FROM account WHERE name = ?1",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Credentials {
            password_hash: row.get(0)?,
            version: Version(row.get(1)?),
            is_disabled: row.get(2)?,
        })
    };
    select.query_row([name], read).optional()
}

/// The hashes of all accounts' passwords, by name.
///
/// # Errors
/// SQLite's.
pub(super) fn password_hashes(db: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = db.prepare("SELECT name, password_hash FROM account")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Makes an account.
///
/// # Errors
/// When name or password break their rules, or the name is taken.
pub fn add(db: &Connection, name: &str, password: &str, now: Moment) -> Result<(), AccountError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_@".contains(c);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(plain) {
        return Err(AccountError::Name);
    }
    let hash = hash(password)?;
    let added = db.execute(
        "INSERT OR IGNORE INTO account (name, password_hash, created_at, version) VALUES (?1, ?2, ?3, ?4)",
        params![name, hash, now.0, Version::fresh().0],
    )?;
    if added == 0 {
        Err(AccountError::Exists(name.to_owned()))
    } else {
        Ok(())
    }
}

/// Gives an account a new password, which ends its sessions.
///
/// # Errors
/// When the password breaks its rules, or there is no such account.
pub fn change_password(db: &Connection, name: &str, password: &str) -> Result<(), AccountError> {
    let hash = hash(password)?;
    let changed = db.execute(
        "UPDATE account SET password_hash = ?2, version = ?3 WHERE name = ?1",
        params![name, hash, Version::fresh().0],
    )?;
    found(changed, name)
}

/// Keeps an account from logging in, which ends its sessions. It keeps its password.
///
/// # Errors
/// When there is no such account.
pub fn disable(db: &Connection, name: &str, now: Moment) -> Result<(), AccountError> {
    let changed = db.execute(
        "UPDATE account SET disabled_at = coalesce(disabled_at, ?2), version = ?3 WHERE name = ?1",
        params![name, now.0, Version::fresh().0],
    )?;
    found(changed, name)
}

/// Lets a disabled account log in again. One that is enabled keeps its sessions.
///
/// # Errors
/// When there is no such account.
pub fn enable(db: &Connection, name: &str) -> Result<(), AccountError> {
    let changed = db.execute(
        "UPDATE account SET disabled_at = NULL, version = iif(disabled_at IS NULL, version, ?2) WHERE name = ?1",
        params![name, Version::fresh().0],
    )?;
    found(changed, name)
}

/// Removes an account, which ends its sessions. What it did stays in the history of the switches.
///
/// # Errors
/// When there is no such account.
pub fn remove(db: &Connection, name: &str) -> Result<(), AccountError> {
    let removed = db.execute("DELETE FROM account WHERE name = ?1", [name])?;
    found(removed, name)
}

fn found(rows: usize, name: &str) -> Result<(), AccountError> {
    match rows {
        0 => Err(AccountError::Unknown(name.to_owned())),
        _ => Ok(()),
    }
}

/// All accounts, by name.
///
/// # Errors
/// SQLite's.
pub fn list(db: &Connection) -> rusqlite::Result<Vec<Account>> {
    let mut statement = db.prepare("SELECT name, created_at, disabled_at FROM account ORDER BY name")?;
    let rows = statement.query_map([], |row| {
        Ok(Account {
            name: row.get(0)?,
            created_at: Moment(row.get(1)?),
            disabled_at: row.get::<_, Option<i64>>(2)?.map(Moment),
        })
    })?;
    rows.collect()
}
