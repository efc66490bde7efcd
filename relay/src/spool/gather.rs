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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::spool::tests::{Desk, SITE, START};
    use crate::store::{self, Store};
    use relay_event::EventId;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// The endings of a batch, once it is answered.
    type Answer = Receiver<Vec<Result<(), Outcome>>>;

    /// Offers batches of events with these ids while the writer is busy, and returns their answers. The batch at place
    /// `panics` fails when it gets its answer.
    async fn gather(desk: &Desk, batches: &[&[u8]], panics: Option<usize>) -> Vec<Answer> {
        let mut ready = Vec::new();
        for ids in batches {
            let mut batch = Vec::new();
            for id in *ids {
                batch.push(desk.incoming("e", *id, Some(EventId([*id; 16]))).await);
            }
            ready.push(batch);
        }
        let (go_on, busy) = channel::<()>();
        let (began, begins) = channel();
        // It returns at once when it runs again, because `go_on` is gone then.
        let hold = move |_: &rusqlite::Connection| {
            let _ = (began.send(()), busy.recv());
            Ok(())
        };
        desk.store.offer(hold, drop);
        begins.recv_timeout(PATIENCE).unwrap();
        let answers = ready.into_iter().enumerate().map(|(place, batch)| {
            let (reply, answer) = channel();
            desk.spool.enqueue(batch, move |endings| {
                assert_ne!(Some(place), panics, "this one fails");
                let _ = reply.send(endings);
            });
            answer
        });
        let answers = answers.collect();
        drop(go_on);
        answers
    }

    async fn rows_of_ids(desk: &Desk) -> i64 {
        let count =
            |db: &rusqlite::Connection| db.query_row("SELECT count(*) FROM seen_ids", [], |row| row.get(0));
        desk.store.run(count).await.unwrap()
    }

    #[tokio::test]
    async fn what_gathers_is_one_job_and_each_batch_gets_its_endings() {
        let clock = Clock::standing_at(Timestamp(START));
        let (store, _writer) = Store::start(store::open_in_memory().unwrap(), clock.clone()).unwrap();
        let desk = Desk::open(store, &clock, 1 << 20, 4).await;
        desk.switches.set(SITE, true, "test").await.unwrap();
        let (again, refused) = (Err(Outcome::Duplicate), Err(Outcome::SpoolUnavailable));
        let mut rows = 0;
        let mut check = async |batches: &[&[u8]], panics: Option<usize>, want: &[&[_]], adds: i64| {
            for (place, answer) in gather(&desk, batches, panics).await.iter().enumerate() {
                let found = answer.recv_timeout(PATIENCE).ok();
                let expected = (panics != Some(place)).then(|| want[place].to_vec());
                assert_eq!(found, expected, "batch {place} of {batches:?}");
            }
            rows += adds;
            assert_eq!(rows_of_ids(&desk).await, rows, "{batches:?}");
            assert_eq!(desk.metrics.ledger.counts().difference(), 0, "{batches:?}");
        };
        check(&[&[1]], None, &[&[Ok(())]], 1).await;
        check(
            &[&[2, 3], &[], &[1, 4, 4], &[2]],
            None,
            &[&[Ok(()); 2], &[], &[again, Ok(()), again], &[again]],
            1,
        )
        .await;
        check(&[&[1], &[4]], None, &[&[again], &[again]], 0).await;
        let three: [&[_]; 3] = [&[Ok(())]; 3];
        check(&[&[5], &[6], &[7]], Some(1), &three, 1).await;
        let refuse =
            "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.spool BEGIN SELECT RAISE(ABORT, 'full'); END;";
        desk.store.run(|db| db.execute_batch(refuse)).await.unwrap();
        check(&[&[8, 9], &[1]], None, &[&[refused; 2], &[refused]], 0).await;
        let accept = "DROP TRIGGER refuse";
        desk.store.run(|db| db.execute_batch(accept)).await.unwrap();
        check(&[&[8, 9], &[1]], None, &[&[Ok(()); 2], &[again]], 1).await;
    }
}
