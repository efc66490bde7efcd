//! The spool as a command reads it: through its own connection, beside a relay that may be running.
//!
//! It reads page by page, so that no long read blocks checkpoints of SQLite's log.

use super::rows::ROW_OVERHEAD;
use super::{Purge, record};
use crate::clock::Timestamp;
use crate::guard::Scrubbed;
use relay_event::Outcome;
use rusqlite::{Connection, params};

/// Most findings of SQLite's integrity check that are reported.
const FINDINGS_MAX: u32 = 20;
/// Events per page.
const PAGE: u32 = 500;

/// The waiting events of one site.
#[derive(Clone, Debug)]
pub struct Total {
    /// The site's bytes in the database: damage can make them any value.
    pub site: Vec<u8>,
    /// How many events.
    pub events: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// A waiting event.
#[derive(Debug)]
pub struct Entry {
    /// Its number.
    pub seq: i64,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// Its bytes of `spool.bytes_max`.
    pub bytes: u64,
    /// The time until which it is parked.
    pub parked_until: Option<Timestamp>,
    /// The event, or why it cannot be read: [`Outcome::Corrupt`] or [`Outcome::Newer`].
    pub event: Result<Scrubbed, Outcome>,
}

/// A record in quarantine.
#[derive(Clone, Debug)]
pub struct Quarantined {
    /// When it was quarantined.
    pub at: Timestamp,
    /// Why: `corrupt` or `newer`.
    pub reason: String,
    /// How many bytes it has.
    pub bytes: u64,
}

/// The result of a check.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// SQLite's findings about the file; empty if it is sound.
    pub findings: Vec<String>,
    /// Undamaged records.
    pub sound: u64,
    /// The numbers of unreadable records, each with the reason.
    pub unreadable: Vec<(i64, Outcome)>,
}

/// Totals of waiting events, by site.
///
/// # Errors
/// SQLite's.
pub fn totals(db: &Connection) -> rusqlite::Result<Vec<Total>> {
    let sql =
        "SELECT site, count(*), coalesce(sum(length(record)), 0) FROM spool GROUP BY site ORDER BY site";
    db.prepare(sql)?
        .query_map([], |row| {
            let events = row.get(1)?;
            Ok(Total {
                site: row.get_ref(0)?.as_bytes().unwrap_or_default().to_vec(),
                events,
                bytes: row.get::<_, u64>(2)? + events * ROW_OVERHEAD,
            })
        })?
        .collect()
}

/// How far the wall clock was ahead of the stored time when the relay last recorded it, in milliseconds. It is added to
/// every time that is shown.
fn ahead_ms(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT ahead_ms FROM heartbeat", [], |row| row.get(0))
}

/// The records in quarantine, the latest first.
///
/// # Errors
/// SQLite's.
pub fn quarantined(db: &Connection) -> rusqlite::Result<Vec<Quarantined>> {
    let ahead = ahead_ms(db)?;
    let sql = "SELECT at, reason, coalesce(length(record), 0) FROM quarantine ORDER BY id DESC";
    db.prepare(sql)?
        .query_map([], |row| {
            Ok(Quarantined {
                at: Timestamp(row.get::<_, i64>(0)?.saturating_add(ahead)),
                reason: row.get(1)?,
                bytes: row.get(2)?,
            })
        })?
        .collect()
}

/// How many events or quarantined records a purge would delete.
///
/// # Errors
/// SQLite's.
pub fn would_purge(db: &Connection, purge: &Purge) -> rusqlite::Result<u64> {
    let table = if purge.quarantine { "quarantine" } else { "spool" };
    let sql = format!("SELECT count(*) FROM {table} WHERE {}", super::rows::FITS);
    let ahead = ahead_ms(db)?;
    let before = purge.before.map(|before| before.0.saturating_sub(ahead));
    db.query_row(&sql, params![purge.site, before], |row| row.get(0))
}

/// Visits waiting events, oldest first, of one site or of all, until the visitor returns `false`.
///
/// # Errors
/// SQLite's.
pub fn visit(
    db: &Connection,
    site: Option<&str>,
    mut visitor: impl FnMut(Entry) -> bool,
) -> rusqlite::Result<()> {
    let mut page = db.prepare(
        "SELECT seq, bucket, site, stored_at, record, not_before FROM spool
         WHERE seq > ?1 AND (?2 IS NULL OR site = ?2) ORDER BY seq LIMIT ?3",
    )?;
    let mut after = i64::MIN;
    let ahead = ahead_ms(db)?;
    let shown = |at: i64| Timestamp(at.saturating_add(ahead));
    loop {
        let entry = |row: &rusqlite::Row<'_>| {
            Ok(Entry {
                seq: row.get(0)?,
                stored_at: shown(row.get(3).unwrap_or_default()),
                bytes: row.get_ref(4)?.as_blob().map_or(0, <[u8]>::len) as u64 + ROW_OVERHEAD,
                parked_until: row.get::<_, Option<i64>>(5).ok().flatten().map(shown),
                event: record::read(row, 1).map_err(record::Unreadable::outcome),
            })
        };
        let found: Vec<Entry> = page
            .query_map(params![after, site, PAGE], entry)?
            .collect::<rusqlite::Result<_>>()?;
        let Some(last) = found.last() else {
            return Ok(());
        };
        after = last.seq;
        for entry in found {
            if !visitor(entry) {
                return Ok(());
            }
        }
    }
}

/// Checks the file and each record.
///
/// # Errors
/// SQLite's, if it cannot read anything.
pub fn verify(db: &Connection) -> rusqlite::Result<VerifyReport> {
    let mut report = VerifyReport::default();
    // The findings name pages, tables and rows, never their content.
    let mut check = db.prepare(&format!("PRAGMA integrity_check({FINDINGS_MAX})"))?;
    for finding in check.query_map([], |row| row.get::<_, String>(0))? {
        report.findings.push(finding?);
    }
    report.findings.retain(|finding| finding != "ok");
    let visited = visit(db, None, |entry| {
        match entry.event {
            Ok(_) => report.sound += 1,
            Err(why) => report.unreadable.push((entry.seq, why)),
        }
        true
    });
    if let Err(error) = visited {
        report
            .findings
            .push(format!("the events cannot all be read: {error}"));
    }
    Ok(report)
}
