//! The table of accounts: the commands write it and the relay reads it.

use super::AccountError;
use super::password::hash;
use crate::clock::{self, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

/// Longest account name, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 64;

/// An account, as `user list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Since when it is disabled; `None` if it is enabled.
    pub disabled_at: Option<Timestamp>,
}

/// The data that a login is checked against.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) password_hash: String,
    pub(super) version: Version,
    pub(super) is_disabled: bool,
}

/// The state of an account that a session belongs to. Each change of the password, and each time the account is
/// created, disabled or enabled, sets a new random version, so that no version ever recurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version(i64);

impl Version {
    fn fresh() -> Self {
        Self(i64::from_be_bytes(clock::random()))
    }
}

/// Reads the data that a login is checked against; `None` for a name that has no account.
///
/// # Errors
/// An SQLite error.
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

/// The password hashes of all accounts, by name.
///
/// # Errors
/// An SQLite error.
pub(super) fn password_hashes(db: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = db.prepare("SELECT name, password_hash FROM account")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Creates an account.
///
/// # Errors
/// If name or password break their rules, or the name is taken.
pub fn add(db: &Connection, name: &str, password: &str, now: Timestamp) -> Result<(), AccountError> {
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

/// Sets a new password, which ends the account's sessions.
///
/// # Errors
/// If the password breaks its rules, or there is no such account.
pub fn change_password(db: &Connection, name: &str, password: &str) -> Result<(), AccountError> {
    let hash = hash(password)?;
    let changed = db.execute(
        "UPDATE account SET password_hash = ?2, version = ?3 WHERE name = ?1",
        params![name, hash, Version::fresh().0],
    )?;
    found(changed, name)
}

/// Disables an account: it cannot log in, and its sessions end. It keeps its password.
///
/// # Errors
/// If there is no such account.
pub fn disable(db: &Connection, name: &str, now: Timestamp) -> Result<(), AccountError> {
    let changed = db.execute(
        "UPDATE account SET disabled_at = coalesce(disabled_at, ?2), version = ?3 WHERE name = ?1",
        params![name, now.0, Version::fresh().0],
    )?;
    found(changed, name)
}

/// Lets a disabled account log in again. An enabled account keeps its sessions.
///
/// # Errors
/// If there is no such account.
pub fn enable(db: &Connection, name: &str) -> Result<(), AccountError> {
    let changed = db.execute(
        "UPDATE account SET disabled_at = NULL, version = iif(disabled_at IS NULL, version, ?2) WHERE name = ?1",
        params![name, Version::fresh().0],
    )?;
    found(changed, name)
}

/// Removes an account, which ends its sessions. Its changes stay in the history of the switches.
///
/// # Errors
/// If there is no such account.
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
/// An SQLite error.
pub fn list(db: &Connection) -> rusqlite::Result<Vec<Account>> {
    let mut statement = db.prepare("SELECT name, created_at, disabled_at FROM account ORDER BY name")?;
    let rows = statement.query_map([], |row| {
        Ok(Account {
            name: row.get(0)?,
            created_at: Timestamp(row.get(1)?),
            disabled_at: row.get::<_, Option<i64>>(2)?.map(Timestamp),
        })
    })?;
    rows.collect()
}
