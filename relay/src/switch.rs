//! The admin switch: per site, off until somebody turns it on, and linearizable.
//!
//! Storing and sending an event both need a [`Permit`], which only a site that is on gives out. Turning
//! the switch off waits until every permit is back, so once "off" has been answered no event is stored
//! and none leaves. What waited is purged in the same transaction that records the switch.
//!
//! Memory decides, and "off" wins: where memory and record differ, the site is off in both as soon as the
//! disk takes it. `keep` sees to that, and a `marker` beside the database where that refuses.

mod keep;
mod marker;
mod record;
#[cfg(test)]
mod tests;

pub use record::{Kept, look};

use crate::clock::{Clock, Moment};
use crate::config::{Config, SitePlan};
use crate::metrics::Metrics;
use crate::spool::{self, Removed, Spool};
use crate::store::{Store, StoreError};
use marker::Marker;
use relay_event::Outcome;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedRwLockReadGuard, RwLock, watch};
use tokio_util::sync::CancellationToken;

/// How long turning off waits for requests under way before it cuts them.
const GRACE: Duration = Duration::from_secs(2);
/// Who turned a switch that nobody turned: the relay, because a record was lost.
const BY_RELAY: &str = "relay";

/// One configured site and its switch.
#[derive(Debug)]
pub struct Site {
    /// The domain, as in Plausible.
    pub domain: String,
    /// Origins whose pages may send events.
    pub origins: Vec<String>,
    /// The operator's lock, for this site or for all.
    pub operator_lock: bool,
    /// The tracking plan: all that may ever leave of this site's events.
    pub plan: SitePlan,
    on: Arc<RwLock<bool>>,
    /// Held while the switch is turned or recorded: one at a time.
    turning: tokio::sync::Mutex<()>,
    /// How often that was.
    turns: AtomicU64,
    /// Set on the writer when a rebuilt database says no longer that the site is on: nothing is given leave
    /// until memory has followed.
    doubt: AtomicBool,
    /// Cut when the switch is turned off and requests under way do not end by themselves.
    cut: Mutex<CancellationToken>,
    standing: Mutex<Standing>,
    marker: Marker,
    purged_up_to: AtomicI64,
}

/// What is told of a switch.
#[derive(Clone, Debug)]
struct Standing {
    changed: Option<Change>,
    kept: Kept,
}

/// Who turned a switch, and when.
#[derive(Clone, Debug)]
pub struct Change {
    /// When.
    pub at: Moment,
    /// The account, `cli` or `relay`.
    pub by: String,
}

/// Leave to store or send one site's events. While it is held, the site cannot be answered "off".
#[derive(Debug)]
pub struct Permit {
    #[expect(dead_code, reason = "held for its lock")]
    guard: OwnedRwLockReadGuard<bool>,
    cut: CancellationToken,
}

impl Permit {
    /// Ends when the holder has to stop at once.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Whether the holder has to stop at once.
    pub fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }
}

impl Site {
    /// Asks for leave. `None` while the switch is off or locked. Waits while it is being turned off, but never
    /// for the disk.
    pub async fn permit(&self) -> Option<Permit> {
        if self.operator_lock {
            return None;
        }
        // The token is fetched after the lock, so that it belongs to this turn of the switch.
        let guard = Arc::clone(&self.on).read_owned().await;
        (*guard && !self.is_in_doubt()).then(|| Permit {
            cut: self.cut_token(),
            guard,
        })
    }

    fn cut_token(&self) -> CancellationToken {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether collection is on, as far as can be told without waiting: while it is being turned, no.
    pub fn is_on(&self) -> bool {
        !self.operator_lock && !self.is_in_doubt() && self.on.try_read().is_ok_and(|on| *on)
    }

    fn is_in_doubt(&self) -> bool {
        self.doubt.load(Ordering::SeqCst)
    }

    /// Whether an event that a lane still has in hand was purged since it was read. Asked with a permit
    /// in hand, because the site may have been turned off and on again meanwhile.
    pub fn has_purged(&self, seq: i64, _permit: &Permit) -> bool {
        seq <= self.purged_up_to.load(Ordering::SeqCst)
    }

    /// Who turned the switch last.
    pub fn changed(&self) -> Option<Change> {
        self.standing().changed.clone()
    }

    /// Where it is written down how the switch stands. Anything but [`Kept::Database`] is a site that is off.
    pub fn kept(&self) -> Kept {
        self.standing().kept
    }

    fn standing(&self) -> std::sync::MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a switch was not turned.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// No such site.
    #[error("no site {0} is configured; `[[site]]` in the configuration lists them")]
    UnknownSite(String),
    /// The operator locked it.
    #[error(
        "the operator's lock is set in the configuration (`operator_lock`); only the operator can lift it"
    )]
    Locked,
    /// It could not be recorded. Whatever was asked, the site is off, and recording that is tried again.
    #[error("collection is off, but that could not be recorded: {error}; {}", kept.prospect())]
    Unrecorded {
        /// What the database said.
        error: StoreError,
        /// What is left of it.
        kept: Kept,
    },
    /// A file that keeps the site off cannot be removed, so a restart would find it off.
    #[error(
        "the file {0} in the data folder keeps collection off and cannot be removed; remove it, then turn the switch again"
    )]
    Marked(String),
}

/// All switches. Clones share them.
#[derive(Clone, Debug)]
pub struct Switches {
    sites: Arc<BTreeMap<String, Arc<Site>>>,
    store: Store,
    spool: Spool,
    clock: Clock,
    metrics: Arc<Metrics>,
    turned: Arc<watch::Sender<()>>,
    /// Memory and record are to be compared.
    wake: Arc<Notify>,
}

impl Switches {
    /// Reads the switches and purges what no open switch stands behind any more.
    ///
    /// # Errors
    /// When the database cannot be read: an unreadable switch is no leave to collect.
    pub async fn open(
        config: &Config,
        store: Store,
        spool: Spool,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let sites = config.sites.iter().map(|site| {
            let site = Site {
                domain: site.domain.clone(),
                origins: site.origins.clone(),
                operator_lock: config.operator_lock || site.operator_lock,
                plan: site.plan.clone(),
                on: Arc::new(RwLock::new(false)),
                turning: tokio::sync::Mutex::default(),
                turns: AtomicU64::new(0),
                doubt: AtomicBool::new(false),
                cut: Mutex::default(),
                standing: Mutex::new(Standing {
                    changed: None,
                    kept: Kept::Database,
                }),
                marker: Marker::of(&config.data_dir, &site.domain),
                purged_up_to: AtomicI64::new(0),
            };
            (site.domain.clone(), Arc::new(site))
        });
        let switches = Self {
            sites: Arc::new(sites.collect()),
            store,
            spool,
            clock,
            metrics,
            turned: Arc::new(watch::Sender::new(())),
            wake: Arc::default(),
        };
        switches.watch_rebuilds();
        for site in switches.sites.values() {
            switches.read(site).await?;
        }
        switches.purge_orphans().await?;
        Ok(switches)
    }

    /// A configured site.
    pub fn site(&self, domain: &str) -> Option<&Arc<Site>> {
        self.sites.get(domain)
    }

    /// All configured sites, by domain.
    pub fn sites(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.sites.values()
    }

    /// Changes whenever a switch was turned, on or off.
    pub fn turned(&self) -> watch::Receiver<()> {
        self.turned.subscribe()
    }

    /// Turns a switch on or off and says how many waiting events were purged. When this has answered
    /// "off", no event of the site is being sent and none is stored.
    ///
    /// The turn runs to its end even when the caller goes away.
    ///
    /// # Errors
    /// When there is no such site, it is locked, or the turn cannot be recorded.
    pub async fn turn(&self, domain: &str, on: bool, by: &str) -> Result<u64, TurnError> {
        let site = self
            .sites
            .get(domain)
            .ok_or_else(|| TurnError::UnknownSite(domain.to_owned()))?;
        if site.operator_lock && on {
            return Err(TurnError::Locked);
        }
        let (this, site) = (self.clone(), Arc::clone(site));
        let change = self.change(by);
        let turning = tokio::spawn(async move {
            let _turning = site.turning.lock().await;
            let turned = match on {
                true => this.turn_on(&site, change).await,
                false => this.turn_off(&site, change).await,
            };
            site.turns.fetch_add(1, Ordering::SeqCst);
            turned
        });
        let lost = TurnError::Unrecorded {
            error: StoreError::Closed,
            kept: Kept::Nowhere,
        };
        turning.await.unwrap_or(Err(lost))
    }

    async fn turn_on(&self, site: &Site, change: Change) -> Result<u64, TurnError> {
        if *site.on.read().await {
            if !site.is_in_doubt() {
                // Nothing to turn, so nothing to interrupt.
                return Ok(0);
            }
            self.turn_off(site, self.change(BY_RELAY)).await?;
        }
        if site.kept() != Kept::Database {
            // What waited when it was turned off must not leave now.
            self.record_off(site).await?;
        }
        if !site.on_disk(Marker::clear).await {
            return Err(TurnError::Marked(site.marker.name()));
        }
        // What a rebuild loses from here on is in doubt again.
        site.doubt.store(false, Ordering::SeqCst);
        if let Err(error) = self.record(site, true, &change).await {
            // Perhaps it was recorded all the same. What holds is off.
            return Err(self.unrecorded(site, error).await);
        }
        site.standing().changed = Some(change);
        *site.on.write().await = true;
        self.tell(site);
        self.turned.send_replace(());
        tracing::info!(site = site.domain, on = true, "the switch was turned");
        Ok(0)
    }

    async fn turn_off(&self, site: &Site, change: Change) -> Result<u64, TurnError> {
        // In memory first: whatever the disk says, nothing leaves from here on.
        self.close(site).await;
        site.standing().changed = Some(change);
        self.tell(site);
        self.turned.send_replace(());
        let purged = self.record_off(site).await?;
        tracing::info!(site = site.domain, on = false, purged, "the switch was turned");
        Ok(purged)
    }

    /// Takes all permits back.
    async fn close(&self, site: &Site) {
        let writing = site.on.write();
        tokio::pin!(writing);
        let mut on = match tokio::time::timeout(GRACE, &mut writing).await {
            Ok(on) => on,
            Err(_) => {
                site.cut_token().cancel();
                writing.await
            }
        };
        *on = false;
        // Nobody holds a permit now, so nobody minds that the cut is mended.
        *site.cut.lock().unwrap_or_else(PoisonError::into_inner) = CancellationToken::new();
        site.doubt.store(false, Ordering::SeqCst);
    }

    /// Records how a site stands from now on, and purges what waits for one that is off.
    async fn record(&self, site: &Site, on: bool, change: &Change) -> Result<u64, StoreError> {
        let (domain, change) = (site.domain.clone(), change.clone());
        let removed = self
            .spool
            .remove(Outcome::Purged, move |db| {
                let removed = match on {
                    true => Removed::default(),
                    false => spool::purge_site(db, domain.as_bytes())?,
                };
                record::write(db, &domain, on, &change, removed.events)?;
                Ok(removed)
            })
            .await?;
        site.purged_up_to.fetch_max(removed.last, Ordering::SeqCst);
        Ok(removed.events)
    }

    fn change(&self, by: &str) -> Change {
        Change {
            at: self.clock.now(),
            by: by.to_owned(),
        }
    }

    /// Notes in the metrics how a site stands.
    fn tell(&self, site: &Site) {
        self.metrics.switches.set(&site.domain, site.is_on(), site.kept());
    }

    /// Purges what waits for sites that are off, locked or no longer configured.
    async fn purge_orphans(&self) -> Result<(), StoreError> {
        // As bytes: a damaged record's site may be no text, and is no site's.
        let waiting: Vec<Vec<u8>> = self
            .store
            .run(|db| {
                db.prepare("SELECT site FROM spool UNION SELECT site FROM quarantine WHERE site IS NOT NULL")?
                    .query_map([], |row| {
                        Ok(row.get_ref(0)?.as_bytes().unwrap_or_default().to_vec())
                    })?
                    .collect()
            })
            .await?;
        for domain in waiting {
            let site = std::str::from_utf8(&domain)
                .ok()
                .and_then(|domain| self.sites.get(domain));
            if !site.is_some_and(|site| site.is_on()) {
                let purged = self
                    .spool
                    .remove(Outcome::Purged, move |db| spool::purge_site(db, &domain))
                    .await?
                    .events;
                tracing::info!(
                    purged,
                    "events were purged because their site is off, locked or not configured any more"
                );
            }
        }
        Ok(())
    }
}
