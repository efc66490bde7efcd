//! A relay's delivery, its disk and its clock, and the reconciliation of accepted events.

mod end;

use super::Op;
use super::script::{CONCURRENCY, Health, Script, Setup, random};
use super::watch::{Event, SITES, Watch};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::forward::Metrics;
use crate::forward::sites::Sites;
use crate::forward::{Dependencies, Forwarder};
use crate::guard::Scrubbed;
use crate::metrics::Registry;
use crate::spool::{Incoming, Purge, Spool};
use crate::store::{self, Store};
use crate::switch::Switches;
use relay_event::Outcome;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Fewer than there are buckets, so that visitors share lanes.
const LANES: usize = 8;

/// Time passes in such steps, and a disk that refused for a complete one accepts changes after it: the relay retries
/// every second, which costs the simulation most of its time and tests nothing new.
pub(super) const STEP: Duration = Duration::from_secs(600);
/// How often switches and their records are reconciled: less often than in the relay, for the same reason.
const KEEP_EVERY: Duration = Duration::from_secs(60);
/// From here on the disk refuses every change of the spool, like a full one. Everything else continues: the spool can
/// be read, and switches are turned.
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
    /// Events that were stored.
    stored: u64,
    /// Events that the disk refused.
    refused: u64,
    disk_refuses: bool,
    /// How events ended in relays that have stopped.
    ended: BTreeMap<(&'static str, &'static str), u64>,
}

struct Running {
    metrics: Registry,
    spool: Spool,
    switches: Switches,
    stop: CancellationToken,
    forwarding: JoinHandle<()>,
    keeping: JoinHandle<()>,
}

impl World {
    pub(super) async fn start(setup: Setup) -> Self {
        let delivery = match setup.drops_unknown {
            true => "at_most_once",
            false => "at_least_once",
        };
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
            delivery = "{delivery}"
            health_path = "{health_path}"
            [[site]]
            domain = "{first}"
            [[site]]
            domain = "{second}"
            "#
        );
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
        let clock = Clock::going_from(Timestamp(1_800_000_000_000));
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
        let mut metrics = Registry::default();
        let delivery = Arc::new(Metrics::register(&mut metrics));
        let (config, clock) = (&self.config, self.clock.clone());
        let limits = config.spool.clone();
        let spool = Spool::open(
            self.store.clone(),
            &mut metrics,
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
            &mut metrics,
        )
        .await
        .unwrap();
        // An "off" that could not be recorded lasts until its relay ends.
        let is_off = SITES.map(|site| !switches.site(site).unwrap().is_on());
        self.script.watch(|watch| watch.is_off = is_off);
        let sites = Sites::open(config, &self.store, &delivery, random).await.unwrap();
        let sites = Arc::new(sites);
        let dependencies = Dependencies {
            spool: spool.clone(),
            switches: switches.clone(),
            sites: Arc::clone(&sites),
            metrics: delivery,
            clock,
        };
        let forwarder = Forwarder::new(config, self.script.clone(), dependencies, random);
        let forwarder = Arc::new(forwarder.unwrap());
        self.script.begin(&forwarder.dispatcher(), &sites);
        let stop = CancellationToken::new();
        self.relay = Some(Running {
            metrics,
            spool,
            keeping: tokio::spawn(switches.clone().reconcile(KEEP_EVERY, stop.clone())),
            switches,
            forwarding: tokio::spawn(forwarder.run(stop.clone())),
            stop,
        });
    }

    /// Stops the relay, orderly or by aborting it.
    async fn stop_relay(&mut self, in_order: bool) {
        let relay = self.relay.take().unwrap();
        if in_order {
            relay.stop.cancel();
        } else {
            relay.forwarding.abort();
            relay.keeping.abort();
        }
        let _ = tokio::join!(relay.forwarding, relay.keeping);
        // An aborted task is dropped when it is polled next.
        tokio::time::sleep(Duration::from_millis(1)).await;
        if !in_order || self.disk_refuses {
            // Events that were answered and not booked are sent again.
            self.script.watch(Watch::allow_again);
        }
        // So are events whose purge the disk has refused until now.
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
                let before = older.map(|older| Timestamp(self.clock.now().0 - i64::from(older) * 1000));
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
                // A relay does not start on a disk that refuses changes.
                self.set_disk(true).await;
                self.start_relay().await;
            }
            Op::Jump(seconds) => {
                let now = self.clock.now();
                self.clock.set(Timestamp(now.0 + i64::from(seconds) * 1000));
                self.script.watch(Watch::let_expire);
            }
        }
        // So that tasks that became ready run.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    async fn turn(&mut self, site: usize, on: bool) {
        if on {
            self.script.watch(|watch| watch.is_off[site] = false);
        }
        let turned = self.relay().switches.set(SITES[site], on, "test").await;
        assert!(turned.is_ok() || self.disk_refuses, "{turned:?}");
        // A disk that refuses keeps it off, whatever was requested, and waiting events are purged once the disk
        // recovers.
        let is_off = !on || turned.is_err();
        self.script.watch(|watch| watch.is_off[site] = is_off);
        if is_off {
            self.note_purge(|event| event.site == site);
        }
    }

    /// Matching events must not be sent any more.
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

    /// Lets time pass, and sweeps periodically, like the relay.
    async fn wait(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            let step = STEP.min(end - tokio::time::Instant::now());
            let (before, mood) = (self.script.requests(), self.script.mood());
            let fresh = self.next;
            tokio::time::sleep(step).await;
            let requests = self.script.requests() - before;
            // An outage: some to notice it, then one probe and one event at a time, half a minute apart.
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
        let Some(permit) = relay.switches.site(SITES[site]).unwrap().permit() else {
            return;
        };
        let mut record = json!({
            "site": SITES[site], "name": "Load", "page": "/home", "props": [["n", number]],
            "interactive": true, "visitor": format!("2001:db8::{visitor:x}"),
        });
        if is_engagement {
            // Its engagement time encodes its number, since it has no properties.
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
        if relay.spool.append(vec![incoming], ()).await == [Ok(())] {
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

    /// The number of events that were given up because Plausible dropped them.
    pub(super) fn dropped(&self) -> u64 {
        let before = self.ended.get(&("rejected", "plausible_dropped"));
        let now = self.relay().metrics.ledger.counts();
        before.copied().unwrap_or(0) + now.ended(Outcome::DroppedByPlausible)
    }

    /// The number of waiting events.
    pub(super) fn waiting(&self) -> u64 {
        self.relay().metrics.ledger.counts().spooled
    }

    /// The broken invariant, if one is.
    pub(super) fn broken(&self) -> Option<String> {
        let difference = self.relay().metrics.ledger.counts().difference();
        match difference {
            0 => self.script.broken(),
            n => Some(format!("the books are {n} off")),
        }
    }
}

/// Later visitors belong to the second site. Some of them share a lane with the first site's.
fn site_of(visitor: u8) -> usize {
    usize::from(usize::from(visitor) >= LANES)
}
