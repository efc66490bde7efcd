//! A spool on a disk, a reader for each lane, and the reference of its content.

use super::reference::{Expected, HOUR, LANES, New, Reference, SITES};
use super::{Act, Jump};
use crate::clock::{Clock, Timestamp};
use crate::spool::tests::{AGE_MAX, Desk, START};
use crate::spool::{Incoming, Purge, record, rows};
use crate::store::{self, Store, Writer};
use relay_event::{EventId, Outcome};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

pub(super) struct World {
    pub(super) folder: TempDir,
    pub(super) desk: Option<Desk>,
    pub(super) store: Option<Store>,
    pub(super) writer: Option<Writer>,
    pub(super) threaded: bool,
    pub(super) clock: Clock,
    pub(super) reference: Reference,
    pub(super) readers: [Reader; LANES],
    /// Lanes that rang the bell and were not asked since.
    pub(super) rung: BTreeSet<usize>,
    pub(super) busy: Option<rusqlite::Connection>,
    pub(super) full: bool,
    pub(super) next: usize,
}

/// A reader of a lane, in place of the forwarder's.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The highest number it was given.
    pub(super) done: i64,
    pub(super) hand: Vec<InHand>,
}

/// A batch to be stored, and its expected results.
struct Batch {
    new: Vec<(New, Expected)>,
    incoming: Vec<Incoming>,
    foretold: Vec<Result<(), Outcome>>,
}

/// An event that a reader took and has not settled, or will settle again.
#[derive(Debug)]
pub(super) struct InHand {
    pub(super) seq: i64,
    pub(super) site: usize,
    /// The number of purges when it was read; `None` after a restart, which makes the number useless.
    pub(super) purges: Option<u64>,
    /// The cause of its deletion, if it was deleted since then.
    pub(super) gone: Option<Gone>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    Operator,
    Switch,
}

pub(super) fn temporary() -> TempDir {
    // On a disk in memory, if there is one, an fsync costs nothing.
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
            clock: Clock::standing_at(Timestamp(START)),
            reference: Reference::empty(START),
            readers: Default::default(),
            rung: BTreeSet::new(),
            busy: None,
            full: false,
            next: 0,
        };
        world.open().await;
        for site in 0..SITES.len() {
            world.turn(site, true).await;
        }
        world
    }

    pub(super) fn desk(&self) -> &Desk {
        self.desk.as_ref().unwrap()
    }

    /// Whether a fault prevents changes.
    pub(super) fn is_hindered(&self) -> bool {
        self.full || self.busy.is_some()
    }

    /// Starts on the folder like `serve`.
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
        let bytes_max = self.reference.bytes_max;
        let desk = Desk::open(store.clone(), &self.clock, bytes_max, LANES).await;
        (self.desk, self.store, self.full) = (Some(desk), Some(store), false);
        self.reference.start();
        self.rung.clear();
        for reader in &mut self.readers {
            reader.done = 0;
            reader.hand.iter_mut().for_each(|event| event.purges = None);
        }
    }

    pub(super) async fn close(&mut self) {
        (self.busy, self.desk, self.store) = (None, None, None);
        if let Some(writer) = self.writer.take() {
            tokio::task::spawn_blocking(move || writer.join()).await.unwrap();
        }
    }

    /// An act that changes the disk succeeded, or a fault prevented it.
    fn is_done<T: std::fmt::Debug, E: std::fmt::Debug>(&self, result: Result<T, E>) -> Option<T> {
        assert!(
            result.is_ok() || self.is_hindered(),
            "nothing is in the way: {result:?}"
        );
        result.ok()
    }

    /// A batch without events of sites that are off: there is no permit to store those.
    async fn prepare(&mut self, batch: &[New]) -> Batch {
        let is_on = self.reference.is_on;
        let batch: Vec<New> = batch.iter().copied().filter(|new| is_on[new.site]).collect();
        let (mut events, mut incoming) = (Vec::new(), Vec::new());
        for new in &batch {
            let event = Expected::new(format!("E{}", self.next), *new, self.clock.now().0);
            self.next += 1;
            let desk = self.desk();
            let permit = desk.switches.site(SITES[new.site]).unwrap().permit();
            incoming.push(Incoming {
                scrubbed: event.event(),
                id: new.id.map(|id| EventId([id; 16])),
                ticket: desk.metrics.ledger.receive(1).remove(0),
                permit: Arc::new(permit.expect("it is on")),
                is_held: self.reference.is_held[new.site],
            });
            events.push(event);
        }
        let foretold = self.reference.foretell(&batch, &events);
        Batch {
            new: batch.into_iter().zip(events).collect(),
            incoming,
            foretold,
        }
    }

    async fn append(&mut self, batch: &[New]) {
        let mut batch = self.prepare(batch).await;
        let incoming = std::mem::take(&mut batch.incoming);
        let outcomes = self.desk().spool.append(incoming, ()).await;
        self.note(batch, &outcomes);
    }

    /// Stores a batch while a lane takes.
    async fn append_meanwhile(&mut self, batch: &[New], lane: usize, count: usize) {
        let mut batch = self.prepare(batch).await;
        let incoming = std::mem::take(&mut batch.incoming);
        let (spool, after) = (&self.desk().spool, self.readers[lane].done);
        let (outcomes, taken) = tokio::join!(spool.append(incoming, ()), spool.take(lane, after, count));
        let before = self.reference.highest;
        self.note(batch, &outcomes);
        self.judge(lane, after, count, taken, before);
    }

    /// Checks that the results are as expected, and the stored events are there.
    fn note(&mut self, batch: Batch, outcomes: &[Result<(), Outcome>]) {
        let Batch { new, foretold, .. } = batch;
        let refused = vec![Err(Outcome::SpoolUnavailable); new.len()];
        assert!(
            outcomes == foretold || (self.is_hindered() && outcomes == refused),
            "{outcomes:?}, not {foretold:?}"
        );
        let numbers = numbers(self.folder.path());
        for ((new, event), outcome) in new.into_iter().zip(outcomes) {
            match outcome {
                Err(outcome) => self.reference.count(*outcome, 1),
                Ok(()) => {
                    let seq = number_of(&numbers, &event.name);
                    let seq =
                        seq.unwrap_or_else(|| panic!("{} was acknowledged and is not there", event.name));
                    self.reference.store(seq, new, event);
                }
            }
        }
    }

    async fn sweep(&mut self) {
        let swept = self.desk().spool.sweep().await;
        if self.is_done(swept).is_some() {
            self.reference.sweep();
        } else if self.busy.is_none() {
            // On a full disk one of the two transactions may succeed and the other fail.
            let old = self.clock.now().0 - HOUR;
            let db = store::open_to_look(self.folder.path()).unwrap();
            let sql = "SELECT EXISTS (SELECT 1 FROM seen_ids WHERE at < ?1)";
            if !db.query_row(sql, [old], |row| row.get::<_, bool>(0)).unwrap() {
                self.reference.forget_ids();
            }
        }
    }

    async fn replay(&mut self) {
        let replayed = self.desk().spool.replay().await;
        if let Some(replayed) = self.is_done(replayed) {
            let numbers = numbers(self.folder.path());
            let want = self.reference.replay(|name| number_of(&numbers, name));
            let got = [
                replayed.replayed,
                replayed.too_old,
                replayed.no_space,
                replayed.unreadable,
            ];
            assert_eq!(got, want, "what came of those in quarantine");
        }
    }

    async fn purge(&mut self, purge: Purge) {
        let purged = self.desk().spool.purge(purge.clone()).await;
        if let Some(purged) = self.is_done(purged) {
            let gone = self.reference.purge(&purge);
            assert_eq!(purged.events, gone.len() as u64);
            self.mark_gone(&gone, Gone::Operator);
        }
    }

    pub(super) async fn turn(&mut self, site: usize, on: bool) {
        let was_on = self.reference.is_on[site];
        let turned = self.desk().switches.set(SITES[site], on, "test").await;
        self.reference.is_on[site] = on && (was_on || turned.is_ok());
        if self.is_done(turned).is_some() && (!on || !was_on) {
            self.reference.recorded[site] = on;
            if !on {
                let gone = self.reference.purge_site(site);
                self.mark_gone(&gone, Gone::Switch);
            }
        }
    }

    fn mark_gone(&mut self, gone: &[i64], why: Gone) {
        for event in self.readers.iter_mut().flat_map(|reader| &mut reader.hand) {
            if gone.contains(&event.seq) {
                event.gone = Some(why);
            }
        }
    }

    /// Sets the clock by an offset, or next to a time when something changes.
    fn set_clock(&mut self, jump: Jump) {
        let now = self.clock.now().0;
        let waiting = &self.reference.waiting;
        let nth = |times: Vec<i64>, n: usize| times.get(n % times.len().max(1)).copied();
        let to = match jump {
            Jump::By(by) => Some(now + by),
            Jump::ToParked { n, by } => {
                let parked = waiting.values().filter_map(|event| event.not_before);
                nth(parked.collect(), n).map(|at| at + by)
            }
            Jump::ToAgeMax { n, by } => {
                let stored = waiting.values().map(|event| event.stored_at);
                nth(stored.collect(), n).map(|at| at + AGE_MAX + by)
            }
        };
        self.reference.now = to.unwrap_or(now);
        self.clock.set(Timestamp(self.reference.now));
    }

    pub(super) async fn act(&mut self, act: &Act) {
        match act {
            Act::Append(batch) => self.append(batch).await,
            Act::AppendMeanwhile { batch, lane, count } => self.append_meanwhile(batch, *lane, *count).await,
            Act::Take { lane, again, count } => self.take(*lane, *again, *count).await,
            Act::Settle {
                lane,
                which,
                outcome,
                keep,
            } => self.settle(*lane, *which, *outcome, *keep).await,
            Act::Park { lane, n, wait } => self.park(*lane, *n, *wait).await,
            Act::Ask { lane } => self.ask(*lane).await,
            Act::Sweep => self.sweep().await,
            Act::Replay => self.replay().await,
            Act::Purge(purge, older) => {
                let before = older.map(|older| Timestamp(self.clock.now().0 - older));
                self.purge(Purge {
                    before,
                    ..purge.clone()
                })
                .await;
            }
            Act::Turn(site, on) => self.turn(*site, *on).await,
            Act::Hold(site, held) => self.reference.is_held[*site] = *held,
            Act::Clock(jump) => self.set_clock(*jump),
            Act::Crash {
                during,
                kept,
                garbage,
            } => self.crash(during, *kept, *garbage).await,
            Act::Reopen(bytes_max) => {
                self.close().await;
                self.reference.bytes_max = *bytes_max;
                self.open().await;
            }
            Act::FlipRecord(n, bit) => self.flip_record(*n, *bit).await,
            Act::Mend => self.mend().await,
            Act::FlipFile(at, bit) => self.flip_file(*at, *bit).await,
            Act::Full(full) => self.fill(*full).await,
            // A writer on its own thread would wait for its busy timeout, one second, each time.
            Act::Busy(true) if !self.threaded && self.busy.is_none() => {
                let other = rusqlite::Connection::open(store::path(self.folder.path())).unwrap();
                other.execute_batch("BEGIN IMMEDIATE").unwrap();
                self.busy = Some(other);
            }
            Act::Busy(true) => {}
            Act::Busy(false) => self.busy = None,
        }
    }

    /// The invariants after each act.
    pub(super) fn check(&self) {
        let counts = self.desk().metrics.ledger.counts();
        assert_eq!(
            (counts.difference(), counts.in_progress),
            (0, 0),
            "events are conserved"
        );
        let reference = &self.reference;
        for outcome in Outcome::ALL {
            let want = reference.ended.get(&(*outcome as usize)).copied();
            assert_eq!(counts.ended(*outcome), want.unwrap_or(0), "{outcome:?}");
        }
        let db = store::open_to_look(self.folder.path()).unwrap();
        let there = waiting(&db);
        let want = reference.waiting.iter();
        let want: Vec<_> = want.map(|(seq, event)| (*seq, event.not_before)).collect();
        assert_eq!(there, want, "what waits is what should wait");
        let rows::Total { events, bytes, .. } = rows::total(&db, LANES).unwrap();
        assert_eq!(
            (counts.spooled, counts.spool_bytes),
            (events, bytes.total()),
            "the gauges are true"
        );
        let shares = self.desk().spool.shares();
        let shares = SITES.map(|site| shares.iter().find(|share| share.site == site).unwrap().bytes);
        assert_eq!(shares, reference.bytes()[..SITES.len()], "by site");
        let oldest = reference.waiting.values().next();
        assert_eq!(
            counts.spool_oldest_ms,
            oldest.map_or(0, |event| event.stored_at),
            "the oldest"
        );
        let held: usize = db
            .query_row("SELECT count(*) FROM quarantine", [], |row| row.get(0))
            .unwrap();
        let told = usize::try_from(self.desk().spool.metrics.spool_quarantined.get()).unwrap();
        assert_eq!((held, told), (reference.quarantined.len(), held), "in quarantine");
        for (site, is_on) in SITES.iter().zip(reference.is_on) {
            let site = self.desk().switches.site(site).unwrap();
            assert_eq!(site.is_on(), is_on, "{}", site.domain);
        }
    }

    /// Removes all faults and delivers every event that is left.
    pub(super) async fn drain(&mut self) {
        self.act(&Act::Busy(false)).await;
        self.act(&Act::Full(false)).await;
        self.act(&Act::Replay).await;
        for lane in 0..LANES {
            while self.reference.waiting.values().any(|event| event.lane() == lane) {
                self.take(lane, true, 50).await;
                self.settle(lane, u64::MAX, Outcome::Delivered, false).await;
            }
        }
        self.check();
        self.set_clock(Jump::By(10 * HOUR));
        self.act(&Act::Sweep).await;
        let left = &self.reference.waiting;
        assert!(left.is_empty(), "{left:?}");
        self.check();
        self.close().await;
    }
}

/// The numbers of waiting events, and the times until which they are parked.
pub(super) fn waiting(db: &rusqlite::Connection) -> Vec<(i64, Option<i64>)> {
    let mut select = db
        .prepare("SELECT seq, not_before FROM spool ORDER BY seq")
        .unwrap();
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1).ok().flatten())));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// The numbers of waiting events, with the names of readable ones.
fn numbers(folder: &Path) -> Vec<(i64, Option<String>)> {
    let db = rusqlite::Connection::open(store::path(folder)).unwrap();
    let mut select = db
        .prepare("SELECT seq, bucket, site, stored_at, record FROM spool ORDER BY seq DESC")
        .unwrap();
    let name = |row: &rusqlite::Row<'_>| {
        let event = record::read(row, 1).ok();
        Ok((row.get(0)?, event.map(|event| event.name().to_owned())))
    };
    let rows = select.query_map([], name).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn number_of(numbers: &[(i64, Option<String>)], name: &str) -> Option<i64> {
    let found = numbers.iter().find(|(_, found)| found.as_deref() == Some(name));
    found.map(|(seq, _)| *seq)
}
