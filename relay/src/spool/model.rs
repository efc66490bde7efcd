//! The spool against a model of it: whatever happens in whatever order, nothing acknowledged is lost
//! unless it is counted, nothing comes that was not stored, and all comes in order.

use super::tests::{AGE_MAX, Desk, SITE, START, event};
use super::*;
use crate::store::{self, Writer};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tempfile::TempDir;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Act {
    /// A batch: the bucket and the sender's id of each event.
    Append(Vec<(u8, Option<u8>)>),
    /// A look into a lane from its beginning; what comes is settled, or parked for some milliseconds.
    Deliver {
        lane: usize,
        count: usize,
        park: Option<i64>,
    },
    Sweep,
    Replay,
    Clock(i64),
    /// The process dies. The batch was being written: so much of it, in 256ths, is in the log, whose end may
    /// be garbage.
    Crash {
        batch: Vec<(u8, Option<u8>)>,
        kept: u64,
        garbage: bool,
    },
    /// The process ends and begins again with room for so many bytes.
    Reopen(usize),
    /// A bit of a record changes, or of anything in the file.
    FlipRecord(usize, usize),
    FlipFile(u64, u8),
    /// The disk is full from now on, or has room again.
    Full(bool),
    /// Another process holds the database from now on, or lets it go.
    Busy(bool),
}

fn batch() -> impl Strategy<Value = Vec<(u8, Option<u8>)>> {
    vec((0..8_u8, proptest::option::of(0..12_u8)), 1..5)
}

fn act() -> impl Strategy<Value = Act> {
    let park = proptest::option::weighted(0.3, 0..100_000_i64);
    prop_oneof![
        8 => batch().prop_map(Act::Append),
        6 => (0..3_usize, 1..6_usize, park).prop_map(|(lane, count, park)| Act::Deliver { lane, count, park }),
        1 => Just(Act::Sweep),
        1 => Just(Act::Replay),
        2 => prop_oneof![-90_000..90_000_i64, -10_000_000..10_000_000_i64].prop_map(Act::Clock),
        2 => (batch(), 0..=256_u64, any::<bool>())
            .prop_map(|(batch, kept, garbage)| Act::Crash { batch, kept, garbage }),
        1 => (0..3_usize).prop_map(|n| Act::Reopen([65_536, 1_200, 400][n])),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(n, bit)| Act::FlipRecord(n, bit)),
        1 => (any::<u64>(), 0..8_u8).prop_map(|(at, bit)| Act::FlipFile(at, bit)),
        1 => any::<bool>().prop_map(Act::Full),
        1 => any::<bool>().prop_map(Act::Busy),
    ]
}

/// An event that should wait.
#[derive(Clone, Debug)]
struct Expected {
    name: String,
    bucket: u8,
    stored_at: i64,
    not_before: Option<i64>,
    flipped: bool,
}

const LANES: usize = 3;
const HOUR: i64 = 3_600_000;

struct World {
    folder: TempDir,
    desk: Option<Desk>,
    store: Option<Store>,
    writer: Option<Writer>,
    threaded: bool,
    clock: Clock,
    bytes_max: usize,
    /// What waits, by number.
    waiting: BTreeMap<i64, Expected>,
    seen: BTreeMap<u8, i64>,
    busy: Option<rusqlite::Connection>,
    full: bool,
    next: usize,
}

fn temporary() -> TempDir {
    // Where there is a disk in memory, an fsync costs nothing.
    let memory = Path::new("/dev/shm");
    let builder = tempfile::Builder::new();
    builder.tempdir_in(memory).or_else(|_| builder.tempdir()).unwrap()
}

impl World {
    async fn begin(threaded: bool) -> Self {
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

    fn desk(&self) -> &Desk {
        self.desk.as_ref().unwrap()
    }

    /// Starts on the folder as `serve` does.
    async fn open(&mut self) {
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

    async fn close(&mut self) {
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

    async fn append(&mut self, batch: &[(u8, Option<u8>)]) -> (Vec<Expected>, Vec<Option<Outcome>>) {
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
    fn note(&mut self, batch: &[(u8, Option<u8>)], events: Vec<Expected>, outcomes: &[Option<Outcome>]) {
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
                    assert!(self.full);
                }
            }
            return;
        }
        let endings = seqs.iter().map(|seq| (*seq, Outcome::Delivered)).collect();
        match spool.settle(endings).await {
            Ok(()) => self.waiting.retain(|seq, _| !seqs.contains(seq)),
            Err(error) => assert!(self.full, "{error}"),
        }
    }

    /// Dies while a batch is written: the files as they are, with so much of it in the log.
    async fn crash(&mut self, batch: &[(u8, Option<u8>)], kept: u64, garbage: bool) {
        self.busy = None;
        let log = |folder: &Path| std::fs::read(folder.join("relay.db-wal")).unwrap_or_default();
        let before = log(self.folder.path());
        let (events, outcomes) = self.append(batch).await;
        let mut after = log(self.folder.path());
        if after.len() > before.len() && after.starts_with(&before) {
            let tail = (after.len() - before.len()) as u64 * kept / 256;
            after.truncate(before.len() + usize::try_from(tail).unwrap());
            if garbage && let Some(last) = after[before.len()..].last_mut() {
                *last ^= 0x55;
            }
        }
        let next = temporary();
        std::fs::copy(store::path(self.folder.path()), store::path(next.path())).unwrap();
        std::fs::write(next.path().join("relay.db-wal"), &after).unwrap();
        self.close().await;
        self.folder = next;
        let there = numbers(self.folder.path());
        let found = |name: &String| there.iter().any(|(_, there)| there.as_ref() == Some(name));
        let stored = events
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| outcome.is_none());
        let stored: Vec<bool> = stored.map(|(event, _)| found(&event.name)).collect();
        assert!(
            stored.iter().all(|there| *there) || stored.iter().all(|there| !there),
            "a batch is there whole or not at all"
        );
        if stored.first() == Some(&true) {
            self.note(batch, events, &outcomes);
        }
        let waited = self.waiting.len();
        self.open().await;
        let counts = self.desk().metrics.ledger.counts();
        assert_eq!(counts.recovered, waited as u64, "what waited is recovered");
    }

    /// Changes a bit of the closed file. Afterwards only less may be there.
    async fn flip_file(&mut self, at: u64, bit: u8) {
        self.close().await;
        let path = store::path(self.folder.path());
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let at = at % file.metadata().unwrap().len();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
        drop(file);
        self.open().await;
        // What it did shows at the latest when everything is looked at.
        for lane in 0..LANES {
            let _ = self.desk().spool.take(lane, 0, 1000).await.unwrap();
        }
        let db = store::open_to_look(self.folder.path()).unwrap();
        let mut select = db
            .prepare("SELECT seq, bucket, site, stored_at, record, not_before FROM spool")
            .unwrap();
        let mut rows = select.query([]).unwrap();
        let mut there = BTreeMap::new();
        while let Some(row) = rows.next().unwrap() {
            let seq: i64 = row.get(0).unwrap();
            let event = record::read(row, 1);
            let bucket = row.get::<_, i64>(1).unwrap();
            let not_before = row.get(5).ok().flatten();
            let name = event
                .as_ref()
                .map(|event| event.name().to_owned())
                .unwrap_or_default();
            let known = self.waiting.values().find(|event| event.name == name);
            // One that is parked, or in no bucket that is looked into, was not looked at.
            assert!(known.is_some() || event.is_err(), "{name} was never stored");
            there.insert(
                seq,
                Expected {
                    flipped: event.is_err(),
                    bucket: u8::try_from(bucket).unwrap_or(u8::MAX),
                    stored_at: row.get(3).unwrap_or(0),
                    not_before,
                    name,
                },
            );
        }
        self.waiting = there;
        // The ids may be damaged too.
        drop(rows);
        drop(select);
        db.close().unwrap();
        self.store
            .as_ref()
            .unwrap()
            .run(|db| db.execute("DELETE FROM seen", []))
            .await
            .unwrap();
        self.seen.clear();
    }

    async fn act(&mut self, act: &Act) {
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

    async fn flip_record(&mut self, n: usize, bit: usize) {
        if self.waiting.is_empty() || self.busy.is_some() || self.full {
            return;
        }
        let n = n % self.waiting.len();
        let (seq, event) = self.waiting.iter_mut().nth(n).unwrap();
        let seq = *seq;
        // A second flip could undo the first.
        if std::mem::replace(&mut event.flipped, true) {
            return;
        }
        let flip = move |db: &rusqlite::Connection| {
            let mut record: Vec<u8> =
                db.query_row("SELECT record FROM spool WHERE seq = ?1", [seq], |row| row.get(0))?;
            let bit = bit % (record.len() * 8);
            record[bit / 8] ^= 1 << (bit % 8);
            db.execute("UPDATE spool SET record = ?2 WHERE seq = ?1", (seq, record))
        };
        self.store.as_ref().unwrap().run(flip).await.unwrap();
    }

    /// What holds after each step.
    fn check(&self) {
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
    async fn drain(&mut self) {
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
fn numbers(folder: &Path) -> Vec<(i64, Option<String>)> {
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

fn run(threaded: bool, acts: &[Act]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::begin(threaded).await;
        for act in acts {
            world.act(act).await;
            world.check();
        }
        world.drain().await;
    });
}

#[test]
fn whatever_happens_nothing_acknowledged_is_lost_and_all_comes_in_order() {
    let acts = (proptest::bool::weighted(0.1), vec(act(), 1..30));
    // 256 cases, or as many as PROPTEST_CASES says.
    let mut config = Config::default();
    config.failure_persistence = None;
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&acts, |(threaded, acts)| {
        run(threaded, &acts);
        Ok::<(), TestCaseError>(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
