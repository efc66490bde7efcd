//! The spool on an inline store and a standing clock.

use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::forward::sites::Sites;
use crate::store;
use crate::switch::Switches;
use serde_json::json;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;
use tokio::sync::oneshot;

pub(crate) const SITE: &str = "panel.example.com";
/// Another site, off unless a test turns it on.
pub(crate) const OTHER_SITE: &str = "shop.example.com";
/// The start time of the tests.
pub(crate) const START: i64 = 1_800_000_000_000;
/// How long an event may wait in these tests, in milliseconds.
pub(crate) const AGE_MAX: i64 = 60_000;

/// A spool, and a site that is on.
pub(crate) struct Desk {
    pub(crate) spool: Spool,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) metrics: Registry,
    pub(crate) switches: Switches,
}

pub(crate) fn config(bytes_max: usize) -> Config {
    let text = format!(
        "[upstream]\nurl = \"http://127.0.0.1:9\"\n[spool]\nage_max_s = {}\n[[site]]\ndomain = \"{SITE}\"\n[[site]]\ndomain = \"{OTHER_SITE}\"\n",
        AGE_MAX / 1000
    );
    let mut config = Config::parse("relay.toml", &text, std::path::Path::new("/"), &|_| None).unwrap();
    // Less than the configuration allows, so that a few events fill it.
    config.spool.bytes_max = bytes_max;
    config
}

impl Desk {
    pub(crate) async fn open(store: Store, clock: &Clock, bytes_max: usize, lanes: usize) -> Self {
        Self::open_in(store, clock, clock.clone().into(), bytes_max, lanes).await
    }

    /// Starts like a relay, with the time of the stored events.
    pub(crate) async fn resume(store: Store, clock: &Clock) -> Self {
        let of = clock.clone();
        let ages = store.run(move |db| resume_ages(db, &of)).await.unwrap();
        let desk = Self::open_in(store, clock, ages, 1 << 20, 1).await.forgetful();
        desk.switches.set(SITE, true, "test").await.unwrap();
        desk
    }

    async fn open_in(store: Store, clock: &Clock, ages: Ages, bytes_max: usize, lanes: usize) -> Self {
        let config = config(bytes_max);
        let mut metrics = Registry::default();
        let (clock, limits) = (clock.clone(), config.spool.clone());
        let spool = Spool::open(store.clone(), &mut metrics, ages, limits, &config.sites, lanes)
            .await
            .unwrap();
        let switches = Switches::open(&config, store.clone(), spool.clone(), clock.clone(), &mut metrics)
            .await
            .unwrap();
        Self {
            spool,
            store,
            clock,
            metrics,
            switches,
        }
    }

    /// The sites that Plausible accepts: none yet.
    pub(crate) async fn sites(&self) -> Sites {
        let metrics = crate::forward::Metrics::register(&mut Registry::default());
        Sites::open(&config(1 << 20), &self.store, &metrics, || 0)
            .await
            .unwrap()
    }

    pub(crate) async fn in_memory(lanes: usize) -> Self {
        let store = Store::inline(store::open_in_memory().unwrap());
        let clock = Clock::standing_at(Timestamp(START));
        let desk = Self::open(store, &clock, 1 << 20, lanes).await.forgetful();
        desk.switches.set(SITE, true, "test").await.unwrap();
        desk
    }

    /// Each lane has to read the disk before it gets an event from memory.
    fn forgetful(self) -> Self {
        self.spool.lanes.iter().for_each(|lane| lane.tail.forget());
        self
    }

    /// Appends one event; the last byte of the visitor's address is the bucket.
    pub(crate) async fn append(&self, name: &str, bucket: u8) -> Result<(), Outcome> {
        let incoming = self.incoming(name, bucket, None).await;
        self.spool.append(vec![incoming], ()).await[0]
    }

    /// An incoming event.
    pub(super) async fn incoming(&self, name: &str, bucket: u8, id: Option<EventId>) -> Incoming {
        self.incoming_of(SITE, name, bucket, id).await
    }

    async fn incoming_of(&self, site: &str, name: &str, bucket: u8, id: Option<EventId>) -> Incoming {
        let permit = self.switches.site(site).unwrap().permit().unwrap();
        Incoming {
            scrubbed: event_of(site, name, bucket),
            id,
            ticket: self.metrics.ledger.receive(1).remove(0),
            permit: Arc::new(permit),
            is_held: false,
        }
    }

    async fn names(&self, lane: usize, after: i64, count: usize) -> Vec<(i64, String)> {
        let taken = self.spool.take(lane, after, count).await.unwrap();
        taken
            .into_iter()
            .map(|event| (event.seq, event.scrubbed.name().to_owned()))
            .collect()
    }
}

impl Spool {
    /// [`Spool::enqueue`] for a caller that waits. The writer drops `held` when it is done with the batch.
    pub(crate) async fn append(
        &self,
        batch: Vec<Incoming>,
        held: impl Send + 'static,
    ) -> Vec<Result<(), Outcome>> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(batch, move |endings| {
            drop(held);
            let _ = reply.send(endings);
        });
        answer.await.unwrap()
    }
}

pub(crate) fn event(name: &str, bucket: u8) -> Scrubbed {
    event_of(SITE, name, bucket)
}

pub(crate) fn event_of(site: &str, name: &str, bucket: u8) -> Scrubbed {
    let record = json!({
        "site": site, "name": name, "page": "/", "props": [], "interactive": true,
        "visitor": format!("2001:db8::{bucket:x}"),
    });
    Scrubbed::from_bytes(record.to_string().as_bytes()).unwrap()
}

fn numbered(events: &[(i64, &str)]) -> Vec<(i64, String)> {
    events
        .iter()
        .map(|(seq, name)| (*seq, (*name).to_owned()))
        .collect()
}

#[tokio::test]
async fn visitors_are_spread_over_all_lanes() {
    for lanes in [1, 7, 64] {
        let desk = Desk::in_memory(lanes).await;
        for bucket in 0..64 {
            assert_eq!(desk.append("e", bucket).await, Ok(()));
        }
        let mut seen = Vec::new();
        for lane in 0..desk.spool.lanes() {
            let taken = desk.names(lane, 0, 100).await;
            assert!(taken.len() >= 64 / lanes, "{lanes} lanes");
            seen.extend(taken.iter().map(|(seq, _)| *seq));
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=64).collect::<Vec<_>>(), "{lanes} lanes");
    }
    assert_eq!(Desk::in_memory(0).await.spool.lanes(), 1);
    assert_eq!(
        Desk::in_memory(usize::MAX).await.spool.lanes(),
        usize::from(LANES_MAX)
    );
}

#[tokio::test]
async fn at_a_start_only_lanes_with_events_read_the_disk() {
    let first = Desk::in_memory(8).await;
    for bucket in [1, 5, 13] {
        first.append("before", bucket).await.unwrap();
    }
    first.spool.park(1, Timestamp(START + 1000)).await.unwrap();
    let desk = Desk::open(first.store.clone(), &first.clock, 1 << 20, 8).await;
    for lane in 0..8 {
        let reads = desk.spool.take_from_memory(lane, 0, 9).is_none();
        assert_eq!(reads, [1, 5].contains(&lane), "lane {lane}");
    }
    desk.append("after", 2).await.unwrap();
    assert_eq!(desk.names(2, 0, 9).await, numbered(&[(4, "after")]));
    assert_eq!(
        desk.names(5, 0, 9).await,
        numbered(&[(2, "before"), (3, "before")])
    );
    assert_eq!(desk.names(1, 0, 9).await, numbered(&[]));
    assert_eq!(desk.spool.next_due(1), Some(Timestamp(START + 1000)));
}

#[tokio::test]
async fn the_writer_drops_what_a_batch_holds_before_the_caller_resumes_however_it_ends() {
    let clock = Clock::standing_at(Timestamp(START));
    let (store, _writer) = Store::start(store::open_in_memory().unwrap(), clock.clone()).unwrap();
    let desk = Desk::open(store.clone(), &clock, 800, 1).await;
    desk.switches.set(SITE, true, "test").await.unwrap();
    let check = async |ids: &[Option<u8>], what: &str| {
        let mut batch = Vec::new();
        for id in ids {
            let id = id.map(|id| EventId([id; 16]));
            batch.push(desk.incoming("e", 1, id).await);
        }
        let held = Arc::new(());
        let mut append = std::pin::pin!(desk.spool.append(batch, Arc::clone(&held)));
        // Polled once, so that only the writer can drop it.
        let over = poll_fn(|cx| Poll::Ready(append.as_mut().poll(cx).is_ready())).await;
        let end = Instant::now() + Duration::from_secs(30);
        while Arc::strong_count(&held) > 1 {
            assert!(Instant::now() < end, "{what}");
            std::thread::yield_now();
        }
        if !over {
            append.await;
        }
    };
    check(&[Some(1)], "stored").await;
    check(&[Some(1)], "there already").await;
    let refuse =
        "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.spool BEGIN SELECT RAISE(ABORT, 'full'); END;";
    store.run(move |db| db.execute_batch(refuse)).await.unwrap();
    check(&[Some(2)], "refused by the disk").await;
    let take = "DROP TRIGGER refuse";
    store.run(move |db| db.execute_batch(take)).await.unwrap();
    check(&[None; 9], "more than there is space for").await;
    check(&[None], "no space").await;
}

#[tokio::test]
async fn many_events_are_settled_at_once_and_each_only_once() {
    let desk = Desk::in_memory(1).await;
    for _ in 0..4 {
        desk.append("e", 1).await.unwrap();
    }
    let before = desk.metrics.ledger.counts();
    assert!(before.spool_bytes > 0);
    let endings = vec![
        (1, Outcome::Delivered),
        (3, Outcome::InvalidForPlausible),
        (1, Outcome::Delivered),
        (99, Outcome::Delivered),
    ];
    desk.spool.settle(endings.clone(), |_| Ok(())).await.unwrap();
    desk.spool.settle(endings, |_| Ok(())).await.unwrap();
    desk.spool.settle(Vec::new(), |_| Ok(())).await.unwrap();
    let counts = desk.metrics.ledger.counts();
    assert_eq!(counts.ended(Outcome::Delivered), 1);
    assert_eq!(counts.ended(Outcome::InvalidForPlausible), 1);
    assert_eq!((counts.spooled, counts.difference()), (2, 0));
    assert_eq!(counts.spool_bytes * 2, before.spool_bytes);
    assert_eq!(desk.names(0, 0, 9).await, numbered(&[(2, "e"), (4, "e")]));
}

#[tokio::test]
async fn a_parked_event_lets_the_later_ones_pass_and_comes_back_first() {
    let desk = Desk::in_memory(1).await;
    for name in ["a", "b", "c"] {
        desk.append(name, 5).await.unwrap();
    }
    let spool = &desk.spool;
    assert_eq!(desk.names(0, 0, 1).await, numbered(&[(1, "a")]));
    assert_eq!(spool.next_due(0), None);
    spool.park(1, Timestamp(START + 10_000)).await.unwrap();
    spool.park(99, Timestamp(START)).await.unwrap();
    assert_eq!(spool.next_due(0), Some(Timestamp(START + 10_000)));
    assert_eq!(desk.names(0, 0, 9).await, numbered(&[(2, "b"), (3, "c")]));
    assert_eq!(desk.names(0, 3, 9).await, numbered(&[]));

    desk.clock.set(Timestamp(START + 9_999));
    assert_eq!(desk.names(0, 2, 9).await, numbered(&[(3, "c")]));
    desk.clock.set(Timestamp(START + 10_000));
    assert_eq!(
        desk.names(0, 2, 1).await,
        numbered(&[(1, "a")]),
        "first, though it has a lower number"
    );
    assert_eq!(
        desk.names(0, 2, 9).await,
        numbered(&[(3, "c")]),
        "and it is read once: its lane may have settled it already"
    );
    assert_eq!(
        desk.names(0, 0, 9).await,
        numbered(&[(1, "a"), (2, "b"), (3, "c")]),
        "from the beginning everything is"
    );
    let taken = spool.take(0, 0, 9).await.unwrap();
    let parked: Vec<bool> = taken.iter().map(|event| event.was_parked).collect();
    assert_eq!(parked, [true, false, false]);

    // A clock that ran ahead cannot park an event for ever.
    spool.park(2, Timestamp(i64::MAX)).await.unwrap();
    assert_eq!(desk.names(0, 0, 9).await, numbered(&[(1, "a"), (3, "c")]));
    assert_eq!(spool.next_due(0), Some(Timestamp(START + 10_000 + 3_600_000)));
    desk.clock.set(Timestamp(START - 3_600_000));
    assert_eq!(desk.names(0, 1, 9).await, numbered(&[(2, "b"), (3, "c")]));
    // And it expires like all others.
    desk.clock.set(Timestamp(START + AGE_MAX + 1));
    assert_eq!(spool.sweep().await, Ok(3));
    let counts = desk.metrics.ledger.counts();
    assert_eq!((counts.ended(Outcome::Expired), counts.difference()), (3, 0));
    assert_eq!(counts.spool_bytes, 0);
}

#[tokio::test]
async fn of_many_parked_events_that_come_due_together_none_is_left_out_or_returned_twice() {
    // The number of lanes that share the buckets, and when each event comes due.
    let together = |_| START + 10_000;
    let one_by_one = |n| START + 20_000 - n;
    let check = async |lanes, due: &dyn Fn(i64) -> i64| {
        let desk = Desk::in_memory(lanes).await;
        for n in 1..=40 {
            desk.append("e", if n % 3 == 0 { 0 } else { 64 / 2 })
                .await
                .unwrap();
            desk.spool.park(n, Timestamp(due(n))).await.unwrap();
        }
        desk.append("last", 0).await.unwrap();
        assert_eq!(desk.names(0, 40, 9).await, numbered(&[(41, "last")]));
        desk.clock.set(Timestamp(START + 20_000));
        let mut told = Vec::new();
        for _ in 0..10 {
            told.extend(desk.names(0, 41, 9).await.into_iter().map(|(seq, _)| seq));
        }
        told.sort_unstable();
        assert_eq!(told, (1..=40).collect::<Vec<_>>(), "{lanes} lanes");
    };
    for lanes in [1, 2] {
        check(lanes, &together).await;
        check(lanes, &one_by_one).await;
    }
}

#[tokio::test]
async fn a_damaged_parked_event_brings_back_none_that_was_returned() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::inline(store::open(folder.path()).unwrap());
    let desk = Desk::open(store, &Clock::standing_at(Timestamp(START)), 1 << 20, 1).await;
    let desk = desk.forgetful();
    desk.switches.set(SITE, true, "test").await.unwrap();
    for name in ["a", "b", "c"] {
        desk.append(name, 5).await.unwrap();
    }
    desk.spool.park(1, Timestamp(START + 1000)).await.unwrap();
    assert_eq!(desk.names(0, 0, 9).await, numbered(&[(2, "b"), (3, "c")]));
    let damage = |db: &rusqlite::Connection| db.execute("UPDATE spool SET record = x'00' WHERE seq = 1", []);
    desk.spool.store.run(damage).await.unwrap();
    desk.clock.set(Timestamp(START + 1000));
    assert_eq!(desk.names(0, 3, 9).await, numbered(&[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_purged_leaves_the_log_though_another_transaction_ends_first() {
    let folder = tempfile::tempdir().unwrap();
    let (store, writer) = Store::start(
        store::open(folder.path()).unwrap(),
        Clock::standing_at(Timestamp(START)),
    )
    .unwrap();
    let desk = Desk::open(store.clone(), &Clock::standing_at(Timestamp(START)), 1 << 20, 1).await;
    desk.switches.set(SITE, true, "test").await.unwrap();
    desk.append("canary", 1).await.unwrap();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (beside, mut begun) = (store.clone(), Some(begun));
    let other = tokio::spawn(async move {
        let work = move |_: &rusqlite::Connection| {
            let _ = begun.take().map(|begun| begun.send(()));
            let _ = wait.recv();
            Ok(())
        };
        beside.run(work).await
    });
    has_begun.await.unwrap();
    let purge = desk.spool.purge(Purge::default());
    let (purged, ()) = tokio::join!(purge, async { drop(go) });
    assert_eq!(purged.unwrap().events, 1);
    other.await.unwrap().unwrap();
    // The next transaction begins after all work of the previous one.
    store.run(|_| Ok(())).await.unwrap();
    let log = std::fs::metadata(folder.path().join("relay.db-wal")).unwrap();
    assert_eq!(log.len(), 0);
    drop((desk, store));
    writer.join();
}

#[tokio::test]
async fn a_site_fills_its_share_and_leaves_the_others_theirs() {
    // Of 16 KiB a quarter is reserved for each site, half is shared.
    let check = async |fills: &[(&str, bool, u64)]| {
        let store = Store::inline(store::open_in_memory().unwrap());
        let desk = Desk::open(store, &Clock::standing_at(Timestamp(START)), 16 * 1024, 1).await;
        let mut stored: BTreeMap<&str, u64> = BTreeMap::new();
        for (site, is_held, want) in fills {
            desk.switches.set(site, true, "test").await.unwrap();
            let full = loop {
                let mut incoming = desk.incoming_of(site, "e", 1, None).await;
                incoming.is_held = *is_held;
                if let Err(outcome) = desk.spool.append(vec![incoming], ()).await[0] {
                    break outcome;
                }
                *stored.entry(site).or_default() += 1;
            };
            let shares = desk.spool.shares();
            let share = shares.iter().find(|share| share.site == *site).unwrap();
            // To the nearest KiB: one event more or less fits.
            assert_eq!((share.bytes + 512) / 1024, *want, "{site} of {fills:?}");
            let total: u64 = shares.iter().map(|share| share.bytes).sum();
            assert_eq!(total, desk.metrics.ledger.counts().spool_bytes);
            // A site's events have the same size. If the next one would not fit at all, the spool is full.
            let want = if share.bytes / stored[site] > 16 * 1024 - total {
                Outcome::SpoolFull
            } else {
                Outcome::SpoolFullSite
            };
            assert_eq!(full, want, "{site} of {fills:?}");
        }
    };
    check(&[(SITE, false, 12), (OTHER_SITE, false, 4)]).await;
    check(&[(OTHER_SITE, false, 12), (SITE, false, 4), (OTHER_SITE, false, 12)]).await;
    // A site whose events Plausible drops fills at most half, and its reserve in any case.
    check(&[(SITE, true, 8), (OTHER_SITE, false, 8)]).await;
    check(&[(OTHER_SITE, false, 12), (SITE, true, 4)]).await;
    check(&[(SITE, true, 8), (OTHER_SITE, true, 4)]).await;
}
