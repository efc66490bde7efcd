//! The tables, step by step.

use rusqlite::{Connection, TransactionBehavior};

/// What makes the tables. SQLite's `user_version` counts the steps that a file has had, so a step that was
/// released is never changed; another follows it.
pub(super) const STEPS: [&str; 9] = [
    "
    CREATE TABLE spool (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        bucket INTEGER NOT NULL,
        site TEXT NOT NULL,
        stored_at INTEGER NOT NULL,
        record BLOB NOT NULL
    ) STRICT;
    CREATE INDEX spool_bucket ON spool (bucket, seq);
    CREATE TABLE seen (id BLOB PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE INDEX seen_at ON seen (at);
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
    CREATE TABLE heartbeat (id INTEGER PRIMARY KEY CHECK (id = 1), at INTEGER NOT NULL) STRICT;
    INSERT INTO heartbeat (id, at) VALUES (1, 0);
    CREATE TABLE account (
        name TEXT PRIMARY KEY,
        password_hash TEXT NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT;
",
    "
    CREATE TABLE policy_log (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        source TEXT NOT NULL
    ) STRICT;
",
    // Parked events have a time; the index holds those alone, so it costs the others nothing.
    "
    ALTER TABLE spool ADD COLUMN not_before INTEGER;
    CREATE INDEX spool_parked ON spool (bucket, not_before) WHERE not_before IS NOT NULL;
",
    // Not strict: what is kept here may be damaged in any way.
    "
    CREATE TABLE quarantine (
        id INTEGER PRIMARY KEY,
        bucket, site, stored_at, record,
        at INTEGER NOT NULL,
        reason TEXT NOT NULL
    );
",
    // A row for each batch, not for each id: random ids would have a page of their own to write each.
    "
    CREATE TABLE seen_ids (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, ids BLOB NOT NULL) STRICT;
    CREATE INDEX seen_ids_at ON seen_ids (at);
    INSERT INTO seen_ids (at, ids) SELECT at, substr(id, 1, 8) FROM seen ORDER BY at;
    DROP TABLE seen;
",
    // Whether and when an upstream accepted a site's events.
    "
    CREATE TABLE acceptance (
        site TEXT PRIMARY KEY,
        upstream TEXT NOT NULL,
        first_at INTEGER,
        last_at INTEGER,
        drops INTEGER NOT NULL
    ) STRICT;
",
    // How many events were delivered, by UTC day. Counts alone.
    "
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
",
    // How far the wall clock is ahead of the even time that is stored.
    "
    ALTER TABLE heartbeat ADD COLUMN ahead_ms INTEGER NOT NULL DEFAULT 0;
",
    // Which state of an account a session belongs to, and since when the account cannot log in.
    "
    ALTER TABLE account ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE account ADD COLUMN disabled_at INTEGER;
",
];

/// The upper half of SQLite's `application_id`; the lower one repeats `user_version`. When the two
/// disagree, the header is damaged: a flipped bit must not look like a newer relay's database.
const SIGNATURE: i64 = 0x4652_0000;
/// The last version that was written without a signature.
const UNSIGNED: i64 = 3;
/// Reads a column of each table: fails where the tables' own table is damaged.
const TOUCH: &str = "
    SELECT seq, bucket, site, stored_at, record, not_before FROM spool NOT INDEXED WHERE 0 UNION ALL
    SELECT id, bucket, site, stored_at, record, at || reason FROM quarantine WHERE 0 UNION ALL
    SELECT id, at, ids, 0, 0, 0 FROM seen_ids WHERE 0 UNION ALL
    SELECT site, is_on, changed_at, changed_by, 0, 0 FROM switch WHERE 0 UNION ALL
    SELECT id, site, is_on, at, by, purged FROM switch_log WHERE 0 UNION ALL
    SELECT id, at, ahead_ms, 0, 0, 0 FROM heartbeat WHERE 0 UNION ALL
    SELECT name, password_hash, created_at, version, disabled_at, 0 FROM account WHERE 0 UNION ALL
    SELECT id, at, sha256, source, 0, 0 FROM policy_log WHERE 0 UNION ALL
    SELECT site, upstream, first_at, last_at, drops, 0 FROM acceptance WHERE 0 UNION ALL
    SELECT day, upstream || site, event, count, head, tail FROM delivered WHERE 0";

/// What became of the tables.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tables {
    /// They are all there.
    Ready,
    /// They have had this number of steps, more than this relay knows.
    Newer(i64),
    /// An earlier relay made them, and some are missing.
    Older,
    /// They are not what a relay wrote.
    Damaged,
}

/// Judges the tables of a database without changing anything. Those of an earlier relay are not ready.
pub(super) fn look(db: &Connection) -> rusqlite::Result<Tables> {
    let pragma = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (version, signature) = (pragma("user_version")?, pragma("application_id")?);
    Ok(match usize::try_from(version) {
        _ if !is_signed(version, signature) => Tables::Damaged,
        Ok(had) if had > STEPS.len() => Tables::Newer(version),
        Ok(had) if had < STEPS.len() => Tables::Older,
        Ok(_) if db.prepare(TOUCH).is_ok() => Tables::Ready,
        _ => Tables::Damaged,
    })
}

fn is_signed(version: i64, signature: i64) -> bool {
    (signature == 0 && version <= UNSIGNED) || signature == SIGNATURE | version
}

/// Makes the tables that a database lacks, in one transaction.
pub(super) fn bring_up_to_date(db: &mut Connection) -> rusqlite::Result<Tables> {
    // Immediate, so that two commands that meet on a new file do not both make its tables.
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let pragma = |name: &str| tx.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (version, signature) = (pragma("user_version")?, pragma("application_id")?);
    if !is_signed(version, signature) {
        return Ok(Tables::Damaged);
    }
    let missing = usize::try_from(version).ok().and_then(|had| STEPS.get(had..));
    let Some(missing) = missing else {
        return Ok(Tables::Newer(version));
    };
    for step in missing {
        tx.execute_batch(step)?;
    }
    if !missing.is_empty() {
        let steps = STEPS.len() as i64;
        tx.pragma_update(None, "user_version", steps)?;
        tx.pragma_update(None, "application_id", SIGNATURE | steps)?;
    }
    tx.commit()?;
    let whole = db.prepare(TOUCH).is_ok();
    Ok(if whole { Tables::Ready } else { Tables::Damaged })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    #[test]
    fn a_database_of_an_earlier_relay_gets_the_tables_it_lacks() {
        for had in 1..STEPS.len() {
            let folder = tempfile::tempdir().unwrap();
            let old = Connection::open(folder.path().join("relay.db")).unwrap();
            old.execute_batch(&STEPS[..had].concat()).unwrap();
            let account = "INSERT INTO account (name, password_hash, created_at) VALUES ('alice', 'hash', 1)";
            old.execute(account, ()).unwrap();
            old.execute(
                "INSERT INTO spool (bucket, site, stored_at, record) VALUES (1, 's', 2, x'7b7d')",
                (),
            )
            .unwrap();
            old.pragma_update(None, "user_version", had).unwrap();
            if had as i64 > UNSIGNED {
                let signature = SIGNATURE | had as i64;
                old.pragma_update(None, "application_id", signature).unwrap();
            }
            drop(old);
            // The second time there is nothing left to do.
            for _ in 0..2 {
                let db = store::open(folder.path()).unwrap();
                let count = |sql: &str| -> i64 {
                    db.query_row(&format!("SELECT count(*) FROM {sql}"), (), |row| row.get(0))
                        .unwrap()
                };
                let counts = (
                    count("account WHERE version = 0 AND disabled_at IS NULL"),
                    count("policy_log"),
                    count("spool WHERE not_before IS NULL"),
                );
                assert_eq!(counts, (1, 0, 1), "after {had} steps");
            }
        }
    }
}
