//! Batches on their way to the disk: what requests bring while the writer is busy becomes one job of its next transaction.
//!
//! So a group costs one statement for its ids, and locks and answers are not paid for each request.

use super::cursor::Places;
use super::rows::{self, Row, Stored, bucket};
use super::shares::Taking;
use super::{Incoming, Spool, Waiting};
use crate::clock::Timestamp;
use crate::store::StoreError;
use relay_event::Outcome;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The batches that the writer has not taken yet. There are at most as many as requests in progress, which the relay
/// bounds with `public.requests_max`.
#[derive(Clone, Default)]
pub(super) struct Gathered(Arc<Mutex<Vec<Batch>>>);

impl std::fmt::Debug for Gathered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gathered")
    }
}

/// Gets for each event of a batch whether it is stored, or its outcome.
type After = Box<dyn FnOnce(Vec<Result<(), Outcome>>) + Send>;

/// The events of one request, and what follows once they are stored or refused.
struct Batch {
    events: Vec<Incoming>,
    rows: Vec<Row>,
    stored_at: Timestamp,
    /// The number of purges before the events were stored, so that no purge that may take them goes unnoticed.
    purges: u64,
    started: Instant,
    after: After,
}

impl Gathered {
    /// Adds a batch. Returns whether it is the first, so that the writer must be told.
    fn add(&self, batch: Batch) -> bool {
        let mut gathered = self.lock();
        gathered.push(batch);
        gathered.len() == 1
    }

    /// Moves all batches to a job that has none yet.
    fn move_to<'j>(&self, job: &'j Self) -> MutexGuard<'j, Vec<Batch>> {
        let mut batches = job.lock();
        if batches.is_empty() {
            *batches = std::mem::take(&mut *self.lock());
        }
        batches
    }

    /// Each batch is complete, so a panic elsewhere leaves them usable.
    fn lock(&self) -> MutexGuard<'_, Vec<Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool {
    /// Stores a batch in one transaction. `after` gets for each event whether it is stored, or its outcome: on the writer
    /// thread right after the fsync, or at once if the writer's queue is full.
    pub fn enqueue(
        &self,
        events: Vec<Incoming>,
        after: impl FnOnce(Vec<Result<(), Outcome>>) + Send + 'static,
    ) {
        let stored_at = self.ages.now();
        let is_first = self.gathered.add(Batch {
            rows: events.iter().map(|event| Row::of(event, stored_at)).collect(),
            events,
            stored_at,
            purges: self.purges.load(Ordering::SeqCst),
            started: Instant::now(),
            after: Box::new(after),
        });
        if is_first {
            self.store_gathered();
        }
    }

    /// Has the writer store what has gathered by the time of its next transaction.
    fn store_gathered(&self) {
        let (claim, taking, now) = (self.seen.claim(), self.shares.taking(), self.ages.now());
        let (gathered, job) = (self.gathered.clone(), Gathered::default());
        let places = Places {
            lanes: Arc::clone(&self.lanes),
            unlisted: self.unlisted.clone(),
        };
        let work = {
            let (gathered, job, claim, taking) =
                (gathered.clone(), job.clone(), claim.clone(), taking.clone());
            move |db: &rusqlite::Connection| {
                let batches = gathered.move_to(&job);
                let rows = batches.iter().flat_map(|batch| &batch.rows);
                rows::insert(db, rows, now, &taking, &claim, &places)
            }
        };
        let spool = self.clone();
        let after = move |result: Result<Vec<Stored>, StoreError>| {
            if result.is_err() {
                claim.take_back();
                taking.take_back();
            }
            // The job did not run if the writer's queue was full.
            let batches = std::mem::take(&mut *gathered.move_to(&job));
            spool.book_all(batches, &taking, result);
        };
        self.store.offer(work, after);
    }

    /// Books the events of all batches of a job, after the commit.
    fn book_all(&self, batches: Vec<Batch>, taking: &Taking, result: Result<Vec<Stored>, StoreError>) {
        let mut stored = result.map(Vec::into_iter).map_err(|error| match error {
            StoreError::Full => Outcome::Overloaded,
            StoreError::Failed(_) | StoreError::Closed => Outcome::SpoolUnavailable,
        });
        let mut booked = Vec::with_capacity(batches.len());
        for batch in batches {
            let endings: Vec<_> = batch
                .events
                .into_iter()
                .map(|event| {
                    let result = match &mut stored {
                        Ok(stored) => stored.next().unwrap_or(Err(Outcome::Lost)),
                        Err(outcome) => Err(*outcome),
                    };
                    self.book(event, batch.stored_at, batch.purges, result)
                })
                .collect();
            booked.push((batch.started, endings, batch.after));
        }
        if taking.has_taken() {
            self.note_taken();
        }
        for (started, endings, after) in booked {
            let duration = started.elapsed().as_secs_f64();
            self.metrics.spool_write_duration_seconds.observe(duration);
            // If it panics, the other batches must still be answered.
            let _ = catch_unwind(AssertUnwindSafe(|| after(endings)));
        }
    }

    /// Books one event, and passes it to its lane if it is stored.
    fn book(
        &self,
        event: Incoming,
        stored_at: Timestamp,
        purges: u64,
        stored: Stored,
    ) -> Result<(), Outcome> {
        let seq = match stored {
            Ok(seq) => seq,
            Err(outcome) => {
                event.ticket.end(outcome);
                return Err(outcome);
            }
        };
        event.ticket.spooled();
        let lane = &self.lanes[usize::from(bucket(&event.scrubbed)) % self.lanes.len()];
        lane.tail.arrived(Waiting {
            seq,
            stored_at,
            was_parked: false,
            scrubbed: event.scrubbed,
            purges,
        });
        lane.ring();
        Ok(())
    }

    /// Shows how much waits, after a commit that stored events.
    fn note_taken(&self) {
        let bytes = self.shares.total();
        let oldest = match self.ledger.counts().spool_oldest_ms {
            0 => self.ages.shown(self.ages.now()).0,
            oldest => oldest,
        };
        self.ledger.note_spool(bytes, oldest);
    }
}
