//! The spool's table: what goes into it and what leaves it, inside a transaction.

use super::seen::{Claim, Id};
use super::shares::{BySite, NoRoom, Taking};
use super::{BUCKETS, Incoming, Purge, record};
use crate::clock::Moment;
use relay_event::Outcome;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

/// Bytes of a row besides its record, roughly.
pub(super) const ROW_OVERHEAD: u64 = 64;

/// What a transaction took out of the spool.
#[derive(Clone, Debug, Default)]
pub struct Removed {
    /// How many events.
    pub events: u64,
    /// How many bytes of which site.
    pub bytes: BySite,
    /// The highest number among them; 0 when there were none.
    pub last: i64,
    /// How many quarantined records, which count as events no more.
    pub quarantined: u64,
    /// How many quarantined records were too many or too old.
    pub quarantine_dropped: u64,
}

/// Deletes the events that fit a condition with one parameter.
pub(super) fn delete(
    db: &Connection,
    condition: &'static str,
    parameter: &dyn rusqlite::ToSql,
) -> rusqlite::Result<Removed> {
    remove(db, condition, &[parameter])
}

fn remove(
    db: &Connection,
    condition: &str,
    parameters: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Removed> {
    let sql = format!("DELETE FROM spool WHERE {condition} RETURNING coalesce(length(record), 0), seq, site");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(parameters)?;
    let mut removed = Removed::default();
    while let Some(row) = rows.next()? {
        removed.events += 1;
        removed
            .bytes
            .add(site_of(row, 2)?, row.get::<_, u64>(0)? + ROW_OVERHEAD);
        removed.last = removed.last.max(row.get(1)?);
    }
    Ok(removed)
}

/// Deletes all that is kept of a site's events, those in quarantine too. Takes the site as bytes, because a
/// damaged one is no text.
///
/// # Errors
/// SQLite's.
pub fn purge_site(db: &Connection, site: &[u8]) -> rusqlite::Result<Removed> {
    let quarantined = db
        .prepare_cached("DELETE FROM quarantine WHERE site = CAST(?1 AS TEXT)")?
        .execute([site])? as u64;
    let removed = delete(db, "site = CAST(?1 AS TEXT)", &site)?;
    Ok(Removed {
        quarantined,
        ..removed
    })
}

/// The condition of a purge: 1 is the site, 2 the moment before which it was stored.
pub(super) const FITS: &str = "(?1 IS NULL OR site = ?1) AND (?2 IS NULL OR stored_at < ?2)";

/// Deletes what an operator wants gone.
pub(super) fn purge(db: &Connection, purge: &Purge) -> rusqlite::Result<Removed> {
    let site = purge.site.as_deref();
    let before = purge.before.map(|before| before.0);
    if purge.quarantine {
        let sql = format!("DELETE FROM quarantine WHERE {FITS}");
        let quarantined = db.execute(&sql, params![site, before])? as u64;
        return Ok(Removed {
            quarantined,
            ..Removed::default()
        });
    }
    remove(db, FITS, params![site, before])
}

/// The site of a row, as bytes: a damaged one is no text.
pub(super) fn site_of<'r>(row: &'r rusqlite::Row<'_>, column: usize) -> rusqlite::Result<&'r [u8]> {
    Ok(row.get_ref(column)?.as_bytes().unwrap_or_default())
}

/// The spool's events and their bytes.
pub(super) fn total(db: &Connection) -> rusqlite::Result<(u64, BySite)> {
    let mut select = db.prepare("SELECT coalesce(length(record), 0), site FROM spool NOT INDEXED")?;
    let mut rows = select.query([])?;
    let (mut events, mut bytes) = (0, BySite::default());
    while let Some(row) = rows.next()? {
        events += 1;
        bytes.add(site_of(row, 1)?, row.get::<_, u64>(0)? + ROW_OVERHEAD);
    }
    Ok((events, bytes))
}

/// When the event that waits longest was stored, in milliseconds since 1970; 0 when none waits.
pub(super) fn oldest(db: &Connection) -> rusqlite::Result<i64> {
    let oldest: Option<i64> = db
        .prepare_cached("SELECT stored_at FROM spool ORDER BY seq LIMIT 1")?
        // A damaged one is no number; its lane finds it, and nothing else waits for that.
        .query_row([], |row| Ok(row.get(0).unwrap_or(0)))
        .optional()?;
    Ok(oldest.unwrap_or(0))
}

/// Where a row belongs: its lane, and when it was stored.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) bucket: u8,
    pub(super) stored_at: Moment,
}

pub(super) struct Row {
    bucket: u8,
    site: String,
    stored_at: Moment,
    seen: Option<Id>,
    is_held: bool,
    record: Vec<u8>,
}

impl Row {
    pub(super) fn of(incoming: &Incoming, now: Moment) -> Self {
        let scrubbed = &incoming.scrubbed;
        let [.., last] = scrubbed.visitor().octets();
        // The id comes from the sender: only its hash, with the site, touches the disk.
        let seen = incoming.id.map(|id| {
            let hash = Sha256::new()
                .chain_update(id.0)
                .chain_update(scrubbed.site())
                .finalize();
            let mut short = [0; size_of::<Id>()];
            short.copy_from_slice(&hash[..size_of::<Id>()]);
            Id::from_be_bytes(short)
        });
        let bucket = last % BUCKETS;
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
            stored_at: now,
        }
    }

    pub(super) fn place(&self) -> Place {
        Place {
            bucket: self.bucket,
            stored_at: self.stored_at,
        }
    }

    /// What the row counts against `spool.bytes_max`.
    pub(super) fn bytes(&self) -> u64 {
        self.record.len() as u64 + ROW_OVERHEAD
    }
}

pub(super) enum Stored {
    /// On disk, under this number.
    Yes {
        seq: i64,
    },
    Duplicate,
    Full(NoRoom),
}

impl Stored {
    pub(super) fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Yes { .. } => None,
            Self::Duplicate => Some(Outcome::Duplicate),
            Self::Full(NoRoom::Spool) => Some(Outcome::SpoolFull),
            Self::Full(NoRoom::Site) => Some(Outcome::SpoolFullSite),
        }
    }

    /// Whether the event is on disk now, be it from before.
    pub(super) fn is_on_disk(&self) -> bool {
        !matches!(self, Self::Full(_))
    }
}

pub(super) fn insert(
    db: &Connection,
    rows: &[Row],
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
        if let Some(why) = taking.lacks(site, bytes, row.is_held) {
            stored.push(Stored::Full(why));
            continue;
        }
        if row.seen.is_some_and(|id| !claim.add(id)) {
            stored.push(Stored::Duplicate);
            continue;
        }
        insert.execute(params![row.bucket, row.site, row.stored_at.0, row.record])?;
        taking.take(site, bytes);
        stored.push(Stored::Yes {
            seq: db.last_insert_rowid(),
        });
    }
    if let Some(first) = rows.first() {
        claim.write(db, first.stored_at)?;
    }
    Ok(stored)
}
