//! Reconciles the switches in memory with their records on disk, always towards off.
//!
//! They differ if the disk refused a record, if a rebuild of the database lost one, and if another program changed the
//! database. The relay compares them every few seconds, for as long as it runs.

use super::state::{Event, State};
use super::{BY_RELAY, Recorded, SetError, Site, Switches, Tombstone, record};
use crate::store::StoreError;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often memory and disk are reconciled, and a failed record is retried. A disk that refuses costs one transaction per
/// interval.
pub const RECONCILE_INTERVAL: Duration = Duration::from_secs(5);

impl Switches {
    /// Reconciles memory and disk at this interval until the relay stops, and once more then.
    pub async fn reconcile(self, interval: Duration, stop: CancellationToken) {
        loop {
            let is_last = tokio::select! {
                () = self.wake.notified() => false,
                () = tokio::time::sleep(interval) => false,
                () = stop.cancelled() => true,
            };
            // Concurrently, so that all sites together wait for a slow disk once.
            let mut sites = JoinSet::new();
            for site in self.sites.values() {
                let (this, site) = (self.clone(), Arc::clone(site));
                sites.spawn(async move { this.reconcile_site(&site).await });
            }
            sites.join_all().await;
            if is_last {
                self.warn_of_loss();
                return;
            }
        }
    }

    fn warn_of_loss(&self) {
        let is_lost = |site: &&Arc<Site>| site.recorded() == Recorded::Nowhere;
        for site in self.sites.values().filter(is_lost) {
            tracing::error!(
                site = site.domain,
                state = "off",
                "stopping, but OFF could not be saved: after a restart this site may be ON again. Switch it off again once \
                 the disk is writable"
            );
        }
    }

    /// Reads the switch as it was when the relay stopped. A tombstone overrides the database, which refused.
    pub(super) async fn read(&self, site: &Arc<Site>) -> Result<(), StoreError> {
        let domain = site.domain.clone();
        let (on, set_by) = self.store.run(move |db| record::read(db, &domain)).await?;
        site.switch.update(|switch| switch.set_by = set_by);
        if let Some(set_by) = site.tombstone.find(self.clock.now()) {
            tracing::warn!(
                site = site.domain,
                state = "off",
                "found a tombstone beside the database; recording OFF"
            );
            site.note_off(set_by, Recorded::Tombstone);
            // If that fails, the next interval tries again.
            let _ = self.record_off(site).await;
        } else if on {
            site.apply(Event::FoundOn);
        }
        self.publish(site);
        Ok(())
    }

    /// Has the store's writer check each site after a rebuild of the database.
    pub(super) fn watch_rebuilds(&self) {
        // Not a clone of `Switches`: it holds the store, and the two would keep each other alive.
        let (sites, wake) = (Arc::clone(&self.sites), Arc::clone(&self.wake));
        self.store.after_rebuild(move |db| {
            for site in sites.values() {
                let is_on = record::read(db, &site.domain).is_ok_and(|(on, _)| on);
                if !is_on {
                    site.apply(Event::Lost);
                }
            }
            wake.notify_one();
        });
    }

    /// Compares memory and disk of one site, and switches it off in both if they differ.
    async fn reconcile_site(&self, site: &Arc<Site>) {
        if site.recorded() != Recorded::Database {
            let _setting = site.setting.lock().await;
            if site.recorded() != Recorded::Database {
                // Logs success and failure itself.
                let _ = self.record_off(site).await;
            }
            return;
        }
        let (was, version) = site.switch.read(|switch| (switch.state, switch.version));
        let read = Arc::clone(site);
        // Without the lock for setting: "off" must not wait for a disk that hangs.
        let recorded = self.store.run(move |db| {
            let (on, _) = record::read(db, &read.domain)?;
            if on {
                // On the writer's thread, so that no rebuild runs in between.
                read.confirm();
            }
            Ok(on)
        });
        let Ok(recorded) = recorded.await else {
            return;
        };
        let _setting = site.setting.lock().await;
        if site.state() != was {
            // The record ended a doubt.
            self.publish(site);
            self.changed.send_replace(());
        }
        if site.switch.read(|switch| switch.version) != version {
            // The record that was read is out of date.
            return;
        }
        let is_on = matches!(site.state(), State::On | State::InDoubt);
        // Both calls log their result.
        let _ = match (is_on, recorded) {
            (true, false) => {
                tracing::error!(
                    site = site.domain,
                    "the database no longer lists this site as ON; switching it OFF"
                );
                self.switch_off(site, self.set_by(BY_RELAY)).await
            }
            (false, true) => {
                tracing::error!(
                    site = site.domain,
                    "the database lists this site as ON, but it was switched OFF; recording OFF again"
                );
                self.record_off(site).await
            }
            _ => Ok(0),
        };
    }

    /// Records that a site is off, as it already is in memory, and purges its waiting events.
    pub(super) async fn record_off(&self, site: &Site) -> Result<u64, SetError> {
        let set_by = site.set_by().unwrap_or_else(|| self.set_by(BY_RELAY));
        let purged = match self.purge(site, &set_by).await {
            Ok(purged) => purged,
            Err(error) => return Err(self.unrecorded(site, error).await),
        };
        // A tombstone that cannot be removed agrees with the database.
        site.on_disk(Tombstone::clear).await;
        let before = site.note_off(set_by, Recorded::Database);
        self.publish(site);
        if before != Recorded::Database {
            tracing::info!(site = site.domain, state = "off", purged, "OFF is now recorded");
        }
        Ok(purged)
    }

    /// Handles a failed record, whose effect on the database is unknown: the site is off, and a tombstone records that.
    pub(super) async fn unrecorded(&self, site: &Site, error: StoreError) -> SetError {
        let set_by = site.set_by().unwrap_or_else(|| self.set_by(BY_RELAY));
        let (domain, by) = (site.domain.clone(), set_by.clone());
        let recorded = match site.on_disk(move |file| file.set(&domain, &by)).await {
            true => Recorded::Tombstone,
            false => Recorded::Nowhere,
        };
        let before = site.note_off(set_by, recorded);
        self.publish(site);
        if before == Recorded::Database {
            tracing::error!(
                site = site.domain,
                state = "off",
                %error,
                recorded = recorded.as_str(),
                "OFF could not be recorded in the database; retrying"
            );
        }
        SetError::Unrecorded { error, recorded }
    }
}
