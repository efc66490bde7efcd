//! A relay's delivery, its disk and its clock, and the books of what was taken.

use super::Op;
use super::script::{CONCURRENCY, Mood, Script, random};
use crate::clock::{Clock, Moment};
use crate::config::Config;
use crate::forward::Forwarder;
use crate::guard::Scrubbed;
use crate::metrics::Metrics;
use crate::spool::{Incoming, Purge, Spool};
use crate::store::{self, Store};
use crate::switch::Switches;
use proptest::prelude::*;
use relay_event::Outcome;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const SITE: &str = "panel.example.com";
/// Fewer than there are buckets, so that visitors share lanes.
const LANES: usize = 8;
/// How long everything that waits may take to be settled once Plausible is well and nothing is poison: the
/// longest Retry-After that the scripts have, the longest an event is set aside, twice, and some breath.
const DRAIN_MAX: Duration = Duration::from_secs(300 + 2 * 3600 + 600);

/// Time goes by in such steps, and a disk that refused for a whole one takes again after it: the relay tries
/// it every second, which costs the simulation most of its time and shows nothing new.
pub(super) const STEP: Duration = Duration::from_secs(600);
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
    /// Events that were taken and are on the books, and how many purges there had been then.
    taken: BTreeMap<u64, u32>,
    purges: u32,
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
    pub(super) async fn start() -> Self {
        let text = format!(
            "plan = \"plan.toml\"\n[upstream]\nurl = \"http://127.0.0.1:9\"\nconcurrency = {CONCURRENCY}\n[[site]]\ndomain = \"{SITE}\"\n"
        );
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
        let mut world = Self {
            script: Script::default(),
            clock: Clock::going_from(Moment(1_800_000_000_000)),
            config: Config::parse("relay.toml", &text, &folder, &|_| None).unwrap(),
            store: Store::inline(store::open_in_memory().unwrap()),
            relay: None,
            next: 0,
            taken: BTreeMap::new(),
            purges: 0,
            refused: 0,
            disk_refuses: false,
            ended: BTreeMap::new(),
        };
        world.start_relay().await;
        world.apply(Op::Turn(true)).await;
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
        self.script.set_off(!switches.site(SITE).unwrap().is_on());
        let forwarder = Forwarder::new(
            config,
            self.script.clone(),
            spool.clone(),
            switches.clone(),
            Arc::clone(&metrics),
            clock,
            random,
        );
        let forwarder = Arc::new(forwarder.unwrap());
        self.script.watch(&forwarder.traffic());
        let stop = CancellationToken::new();
        self.relay = Some(Running {
            metrics,
            spool,
            keeping: tokio::spawn(switches.clone().keep(stop.clone())),
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
        let counts = relay.metrics.ledger.counts();
        assert_eq!(counts.difference(), 0);
        for outcome in Outcome::ALL {
            *self.ended.entry((outcome.label(), outcome.reason())).or_default() += counts.ended(*outcome);
        }
    }

    pub(super) async fn apply(&mut self, op: Op) {
        match op {
            Op::Append { visitor, events } => {
                for _ in 0..events {
                    self.append(visitor).await;
                }
            }
            Op::Poison { visitor } => {
                self.script.poison(self.next);
                self.append(visitor).await;
            }
            Op::Plausible(mood) => self.script.set(mood),
            Op::Wait(seconds) => self.wait(Duration::from_secs(seconds.into())).await,
            Op::Turn(true) => {
                self.script.set_off(false);
                let turned = self.relay().switches.turn(SITE, true, "test").await;
                // Not before what waited when it was turned off is purged.
                assert!(turned.is_ok() || self.disk_refuses, "{turned:?}");
                self.script.set_off(turned.is_err());
            }
            Op::Turn(false) => {
                let turned = self.relay().switches.turn(SITE, false, "test").await;
                // Off it is; what waits is purged as soon as the disk takes that.
                assert!(turned.is_ok() || self.disk_refuses, "{turned:?}");
                self.purges += 1;
                self.script.set_off(true);
            }
            Op::Disk { takes } => self.set_disk(takes).await,
            Op::Purge => {
                let purged = self.relay().spool.purge(Purge::default()).await;
                assert!(purged.is_ok() || self.disk_refuses, "{purged:?}");
                if purged.is_ok() {
                    self.purges += 1;
                    self.script.forbid_before(self.next);
                }
            }
            Op::Restart { in_order } => {
                self.stop_relay(in_order).await;
                // A relay does not start on a disk that takes nothing.
                self.set_disk(true).await;
                self.start_relay().await;
            }
            Op::Jump(seconds) => {
                let now = self.clock.now();
                self.clock.set(Moment(now.0 + i64::from(seconds) * 1000));
            }
        }
        // So that what was made possible begins.
        tokio::time::sleep(Duration::from_millis(1)).await;
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
            let swept = self.relay().spool.sweep().await;
            assert!(swept.is_ok() || self.disk_refuses, "{swept:?}");
            if step == STEP {
                self.set_disk(true).await;
            }
        }
    }

    async fn append(&mut self, visitor: u8) {
        let relay = self.relay();
        let number = self.next;
        let Some(permit) = relay.switches.site(SITE).unwrap().permit().await else {
            return;
        };
        let record = json!({
            "v": 1, "site": SITE, "name": "Load", "page": "/home", "props": [["n", number]],
            "interactive": true, "visitor": format!("2001:db8::{visitor:x}"),
        });
        let incoming = Incoming {
            scrubbed: Scrubbed::from_bytes(record.to_string().as_bytes()).unwrap(),
            id: None,
            ticket: relay.metrics.ledger.receive(1).remove(0),
            permit: Arc::new(permit),
        };
        if relay.spool.append(vec![incoming]).await == [None] {
            self.taken.insert(number, self.purges);
        } else {
            assert!(self.disk_refuses);
            self.refused += 1;
        }
        self.next += 1;
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
        self.set_disk(true).await;
        self.wait(DRAIN_MAX).await;
        prop_assert_eq!(
            self.waiting(),
            0,
            "events still wait {:?} after all was well",
            DRAIN_MAX
        );
        prop_assert_eq!(self.broken(), None);
        self.stop_relay(true).await;
        let arrived = self.script.taken();
        let ended = |label: &str| -> u64 {
            let group = self.ended.iter().filter(|((outcome, _), _)| *outcome == label);
            group.map(|(_, count)| count).sum()
        };
        prop_assert_eq!(ended("lost"), 0);
        // Gone at the latest when the switch was next turned off or what waits was purged; other endings are counted one by one.
        let missing = self.taken.iter().filter(|(number, _)| !arrived.contains(number));
        let missing = missing.filter(|(_, purges)| **purges == self.purges).count();
        let counted = ended("expired") + ended("rejected");
        prop_assert!(
            missing as u64 <= counted,
            "{} missing, {} counted",
            missing,
            counted
        );
        // Each event on the books ended exactly once.
        let all: u64 = self.ended.values().sum();
        prop_assert_eq!(all, self.taken.len() as u64 + self.refused, "{:?}", self.ended);
        Ok(())
    }
}
