//! Removes events from the spool: settled, expired or purged, each booked by the transaction that deletes it.

use super::rows::{self, SPACE, oldest};
use super::{BySite, Purge, Removed, Spool, quarantine};
use crate::clock::TooOld;
use crate::store::StoreError;
use relay_event::Outcome;
use rusqlite::{Connection, OptionalExtension};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Spool {
    /// Removes events from the spool for good, each booked with its outcome, and does further work in the same
    /// transaction. An event that is gone already is not booked again.
    ///
    /// # Errors
    /// If the change did not reach the disk; then all of them still wait, and the work is not done.
    pub async fn settle(
        &self,
        endings: Vec<(i64, Outcome)>,
        mut also: impl FnMut(&Connection) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        let unlisted = self.unlisted.clone();
        let settled: Vec<i64> = endings.iter().map(|(seq, _)| *seq).collect();
        let work = move |db: &Connection| {
            also(db)?;
            // No RETURNING, because it creates and empties an in-memory table for each event.
            let mut space = db.prepare_cached(&format!("SELECT {SPACE} FROM spool WHERE seq = ?1"))?;
            let mut delete = db.prepare_cached("DELETE FROM spool WHERE seq = ?1")?;
            let mut ended = Vec::with_capacity(endings.len());
            let mut bytes = BySite::default();
            for (seq, outcome) in &endings {
                match unlisted.space(*seq) {
                    Some((site, freed)) if delete.execute([seq])? == 1 => bytes.add(site.as_bytes(), freed),
                    Some(_) => continue,
                    None => {
                        let freed = space.query_row([seq], |row| rows::add(&mut bytes, row));
                        if freed.optional()?.is_none() {
                            continue;
                        }
                        delete.execute([seq])?;
                    }
                }
                ended.push(*outcome);
            }
            Ok((ended, bytes, oldest(db)?))
        };
        let spool = self.clone();
        let after = move |result: Result<&(Vec<Outcome>, BySite, i64), &StoreError>| {
            if let Ok((ended, bytes, oldest)) = result {
                spool.unlisted.forget(settled);
                for outcome in ended {
                    spool.ledger.end_spooled(*outcome, 1);
                }
                spool.give_back(bytes, *oldest);
            }
        };
        self.store.write(work, after).await.map(drop)
    }

    /// Drops and counts events that are too old, forgets old event ids, and removes data deleted since the last sweep from
    /// SQLite's log.
    ///
    /// # Errors
    /// If the change did not reach the disk.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
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
        let expired = self.expire().await?;
        self.list().await;
        Ok(expired)
    }

    async fn expire(&self) -> Result<u64, StoreError> {
        let (now, too_old) = (self.ages.earliest_now(), self.ages.too_old(self.limits.age_max));
        self.remove(Outcome::Expired, move |db| {
            // Up to the first that is young enough, to avoid a scan of a long spool each time. An event that a jump of the
            // clock hides behind it is dropped when it is its turn to be sent.
            let limit = TooOld::limit("stored_at");
            let young = format!("SELECT seq FROM spool WHERE stored_at >= {limit} ORDER BY seq LIMIT 1");
            let first_young: Option<i64> = db
                .prepare_cached(&young)?
                .query_row(too_old.parameters(), |row| row.get(0))
                .optional()?;
            let dropped = quarantine::trim(db, now)?;
            let expired = rows::delete(db, "seq < ?1", [first_young.unwrap_or(i64::MAX)])?;
            Ok(Removed {
                quarantine_dropped: dropped,
                ..expired
            })
        })
        .await
        .map(|removed| removed.events)
    }

    /// Lists the events that still wait, so that few are ever unlisted. If the disk refuses, the next sweep does it.
    async fn list(&self) {
        if self.unlisted.is_empty() {
            return;
        }
        let (unlisted, listed) = (self.unlisted.clone(), self.unlisted.clone());
        let after = move |seqs: Result<&Vec<i64>, &StoreError>| {
            if let Ok(seqs) = seqs {
                listed.forget(seqs.iter().copied());
            }
        };
        let _ = self.store.write(move |db| unlisted.list(db), after).await;
    }

    /// Runs a transaction that deletes events, and books them under one outcome.
    ///
    /// # Errors
    /// If the change did not reach the disk.
    pub async fn remove(
        &self,
        outcome: Outcome,
        mut work: impl FnMut(&Connection) -> rusqlite::Result<Removed> + Send + 'static,
    ) -> Result<Removed, StoreError> {
        let (spool, store) = (self.clone(), self.store.clone());
        let with_oldest = move |db: &Connection| {
            let removed = work(db)?;
            // Deleted data must not stay in SQLite's log. Requested here, so that it applies to this commit.
            store.tidy_after_next_commit();
            Ok((removed, oldest(db)?))
        };
        let after = move |result: Result<&(Removed, i64), &StoreError>| {
            if let Ok((removed, oldest)) = result {
                if removed.events > 0 {
                    // Nor must a lane get them from memory.
                    spool.lanes.iter().for_each(|lane| lane.tail.forget());
                }
                spool.ledger.end_spooled(outcome, removed.events);
                let gone = removed.quarantined + removed.quarantine_dropped;
                spool
                    .metrics
                    .spool_quarantined
                    .dec_by(i64::try_from(gone).unwrap_or(i64::MAX));
                spool
                    .metrics
                    .spool_quarantine_dropped
                    .inc_by(removed.quarantine_dropped);
                spool.give_back(&removed.bytes, *oldest);
            }
        };
        self.store
            .write(with_oldest, after)
            .await
            .map(|(removed, _)| removed)
    }

    /// Deletes events for an operator. A request in flight may still arrive; an event that a lane has read but not sent is
    /// not sent.
    ///
    /// # Errors
    /// If the change did not reach the disk; nothing is purged then.
    pub async fn purge(&self, mut purge: Purge) -> Result<Removed, StoreError> {
        purge.before = purge.before.map(|before| self.ages.of_wall(before));
        let purges = Arc::clone(&self.purges);
        let work = move |db: &Connection| {
            let removed = rows::purge(db, &purge)?;
            // If the transaction rolls back, lanes re-check the database once for nothing.
            purges.fetch_add(1, Ordering::SeqCst);
            Ok(removed)
        };
        self.remove(Outcome::Purged, work).await
    }

    /// The number of purges by an operator so far. One that has grown since an event was read (see [`Waiting::purges`]) means
    /// that the event may be gone.
    ///
    /// [`Waiting::purges`]: super::Waiting::purges
    pub fn purges(&self) -> u64 {
        self.purges.load(Ordering::SeqCst)
    }

    /// Releases space, on the writer after a commit.
    pub(super) fn give_back(&self, freed: &BySite, oldest: i64) {
        self.shares.give_back(freed);
        self.note(oldest);
    }
}

/// Smallest change of the wall clock's offset that is recorded, in milliseconds: a smaller one is no jump.
const AHEAD_STEP_MS: i64 = 1000;

/// Records how far the wall clock is ahead of the stored time, if that has changed.
fn keep_ahead(db: &Connection, ahead_ms: i64) -> rusqlite::Result<usize> {
    db.prepare_cached("UPDATE heartbeat SET ahead_ms = ?1 WHERE abs(ahead_ms - ?1) > ?2")?
        .execute([ahead_ms, AHEAD_STEP_MS])
}
