//! A relay's delivery, its disk and its clock, and the books of what was taken.

use super::Op;
use super::script::{CONCURRENCY, Health, Mood, Script, Setup, random};
use super::watch::{Event, SITES, Watch};
use crate::clock::{Clock, Moment};
use crate::config::Config;
use crate::forward::sites::Sites;
use crate::forward::{Forwarder, Rooms, breaker};
use crate::guard::Scrubbed;
use crate::metrics::Metrics;
use crate::spool::{Incoming, Purge, Spool};
use crate::store::{self, Store};
use crate::switch::Switches;
use proptest::prelude::*;
use relay_event::Outcome;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Fewer than there are buckets, so that visitors share lanes.
const LANES: usize = 8;
/// How long Plausible may be left alone after all is well: the longest Retry-After that is believed, the
/// longest wait of the breaker, and some breath.
const REST_MAX: Duration = Duration::from_secs(3600 + 60 + 60);
/// How long what waits may take then, but for what is set aside.
const SEND_MAX: Duration = Duration::from_secs(120);
/// How long that may take: the longest an event is set aside, twice, and some breath.
const DRAIN_MAX: Duration = Duration::from_secs(2 * 3600 + 600);

/// Time goes by in such steps, and a disk that refused for a whole one takes again after it: the relay tries
/// it every second, which costs the simulation most of its time and shows nothing new.
pub(super) const STEP: Duration = Duration::from_secs(600);
/// How often switches and their records are compared: less often than the relay does, for the same reason.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// From here on the disk refuses every change of the spool, as a full one does. All else goes on: what is
/// there can be read, and switches are turned.
const REFUSE: &str = "
    CREATE TEMP TRIGGER no_insert BEFORE INSERT ON main.spool BEGIN SELECT RAISE(ABORT, 'full'); END;
    CREATE TEMP TRIGGER no_update BEFORE UPDATE ON main.spool BEGIN SELECT RAISE(ABORT, 'full'); END;
    CREATE TEMP TRIGGER no_delete BEFORE DELETE ON main.spool BEGIN SELECT RAISE(ABORT, 'full'); END;";
const TAKE_AGAIN: &str = "DROP TRIGGER no_insert; DROP TRIGGER no_update; DROP TRIGGER no_delete;";

pub(super) struct World {
    pub(super) script: Script,
    clock: Clock,
    config: Config,
    store: Store,
    relay: Option<Running>,
    next: u64,
    /// Events that are on the books, as far as they were stored.
    stored: u64,
    /// Events that the disk refused.
    refused: u64,
    disk_refuses: bool,
    /// How events ended in relays that have stopped.
    ended: BTreeMap<(&'static str, &'static str), u64>,
}

struct Running {
    metrics: Arc<Metrics>,
    spool: Spool,
    switches: Switches,
    stop: CancellationToken,
    forwarding: JoinHandle<()>,
    keeping: JoinHandle<()>,
}

impl World {
    pub(super) async fn start(setup: Setup) -> Self {
        let when_unknown = if setup.drops_unknown { "drop" } else { "retry" };
        let health_path = match setup.health {
            Health::IsNotAsked => "",
            Health::Answers | Health::IsMissing => "/api/health",
        };
        let [first, second] = SITES;
        let text = format!(
            r#"
            plan = "plan.toml"
            [upstream]
            url = "http://127.0.0.1:9"
            concurrency = {CONCURRENCY}
            when_unknown = "{when_unknown}"
            health_path = "{health_path}"
            [[site]]
            domain = "{first}"
            [[site]]
            domain = "{second}"
            "#
        );
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
        let clock = Clock::going_from(Moment(1_800_000_000_000));
        let store = Store::inline(store::open_in_memory().unwrap());
        let mut world = Self {
            script: Script::new(setup, clock.clone(), store.clone()),
            clock,
            config: Config::parse("relay.toml", &text, &folder, &|_| None).unwrap(),
            store,
            relay: None,
            next: 0,
            stored: 0,
            refused: 0,
            disk_refuses: false,
            ended: BTreeMap::new(),
        };
        world.start_relay().await;
        for site in 0..SITES.len() {
            world.apply(Op::Turn(site, true)).await;
        }
        world
    }

    fn relay(&self) -> &Running {
        self.relay.as_ref().unwrap()
    }

    async fn start_relay(&mut self) {
        let metrics = Arc::new(Metrics::new(&self.config));
        let (config, clock) = (&self.config, self.clock.clone());
        let limits = config.spool.clone();
        let spool = Spool::open(
            self.store.clone(),
            Arc::clone(&metrics),
            clock.clone(),
            limits,
            &config.sites,
            LANES,
        )
        .await
        .unwrap();
        let switches = Switches::open(
            config,
            self.store.clone(),
            spool.clone(),
            clock.clone(),
            Arc::clone(&metrics),
        )
        .await
        .unwrap();
        // Off that could not be recorded lasts as long as its relay.
        let is_off = SITES.map(|site| !switches.site(site).unwrap().is_on());
        self.script.watch(|watch| watch.is_off = is_off);
        let sites = Sites::open(config, &self.store, &metrics, random).await.unwrap();
        let sites = Arc::new(sites);
        let rooms = Rooms {
            spool: spool.clone(),
            switches: switches.clone(),
            sites: Arc::clone(&sites),
            metrics: Arc::clone(&metrics),
            clock,
        };
        let forwarder = Forwarder::new(config, self.script.clone(), rooms, random);
        let forwarder = Arc::new(forwarder.unwrap());
        self.script.begin(&forwarder.traffic(), &sites);
        let stop = CancellationToken::new();
        self.relay = Some(Running {
            metrics,
            spool,
            keeping: tokio::spawn(switches.clone().keep(KEEP_EVERY, stop.clone())),
            switches,
            forwarding: tokio::spawn(forwarder.run(stop.clone())),
            stop,
        });
    }

    /// Stops the relay, in order or by pulling the plug.
    async fn stop_relay(&mut self, in_order: bool) {
        let relay = self.relay.take().unwrap();
        if in_order {
            relay.stop.cancel();
        } else {
            relay.forwarding.abort();
            relay.keeping.abort();
        }
        let _ = tokio::join!(relay.forwarding, relay.keeping);
        // What was aborted is dropped when it is next looked at.
        tokio::time::sleep(Duration::from_millis(1)).await;
        if !in_order || self.disk_refuses {
            // What was answered and not noted comes again.
            self.script.watch(Watch::allow_again);
        }
        // And what was to be purged, where the disk took that until now no more.
        let there = self.numbers("SELECT seq FROM spool").await;
        self.script.watch(|watch| {
            let there = watch.events.values_mut().filter(|event| event.is_among(&there));
            there.for_each(|event| event.is_purged = false);
        });
        let counts = relay.metrics.ledger.counts();
        assert_eq!(counts.difference(), 0);
        for outcome in Outcome::ALL {
            *self.ended.entry((outcome.label(), outcome.reason())).or_default() += counts.ended(*outcome);
        }
    }

    pub(super) async fn apply(&mut self, op: Op) {
        self.script.watch(Watch::let_expire);
        match op {
            Op::Append { visitor, events } => {
                for _ in 0..events {
                    self.append(visitor, false).await;
                }
            }
            Op::Engage { visitor } => self.append(visitor, true).await,
            Op::Poison { visitor } => {
                self.script.poison(self.next);
                self.append(visitor, false).await;
            }
            Op::Plausible(mood) => self.script.set(mood),
            Op::Know(site, knows) => self.script.know(site, knows),
            Op::Wait(seconds) => self.wait(Duration::from_secs(seconds.into())).await,
            Op::Turn(site, on) => self.turn(site, on).await,
            Op::Disk { takes } => self.set_disk(takes).await,
            Op::Purge { site, older } => {
                let before = older.map(|older| Moment(self.clock.now().0 - i64::from(older) * 1000));
                let purge = Purge {
                    site: site.map(|site| SITES[site].to_owned()),
                    before,
                    quarantine: false,
                };
                let purged = self.relay().spool.purge(purge).await;
                assert!(purged.is_ok() || self.disk_refuses, "{purged:?}");
                if purged.is_ok() {
                    self.note_purge(|event| {
                        site.is_none_or(|site| site == event.site)
                            && before.is_none_or(|before| event.stored_at < before)
                    });
                }
            }
            Op::Replay => {
                let replayed = self.relay().spool.replay().await;
                assert!(replayed.is_ok() || self.disk_refuses, "{replayed:?}");
            }
            Op::Sweep => self.sweep().await,
            Op::Restart { in_order } => {
                self.stop_relay(in_order).await;
                // A relay does not start on a disk that takes nothing.
                self.set_disk(true).await;
                self.start_relay().await;
            }
            Op::Jump(seconds) => {
                let now = self.clock.now();
                self.clock.set(Moment(now.0 + i64::from(seconds) * 1000));
                self.script.watch(Watch::let_expire);
            }
        }
        // So that what was made possible begins.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    async fn turn(&mut self, site: usize, on: bool) {
        if on {
            self.script.watch(|watch| watch.is_off[site] = false);
        }
        let turned = self.relay().switches.turn(SITES[site], on, "test").await;
        assert!(turned.is_ok() || self.disk_refuses, "{turned:?}");
        // A disk that refuses keeps it off, whatever was asked, and what waits is purged as soon as it takes that.
        let is_off = !on || turned.is_err();
        self.script.watch(|watch| watch.is_off[site] = is_off);
        if is_off {
            self.note_purge(|event| event.site == site);
        }
    }

    /// Those that fit must not be sent any more.
    fn note_purge(&self, fits: impl Fn(&Event) -> bool) {
        self.script.watch(|watch| {
            let purged = watch.events.values_mut().filter(|event| fits(event));
            purged.for_each(|event| event.is_purged = true);
        });
    }

    async fn set_disk(&mut self, takes: bool) {
        if takes == self.disk_refuses {
            let change = if takes { TAKE_AGAIN } else { REFUSE };
            self.store.run(move |db| db.execute_batch(change)).await.unwrap();
            self.disk_refuses = !takes;
        }
    }

    /// Lets time go by, and sweeps now and then, as the relay does.
    async fn wait(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            let step = STEP.min(end - tokio::time::Instant::now());
            let (before, mood) = (self.script.requests(), self.script.mood());
            let fresh = self.next;
            tokio::time::sleep(step).await;
            let requests = self.script.requests() - before;
            // An outage: some to notice it, then a probe and an event at a time, half a minute apart.
            let most = 60 + step.as_secs() / 5;
            assert!(
                !mood.is_outage() || requests <= most,
                "{requests} requests in {step:?} of {mood:?}, after {fresh} events"
            );
            self.sweep().await;
            if step == STEP {
                self.set_disk(true).await;
            }
        }
    }

    async fn sweep(&self) {
        let swept = self.relay().spool.sweep().await;
        assert!(swept.is_ok() || self.disk_refuses, "{swept:?}");
    }

    async fn append(&mut self, visitor: u8, is_engagement: bool) {
        let relay = self.relay();
        let (number, site) = (self.next, site_of(visitor));
        let Some(permit) = relay.switches.site(SITES[site]).unwrap().permit().await else {
            return;
        };
        let mut record = json!({
            "v": 1, "site": SITES[site], "name": "Load", "page": "/home", "props": [["n", number]],
            "interactive": true, "visitor": format!("2001:db8::{visitor:x}"),
        });
        if is_engagement {
            // Its time on the page is its number, since it has no properties.
            record["name"] = "engagement".into();
            record["props"] = json!([]);
            record["engagement"] = json!({ "ms": number, "scroll_depth": 50 });
        }
        let incoming = Incoming {
            scrubbed: Scrubbed::from_bytes(record.to_string().as_bytes()).unwrap(),
            id: None,
            ticket: relay.metrics.ledger.receive(1).remove(0),
            permit: Arc::new(permit),
            is_held: false,
        };
        let event = Event::new(site, visitor, self.clock.now(), is_engagement);
        // Before it is stored: it may be sent before that is known here.
        self.script.watch(|watch| watch.events.insert(number, event));
        if relay.spool.append(vec![incoming], || {}).await == [None] {
            let newest = |db: &rusqlite::Connection| {
                let sequence = "SELECT seq FROM sqlite_sequence WHERE name = 'spool'";
                db.query_row(sequence, [], |row| row.get(0))
            };
            let seq = self.store.run(newest).await.unwrap();
            self.script.watch(|watch| {
                watch
                    .events
                    .entry(number)
                    .and_modify(|event| event.seq = Some(seq));
            });
            self.stored += 1;
        } else {
            assert!(self.disk_refuses);
            self.script.watch(|watch| watch.events.remove(&number));
            self.refused += 1;
        }
        self.next += 1;
    }

    /// How many events were given up because Plausible dropped them.
    pub(super) fn dropped(&self) -> u64 {
        let before = self.ended.get(&("rejected", "plausible_dropped"));
        let now = self.relay().metrics.ledger.counts();
        before.copied().unwrap_or(0) + now.ended(Outcome::DroppedByPlausible)
    }

    /// How many events wait.
    pub(super) fn waiting(&self) -> u64 {
        self.relay().metrics.ledger.counts().spooled
    }

    /// What must never have happened, if it has.
    pub(super) fn broken(&self) -> Option<String> {
        let difference = self.relay().metrics.ledger.counts().difference();
        match difference {
            0 => self.script.broken(),
            n => Some(format!("the books are {n} off")),
        }
    }

    /// Lets everything come to rest and checks the books.
    pub(super) async fn end(mut self) -> Result<(), TestCaseError> {
        self.script.set(Mood::Well);
        self.script.heal();
        (0..SITES.len()).for_each(|site| self.script.know(site, true));
        self.set_disk(true).await;
        let rested = tokio::time::Instant::now() + REST_MAX;
        // What is under way comes back first, and may bring a Retry-After.
        self.wait(Duration::from_secs(20)).await;
        while tokio::time::Instant::now() < rested && !self.may_send() {
            self.wait(Duration::from_secs(20)).await;
        }
        self.wait(SEND_MAX).await;
        prop_assert_eq!(self.unsent().await, 0, "of {} that wait", self.waiting());
        self.wait(DRAIN_MAX).await;
        prop_assert_eq!(self.waiting(), 0, "{:?} after all was well", DRAIN_MAX);
        prop_assert_eq!(self.broken(), None);
        self.stop_relay(true).await;
        let ended = |label: &str| -> u64 {
            let group = self.ended.iter().filter(|((outcome, _), _)| *outcome == label);
            group.map(|(_, count)| count).sum()
        };
        prop_assert_eq!(ended("lost"), 0);
        // Delivered or purged; other endings are counted one by one.
        let missing = self.script.watch(|watch| {
            let missing = watch
                .events
                .values()
                .filter(|event| !event.is_taken && !event.is_purged);
            missing.count() as u64
        });
        let dropped = self.ended[&("rejected", "plausible_dropped")];
        let may_be_dropped = self.script.watch(|watch| watch.may_be_dropped);
        prop_assert!(
            dropped <= may_be_dropped,
            "{} of {} dropped",
            dropped,
            may_be_dropped
        );
        let counted = ended("expired") + ended("rejected");
        prop_assert!(missing <= counted, "{} missing, {} counted", missing, counted);
        // Each event on the books ended exactly once.
        let all: u64 = self.ended.values().sum();
        prop_assert_eq!(all, self.stored + self.refused, "{:?}", self.ended);
        Ok(())
    }

    /// How many events wait to be sent for the first time, or again, and are not set aside. One that was settled
    /// and could not be noted has time until its lane looks again by itself.
    async fn unsent(&self) -> usize {
        let waiting = self
            .numbers("SELECT seq FROM spool WHERE not_before IS NULL")
            .await;
        self.script.watch(|watch| {
            let open = watch.events.values().filter(|event| !event.is_over);
            open.filter(|event| event.is_among(&waiting)).count()
        })
    }

    /// The numbers in the spool that a query gives.
    async fn numbers(&self, query: &'static str) -> BTreeSet<i64> {
        let numbers = move |db: &rusqlite::Connection| {
            let mut numbers = db.prepare(query)?;
            let rows = numbers.query_map([], |row| row.get(0))?;
            rows.collect::<rusqlite::Result<BTreeSet<i64>>>()
        };
        self.store.run(numbers).await.unwrap()
    }

    /// Plausible is known to be well, or there is nothing to ask it for.
    fn may_send(&self) -> bool {
        let is_closed = self.script.watch(|watch| {
            let traffic = watch.traffic.upgrade();
            traffic.is_some_and(|traffic| traffic.standing().breaker == breaker::State::Closed)
        });
        is_closed || self.waiting() == 0
    }
}

/// The later visitors are the second site's. Some of them share a lane with the first one's.
fn site_of(visitor: u8) -> usize {
    usize::from(usize::from(visitor) >= LANES)
}
