//! The tables, step by step.

use rusqlite::{Connection, TransactionBehavior};

/// What makes the tables. SQLite's `user_version` counts the steps that a file has had, so a step that was
/// released is never changed; another follows it.
pub(super) const STEPS: [&str; 3] = [
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
];

/// Makes the tables that a database lacks, in one transaction. `Err` with the number of steps it has had
/// when that is more than this relay knows.
pub(super) fn bring_up_to_date(db: &mut Connection) -> rusqlite::Result<Result<(), i64>> {
    // Immediate, so that two commands that meet on a new file do not both make its tables.
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let missing = usize::try_from(version).ok().and_then(|had| STEPS.get(had..));
    let Some(missing) = missing else {
        return Ok(Err(version));
    };
    for step in missing {
        tx.execute_batch(step)?;
    }
    if !missing.is_empty() {
        tx.pragma_update(None, "user_version", STEPS.len() as i64)?;
    }
    tx.commit()?;
    Ok(Ok(()))
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
            old.execute("INSERT INTO account VALUES ('alice', 'hash', 1)", ())
                .unwrap();
            old.execute(
                "INSERT INTO spool (bucket, site, stored_at, record) VALUES (1, 's', 2, x'7b7d')",
                (),
            )
            .unwrap();
            old.pragma_update(None, "user_version", had).unwrap();
            drop(old);
            // The second time there is nothing left to do.
            for _ in 0..2 {
                let db = store::open(folder.path()).unwrap();
                let count = |sql: &str| -> i64 {
                    db.query_row(&format!("SELECT count(*) FROM {sql}"), (), |row| row.get(0))
                        .unwrap()
                };
                let counts = (
                    count("account"),
                    count("policy_log"),
                    count("spool WHERE not_before IS NULL"),
                );
                assert_eq!(counts, (1, 0, 1), "after {had} steps");
            }
        }
    }
}
