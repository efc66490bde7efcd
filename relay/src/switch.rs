//! The admin switch: per site, off until somebody turns it on, and linearizable.
//!
//! Storing and sending an event both need a [`Permit`], which only a site that is on gives out. Turning
//! the switch off waits until every permit is back, so once "off" has been answered no event is stored
//! and none leaves. What waited is purged in the same transaction that records the switch.

use crate::clock::{Clock, Moment};
use crate::config::{Config, SitePlan};
use crate::metrics::{Metrics, SiteLabel};
use crate::spool::{self, Removed, Spool};
use crate::store::{Store, StoreError};
use relay_event::Outcome;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, watch};
use tokio_util::sync::CancellationToken;

/// How long turning off waits for requests under way before it cuts them.
const GRACE: Duration = Duration::from_secs(2);

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
    /// Cut when the switch is turned off and requests under way do not end by themselves.
    cut: Mutex<CancellationToken>,
    changed: Mutex<Option<Change>>,
    purged_up_to: AtomicI64,
}

/// Who turned a switch, and when.
#[derive(Clone, Debug)]
pub struct Change {
    /// When.
    pub at: Moment,
    /// The account, or `cli`.
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
    /// Asks for leave. `None` while the switch is off or locked. Waits while it is being turned.
    pub async fn permit(&self) -> Option<Permit> {
        if self.operator_lock {
            return None;
        }
        // The token is fetched after the lock, so that it belongs to this turn of the switch.
        let guard = Arc::clone(&self.on).read_owned().await;
        guard.then(|| Permit {
            cut: self.cut_token(),
            guard,
        })
    }

    fn cut_token(&self) -> CancellationToken {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether collection is on, as far as can be told without waiting: while it is being turned, no.
    pub fn is_on(&self) -> bool {
        !self.operator_lock && self.on.try_read().is_ok_and(|on| *on)
    }

    /// Whether an event that a lane still has in hand was purged since it was read. Asked with a permit
    /// in hand, because the site may have been turned off and on again meanwhile.
    pub fn has_purged(&self, seq: i64, _permit: &Permit) -> bool {
        seq <= self.purged_up_to.load(Ordering::SeqCst)
    }

    /// Who turned the switch last.
    pub fn changed(&self) -> Option<Change> {
        self.changed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
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
    /// It could not be recorded. When it was to be turned off, it is off as long as this relay runs.
    #[error(
        "the switch could not be recorded: {0}; a running relay keeps it off until it is restarted, so turn it again once the disk takes it"
    )]
    Store(#[from] StoreError),
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
        let mut sites = BTreeMap::new();
        for site in &config.sites {
            let domain = site.domain.clone();
            let (on, changed) = store.run(move |db| read(db, &domain)).await?;
            let site = Site {
                domain: site.domain.clone(),
                origins: site.origins.clone(),
                operator_lock: config.operator_lock || site.operator_lock,
                plan: site.plan.clone(),
                on: Arc::new(RwLock::new(on)),
                cut: Mutex::default(),
                changed: Mutex::new(changed),
                purged_up_to: AtomicI64::new(0),
            };
            metrics
                .enabled
                .get_or_create(&SiteLabel::of(&site))
                .set(i64::from(site.is_on()));
            sites.insert(site.domain.clone(), Arc::new(site));
        }
        let switches = Self {
            sites: Arc::new(sites),
            store,
            spool,
            clock,
            metrics,
            turned: Arc::new(watch::Sender::new(())),
        };
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
        if on && *site.on.read().await {
            // Nothing to turn, so nothing to interrupt.
            return Ok(0);
        }
        let this = self.clone();
        let (site, by) = (Arc::clone(site), by.to_owned());
        let turning = tokio::spawn(async move { this.turn_site(&site, on, by).await });
        turning.await.unwrap_or(Err(TurnError::Store(StoreError::Closed)))
    }

    async fn turn_site(&self, site: &Site, on: bool, by: String) -> Result<u64, TurnError> {
        let writing = Arc::clone(&site.on).write_owned();
        tokio::pin!(writing);
        let mut state = match tokio::time::timeout(GRACE, &mut writing).await {
            Ok(state) => state,
            Err(_) => {
                site.cut_token().cancel();
                writing.await
            }
        };
        // Nobody holds a permit now, so nobody minds that the cut is mended.
        *site.cut.lock().unwrap_or_else(PoisonError::into_inner) = CancellationToken::new();
        if !on {
            // In memory first: whatever the disk says, nothing leaves from here on.
            *state = false;
            self.metrics.enabled.get_or_create(&SiteLabel::of(site)).set(0);
        }
        let now = self.clock.now();
        let domain = site.domain.clone();
        let change = Change {
            at: now,
            by: by.clone(),
        };
        let removed = self
            .spool
            .remove(Outcome::Purged, move |db| {
                let removed = if on {
                    Removed::default()
                } else {
                    spool::purge_site(db, domain.as_bytes())?
                };
                write(db, &domain, on, now, &by, removed.events)?;
                Ok(removed)
            })
            .await?;
        let purged = removed.events;
        site.purged_up_to.fetch_max(removed.last, Ordering::SeqCst);
        *state = on;
        *site.changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(change);
        drop(state);
        self.metrics
            .enabled
            .get_or_create(&SiteLabel::of(site))
            .set(i64::from(site.is_on()));
        self.turned.send_replace(());
        tracing::info!(site = site.domain, on, purged, "the switch was turned");
        Ok(purged)
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

/// A site's recorded switch; off when there is none.
///
/// # Errors
/// SQLite's.
pub fn read(db: &Connection, domain: &str) -> rusqlite::Result<(bool, Option<Change>)> {
    let row = db
        .query_row(
            // On only where the log's last word says so too: one flipped bit must not switch collection on.
            "SELECT is_on = 1 AND coalesce((
                SELECT is_on = 1 AND at = changed_at FROM switch_log
                WHERE switch_log.site = switch.site ORDER BY id DESC LIMIT 1
             ), 0), changed_at, changed_by FROM switch WHERE site = ?1",
            [domain],
            |row| {
                Ok((
                    row.get(0)?,
                    Change {
                        at: Moment(row.get(1)?),
                        by: row.get(2)?,
                    },
                ))
            },
        )
        .optional()?;
    Ok(row.map_or((false, None), |(on, change)| (on, Some(change))))
}

/// Records a turn of a switch and who made it.
fn write(db: &Connection, domain: &str, on: bool, at: Moment, by: &str, purged: u64) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO switch (site, is_on, changed_at, changed_by) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (site) DO UPDATE SET is_on = ?2, changed_at = ?3, changed_by = ?4",
        params![domain, on, at.0, by],
    )?;
    db.execute(
        "INSERT INTO switch_log (site, is_on, at, by, purged) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![domain, on, at.0, by, purged],
    )?;
    Ok(())
}
