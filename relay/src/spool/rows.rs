//! The spool's table: what goes into it and what leaves it, inside a transaction.

use super::{BUCKETS, Incoming};
use crate::clock::Moment;
use relay_event::Outcome;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

/// Bytes of a row besides its record, roughly.
pub(super) const ROW_OVERHEAD: u64 = 64;

/// What a transaction took out of the spool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Removed {
    /// How many events.
    pub events: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The highest number among them; 0 when there were none.
    pub last: i64,
}

/// Deletes the events that fit a condition with one parameter.
///
/// # Errors
/// SQLite's.
pub fn delete(
    db: &Connection,
    condition: &'static str,
    parameter: &dyn rusqlite::ToSql,
) -> rusqlite::Result<Removed> {
    let sql = format!("DELETE FROM spool WHERE {condition} RETURNING length(record), seq");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([parameter])?;
    let mut removed = Removed::default();
    while let Some(row) = rows.next()? {
        removed.events += 1;
        removed.bytes += row.get::<_, u64>(0)? + ROW_OVERHEAD;
        removed.last = removed.last.max(row.get(1)?);
    }
    Ok(removed)
}

/// When the event that waits longest was stored, in milliseconds since 1970; 0 when none waits.
pub(super) fn oldest(db: &Connection) -> rusqlite::Result<i64> {
    let oldest: Option<i64> = db
        .prepare_cached("SELECT stored_at FROM spool ORDER BY seq LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(oldest.unwrap_or(0))
}

pub(super) struct Row {
    pub(super) bucket: u8,
    site: String,
    seen: Option<[u8; 16]>,
    record: Vec<u8>,
}

impl Row {
    pub(super) fn of(incoming: &Incoming) -> Self {
        let scrubbed = &incoming.scrubbed;
        let [.., last] = scrubbed.visitor().octets();
        // The id comes from the sender: only its hash, with the site, touches the disk.
        let seen = incoming.id.map(|id| {
            let hash = Sha256::new()
                .chain_update(id.0)
                .chain_update(scrubbed.site())
                .finalize();
            let mut short = [0; 16];
            short.copy_from_slice(&hash[..16]);
            short
        });
        Self {
            bucket: last % BUCKETS,
            site: scrubbed.site().to_owned(),
            seen,
            record: scrubbed.to_bytes(),
        }
    }

    /// What the row counts against `spool.bytes_max`.
    pub(super) fn bytes(&self) -> u64 {
        self.record.len() as u64 + ROW_OVERHEAD
    }
}

pub(super) enum Stored {
    Yes(u64),
    Duplicate,
    Full,
}

impl Stored {
    pub(super) fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Yes(_) => None,
            Self::Duplicate => Some(Outcome::Duplicate),
            Self::Full => Some(Outcome::SpoolFull),
        }
    }
}

pub(super) fn insert(db: &Connection, rows: &[Row], now: Moment, room: u64) -> rusqlite::Result<Vec<Stored>> {
    let mut remember = db.prepare_cached("INSERT OR IGNORE INTO seen (id, at) VALUES (?1, ?2)")?;
    let mut insert =
        db.prepare_cached("INSERT INTO spool (bucket, site, stored_at, record) VALUES (?1, ?2, ?3, ?4)")?;
    let mut left = room;
    let mut stored = Vec::with_capacity(rows.len());
    for row in rows {
        let bytes = row.bytes();
        if bytes > left {
            stored.push(Stored::Full);
            continue;
        }
        if let Some(id) = row.seen
            && remember.execute(params![id, now.0])? == 0
        {
            stored.push(Stored::Duplicate);
            continue;
        }
        insert.execute(params![row.bucket, row.site, now.0, row.record])?;
        left -= bytes;
        stored.push(Stored::Yes(bytes));
    }
    Ok(stored)
}
