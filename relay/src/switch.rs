//! The admin switch: per site, off by default, and linearizable.
//!
//! Storing and sending an event both need a [`Permit`](crate::permit::Permit), which only a site that is on gives out.
//! Switching off waits until every permit is back, so once "off" was answered no event is stored and none leaves. The
//! transaction that records "off" purges the events that waited.
//!
//! `state` holds the state of one switch and its transitions. Memory decides, and "off" wins: if memory and record differ,
//! `reconcile` has the site off in both as soon as the disk accepts that; until then a `tombstone` beside the database
//! keeps it off.

mod actor;
mod metrics;
mod reconcile;
mod record;
mod site;
mod state;
#[cfg(test)]
mod tests;
mod tombstone;

pub use actor::{Actor, SetBy};
pub use reconcile::RECONCILE_INTERVAL;
pub use record::{Recorded, look};
pub use site::Site;

use crate::clock::{Clock, Timestamp};
use crate::config::{Config, SiteConfig};
use crate::metrics::Registry;
use crate::spool::{self, Spool};
use crate::store::{Store, StoreError};
use metrics::Metrics;
use relay_event::Outcome;
use state::{Event, State};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tombstone::Tombstone;

/// How long switching off waits for requests in flight before it cancels them.
const GRACE: Duration = Duration::from_secs(2);
/// The actor recorded when the relay itself switches a site off, because a record was lost.
const BY_RELAY: &str = "relay";

/// Why a switch was not set.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// No such site.
    #[error("no site {0} is configured; `[[site]]` in the configuration lists them")]
    UnknownSite(String),
    /// The operator locked it.
    #[error(
        "the operator's lock is set in the configuration (`operator_lock`); only the operator can lift it"
    )]
    Locked,
    /// It could not be recorded. Whatever was requested, the site is off, and the relay keeps retrying.
    #[error("collection is off, but that could not be recorded: {error}; {}", recorded.prospect())]
    Unrecorded {
        /// The database's error.
        error: StoreError,
        /// Where "off" is recorded instead.
        recorded: Recorded,
    },
    /// A file that keeps the site off cannot be removed, so a restart would find it off.
    #[error(
        "the file {0} in the data folder keeps collection off and cannot be removed; remove it, then switch the site on again"
    )]
    Tombstone(String),
    /// The account of the actor was changed meanwhile.
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
    metrics: Metrics,
    changed: Arc<watch::Sender<()>>,
    /// Notified when memory and record must be reconciled.
    wake: Arc<Notify>,
}

impl Switches {
    /// Reads the switches and purges the events of sites that are not on.
    ///
    /// # Errors
    /// If the database cannot be read: an unreadable switch permits nothing.
    pub async fn open(
        config: &Config,
        store: Store,
        spool: Spool,
        clock: Clock,
        registry: &mut Registry,
    ) -> Result<Self, StoreError> {
        let site = |site: &SiteConfig| (site.domain.clone(), Arc::new(Site::new(config, site)));
        let switches = Self {
            sites: Arc::new(config.sites.iter().map(site).collect()),
            store,
            spool,
            clock,
            metrics: Metrics::register(registry),
            changed: Arc::new(watch::Sender::new(())),
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

    /// Changes whenever a site was switched on or off.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Switches a site on or off and returns how many waiting events were purged. After this returns "off", no event of the
    /// site is being sent and none is stored.
    ///
    /// It completes even if the caller is cancelled.
    ///
    /// # Errors
    /// If there is no such site, it is locked, the actor lost the right meanwhile, or the state cannot be recorded.
    pub async fn set(&self, domain: &str, on: bool, by: impl Into<Actor>) -> Result<u64, SetError> {
        let site = self
            .sites
            .get(domain)
            .ok_or_else(|| SetError::UnknownSite(domain.to_owned()))?;
        if site.operator_lock && on {
            return Err(SetError::Locked);
        }
        let (this, site, by) = (self.clone(), Arc::clone(site), by.into());
        let set_by = self.set_by(&by.name);
        let setting = tokio::spawn(async move {
            let _setting = site.setting.lock().await;
            if by.is_revoked(&this.store).await {
                return Err(SetError::Revoked);
            }
            match on {
                true => this.switch_on(&site, set_by, &by).await,
                false => this.switch_off(&site, set_by).await,
            }
        });
        let lost = SetError::Unrecorded {
            error: StoreError::Closed,
            recorded: Recorded::Nowhere,
        };
        setting.await.unwrap_or(Err(lost))
    }

    async fn switch_on(&self, site: &Site, set_by: SetBy, by: &Actor) -> Result<u64, SetError> {
        match site.state() {
            // Already on, so requests in flight continue.
            State::On => return Ok(0),
            // A site stays `Closing` only if the task that closed it panicked.
            State::InDoubt | State::Closing(_) => {
                self.switch_off(site, self.set_by(BY_RELAY)).await?;
            }
            _ => {}
        }
        if site.recorded() != Recorded::Database {
            // Events that waited when it was switched off must not leave now.
            self.record_off(site).await?;
        }
        if !site.on_disk(Tombstone::clear).await {
            return Err(SetError::Tombstone(site.tombstone.name()));
        }
        site.apply(Event::Open);
        match self.record_on(site, &set_by, by).await {
            Ok(true) => {}
            Ok(false) => {
                site.apply(Event::Refused);
                return Err(SetError::Revoked);
            }
            // The record may have been written all the same. The site is off.
            Err(error) => return Err(self.unrecorded(site, error).await),
        }
        site.switch.update(|switch| {
            switch.set_by = Some(set_by);
            switch.apply(Event::RecordedOn);
        });
        self.publish(site);
        self.changed.send_replace(());
        tracing::info!(site = site.domain, state = "on", "site switched");
        Ok(0)
    }

    async fn switch_off(&self, site: &Site, set_by: SetBy) -> Result<u64, SetError> {
        // In memory first: from here on no event leaves, whatever the disk returns.
        self.close(site).await;
        site.switch.update(|switch| switch.set_by = Some(set_by));
        self.publish(site);
        self.changed.send_replace(());
        let purged = self.record_off(site).await?;
        tracing::info!(site = site.domain, state = "off", purged, "site switched");
        Ok(purged)
    }

    /// Waits until all permits are back.
    async fn close(&self, site: &Site) {
        site.apply(Event::Close);
        if tokio::time::timeout(GRACE, site.switch.drained()).await.is_err() {
            site.switch.cut();
            site.switch.drained().await;
        }
        site.switch.close(|switch| switch.apply(Event::Drained));
    }

    /// Records that a site is on, if the actor still has the right. Returns whether it did.
    async fn record_on(&self, site: &Site, set_by: &SetBy, by: &Actor) -> Result<bool, StoreError> {
        let (domain, set_by, by) = (site.domain.clone(), set_by.clone(), by.clone());
        self.store
            .run(move |db| {
                let may = by.may(db)?;
                if may {
                    record::write(db, &domain, true, &set_by, 0)?;
                }
                Ok(may)
            })
            .await
    }

    /// Records that a site is off, and purges its waiting events.
    async fn purge(&self, site: &Site, set_by: &SetBy) -> Result<u64, StoreError> {
        let (domain, set_by) = (site.domain.clone(), set_by.clone());
        let removed = self
            .spool
            .remove(Outcome::Purged, move |db| {
                let removed = spool::purge_site(db, domain.as_bytes())?;
                record::write(db, &domain, false, &set_by, removed.events)?;
                Ok(removed)
            })
            .await?;
        site.switch
            .update(|switch| switch.purged_up_to = switch.purged_up_to.max(removed.last));
        Ok(removed.events)
    }

    fn set_by(&self, by: &str) -> SetBy {
        SetBy {
            at: self.clock.now(),
            by: by.to_owned(),
        }
    }

    /// Sets the metrics of a site's switch.
    fn publish(&self, site: &Site) {
        self.metrics.show(&site.domain, site.is_on(), site.recorded());
    }

    /// Purges the events of sites that are off, locked or no longer configured.
    async fn purge_orphans(&self) -> Result<(), StoreError> {
        // As bytes: the site of a damaged record may be no text.
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
                    "purged events of a site that is off, locked or no longer configured"
                );
            }
        }
        Ok(())
    }
}

/// Writes a tombstone that keeps a site off, if the database cannot even be opened.
///
/// # Errors
/// The operating system's.
pub fn write_tombstone(folder: &Path, domain: &str, at: Timestamp, by: &str) -> std::io::Result<()> {
    let by = by.to_owned();
    Tombstone::of(folder, domain).set(domain, &SetBy { at, by })
}
