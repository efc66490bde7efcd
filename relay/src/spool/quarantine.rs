//! Where unreadable records go, so that they stop neither the start nor their lane and can still be looked
//! at, or replayed by a relay that can read them.
//!
//! A record is booked out when it goes in; what happens to it here counts no events any more.

use super::{BySite, ROW_OVERHEAD, Spool, millis, oldest, record, rows};
use crate::clock::Moment;
use crate::store::StoreError;
use relay_event::Outcome;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most records in quarantine, and most bytes of them. Above either the oldest are dropped and counted.
pub(super) const RECORDS_MAX: u32 = 1000;
pub(super) const BYTES_MAX: u32 = 4 * 1024 * 1024;
/// How long a record stays at most: time enough for an upgrade. An older one is dropped and counted.
pub(super) const AGE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// What quarantining did.
pub(super) struct Moved {
    ended: Vec<Outcome>,
    bytes: BySite,
    oldest: i64,
    held: i64,
    dropped: u64,
}

/// What came of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Replayed {
    /// Quarantined records that are readable now and wait for delivery again.
    pub replayed: u64,
    /// Readable ones that are older than an event may wait; they stay.
    pub too_old: u64,
    /// Readable ones that the spool has no room for; they stay.
    pub no_room: u64,
    /// Those that still cannot be read; they stay.
    pub unreadable: u64,
    /// Parked events that are due now.
    pub due: u64,
}

/// How many records are in quarantine.
pub(super) fn held(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT count(*) FROM quarantine")?
        .query_row([], |row| row.get(0))
}

/// Drops what is too much or too old, and says how many.
pub(super) fn trim(db: &Connection, now: Moment) -> rusqlite::Result<u64> {
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

fn move_in(db: &Connection, records: &[(i64, Outcome)], now: Moment) -> rusqlite::Result<Moved> {
    let mut copy = db.prepare_cached(
        "INSERT INTO quarantine (bucket, site, stored_at, record, at, reason)
         SELECT bucket, site, stored_at, record, ?2, ?3 FROM spool WHERE seq = ?1",
    )?;
    let mut leave =
        db.prepare_cached("DELETE FROM spool WHERE seq = ?1 RETURNING coalesce(length(record), 0), site")?;
    let (mut ended, mut bytes) = (Vec::new(), BySite::default());
    for (seq, outcome) in records {
        // Another look may have moved it already.
        if copy.execute(params![seq, now.0, outcome.reason()])? == 1 {
            leave.query_row([seq], |row| {
                bytes.add(rows::site_of(row, 1)?, row.get::<_, u64>(0)? + ROW_OVERHEAD);
                Ok(())
            })?;
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

impl Spool {
    /// Moves unreadable records out of the way and books them. Where the disk refuses they stay, and are
    /// found again by the next look.
    pub(super) async fn quarantine(&self, records: Vec<(i64, Outcome)>) -> Result<(), StoreError> {
        let now = self.ages.now();
        let spool = self.clone();
        let after = move |result: Result<&Moved, &StoreError>| {
            let Ok(moved) = result else { return };
            for outcome in &moved.ended {
                spool.metrics.ledger.end_spooled(*outcome, 1);
            }
            spool.give_back(&moved.bytes, moved.oldest);
            spool.metrics.quarantined.set(moved.held);
            spool.metrics.quarantine_dropped.inc_by(moved.dropped);
            tracing::error!(
                records = moved.ended.len(),
                dropped = moved.dropped,
                "records of the spool cannot be read and were put into quarantine; `spool ls` lists them"
            );
        };
        let work = move |db: &Connection| move_in(db, &records, now);
        self.store.write(work, after).await.map(drop)
    }

    /// Puts quarantined records that can be read now back into the spool, and makes parked events due.
    ///
    /// # Errors
    /// When the changes did not reach the disk.
    pub async fn replay(&self) -> Result<Replayed, StoreError> {
        let now = self.ages.now();
        let too_old = now.0.saturating_sub(millis(self.limits.age_max));
        let taking = self.shares.taking();
        let taken = taking.clone();
        let work = move |db: &Connection| {
            taking.take_back();
            let mut replayed = Replayed::default();
            let mut kept =
                db.prepare_cached("SELECT id, bucket, site, stored_at, record FROM quarantine ORDER BY id")?;
            // With a number of its own, because its lane has long passed the old one.
            let mut back = db.prepare_cached(
                "INSERT INTO spool (bucket, site, stored_at, record)
                 SELECT bucket, site, stored_at, record FROM quarantine WHERE id = ?1",
            )?;
            let mut leave = db.prepare_cached(
                "DELETE FROM quarantine WHERE id = ?1 RETURNING coalesce(length(record), 0)",
            )?;
            let found = kept.query_map([], |row| {
                let readable = record::read(row, 1).is_ok();
                let stored_at: Option<i64> = row.get(3).ok();
                let length = row.get_ref(4)?.as_blob().map_or(0, <[u8]>::len) as u64;
                let site = rows::site_of(row, 2)?.to_vec();
                Ok((
                    row.get::<_, i64>(0)?,
                    readable,
                    stored_at,
                    site,
                    length + ROW_OVERHEAD,
                ))
            })?;
            for (id, readable, stored_at, site, size) in found.collect::<rusqlite::Result<Vec<_>>>()? {
                if !readable {
                    replayed.unreadable += 1;
                } else if stored_at.is_none_or(|at| at < too_old) {
                    replayed.too_old += 1;
                } else if taking.lacks(&site, size, false).is_some() {
                    replayed.no_room += 1;
                } else {
                    back.execute([id])?;
                    leave.query_row([id], |_| Ok(()))?;
                    taking.take(&site, size);
                    replayed.replayed += 1;
                }
            }
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
            spool.metrics.ledger.recover(replayed.replayed);
            let (bytes, oldest) = (spool.shares.total(), super::shown(&spool.ages, *oldest));
            spool.metrics.ledger.note_spool(bytes, oldest);
            spool.metrics.quarantined.set(*held);
            for lane in spool.lanes.iter() {
                lane.begin_again();
            }
        };
        let done = self.store.write(work, after).await;
        done.map(|(replayed, ..)| replayed)
    }
}

#[cfg(test)]
mod tests;
