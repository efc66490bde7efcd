//! How a switch stands on disk.

use super::Change;
use super::marker::Marker;
use crate::clock::Moment;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where it is written down how a switch stands, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// In the database, as it should be.
    Database,
    /// In a file beside the database, which refused: it is off after a restart too, and not purged yet.
    Marker,
    /// In memory alone: a restart would find what was recorded last.
    Nowhere,
}

impl Kept {
    /// Its name in metrics, health and the admin's status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Marker => "marker",
            Self::Nowhere => "nowhere",
        }
    }

    /// What to expect of it, for whoever turned the switch.
    pub(super) fn prospect(self) -> &'static str {
        match self {
            Self::Database => "",
            Self::Marker => "a file beside the database keeps it off until the database takes it",
            Self::Nowhere => {
                "a running relay goes on trying; one that is started before that succeeds finds what was recorded last"
            }
        }
    }
}

/// A site's recorded switch, for whoever looks at a data folder: whether it is on, who turned it, and where that
/// stands. Off when there is none, or a marker.
///
/// # Errors
/// SQLite's.
pub fn look(
    db: &Connection,
    folder: &Path,
    domain: &str,
    now: Moment,
) -> rusqlite::Result<(bool, Option<Change>, Kept)> {
    Ok(match Marker::of(folder, domain).find(now) {
        Some(change) => (false, Some(change), Kept::Marker),
        None => {
            let (on, change) = read(db, domain)?;
            (on, change, Kept::Database)
        }
    })
}

/// What the database says of a site's switch; off when it says nothing, or nothing that can be understood.
pub(super) fn read(db: &Connection, domain: &str) -> rusqlite::Result<(bool, Option<Change>)> {
    let row = db
        .query_row(
            // On only where the log's last word says so too: one flipped bit must not switch collection on. Where
            // they differ nobody knows who turned it.
            "SELECT is_on = 1, changed_at, changed_by FROM switch WHERE site = ?1 AND (
                SELECT log.is_on = switch.is_on AND log.at = changed_at AND log.by = changed_by
                FROM switch_log AS log WHERE log.site = switch.site ORDER BY id DESC LIMIT 1
             )",
            [domain],
            // What SQLite takes for sound may be damaged all the same, and keep no relay from starting.
            |row| Ok(understand(row).ok()),
        )
        .optional()?;
    Ok(row
        .flatten()
        .map_or((false, None), |(on, change)| (on, Some(change))))
}

fn understand(row: &Row<'_>) -> rusqlite::Result<(bool, Change)> {
    let change = Change {
        at: Moment(row.get(1)?),
        by: row.get(2)?,
    };
    Ok((row.get(0)?, change))
}

/// Records a turn of a switch and who made it.
pub(super) fn write(
    db: &Connection,
    domain: &str,
    on: bool,
    change: &Change,
    purged: u64,
) -> rusqlite::Result<()> {
    let Change { at, by } = change;
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
