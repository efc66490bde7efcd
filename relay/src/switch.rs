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
mod site;
#[cfg(test)]
mod tests;
mod turner;

pub use keep::LOOK_AGAIN;
pub use record::{Kept, look};
pub use site::{Change, Paused, Permit, Site};
pub use turner::Turner;

use crate::clock::{Clock, Moment};
use crate::config::{Config, SiteConfig};
use crate::metrics::Metrics;
use crate::spool::{self, Spool};
use crate::store::{Store, StoreError};
use marker::Marker;
use relay_event::Outcome;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// How long turning off waits for requests under way before it cuts them.
const GRACE: Duration = Duration::from_secs(2);
/// Who turned a switch that nobody turned: the relay, because a record was lost.
const BY_RELAY: &str = "relay";

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
    /// The account that turns it was changed meanwhile.
    #[error("the session has ended, because the account was changed; log in again")]
    Revoked,
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
        let site = |site: &SiteConfig| (site.domain.clone(), Arc::new(Site::new(config, site)));
        let switches = Self {
            sites: Arc::new(config.sites.iter().map(site).collect()),
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
    /// When there is no such site, it is locked, the account was changed meanwhile, or the turn cannot be recorded.
    pub async fn turn(&self, domain: &str, on: bool, by: impl Into<Turner>) -> Result<u64, TurnError> {
        let site = self
            .sites
            .get(domain)
            .ok_or_else(|| TurnError::UnknownSite(domain.to_owned()))?;
        if site.operator_lock && on {
            return Err(TurnError::Locked);
        }
        let (this, site, by) = (self.clone(), Arc::clone(site), by.into());
        let change = self.change(&by.name);
        let turning = tokio::spawn(async move {
            let _turning = site.turning.lock().await;
            if by.is_revoked(&this.store).await {
                return Err(TurnError::Revoked);
            }
            let turned = match on {
                true => this.turn_on(&site, change, &by).await,
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

    async fn turn_on(&self, site: &Site, change: Change, by: &Turner) -> Result<u64, TurnError> {
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
        match self.record_on(site, &change, by).await {
            Ok(true) => {}
            Ok(false) => return Err(TurnError::Revoked),
            // Perhaps it was recorded all the same. What holds is off.
            Err(error) => return Err(self.unrecorded(site, error).await),
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
        site.closings.fetch_add(1, Ordering::SeqCst);
        // Nobody holds a permit now, so nobody minds that the cut is mended.
        *site.cut.lock().unwrap_or_else(PoisonError::into_inner) = CancellationToken::new();
        site.doubt.store(false, Ordering::SeqCst);
    }

    /// Records that a site is on, if who turns it still may. Says whether.
    async fn record_on(&self, site: &Site, change: &Change, by: &Turner) -> Result<bool, StoreError> {
        let (domain, change, by) = (site.domain.clone(), change.clone(), by.clone());
        self.store
            .run(move |db| {
                let may = by.may(db)?;
                if may {
                    record::write(db, &domain, true, &change, 0)?;
                }
                Ok(may)
            })
            .await
    }

    /// Records that a site is off, and purges what waits for it.
    async fn purge(&self, site: &Site, change: &Change) -> Result<u64, StoreError> {
        let (domain, change) = (site.domain.clone(), change.clone());
        let removed = self
            .spool
            .remove(Outcome::Purged, move |db| {
                let removed = spool::purge_site(db, domain.as_bytes())?;
                record::write(db, &domain, false, &change, removed.events)?;
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

/// Leaves a marker that keeps a site off, for where the database cannot even be opened.
///
/// # Errors
/// The operating system's.
pub fn leave_marker(folder: &Path, domain: &str, at: Moment, by: &str) -> std::io::Result<()> {
    let by = by.to_owned();
    Marker::of(folder, domain).set(domain, &Change { at, by })
}
