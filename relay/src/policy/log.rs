//! The database record of which policies served, and since when.

use super::Identity;
use crate::clock::Timestamp;
use crate::store::{Store, StoreError};
use rusqlite::Connection;

/// One change of policy, as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyChange {
    /// When it was put into service.
    pub at: Timestamp,
    /// The SHA-256 of the component.
    pub sha256: String,
    /// `builtin` or `file`.
    pub source: String,
}

/// Records a policy that goes into service, unless it is the last one recorded.
pub(super) async fn record(store: &Store, identity: &Identity, at: Timestamp) -> Result<(), StoreError> {
    let identity = identity.clone();
    let insert = move |db: &Connection| {
        let last = changes(db, 1)?.pop();
        if last.is_some_and(|last| last.sha256 == identity.sha256 && last.source == identity.source) {
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

/// The recorded policy changes, latest first.
///
/// # Errors
/// If the database cannot be read.
pub fn changes(db: &Connection, limit: u32) -> rusqlite::Result<Vec<PolicyChange>> {
    let mut rows = db.prepare("SELECT at, sha256, source FROM policy_log ORDER BY id DESC LIMIT ?1")?;
    let change = |row: &rusqlite::Row<'_>| {
        Ok(PolicyChange {
            at: Timestamp(row.get(0)?),
            sha256: row.get(1)?,
            source: row.get(2)?,
        })
    };
    rows.query_map([limit], change)?.collect()
}
