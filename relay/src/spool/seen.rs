//! The ids of stored events, so that a batch that is sent again is stored once.
//!
//! They are looked up in memory, and kept on disk for the next start, one row per transaction. Ids are random, so a table
//! with a row per id would write a page per event.

use crate::clock::{Ages, Timestamp, TooOld};
use rusqlite::{Connection, Params, params};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long an id is remembered.
const KEPT_FOR: Duration = Duration::from_secs(3600);
/// Most ids remembered, at 9 to 18 bytes of memory each. Above it the oldest are forgotten early.
const IDS_MAX: usize = 500_000;
/// Most ids until the next sweep. Further ones are not remembered.
const IDS_BEFORE_SWEEP_MAX: usize = IDS_MAX + IDS_MAX / 2;
/// Bytes of an id on disk.
const BYTES: usize = size_of::<Id>();

/// A truncated hash of the sender's id and the site: the chance that two of a million ids collide is one in thirty million.
/// Only the hash reaches the disk.
pub(super) type Id = u64;

/// The remembered ids. Only the writer changes them.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen(Arc<Mutex<HashSet<Id>>>);

/// The ids that one job adds. A job may run twice, and may end without a commit.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    seen: Seen,
    added: Arc<Mutex<Vec<Id>>>,
}

impl Seen {
    /// Loads the ids from before the start.
    pub(super) fn read(&self, db: &Connection) -> rusqlite::Result<()> {
        let mut select = db.prepare("SELECT ids FROM seen_ids ORDER BY id DESC")?;
        let mut rows = select.query([])?;
        let mut ids = HashSet::new();
        while let Some(row) = rows.next()?
            && ids.len() < IDS_MAX
        {
            ids.extend(unpack(row.get_ref(0)?.as_blob().unwrap_or_default()));
        }
        *lock(&self.0) = ids;
        Ok(())
    }

    /// A claim for one job.
    pub(super) fn claim(&self) -> Claim {
        Claim {
            seen: self.clone(),
            added: Arc::default(),
        }
    }

    /// Deletes ids beyond the limits of age and number. Returns them, to be forgotten once the deletion is committed.
    pub(super) fn trim(&self, db: &Connection, ages: &Ages) -> rusqlite::Result<Vec<Id>> {
        let too_many = lock(&self.0).len().saturating_sub(IDS_MAX);
        // Up to the first that is young enough: rows are stored in the order of their time.
        let limit = TooOld::limit("at");
        let young = format!("SELECT id FROM seen_ids WHERE at >= {limit} ORDER BY id LIMIT 1");
        let old = format!("id < coalesce(({young}), 9223372036854775807)");
        let mut trimmed = delete(db, &old, ages.too_old(KEPT_FOR).parameters())?;
        let too_many = too_many.saturating_sub(trimmed.len());
        if too_many > 0 {
            let oldest = "id IN (SELECT id FROM (
                SELECT id, sum(length(ids)) OVER (ORDER BY id) - length(ids) AS before FROM seen_ids
            ) WHERE before < ?1)";
            trimmed.extend(delete(db, oldest, [too_many * BYTES])?);
        }
        Ok(trimmed)
    }

    /// Forgets ids whose deletion is committed.
    pub(super) fn forget(&self, ids: &[Id]) {
        let mut seen = lock(&self.0);
        for id in ids {
            seen.remove(id);
        }
        let fits = seen.len().max(1024) * 4;
        if seen.capacity() > fits {
            seen.shrink_to(fits / 2);
        }
    }
}

impl Claim {
    /// Removes the ids that an earlier run added, or that will not be committed.
    pub(super) fn take_back(&self) {
        let mut seen = lock(&self.seen.0);
        for id in lock(&self.added).drain(..) {
            seen.remove(&id);
        }
    }

    /// Remembers an id. `false` if it is already known.
    pub(super) fn add(&self, id: Id) -> bool {
        let mut seen = lock(&self.seen.0);
        if seen.len() >= IDS_BEFORE_SWEEP_MAX {
            return !seen.contains(&id);
        }
        let is_new = seen.insert(id);
        if is_new {
            lock(&self.added).push(id);
        }
        is_new
    }

    /// Stores the added ids.
    pub(super) fn write(&self, db: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        let packed: Vec<u8> = lock(&self.added).iter().flat_map(|id| id.to_be_bytes()).collect();
        if !packed.is_empty() {
            db.prepare_cached("INSERT INTO seen_ids (at, ids) VALUES (?1, ?2)")?
                .execute(params![now.0, packed])?;
        }
        Ok(())
    }
}

/// Deletes the rows that match a condition, and returns their ids.
fn delete(db: &Connection, condition: &str, parameters: impl Params) -> rusqlite::Result<Vec<Id>> {
    let sql = format!("DELETE FROM seen_ids WHERE {condition} RETURNING ids");
    let mut delete = db.prepare_cached(&sql)?;
    let mut rows = delete.query(parameters)?;
    let mut deleted = Vec::new();
    while let Some(row) = rows.next()? {
        deleted.extend(unpack(row.get_ref(0)?.as_blob().unwrap_or_default()));
    }
    Ok(deleted)
}

fn unpack(ids: &[u8]) -> impl Iterator<Item = Id> + '_ {
    ids.chunks_exact(BYTES)
        .filter_map(|id| id.try_into().ok().map(Id::from_be_bytes))
}

/// Plain numbers, so a panic elsewhere leaves them usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store;

    const NOW: Timestamp = Timestamp(10_000_000);

    /// Adds and writes ids as one batch, and returns which were new.
    fn store_batch(seen: &Seen, db: &Connection, ids: &[Id], at: Timestamp) -> Vec<bool> {
        let claim = seen.claim();
        let new = ids.iter().map(|id| claim.add(*id)).collect();
        claim.write(db, at).unwrap();
        new
    }

    #[test]
    fn an_id_is_known_once_it_is_stored_and_not_when_its_batch_was_taken_back() {
        let db = store::open_in_memory().unwrap();
        let seen = Seen::default();
        let failed = seen.claim();
        assert!(failed.add(1));
        failed.take_back();
        assert_eq!(store_batch(&seen, &db, &[1, 2, 1], NOW), [true, true, false]);
        let repeated = seen.claim();
        assert!(!repeated.add(2));
        repeated.take_back();
        assert_eq!(
            store_batch(&seen, &db, &[2, 3], NOW),
            [false, true],
            "it was another's"
        );

        let restarted = Seen::default();
        restarted.read(&db).unwrap();
        assert_eq!(
            store_batch(&restarted, &db, &[1, 2, 3, 4], NOW),
            [false, false, false, true]
        );
    }

    #[test]
    fn the_oldest_are_forgotten_when_they_are_too_old_or_too_many() {
        let db = store::open_in_memory().unwrap();
        let seen = Seen::default();
        let trim = |at: i64| {
            let mut trimmed = seen.trim(&db, &Clock::standing_at(Timestamp(at)).into()).unwrap();
            seen.forget(&trimmed);
            trimmed.sort_unstable();
            trimmed
        };
        store_batch(&seen, &db, &[1, 2], NOW);
        store_batch(&seen, &db, &[3], Timestamp(NOW.0 + 1));
        store_batch(&seen, &db, &[4], Timestamp(NOW.0 + 2));
        let kept_for = super::super::millis(KEPT_FOR);
        assert_eq!(trim(NOW.0 + kept_for), [0; 0], "an hour is not too old");
        assert_eq!(trim(NOW.0 + kept_for + 1), [1, 2]);
        // One more than the limit: a whole batch is forgotten, the oldest.
        lock(&seen.0).extend((1000..).take(IDS_MAX - 1));
        assert_eq!(trim(NOW.0), [3]);
        assert_eq!(trim(NOW.0), [0; 0]);
        assert_eq!(store_batch(&seen, &db, &[3, 4], NOW), [true, false]);
    }
}
