//! Which policies were put to use, and when: on record in the database.

use super::Identity;
use crate::clock::Moment;
use crate::store::{Store, StoreError};
use rusqlite::{Connection, OptionalExtension};

/// One change of policy, as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it was put to use.
    pub at: Moment,
    /// The SHA-256 of the component.
    pub sha256: String,
    /// `builtin` or `file`.
    pub source: String,
}

/// Records a policy that is put to use, when it is not the last one recorded.
pub(super) async fn record(store: &Store, identity: &Identity, at: Moment) -> Result<(), StoreError> {
    let identity = identity.clone();
    let insert = move |db: &Connection| {
        let last: Option<(String, String)> = db
            .query_row(
                "SELECT sha256, source FROM policy_log ORDER BY id DESC LIMIT 1",
                (),
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        if last.is_some_and(|(sha256, source)| sha256 == identity.sha256 && source == identity.source) {
            return Ok(());
        }
        db.execute(
            "INSERT INTO policy_log (at, sha256, source) VALUES (?1, ?2, ?3)",
            (at.0, &identity.sha256, identity.source),
        )?;
        Ok(())
    };
    store.run(insert).await
}

/// The changes of policy on record, the latest first.
///
/// # Errors
/// When the database cannot be read.
pub fn changes(db: &Connection, limit: u32) -> rusqlite::Result<Vec<Change>> {
    let mut rows = db.prepare("SELECT at, sha256, source FROM policy_log ORDER BY id DESC LIMIT ?1")?;
    let change = |row: &rusqlite::Row<'_>| {
        Ok(Change {
            at: Moment(row.get(0)?),
            sha256: row.get(1)?,
            source: row.get(2)?,
        })
    };
    rows.query_map([limit], change)?.collect()
}
