//! The spool's table: inserts and deletes inside a transaction.

use super::cursor::Places;
use super::seen::{Claim, Id};
use super::shares::{BySite, Taking};
use super::unlisted::{Event, LANE};
use super::{Incoming, record};
use crate::clock::Timestamp;
use crate::guard::Scrubbed;
use relay_event::Outcome;
use rusqlite::types::Null;
use rusqlite::{Connection, OptionalExtension, Params, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Approximate bytes of a row besides its record.
pub(super) const ROW_OVERHEAD: u64 = 64;
/// The columns that [`add`] reads.
pub(super) const SPACE: &str = "coalesce(length(record), 0), site";

/// The events that a transaction removed from the spool.
#[derive(Clone, Debug, Default)]
pub struct Removed {
    /// How many events.
    pub events: u64,
    /// Their bytes, by site.
    pub bytes: BySite,
    /// The highest number among them; 0 if there are none.
    pub last: i64,
    /// Removed quarantined records, which count as no events.
    pub quarantined: u64,
    /// Quarantined records dropped because of the limits.
    pub quarantine_dropped: u64,
}

/// Which events to purge: those that match all set fields. Also the body of a request to the control socket.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purge {
    /// Of this site only.
    pub site: Option<String>,
    /// Stored before this moment of the wall clock only.
    pub before: Option<Timestamp>,
    /// Quarantined records, instead of waiting events.
    pub quarantine: bool,
}

/// Adds the space of a row whose first columns are [`SPACE`].
pub(super) fn add(bytes: &mut BySite, row: &rusqlite::Row<'_>) -> rusqlite::Result<()> {
    bytes.add(site_of(row, 1)?, row.get::<_, u64>(0)? + ROW_OVERHEAD);
    Ok(())
}

/// Deletes the events that match a condition.
pub(super) fn delete(db: &Connection, condition: &str, parameters: impl Params) -> rusqlite::Result<Removed> {
    let sql = format!("DELETE FROM spool WHERE {condition} RETURNING {SPACE}, seq");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(parameters)?;
    let mut removed = Removed::default();
    while let Some(row) = rows.next()? {
        removed.events += 1;
        add(&mut removed.bytes, row)?;
        removed.last = removed.last.max(row.get(2)?);
    }
    Ok(removed)
}

/// Deletes all stored data of a site's events, including quarantined records. Takes the site as bytes, because a damaged
/// one may be no text.
///
/// # Errors
/// SQLite's.
pub fn purge_site(db: &Connection, site: &[u8]) -> rusqlite::Result<Removed> {
    let quarantined = db
        .prepare_cached("DELETE FROM quarantine WHERE site = CAST(?1 AS TEXT)")?
        .execute([site])? as u64;
    let removed = delete(db, "site = CAST(?1 AS TEXT)", [site])?;
    Ok(Removed {
        quarantined,
        ..removed
    })
}

/// The condition of a purge: ?1 is the site, ?2 the time before which it was stored.
pub(super) const FITS: &str = "(?1 IS NULL OR site = ?1) AND (?2 IS NULL OR stored_at < ?2)";

/// Deletes for an operator.
pub(super) fn purge(db: &Connection, purge: &Purge) -> rusqlite::Result<Removed> {
    let fits = params![purge.site, purge.before.map(|before| before.0)];
    if !purge.quarantine {
        return delete(db, FITS, fits);
    }
    let quarantined = db.execute(&format!("DELETE FROM quarantine WHERE {FITS}"), fits)? as u64;
    Ok(Removed {
        quarantined,
        ..Removed::default()
    })
}

/// The site of a row, as bytes: a damaged one may be no text.
pub(super) fn site_of<'r>(row: &'r rusqlite::Row<'_>, column: usize) -> rusqlite::Result<&'r [u8]> {
    Ok(row.get_ref(column)?.as_bytes().unwrap_or_default())
}

/// All events of the spool.
#[derive(Debug, Default)]
pub(super) struct Total {
    pub(super) events: u64,
    pub(super) bytes: BySite,
    /// Whether each lane has any of them. One whose bucket is no number may be in any lane.
    pub(super) occupied: Vec<bool>,
    /// The numbers of those that are not listed in their lane.
    pub(super) unlisted: Vec<i64>,
}

/// Reads all rows, once, because there may be millions.
pub(super) fn total(db: &Connection, lanes: usize) -> rusqlite::Result<Total> {
    let sql = format!("SELECT {SPACE}, seq, {LANE}, lane IS {LANE} FROM spool NOT INDEXED");
    let mut select = db.prepare(&sql)?;
    let mut rows = select.query(params![Null, lanes])?;
    let mut total = Total {
        occupied: vec![false; lanes],
        ..Total::default()
    };
    while let Some(row) = rows.next()? {
        total.events += 1;
        add(&mut total.bytes, row)?;
        let lane = row.get::<_, usize>(3).ok();
        match lane.and_then(|lane| total.occupied.get_mut(lane)) {
            Some(occupied) => *occupied = true,
            None => total.occupied.fill(true),
        }
        if !row.get::<_, bool>(4)? {
            total.unlisted.push(row.get(2)?);
        }
    }
    Ok(total)
}

/// The time when the oldest waiting event was stored, in milliseconds since 1970; 0 if none waits.
pub(super) fn oldest(db: &Connection) -> rusqlite::Result<i64> {
    let oldest: Option<i64> = db
        .prepare_cached("SELECT stored_at FROM spool ORDER BY seq LIMIT 1")?
        // A damaged timestamp is no number; its lane finds it, and does not block others.
        .query_row([], |row| Ok(row.get(0).unwrap_or(0)))
        .optional()?;
    Ok(oldest.unwrap_or(0))
}

/// The bucket of an event, by its visitor. Its remainder is the event's lane.
pub(super) fn bucket(scrubbed: &Scrubbed) -> u16 {
    let [.., high, low] = scrubbed.visitor().octets();
    u16::from_be_bytes([high, low])
}

/// Lists rows in the index of the lanes.
pub(super) fn list(db: &Connection, seqs: &[i64], lanes: usize) -> rusqlite::Result<()> {
    let mut list = db.prepare(&format!("UPDATE spool SET lane = {LANE} WHERE seq = ?1"))?;
    for seq in seqs {
        list.execute(params![seq, lanes])?;
    }
    Ok(())
}

pub(super) struct Row {
    bucket: u16,
    site: Arc<str>,
    stored_at: Timestamp,
    seen: Option<Id>,
    is_held: bool,
    record: Vec<u8>,
}

impl Row {
    pub(super) fn of(incoming: &Incoming, now: Timestamp) -> Self {
        let scrubbed = &incoming.scrubbed;
        // The sender chooses the id: only its hash, with the site, reaches the disk.
        let seen = incoming.id.map(|id| {
            let hash = Sha256::new()
                .chain_update(id.0)
                .chain_update(scrubbed.site())
                .finalize();
            let mut short = [0; size_of::<Id>()];
            short.copy_from_slice(&hash[..size_of::<Id>()]);
            Id::from_be_bytes(short)
        });
        let bucket = bucket(scrubbed);
        let columns = record::Row {
            bucket: i64::from(bucket),
            site: scrubbed.site().as_bytes(),
            stored_at: now.0,
        };
        Self {
            bucket,
            stored_at: now,
            seen,
            is_held: incoming.is_held,
            record: columns.seal(&scrubbed.to_bytes()),
            site: scrubbed.site().into(),
        }
    }

    /// The row's bytes of `spool.bytes_max`.
    fn bytes(&self) -> u64 {
        self.record.len() as u64 + ROW_OVERHEAD
    }
}

/// The result of storing an event: on disk under this number, or refused.
pub(super) type Stored = Result<i64, Outcome>;

/// Inserts rows, and the ids of their events as one row.
pub(super) fn insert<'r>(
    db: &Connection,
    rows: impl Iterator<Item = &'r Row>,
    now: Timestamp,
    taking: &Taking,
    claim: &Claim,
    places: &Places,
) -> rusqlite::Result<Vec<Stored>> {
    claim.take_back();
    taking.take_back();
    let mut insert = db.prepare_cached(
        "INSERT INTO spool (bucket, site, stored_at, lane, record) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let mut stored = Vec::new();
    for row in rows {
        let (site, bytes) = (row.site.as_bytes(), row.bytes());
        if let Err(full) = taking.check(site, bytes, row.is_held) {
            stored.push(Err(full));
            continue;
        }
        if row.seen.is_some_and(|id| !claim.add(id)) {
            stored.push(Err(Outcome::Duplicate));
            continue;
        }
        let (lane, is_listed) = places.of(row.bucket);
        let listed = is_listed.then_some(lane);
        insert.execute(params![row.bucket, row.site, row.stored_at.0, listed, row.record])?;
        let seq = db.last_insert_rowid();
        let site = || Arc::clone(&row.site);
        let event = (!is_listed).then(|| Event {
            lane,
            site: site(),
            bytes,
        });
        places.unlisted.note(seq, event);
        taking.take(row.site.as_bytes(), bytes);
        stored.push(Ok(seq));
    }
    claim.write(db, now)?;
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    #[test]
    fn a_damaged_bucket_stops_no_start_and_may_be_in_any_lane() {
        let check = |buckets: &str, want: [bool; 3]| {
            let db = store::open_in_memory().unwrap();
            // Damage is not bound by the types of the columns.
            let plain = "DROP TABLE spool; CREATE TABLE spool (seq, bucket, site, stored_at, lane, record, not_before);";
            let rows = format!("INSERT INTO spool (seq, bucket, site) VALUES {buckets};");
            db.execute_batch(&format!("{plain} {rows}")).unwrap();
            assert_eq!(total(&db, 3).unwrap().occupied, want, "{buckets}");
        };
        check("(1, 4, 'a')", [false, true, false]);
        check("(1, 2, 'a'), (2, 5, 'a'), (3, 3, 'a')", [true, false, true]);
        check("(1, -4, 'a')", [false, true, false]);
        check("(1, 'x', 'a')", [true, false, false]);
        check("(1, 4, 'a'), (2, NULL, 'a')", [true; 3]);
        check("(1, 4.0, 'a')", [true; 3]);
    }
}
