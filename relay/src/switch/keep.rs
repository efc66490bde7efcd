//! Keeps what memory says of a switch and what is on disk together, always towards off.
//!
//! They differ when the disk refused a turn, when a rebuild of the database lost one, and when somebody changed
//! the database by other means. Each is looked for every few seconds and settled, for as long as it takes.

use super::{BY_RELAY, Kept, Marker, Site, Switches, TurnError, record};
use crate::store::StoreError;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often memory and disk are compared, and what was not recorded is tried again. For as long as it takes: a
/// disk that refuses costs a transaction each time.
pub const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Switches {
    /// Keeps memory and disk together until the relay stops, looking again so often, and tries a last time then.
    pub async fn keep(self, look_again: Duration, stop: CancellationToken) {
        loop {
            let is_last = tokio::select! {
                () = self.wake.notified() => false,
                () = tokio::time::sleep(look_again) => false,
                () = stop.cancelled() => true,
            };
            // Together, so that a disk that refuses is waited for once.
            let mut settling = JoinSet::new();
            for site in self.sites.values() {
                let (this, site) = (self.clone(), Arc::clone(site));
                settling.spawn(async move { this.settle(&site).await });
            }
            settling.join_all().await;
            if is_last {
                self.warn_of_loss();
                return;
            }
        }
    }

    fn warn_of_loss(&self) {
        for site in self.sites.values().filter(|site| site.kept() == Kept::Nowhere) {
            tracing::error!(
                site = site.domain,
                "stopping, and nothing on disk says that collection is off: the next start finds what was recorded before"
            );
        }
    }

    /// Reads how a site stood when the relay stopped. A marker counts more than the database, which refused.
    pub(super) async fn read(&self, site: &Arc<Site>) -> Result<(), StoreError> {
        let domain = site.domain.clone();
        let (on, changed) = self.store.run(move |db| record::read(db, &domain)).await?;
        site.standing().changed = changed;
        if let Some(change) = site.marker.find(self.clock.now()) {
            tracing::warn!(
                site = site.domain,
                "a file beside the database says that collection is off; that is recorded now"
            );
            site.note(change, Kept::Marker);
            // Where that fails it is tried again.
            let _ = self.record_off(site).await;
        } else {
            *site.on.write().await = on;
        }
        self.tell(site);
        Ok(())
    }

    /// Has the writer tell when a rebuilt database says no longer that a site is on.
    pub(super) fn watch_rebuilds(&self) {
        // Not with the switches themselves: they would keep the store alive, and the store them.
        let (sites, wake) = (Arc::clone(&self.sites), Arc::clone(&self.wake));
        self.store.after_rebuild(move |db| {
            for site in sites.values() {
                let is_on = record::read(db, &site.domain).is_ok_and(|(on, _)| on);
                site.doubt.fetch_or(!is_on, Ordering::SeqCst);
            }
            wake.notify_one();
        });
    }

    /// Compares what memory and disk say of a site, and has it off in both where they differ.
    async fn settle(&self, site: &Arc<Site>) {
        if site.kept() != Kept::Database {
            let _turning = site.turning.lock().await;
            if site.kept() != Kept::Database {
                // It says so itself when it changes.
                let _ = self.record_off(site).await;
            }
            return;
        }
        let turns = site.turns.load(Ordering::SeqCst);
        let read = Arc::clone(site);
        // Not while a turn is kept waiting: off must not wait for a disk that hangs.
        let recorded = self.store.run(move |db| {
            let (on, _) = record::read(db, &read.domain)?;
            if on {
                // On the writer, so that no rebuild comes in between.
                read.doubt.store(false, Ordering::SeqCst);
            }
            Ok(on)
        });
        let Ok(recorded) = recorded.await else {
            return;
        };
        let _turning = site.turning.lock().await;
        if site.turns.load(Ordering::SeqCst) != turns {
            // What was read is out of date.
            return;
        }
        let is_on = *site.on.read().await;
        // What comes of it is in the log already.
        let _ = match (is_on, recorded) {
            (true, false) => {
                tracing::error!(
                    site = site.domain,
                    "the database says no longer that collection is on: it is turned off"
                );
                self.turn_off(site, self.change(BY_RELAY)).await
            }
            (false, true) => {
                tracing::error!(
                    site = site.domain,
                    "the database says that collection is on, which was turned off: that is recorded again"
                );
                self.record_off(site).await
            }
            _ => Ok(0),
        };
    }

    /// Records that a site is off, which it is in memory, and purges what waits for it.
    pub(super) async fn record_off(&self, site: &Site) -> Result<u64, TurnError> {
        let change = site.changed().unwrap_or_else(|| self.change(BY_RELAY));
        let purged = match self.purge(site, &change).await {
            Ok(purged) => purged,
            Err(error) => return Err(self.unrecorded(site, error).await),
        };
        // One that stays says the same as the database.
        site.on_disk(Marker::clear).await;
        let before = site.note(change, Kept::Database);
        self.tell(site);
        if before != Kept::Database {
            tracing::info!(
                site = site.domain,
                purged,
                "that collection is off is recorded in the database now"
            );
        }
        Ok(purged)
    }

    /// Notes that nobody knows what the database says of a site that is off, and leaves a marker.
    pub(super) async fn unrecorded(&self, site: &Site, error: StoreError) -> TurnError {
        let change = site.changed().unwrap_or_else(|| self.change(BY_RELAY));
        let (domain, by_whom) = (site.domain.clone(), change.clone());
        let kept = match site.on_disk(move |marker| marker.set(&domain, &by_whom)).await {
            true => Kept::Marker,
            false => Kept::Nowhere,
        };
        let before = site.note(change, kept);
        self.tell(site);
        if before == Kept::Database {
            tracing::error!(
                site = site.domain,
                %error,
                kept = kept.name(),
                "that collection is off could not be recorded; it is tried again"
            );
        }
        TurnError::Unrecorded { error, kept }
    }
}
