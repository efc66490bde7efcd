//! The record of a switch in the database.

use super::SetBy;
use super::tombstone::Tombstone;
use crate::clock::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The place where the state of a switch is recorded, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Recorded {
    /// In the database.
    Database,
    /// In a file beside the database, which refused: the site is off after a restart too, and its events are not purged yet.
    Tombstone,
    /// In memory only: a restart restores the last recorded state.
    Nowhere,
}

impl Recorded {
    /// Its name in metrics, health and the admin's status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Tombstone => "tombstone",
            Self::Nowhere => "nowhere",
        }
    }

    /// The consequence, for the actor who set the switch.
    pub(super) fn prospect(self) -> &'static str {
        match self {
            Self::Database => "",
            Self::Tombstone => {
                "a file beside the database keeps it off until the database accepts the record"
            }
            Self::Nowhere => {
                "the running relay keeps trying; a restart before that succeeds restores the last recorded state"
            }
        }
    }
}

/// A site's switch as a data folder records it: whether it is on, who set it, and where that is recorded. Off if there is
/// no record, or a tombstone.
///
/// # Errors
/// SQLite's.
pub fn look(
    db: &Connection,
    folder: &Path,
    domain: &str,
    now: Timestamp,
) -> rusqlite::Result<(bool, Option<SetBy>, Recorded)> {
    Ok(match Tombstone::of(folder, domain).find(now) {
        Some(set_by) => (false, Some(set_by), Recorded::Tombstone),
        None => {
            let (on, set_by) = read(db, domain)?;
            (on, set_by, Recorded::Database)
        }
    })
}

/// The database's record of a site's switch; off if there is none, or it is unreadable.
pub(super) fn read(db: &Connection, domain: &str) -> rusqlite::Result<(bool, Option<SetBy>)> {
    let row = db
        .query_row(
            // On only if the last row of the log says so too: one flipped bit must not switch collection on. If they
            // differ, the actor is unknown.
            "SELECT is_on = 1, changed_at, changed_by FROM switch WHERE site = ?1 AND (
                SELECT log.is_on = switch.is_on AND log.at = changed_at AND log.by = changed_by
                FROM switch_log AS log WHERE log.site = switch.site ORDER BY id DESC LIMIT 1
             )",
            [domain],
            // A row can be damaged although SQLite finds the file sound; that must not keep the relay from starting.
            |row| Ok(decode(row).ok()),
        )
        .optional()?;
    Ok(row
        .flatten()
        .map_or((false, None), |(on, set_by)| (on, Some(set_by))))
}

fn decode(row: &Row<'_>) -> rusqlite::Result<(bool, SetBy)> {
    let set_by = SetBy {
        at: Timestamp(row.get(1)?),
        by: row.get(2)?,
    };
    Ok((row.get(0)?, set_by))
}

/// Records that a switch was set, and by whom.
pub(super) fn write(
    db: &Connection,
    domain: &str,
    on: bool,
    set_by: &SetBy,
    purged: u64,
) -> rusqlite::Result<()> {
    let SetBy { at, by } = set_by;
    db.execute(
        "INSERT INTO switch (site, is_on, changed_at, changed_by) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (site) DO UPDATE SET is_on = ?2, changed_at = ?3, changed_by = ?4",
        params![domain, on, at.0, by],
    )?;
    db.execute(
        "INSERT INTO switch_log (site, is_on, at, by, purged) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![domain, on, at.0, by, purged],
    )?;
    Ok(())
}
