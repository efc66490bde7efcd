//! A spool on a disk, and what should be in it.

use super::Act;
use crate::clock::{Clock, Moment};
use crate::spool::tests::{AGE_MAX, Desk, SITE, START, event};
use crate::spool::{Incoming, ROW_OVERHEAD, record, rows};
use crate::store::{self, Store, Writer};
use relay_event::{EventId, Outcome};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// An event that should wait.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) name: String,
    pub(super) bucket: u8,
    pub(super) stored_at: i64,
    pub(super) not_before: Option<i64>,
    pub(super) flipped: bool,
}

pub(super) const LANES: usize = 3;
pub(super) const HOUR: i64 = 3_600_000;

pub(super) struct World {
    pub(super) folder: TempDir,
    pub(super) desk: Option<Desk>,
    pub(super) store: Option<Store>,
    pub(super) writer: Option<Writer>,
    pub(super) threaded: bool,
    pub(super) clock: Clock,
    pub(super) bytes_max: usize,
    /// What waits, by number.
    pub(super) waiting: BTreeMap<i64, Expected>,
    pub(super) seen: BTreeMap<u8, i64>,
    pub(super) busy: Option<rusqlite::Connection>,
    pub(super) full: bool,
    pub(super) next: usize,
}

pub(super) fn temporary() -> TempDir {
    // Where there is a disk in memory, an fsync costs nothing.
    let memory = Path::new("/dev/shm");
    let builder = tempfile::Builder::new();
    builder.tempdir_in(memory).or_else(|_| builder.tempdir()).unwrap()
}

impl World {
    pub(super) async fn begin(threaded: bool) -> Self {
        let mut world = Self {
            folder: temporary(),
            desk: None,
            store: None,
            writer: None,
            threaded,
            clock: Clock::standing_at(Moment(START)),
            bytes_max: 65_536,
            waiting: BTreeMap::new(),
            seen: BTreeMap::new(),
            busy: None,
            full: false,
            next: 0,
        };
        world.open().await;
        world
    }

    pub(super) fn desk(&self) -> &Desk {
        self.desk.as_ref().unwrap()
    }

    /// Starts on the folder as `serve` does.
    pub(super) async fn open(&mut self) {
        let (db, _) = store::open_or_rebuild(self.folder.path(), self.clock.now())
            .unwrap_or_else(|error| panic!("it does not start: {error}"));
        let store = if self.threaded {
            let (store, writer) = Store::start(db, self.clock.clone()).unwrap();
            self.writer = Some(writer);
            store
        } else {
            Store::inline(db)
        };
        let desk = Desk::open(store.clone(), &self.clock, self.bytes_max, LANES).await;
        desk.switches.turn(SITE, true, "test").await.unwrap();
        (self.desk, self.store, self.full) = (Some(desk), Some(store), false);
        self.sweep();
    }

    pub(super) async fn close(&mut self) {
        (self.busy, self.desk, self.store) = (None, None, None);
        if let Some(writer) = self.writer.take() {
            tokio::task::spawn_blocking(move || writer.join()).await.unwrap();
        }
    }

    /// What a sweep takes: from the oldest up to the first that is young enough.
    fn sweep(&mut self) {
        let now = self.clock.now().0;
        let young = self
            .waiting
            .iter()
            .find(|(_, event)| event.stored_at >= now - AGE_MAX);
        let first = young.map_or(i64::MAX, |(seq, _)| *seq);
        self.waiting = self.waiting.split_off(&first);
        self.seen.retain(|_, at| *at >= now - HOUR);
    }

    pub(super) async fn append(
        &mut self,
        batch: &[(u8, Option<u8>)],
    ) -> (Vec<Expected>, Vec<Option<Outcome>>) {
        let desk = self.desk();
        let permit = Arc::new(desk.switches.site(SITE).unwrap().permit().await.unwrap());
        let mut expected = Vec::new();
        let mut incoming = Vec::new();
        for (n, (bucket, id)) in batch.iter().enumerate() {
            let name = format!("E{}", self.next + n);
            incoming.push(Incoming {
                scrubbed: event(&name, *bucket),
                id: id.map(|id| EventId([id; 16])),
                ticket: desk.metrics.ledger.receive(1).remove(0),
                permit: Arc::clone(&permit),
            });
            expected.push(Expected {
                name,
                bucket: *bucket,
                stored_at: self.clock.now().0,
                not_before: None,
                flipped: false,
            });
        }
        let outcomes = desk.spool.append(incoming).await;
        self.next += batch.len();
        (expected, outcomes)
    }

    /// What an append should have answered where nothing is in its way.
    fn foretell(&self, batch: &[(u8, Option<u8>)], events: &[Expected]) -> Vec<Option<Outcome>> {
        let stored = self.desk().metrics.ledger.counts().spool_bytes;
        let mut left = (self.bytes_max as u64).saturating_sub(stored);
        let mut seen: Vec<u8> = self.seen.keys().copied().collect();
        let mut answers = Vec::new();
        for ((bucket, id), expected) in batch.iter().zip(events) {
            let record = event(&expected.name, *bucket).to_bytes().len() + record::Row::HEADER;
            let bytes = record as u64 + ROW_OVERHEAD;
            answers.push(match id {
                _ if bytes > left => Some(Outcome::SpoolFull),
                Some(id) if seen.contains(id) => Some(Outcome::Duplicate),
                id => {
                    seen.extend(id);
                    left -= bytes;
                    None
                }
            });
        }
        answers
    }

    /// Notes what was stored under the numbers it got.
    pub(super) fn note(
        &mut self,
        batch: &[(u8, Option<u8>)],
        events: Vec<Expected>,
        outcomes: &[Option<Outcome>],
    ) {
        let numbers = numbers(self.folder.path());
        for ((event, (_, id)), outcome) in events.into_iter().zip(batch).zip(outcomes) {
            if outcome.is_none() {
                let seq = numbers
                    .iter()
                    .find(|(_, name)| name.as_ref() == Some(&event.name));
                let (seq, _) =
                    seq.unwrap_or_else(|| panic!("{} was acknowledged and is not there", event.name));
                if let Some(id) = id {
                    self.seen.insert(*id, event.stored_at);
                }
                self.waiting.insert(*seq, event);
            }
        }
    }

    /// What a look into a lane from its beginning gives, and what it finds unreadable.
    fn due(&self, lane: usize, count: usize) -> (Vec<i64>, Vec<i64>) {
        let now = self.clock.now().0;
        let due = |at: i64| at <= now || at > now + HOUR;
        let mut lane = self
            .waiting
            .iter()
            .filter(|(_, event)| usize::from(event.bucket) % LANES == lane)
            .filter(|(_, event)| event.not_before.is_none_or(due));
        let mut flipped = Vec::new();
        loop {
            let look: Vec<_> = lane.by_ref().take(count).collect();
            let (bad, good): (Vec<_>, Vec<_>) = look.iter().partition(|(_, event)| event.flipped);
            flipped.extend(bad.iter().map(|(seq, _)| **seq));
            if !good.is_empty() || look.is_empty() {
                return (good.into_iter().map(|(seq, _)| *seq).collect(), flipped);
            }
        }
    }

    async fn deliver(&mut self, lane: usize, count: usize, park: Option<i64>) {
        let blocked = self.busy.is_some();
        let spool = &self.desk.as_ref().unwrap().spool;
        let taken = spool.take(lane, 0, count).await;
        let Ok(taken) = taken else {
            assert!(blocked, "nothing is in the way: {taken:?}");
            return;
        };
        let (due, flipped) = self.due(lane, count);
        let seqs: Vec<i64> = taken.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, due, "what is due comes, in order, and nothing else");
        for event in &taken {
            let (expected, got) = (&self.waiting[&event.seq], event.scrubbed.as_ref().unwrap());
            assert_eq!(got.name(), expected.name);
            assert_eq!(event.stored_at.0, expected.stored_at);
        }
        let there = numbers(self.folder.path());
        for seq in flipped {
            let moved = !there.iter().any(|(number, _)| *number == seq);
            assert!(moved || self.full, "a damaged record stays in its lane");
            if moved {
                self.waiting.remove(&seq);
            }
        }
        if let Some(wait) = park {
            let until = self.clock.now().0 + wait;
            for seq in seqs {
                if spool.park(seq, Moment(until)).await.is_ok() {
                    self.waiting.get_mut(&seq).unwrap().not_before =
                        Some(until.min(self.clock.now().0 + HOUR));
                } else {
                    assert!(self.full || blocked);
                }
            }
            return;
        }
        let endings = seqs.iter().map(|seq| (*seq, Outcome::Delivered)).collect();
        match spool.settle(endings).await {
            Ok(()) => self.waiting.retain(|seq, _| !seqs.contains(seq)),
            Err(error) => assert!(self.full || blocked, "{error}"),
        }
    }

    pub(super) async fn act(&mut self, act: &Act) {
        match act {
            Act::Append(batch) => {
                let free = self.busy.is_none() && !self.full;
                let before = self.foretell(
                    batch,
                    &(0..batch.len())
                        .map(|n| Expected {
                            name: format!("E{}", self.next + n),
                            bucket: 0,
                            stored_at: 0,
                            not_before: None,
                            flipped: false,
                        })
                        .collect::<Vec<_>>(),
                );
                let (events, outcomes) = self.append(batch).await;
                let refused = vec![Some(Outcome::SpoolUnavailable); batch.len()];
                assert!(
                    outcomes == before || (!free && outcomes == refused),
                    "{outcomes:?}, not {before:?}"
                );
                self.note(batch, events, &outcomes);
            }
            Act::Deliver { lane, count, park } => self.deliver(*lane, *count, *park).await,
            Act::Sweep => match self.desk().spool.sweep().await {
                Ok(_) => self.sweep(),
                Err(error) => assert!(self.full || self.busy.is_some(), "{error}"),
            },
            Act::Replay => match self.desk().spool.replay().await {
                // Damage does not heal.
                Ok(replayed) => {
                    assert_eq!(replayed.replayed, 0);
                    let now = self.clock.now().0;
                    self.waiting
                        .values_mut()
                        .for_each(|event| event.not_before = event.not_before.map(|_| now));
                }
                Err(error) => assert!(self.full || self.busy.is_some(), "{error}"),
            },
            Act::Clock(by) => self.clock.set(Moment(self.clock.now().0 + by)),
            Act::Crash { batch, kept, garbage } => self.crash(batch, *kept, *garbage).await,
            Act::Reopen(bytes_max) => {
                self.close().await;
                self.bytes_max = *bytes_max;
                self.open().await;
            }
            Act::FlipRecord(n, bit) => self.flip_record(*n, *bit).await,
            Act::FlipFile(at, bit) => self.flip_file(*at, *bit).await,
            Act::Full(full) => {
                if self.busy.is_none() {
                    let pages = |full: bool| if full { "1" } else { "1000000" };
                    let sql = format!("PRAGMA max_page_count = {}", pages(*full));
                    let store = self.store.as_ref().unwrap();
                    store
                        .run(move |db| db.query_row(&sql, [], |_| Ok(())))
                        .await
                        .unwrap();
                    self.full = *full;
                }
            }
            // A writer of its own would wait for its second each time.
            Act::Busy(true) if !self.threaded && self.busy.is_none() => {
                let other = rusqlite::Connection::open(store::path(self.folder.path())).unwrap();
                other.execute_batch("BEGIN IMMEDIATE").unwrap();
                self.busy = Some(other);
            }
            Act::Busy(true) => {}
            Act::Busy(false) => self.busy = None,
        }
    }

    /// What holds after each step.
    pub(super) fn check(&self) {
        let counts = self.desk().metrics.ledger.counts();
        assert_eq!(
            (counts.difference(), counts.in_progress),
            (0, 0),
            "events are conserved"
        );
        assert_eq!(counts.ended(Outcome::Lost), 0);
        let there: Vec<i64> = numbers(self.folder.path())
            .into_iter()
            .map(|(seq, _)| seq)
            .collect();
        let want: Vec<i64> = self.waiting.keys().copied().collect();
        assert_eq!(there, want, "what waits is what should wait");
        let db = store::open_to_look(self.folder.path()).unwrap();
        assert_eq!(
            (counts.spooled, counts.spool_bytes),
            rows::total(&db).unwrap(),
            "the gauges are true"
        );
    }

    /// Delivers all that is left, with everything in order again.
    pub(super) async fn drain(&mut self) {
        self.act(&Act::Full(false)).await;
        self.act(&Act::Busy(false)).await;
        self.act(&Act::Full(false)).await;
        self.act(&Act::Replay).await;
        for lane in 0..LANES {
            while self
                .waiting
                .values()
                .any(|event| usize::from(event.bucket) % LANES == lane)
            {
                self.deliver(lane, 50, None).await;
            }
        }
        self.check();
        // Its bucket was damaged without its page: it waits for its age to end it.
        self.clock.set(Moment(self.clock.now().0 + 10 * HOUR));
        self.act(&Act::Sweep).await;
        assert!(self.waiting.is_empty(), "{:?}", self.waiting);
        self.check();
        self.close().await;
    }
}

/// The numbers of what waits, with the names of what can be read.
pub(super) fn numbers(folder: &Path) -> Vec<(i64, Option<String>)> {
    let db = rusqlite::Connection::open(store::path(folder)).unwrap();
    let mut select = db
        .prepare("SELECT seq, bucket, site, stored_at, record FROM spool ORDER BY seq")
        .unwrap();
    let name = |row: &rusqlite::Row<'_>| {
        let event = record::read(row, 1).ok();
        Ok((row.get(0)?, event.map(|event| event.name().to_owned())))
    };
    select
        .query_map([], name)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}
