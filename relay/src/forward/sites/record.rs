//! The row that the database keeps of each site: whether and when this upstream accepted its events.

use crate::clock::Timestamp;
use crate::forward::acceptance::{DROPS_MAX, Record};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

/// The records about one upstream, by site. An unreadable row counts as missing: then the next event of the site is
/// sent alone, and its answer is recorded.
pub(super) fn read_all(db: &Connection, upstream: &str) -> rusqlite::Result<BTreeMap<String, Record>> {
    let mut all = db.prepare("SELECT first_at, last_at, drops, site FROM acceptance WHERE upstream = ?1")?;
    let rows = all.query_map([upstream], |row| {
        let domain: rusqlite::Result<String> = row.get(3);
        Ok(domain.and_then(|domain| Ok((domain, understand(row)?))).ok())
    })?;
    let known = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(known.into_iter().flatten().collect())
}

/// The record of one site, for commands that read a data folder.
///
/// # Errors
/// SQLite's.
pub fn look(db: &Connection, upstream: &str, site: &str) -> rusqlite::Result<Record> {
    let row = db
        .query_row(
            "SELECT first_at, last_at, drops FROM acceptance WHERE upstream = ?1 AND site = ?2",
            [upstream, site],
            |row| Ok(understand(row).ok()),
        )
        .optional()?;
    Ok(row.flatten().unwrap_or_default())
}

fn understand(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        first_accepted: row.get::<_, Option<i64>>(0)?.map(Timestamp),
        last_accepted: row.get::<_, Option<i64>>(1)?.map(Timestamp),
        drops: row.get::<_, u32>(2)?.min(DROPS_MAX),
    })
}

/// Writes the records of sites with one upstream. One row for each site that was ever configured and sent an event.
pub(in crate::forward) fn write(
    db: &Connection,
    upstream: &str,
    records: &[(String, Record)],
) -> rusqlite::Result<()> {
    let mut write = db.prepare_cached(
        "INSERT INTO acceptance (site, upstream, first_at, last_at, drops) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (site) DO UPDATE SET upstream = ?2, first_at = ?3, last_at = ?4, drops = ?5",
    )?;
    for (site, record) in records {
        let [first, last] = [record.first_accepted, record.last_accepted].map(|at| Some(at?.0));
        write.execute(params![site, upstream, first, last, record.drops])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    #[test]
    fn what_one_upstream_accepts_says_nothing_about_another_and_damage_counts_as_nothing() {
        let db = store::open_in_memory().unwrap();
        let record = Record {
            first_accepted: Some(Timestamp(1)),
            last_accepted: Some(Timestamp(2)),
            drops: 3,
        };
        let write = |site: &str, record| write(&db, "http://here", &[(site.to_owned(), record)]).unwrap();
        write("a.example", Record::default());
        write("b.example", record);
        write("a.example", record);
        assert_eq!(look(&db, "http://here", "a.example").unwrap(), record);
        let known = read_all(&db, "http://here").unwrap();
        assert_eq!(known.get("b.example"), Some(&record));
        assert_eq!(look(&db, "http://there", "a.example").unwrap(), Record::default());
        assert!(read_all(&db, "http://there").unwrap().is_empty());
        // A flipped bit may have made a number too large, or negative.
        for drops in [-1_i64, 1 << 40] {
            db.execute(
                "UPDATE acceptance SET drops = ?1 WHERE site = 'a.example'",
                [drops],
            )
            .unwrap();
            assert_eq!(look(&db, "http://here", "a.example").unwrap(), Record::default());
        }
        assert_eq!(read_all(&db, "http://here").unwrap().len(), 1);
    }
}
