//! The quarantine keeps unreadable records, so that they block neither the start nor their lane. `spool ls` lists them,
//! and a relay that can read them replays them.
//!
//! A record is booked out when it is quarantined; from then on it counts as no event.

use super::cursor::LaneState;
use super::rows::{self, ROW_OVERHEAD, SPACE, oldest};
use super::shares::Taking;
use super::unlisted::LANE;
use super::{BySite, Spool, millis, record};
use crate::clock::Timestamp;
use crate::store::StoreError;
use relay_event::Outcome;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most records in quarantine, and most bytes of them. Above either limit the oldest are dropped and counted.
pub(super) const RECORDS_MAX: u32 = 1000;
pub(super) const BYTES_MAX: u32 = 4 * 1024 * 1024;
/// Longest stay of a record, long enough for an upgrade. Older ones are dropped and counted.
pub(super) const AGE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// The result of quarantining.
pub(super) struct Moved {
    ended: Vec<Outcome>,
    bytes: BySite,
    oldest: i64,
    held: i64,
    dropped: u64,
}

/// The result of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Replayed {
    /// Quarantined records that are readable now and wait for delivery again.
    pub replayed: u64,
    /// Readable ones that are older than an event may wait; they stay.
    pub too_old: u64,
    /// Readable ones that the spool has no space for; they stay.
    pub no_space: u64,
    /// Records that are still unreadable; they stay.
    pub unreadable: u64,
    /// Parked events that are due now.
    pub due: u64,
}

/// How many records are in quarantine.
pub(super) fn held(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT count(*) FROM quarantine")?
        .query_row([], |row| row.get(0))
}

/// Drops records beyond the limits of number, size and age. Returns how many.
pub(super) fn trim(db: &Connection, now: Timestamp) -> rusqlite::Result<u64> {
    let mut trim = db.prepare_cached(
        "DELETE FROM quarantine WHERE at < ?1 OR id IN (
            SELECT id FROM (
                SELECT id, row_number() OVER newest AS n,
                    sum(coalesce(length(record), 0) + ?2) OVER newest AS bytes
                FROM quarantine WINDOW newest AS (ORDER BY id DESC)
            ) WHERE n > ?3 OR bytes > ?4
        )",
    )?;
    let too_old = now.0.saturating_sub(millis(AGE_MAX));
    let dropped = trim.execute(params![too_old, ROW_OVERHEAD, RECORDS_MAX, BYTES_MAX])?;
    Ok(dropped as u64)
}

fn move_in(db: &Connection, records: &[(i64, Outcome)], now: Timestamp) -> rusqlite::Result<Moved> {
    let mut copy = db.prepare_cached(
        "INSERT INTO quarantine (bucket, site, stored_at, record, at, reason)
         SELECT bucket, site, stored_at, record, ?2, ?3 FROM spool WHERE seq = ?1",
    )?;
    let mut delete = db.prepare_cached(&format!("DELETE FROM spool WHERE seq = ?1 RETURNING {SPACE}"))?;
    let (mut ended, mut bytes) = (Vec::new(), BySite::default());
    for (seq, outcome) in records {
        // Another read may have moved it already.
        if copy.execute(params![seq, now.0, outcome.reason()])? == 1 {
            delete.query_row([seq], |row| rows::add(&mut bytes, row))?;
            ended.push(*outcome);
        }
    }
    let dropped = trim(db, now)?;
    Ok(Moved {
        ended,
        bytes,
        dropped,
        oldest: oldest(db)?,
        held: held(db)?,
    })
}

/// Puts readable records back into the spool under a new number, because their lanes are long past the old ones.
fn move_out(db: &Connection, taking: &Taking, too_old: i64, lanes: usize) -> rusqlite::Result<Replayed> {
    let mut replayed = Replayed::default();
    let mut back = db.prepare_cached(&format!(
        "INSERT INTO spool (bucket, site, stored_at, lane, record)
         SELECT bucket, site, stored_at, {LANE}, record FROM quarantine WHERE id = ?1"
    ))?;
    let mut delete = db.prepare_cached("DELETE FROM quarantine WHERE id = ?1")?;
    let mut select =
        db.prepare_cached("SELECT id, bucket, site, stored_at, record FROM quarantine ORDER BY id")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (id, site) = (row.get::<_, i64>(0)?, rows::site_of(row, 2)?);
        let bytes = row.get_ref(4)?.as_blob().map_or(0, <[u8]>::len) as u64 + ROW_OVERHEAD;
        if record::read(row, 1).is_err() {
            replayed.unreadable += 1;
        } else if !row.get::<_, i64>(3).is_ok_and(|at| at >= too_old) {
            replayed.too_old += 1;
        } else if taking.check(site, bytes, false).is_err() {
            replayed.no_space += 1;
        } else {
            back.execute(params![id, lanes])?;
            taking.take(site, bytes);
            // SQLite allows deleting the row that a scan has returned.
            delete.execute([id])?;
            replayed.replayed += 1;
        }
    }
    Ok(replayed)
}

impl Spool {
    /// Moves unreadable records into quarantine and books them. If the disk refuses they stay, and the next read finds them
    /// again.
    pub(super) async fn quarantine(&self, records: Vec<(i64, Outcome)>) -> Result<(), StoreError> {
        let now = self.ages.now();
        let spool = self.clone();
        let after = move |result: Result<&Moved, &StoreError>| {
            let Ok(moved) = result else { return };
            for outcome in &moved.ended {
                spool.ledger.end_spooled(*outcome, 1);
            }
            spool.give_back(&moved.bytes, moved.oldest);
            spool.metrics.spool_quarantined.set(moved.held);
            spool.metrics.spool_quarantine_dropped.inc_by(moved.dropped);
            tracing::error!(
                records = moved.ended.len(),
                dropped = moved.dropped,
                "moved unreadable records of the spool to quarantine; `spool ls` lists them"
            );
        };
        let work = move |db: &Connection| move_in(db, &records, now);
        self.store.write(work, after).await.map(drop)
    }

    /// Puts quarantined records that are now readable back into the spool, and makes parked events due.
    ///
    /// # Errors
    /// If the changes did not reach the disk.
    pub async fn replay(&self) -> Result<Replayed, StoreError> {
        let now = self.ages.now();
        let too_old = now.0.saturating_sub(millis(self.limits.age_max));
        let taking = self.shares.taking();
        let (taken, lanes) = (taking.clone(), self.lanes());
        let work = move |db: &Connection| {
            taking.take_back();
            let mut replayed = move_out(db, &taking, too_old, lanes)?;
            replayed.due = db.execute(
                "UPDATE spool SET not_before = ?1 WHERE not_before IS NOT NULL",
                [now.0],
            )? as u64;
            Ok((replayed, oldest(db)?, held(db)?))
        };
        let spool = self.clone();
        let after = move |result: Result<&(Replayed, i64, i64), &StoreError>| {
            let Ok((replayed, oldest, held)) = result else {
                taken.take_back();
                return;
            };
            spool.ledger.recover(replayed.replayed);
            spool.note(*oldest);
            spool.metrics.spool_quarantined.set(*held);
            spool.lanes.iter().for_each(LaneState::rewind);
        };
        let done = self.store.write(work, after).await;
        done.map(|(replayed, ..)| replayed)
    }
}

#[cfg(test)]
mod tests;
