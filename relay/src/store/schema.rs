//! The tables, and the version that the file carries.

use rusqlite::{Connection, TransactionBehavior};

/// The version of [`TABLES`], kept in SQLite's `user_version`. Raise it with any change of [`TABLES`], even of a space in
/// a statement: a file of the same version with other statements is taken for damaged.
pub(super) const VERSION: i64 = 11;
/// All tables.
///
/// - `spool.lane`: the lane that finds the event by the index; NULL while the running relay has it in memory.
/// - `spool.not_before`: the time until which an event is parked. The partial index holds parked events only, so it costs
///   the others nothing.
/// - `quarantine` is not strict: damage can give the values it keeps any type.
/// - `seen_ids` has a row per transaction: ids are random, so a row per id would write a page per id.
/// - `acceptance`: whether and when an upstream accepted a site's events.
/// - `delivered`: delivered events per UTC day. Counts only.
/// - `heartbeat.ahead_ms`: how far the wall clock is ahead of the stored monotonic time.
/// - `account.version`: the version of an account that a session belongs to. `disabled_at`: the account cannot log in since
///   then.
const TABLES: &str = "
    CREATE TABLE spool (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        bucket INTEGER NOT NULL,
        site TEXT NOT NULL,
        stored_at INTEGER NOT NULL,
        lane INTEGER,
        record BLOB NOT NULL,
        not_before INTEGER
    ) STRICT;
    CREATE INDEX spool_lane ON spool (lane, seq) WHERE lane IS NOT NULL;
    CREATE TABLE quarantine (
        id INTEGER PRIMARY KEY,
        bucket, site, stored_at, record,
        at INTEGER NOT NULL,
        reason TEXT NOT NULL
    );
    CREATE TABLE seen_ids (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, ids BLOB NOT NULL) STRICT;
    CREATE TABLE switch (
        site TEXT PRIMARY KEY,
        is_on INTEGER NOT NULL,
        changed_at INTEGER NOT NULL,
        changed_by TEXT NOT NULL
    ) STRICT;
    CREATE TABLE switch_log (
        id INTEGER PRIMARY KEY,
        site TEXT NOT NULL,
        is_on INTEGER NOT NULL,
        at INTEGER NOT NULL,
        by TEXT NOT NULL,
        purged INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE heartbeat (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        at INTEGER NOT NULL,
        ahead_ms INTEGER NOT NULL
    ) STRICT;
    INSERT INTO heartbeat (id, at, ahead_ms) VALUES (1, 0, 0);
    CREATE TABLE account (
        name TEXT PRIMARY KEY,
        password_hash TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        version INTEGER NOT NULL DEFAULT 0,
        disabled_at INTEGER
    ) STRICT;
    CREATE TABLE policy_log (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        source TEXT NOT NULL
    ) STRICT;
    CREATE TABLE acceptance (
        site TEXT PRIMARY KEY,
        upstream TEXT NOT NULL,
        first_at INTEGER,
        last_at INTEGER,
        drops INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE delivered (
        day INTEGER NOT NULL,
        upstream TEXT NOT NULL,
        site TEXT NOT NULL,
        event TEXT NOT NULL,
        count INTEGER NOT NULL,
        head INTEGER NOT NULL,
        tail INTEGER NOT NULL,
        UNIQUE (day, upstream, site, event)
    ) STRICT;
    CREATE INDEX spool_parked ON spool (lane, not_before) WHERE not_before IS NOT NULL;
";

/// The upper half of SQLite's `application_id`; the lower half repeats `user_version`. If the two disagree, the header
/// is damaged: a flipped bit must not look like another version's database.
const SIGNATURE: i64 = 0x4652_0000;
/// The state of a file's tables.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tables {
    /// All tables exist.
    Ready,
    /// There are none: the file is new.
    Missing,
    /// They are of this version, which is not [`VERSION`].
    OtherVersion(i64),
    /// They are not tables that a relay created.
    Damaged,
}

/// Whether a relay of another version wrote the file.
pub(super) fn is_other(version: i64, signature: i64) -> bool {
    version > 0 && version != VERSION && signature == SIGNATURE + version
}

/// Checks the tables of a database without changing it.
pub(super) fn look(db: &Connection) -> rusqlite::Result<Tables> {
    let pragma = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (version, signature) = (pragma("user_version")?, pragma("application_id")?);
    Ok(match (version, signature) {
        (0, 0) => Tables::Missing,
        _ if signature != SIGNATURE + version => Tables::Damaged,
        _ if version != VERSION => Tables::OtherVersion(version),
        _ if has_all(db).unwrap_or(false) => Tables::Ready,
        _ => Tables::Damaged,
    })
}

/// Whether SQLite's schema table lists all of ours, word for word.
fn has_all(db: &Connection) -> rusqlite::Result<bool> {
    let listed = "SELECT count(*) FROM sqlite_schema WHERE instr(?1, sql)";
    let listed: usize = db.query_row(listed, [TABLES], |row| row.get(0))?;
    Ok(listed == TABLES.matches("CREATE ").count())
}

/// Creates the tables if there are none, in one transaction.
pub(super) fn prepare(db: &mut Connection) -> rusqlite::Result<Tables> {
    // Immediate, so that two commands that open a new file at the same time do not both create its tables.
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = look(&tx)?;
    if found != Tables::Missing {
        return Ok(found);
    }
    tx.execute_batch(TABLES)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    tx.pragma_update(None, "application_id", SIGNATURE + VERSION)?;
    tx.commit()?;
    look(db)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_another_version_are_left_as_they_are_and_a_header_that_disagrees_is_damage() {
        let check = |version: i64, signature: i64, want: Tables| {
            let mut db = Connection::open_in_memory().unwrap();
            assert_eq!(look(&db), Ok(Tables::Missing));
            assert_eq!(prepare(&mut db), Ok(Tables::Ready));
            db.pragma_update(None, "user_version", version).unwrap();
            db.pragma_update(None, "application_id", signature).unwrap();
            for found in [look(&db), prepare(&mut db)] {
                assert_eq!(found.as_ref(), Ok(&want), "{version} {signature:x}");
            }
        };
        check(VERSION, SIGNATURE | VERSION, Tables::Ready);
        check(
            VERSION + 1,
            SIGNATURE | (VERSION + 1),
            Tables::OtherVersion(VERSION + 1),
        );
        check(10, SIGNATURE | 10, Tables::OtherVersion(10));
        check(3, 0, Tables::Damaged);
        check(VERSION, 0, Tables::Damaged);
        check(0, SIGNATURE | VERSION, Tables::Damaged);
        check(VERSION + 2, SIGNATURE | VERSION, Tables::Damaged);
        check(-1, SIGNATURE | VERSION, Tables::Damaged);
        check(VERSION | 0x10_0000, SIGNATURE | VERSION, Tables::Damaged);
    }

    #[test]
    fn other_tables_have_another_version() {
        // If this fails: raise `VERSION`, and write both here.
        let of_version_11 = "87afc5e2acd7f06e90b9bab1401cb8ca62e7f2fd3f819366c6ef5120fce05aa0";
        assert_eq!(
            (VERSION, &*crate::digest::sha256(TABLES.as_bytes())),
            (11, of_version_11)
        );
    }
}
