//! The spool's table: inserts and deletes inside a transaction.

use super::seen::{Claim, Id};
use super::shares::{BySite, Taking};
use super::{BUCKETS, Incoming, record};
use crate::clock::Timestamp;
use crate::guard::Scrubbed;
use relay_event::Outcome;
use rusqlite::{Connection, OptionalExtension, Params, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

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

/// The spool's events and their bytes.
pub(super) fn total(db: &Connection) -> rusqlite::Result<(u64, BySite)> {
    let mut select = db.prepare(&format!("SELECT {SPACE} FROM spool NOT INDEXED"))?;
    let mut rows = select.query([])?;
    let (mut events, mut bytes) = (0, BySite::default());
    while let Some(row) = rows.next()? {
        events += 1;
        add(&mut bytes, row)?;
    }
    Ok((events, bytes))
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

/// The bucket of an event, by its visitor.
pub(super) fn bucket(scrubbed: &Scrubbed) -> u8 {
    let [.., last] = scrubbed.visitor().octets();
    last % BUCKETS
}

pub(super) struct Row {
    bucket: u8,
    site: String,
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
            seen,
            is_held: incoming.is_held,
            record: columns.seal(&scrubbed.to_bytes()),
            site: scrubbed.site().to_owned(),
        }
    }

    /// The row's bytes of `spool.bytes_max`.
    fn bytes(&self) -> u64 {
        self.record.len() as u64 + ROW_OVERHEAD
    }
}

/// The result of storing an event: on disk under this number, or refused.
pub(super) type Stored = Result<i64, Outcome>;

pub(super) fn insert(
    db: &Connection,
    rows: &[Row],
    now: Timestamp,
    taking: &Taking,
    claim: &Claim,
) -> rusqlite::Result<Vec<Stored>> {
    claim.take_back();
    taking.take_back();
    let mut insert =
        db.prepare_cached("INSERT INTO spool (bucket, site, stored_at, record) VALUES (?1, ?2, ?3, ?4)")?;
    let mut stored = Vec::with_capacity(rows.len());
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
        insert.execute(params![row.bucket, row.site, now.0, row.record])?;
        taking.take(site, bytes);
        stored.push(Ok(db.last_insert_rowid()));
    }
    claim.write(db, now)?;
    Ok(stored)
}
