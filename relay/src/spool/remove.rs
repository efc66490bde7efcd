//! How events leave the spool: settled, expired or purged, each booked by the transaction that deletes it.

use super::{BySite, ROW_OVERHEAD, Removed, Spool, oldest, quarantine, rows};
use crate::clock::{Moment, TooOld};
use crate::store::StoreError;
use relay_event::Outcome;
use rusqlite::{Connection, OptionalExtension};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Which events to purge: those that fit all that is named.
#[derive(Clone, Debug, Default)]
pub struct Purge {
    /// Of this site only.
    pub site: Option<String>,
    /// Stored before this moment of the wall clock only.
    pub before: Option<Moment>,
    /// Those in quarantine, instead of those that wait.
    pub quarantine: bool,
}

impl Spool {
    /// Takes one event out of the spool for good. Nothing happens when it is gone already.
    ///
    /// # Errors
    /// When the change did not reach the disk; the event will then be delivered again.
    pub async fn end(&self, seq: i64, outcome: Outcome) -> Result<(), StoreError> {
        self.settle(vec![(seq, outcome)]).await
    }

    /// Takes events out of the spool for good, in one transaction, each booked with its outcome. One that is
    /// gone already is not booked again.
    ///
    /// # Errors
    /// When the change did not reach the disk; all of them still wait then.
    pub async fn settle(&self, endings: Vec<(i64, Outcome)>) -> Result<(), StoreError> {
        self.settle_and(endings, |_| Ok(())).await
    }

    /// The same, and does something more in the same transaction.
    ///
    /// # Errors
    /// When the change did not reach the disk; then neither was done.
    pub async fn settle_and(
        &self,
        endings: Vec<(i64, Outcome)>,
        mut also: impl FnMut(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        let work = move |db: &Connection| {
            also(db)?;
            // Two statements, because RETURNING would make and empty a table in memory for each event.
            let mut length =
                db.prepare_cached("SELECT coalesce(length(record), 0), site FROM spool WHERE seq = ?1")?;
            let mut delete = db.prepare_cached("DELETE FROM spool WHERE seq = ?1")?;
            let mut ended = Vec::with_capacity(endings.len());
            let mut bytes = BySite::default();
            for (seq, outcome) in &endings {
                let freed = length.query_row([seq], |row| {
                    bytes.add(rows::site_of(row, 1)?, row.get::<_, u64>(0)? + ROW_OVERHEAD);
                    Ok(())
                });
                if freed.optional()?.is_some() {
                    delete.execute([seq])?;
                    ended.push(*outcome);
                }
            }
            Ok((ended, bytes, oldest(db)?))
        };
        let spool = self.clone();
        let after = move |result: Result<&(Vec<Outcome>, BySite, i64), &StoreError>| {
            if let Ok((ended, bytes, oldest)) = result {
                for outcome in ended {
                    spool.metrics.ledger.end_spooled(*outcome, 1);
                }
                spool.give_back(bytes, *oldest);
            }
        };
        self.store.write(work, after).await.map(drop)
    }

    /// Drops and counts what is too old, forgets old event ids, and takes what was deleted since the last
    /// time out of SQLite's log.
    ///
    /// # Errors
    /// When the change did not reach the disk.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let (now, too_old) = (self.ages.earliest_now(), self.ages.too_old(self.limits.age_max));
        let (seen, ages) = (self.seen.clone(), self.ages.clone());
        let work = move |db: &Connection| {
            keep_ahead(db, ages.ahead_ms())?;
            seen.trim(db, &ages)
        };
        self.store
            .write(work, {
                let seen = self.seen.clone();
                move |trimmed: Result<&Vec<_>, &StoreError>| {
                    if let Ok(trimmed) = trimmed {
                        seen.forget(trimmed);
                    }
                }
            })
            .await?;
        self.remove(Outcome::Expired, move |db| {
            // Up to the first that is young enough, so that a long spool is not read through each time. One
            // that a jump of the clock hides behind it is noticed when it is its turn to be sent.
            let limit = TooOld::limit("stored_at");
            let young = format!("SELECT seq FROM spool WHERE stored_at >= {limit} ORDER BY seq LIMIT 1");
            let first_young: Option<i64> = db
                .prepare_cached(&young)?
                .query_row(too_old.parameters(), |row| row.get(0))
                .optional()?;
            let dropped = quarantine::trim(db, now)?;
            let expired = rows::delete(db, "seq < ?1", &first_young.unwrap_or(i64::MAX))?;
            Ok(Removed {
                quarantine_dropped: dropped,
                ..expired
            })
        })
        .await
        .map(|removed| removed.events)
    }

    /// Runs a transaction that deletes events, and books them under one outcome.
    ///
    /// # Errors
    /// When the change did not reach the disk.
    pub async fn remove(
        &self,
        outcome: Outcome,
        mut work: impl FnMut(&Connection) -> rusqlite::Result<Removed> + Send + 'static,
    ) -> Result<Removed, StoreError> {
        let (spool, store) = (self.clone(), self.store.clone());
        let with_oldest = move |db: &Connection| {
            let removed = work(db)?;
            // What was to be gone must not stay in SQLite's log. Said here, so that it is this commit.
            store.tidy_after_next_commit();
            Ok((removed, oldest(db)?))
        };
        let after = move |result: Result<&(Removed, i64), &StoreError>| {
            if let Ok((removed, oldest)) = result {
                if removed.events > 0 {
                    // Nor may they be handed to a lane from memory.
                    spool.lanes.iter().for_each(|lane| lane.fresh.forget());
                }
                spool.metrics.ledger.end_spooled(outcome, removed.events);
                let gone = removed.quarantined + removed.quarantine_dropped;
                spool
                    .metrics
                    .quarantined
                    .dec_by(i64::try_from(gone).unwrap_or(i64::MAX));
                spool
                    .metrics
                    .quarantine_dropped
                    .inc_by(removed.quarantine_dropped);
                spool.give_back(&removed.bytes, *oldest);
            }
        };
        self.store
            .write(with_oldest, after)
            .await
            .map(|(removed, _)| removed)
    }

    /// Deletes events on an operator's word. What is just being sent may still arrive; what was only read for
    /// it is not sent any more.
    ///
    /// # Errors
    /// When the change did not reach the disk; nothing is purged then.
    pub async fn purge(&self, mut purge: Purge) -> Result<Removed, StoreError> {
        purge.before = purge.before.map(|before| self.ages.of_wall(before));
        let purges = Arc::clone(&self.purges);
        let work = move |db: &Connection| {
            let removed = rows::purge(db, &purge)?;
            // Should it be rolled back, somebody asks for nothing.
            purges.fetch_add(1, Ordering::SeqCst);
            Ok(removed)
        };
        self.remove(Outcome::Purged, work).await
    }

    /// Whether an event was purged on an operator's word since it was read. The database is asked only when
    /// there was a purge meanwhile; `read_at` is what [`Waiting::purges`] said.
    ///
    /// # Errors
    /// When the database cannot be read: then nobody knows.
    ///
    /// [`Waiting::purges`]: super::Waiting::purges
    pub async fn has_purged(&self, seq: i64, read_at: &mut u64) -> Result<bool, StoreError> {
        let purges = self.purges.load(Ordering::SeqCst);
        if *read_at == purges {
            return Ok(false);
        }
        let waits = move |db: &Connection| {
            db.prepare_cached("SELECT EXISTS (SELECT 1 FROM spool WHERE seq = ?1)")?
                .query_row([seq], |row| row.get::<_, bool>(0))
        };
        let waits = self.store.run(waits).await?;
        *read_at = purges;
        Ok(!waits)
    }

    /// Frees room, on the writer after a commit.
    pub(super) fn give_back(&self, freed: &BySite, oldest: i64) {
        self.shares.give_back(freed);
        let bytes = self.shares.total();
        self.metrics
            .ledger
            .note_spool(bytes, super::shown(&self.ages, oldest));
    }
}

/// Least movement of the wall clock that is written down, in milliseconds: less is no jump.
const AHEAD_STEP_MS: i64 = 1000;

/// Writes down how far the wall clock is ahead of the time that is stored, where that has changed.
fn keep_ahead(db: &Connection, ahead_ms: i64) -> rusqlite::Result<usize> {
    db.prepare_cached("UPDATE heartbeat SET ahead_ms = ?1 WHERE abs(ahead_ms - ?1) > ?2")?
        .execute([ahead_ms, AHEAD_STEP_MS])
}
