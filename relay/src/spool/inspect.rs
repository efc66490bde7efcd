//! The spool as a command sees it: through a connection of its own, beside a relay that may be running.
//!
//! It is read in pages, so that no long look keeps SQLite's log from being emptied.

use super::rows::ROW_OVERHEAD;
use super::{Purge, record};
use crate::clock::Moment;
use crate::guard::Scrubbed;
use relay_event::Outcome;
use rusqlite::{Connection, params};

/// Most findings of SQLite's own check that are told.
const FINDINGS_MAX: u32 = 20;
/// Events of one page.
const PAGE: u32 = 500;

/// What waits of one site.
#[derive(Clone, Debug)]
pub struct Total {
    /// The site, as it stands in the database: damage may have made anything of it.
    pub site: Vec<u8>,
    /// How many events.
    pub events: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// One event that waits.
#[derive(Debug)]
pub struct Entry {
    /// Its number.
    pub seq: i64,
    /// When it was stored.
    pub stored_at: Moment,
    /// What it counts against `spool.bytes_max`.
    pub bytes: u64,
    /// Until when it is parked.
    pub parked_until: Option<Moment>,
    /// The event, or why it cannot be read: [`Outcome::Corrupt`] or [`Outcome::Newer`].
    pub event: Result<Scrubbed, Outcome>,
}

/// One record in quarantine.
#[derive(Clone, Debug)]
pub struct Quarantined {
    /// When it was put there.
    pub at: Moment,
    /// Why: `corrupt` or `newer`.
    pub reason: String,
    /// How many bytes it has.
    pub bytes: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What SQLite finds wrong with the file; empty when nothing.
    pub findings: Vec<String>,
    /// Records that are as they were written.
    pub sound: u64,
    /// The numbers of those that cannot be read, and why.
    pub unreadable: Vec<(i64, Outcome)>,
}

/// What waits, by site.
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

/// How far the wall clock was ahead of the time that is stored when the relay last looked, in milliseconds: so
/// much later everything is shown.
fn ahead_ms(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT ahead_ms FROM heartbeat", [], |row| row.get(0))
}

/// What is in quarantine, the latest first.
///
/// # Errors
/// SQLite's.
pub fn quarantined(db: &Connection) -> rusqlite::Result<Vec<Quarantined>> {
    let ahead = ahead_ms(db)?;
    let sql = "SELECT at, reason, coalesce(length(record), 0) FROM quarantine ORDER BY id DESC";
    db.prepare(sql)?
        .query_map([], |row| {
            Ok(Quarantined {
                at: Moment(row.get::<_, i64>(0)?.saturating_add(ahead)),
                reason: row.get(1)?,
                bytes: row.get(2)?,
            })
        })?
        .collect()
}

/// How many events or quarantined records a purge would take.
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

/// Visits what waits, oldest first, of one site or of all, until the visitor has seen enough and says `false`.
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
    let shown = |at: i64| Moment(at.saturating_add(ahead));
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
/// SQLite's, where it can read nothing at all.
pub fn verify(db: &Connection) -> rusqlite::Result<Verdict> {
    let mut verdict = Verdict::default();
    // The findings name pages, tables and rows, never what is in them.
    let mut check = db.prepare(&format!("PRAGMA integrity_check({FINDINGS_MAX})"))?;
    for finding in check.query_map([], |row| row.get::<_, String>(0))? {
        verdict.findings.push(finding?);
    }
    verdict.findings.retain(|finding| finding != "ok");
    let visited = visit(db, None, |entry| {
        match entry.event {
            Ok(_) => verdict.sound += 1,
            Err(why) => verdict.unreadable.push((entry.seq, why)),
        }
        true
    });
    if let Err(error) = visited {
        verdict
            .findings
            .push(format!("the events cannot all be read: {error}"));
    }
    Ok(verdict)
}
