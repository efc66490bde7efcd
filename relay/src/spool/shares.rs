//! How many bytes each site's events take in the spool, and how many they may.
//!
//! Half of `spool.bytes_max` is reserved, in equal parts for the configured sites; the other half is shared. A site
//! beyond its reserve uses the shared half, and none uses another's reserve, so a site that is flooded leaves room for
//! all others. With one site, all of it is that site's.
//!
//! What is here changes on the writer alone, inside its transactions: a transaction that is rolled back takes back what
//! it took ([`Taking`]).

use crate::config::SiteConfig;
use crate::metrics::site::{SiteMetrics, SpoolGauges};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One part in this many of the spool is reserved for sites. As much is the most that events fill whose sites Plausible
/// drops, beyond the reserve of their site: they may wait for long.
const RESERVED_PART: u64 = 2;

/// A site has room again when it has one part in this many of what sites share: not with each event that leaves.
const ROOM_AGAIN_PART: u64 = 10;

/// Bytes by site. A site is its bytes: a damaged one may be no text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BySite(Vec<(Box<[u8]>, u64)>);

impl BySite {
    /// Adds bytes of a site.
    pub(super) fn add(&mut self, site: &[u8], bytes: u64) {
        match self.0.iter_mut().find(|(known, _)| **known == *site) {
            Some((_, sum)) => *sum += bytes,
            None => self.0.push((site.into(), bytes)),
        }
    }

    #[cfg(test)]
    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Why an event has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// The spool is full.
    Spool,
    /// The site has filled what it may.
    Site,
}

/// What a configured site has in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The site's domain.
    pub site: String,
    /// Bytes of its events that wait.
    pub bytes: u64,
    /// The most that there can be, when other sites use nothing of the shared half.
    pub bytes_max: u64,
    /// Whether there is hardly room for one more. The last bytes are hardly ever used up, because an event that does
    /// not fit is refused.
    pub is_full: bool,
}

/// The shares of all sites. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Shares(Arc<Mutex<Books>>);

#[derive(Debug)]
struct Books {
    bytes_max: u64,
    /// Bytes for the sites beyond their reserves.
    shared_max: u64,
    shared: u64,
    total: u64,
    sites: BTreeMap<Box<[u8]>, Site>,
    /// Counts how often all was counted anew.
    counted: u64,
}

#[derive(Debug, Default)]
struct Site {
    bytes: u64,
    /// 0 for a site that is not configured.
    reserve: u64,
    /// Whether an event was refused since there was room for more than a few.
    is_refused: bool,
    gauges: Option<SpoolGauges>,
}

impl Site {
    /// What it uses of the shared half.
    fn shared(&self) -> u64 {
        self.bytes.saturating_sub(self.reserve)
    }

    fn show(&self) {
        if let Some(gauges) = &self.gauges {
            gauges.bytes.set(i64::try_from(self.bytes).unwrap_or(i64::MAX));
        }
    }
}

impl Shares {
    pub(super) fn new(bytes_max: usize, sites: &[SiteConfig], metrics: &SiteMetrics) -> Self {
        let bytes_max = bytes_max as u64;
        let count = sites.len().max(1) as u64;
        let reserve = bytes_max / RESERVED_PART / count;
        let shared_max = bytes_max - reserve * count;
        let site = |config: &SiteConfig| {
            let gauges = metrics.spool(&config.domain);
            let most = i64::try_from(reserve + shared_max).unwrap_or(i64::MAX);
            gauges.bytes_max.set(most);
            let site = Site {
                bytes: 0,
                reserve,
                is_refused: false,
                gauges: Some(gauges),
            };
            (config.domain.as_bytes().into(), site)
        };
        Self(Arc::new(Mutex::new(Books {
            bytes_max,
            shared_max,
            shared: 0,
            total: 0,
            sites: sites.iter().map(site).collect(),
            counted: 0,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All bytes that wait.
    pub(super) fn total(&self) -> u64 {
        self.lock().total
    }

    /// Counts anew: this is all that waits.
    pub(super) fn count(&self, found: &BySite) {
        let mut books = self.lock();
        books.counted += 1;
        (books.total, books.shared) = (0, 0);
        for site in books.sites.values_mut() {
            site.bytes = 0;
            site.show();
        }
        for (site, bytes) in &found.0 {
            books.add(site, *bytes);
        }
    }

    /// Gives room back, after the commit that deleted the events.
    pub(super) fn give_back(&self, freed: &BySite) {
        let mut books = self.lock();
        for (site, bytes) in &freed.0 {
            books.sub(site, *bytes);
        }
    }

    /// Room for events that one job stores.
    pub(super) fn taking(&self) -> Taking {
        Taking {
            shares: self.clone(),
            taken: Arc::default(),
        }
    }

    /// Those of the configured sites, by domain.
    pub(super) fn all(&self) -> Vec<Share> {
        let books = self.lock();
        let configured = books.sites.iter().filter(|(_, site)| site.gauges.is_some());
        let share = configured.map(|(domain, site)| {
            let bytes_max = site.reserve + books.shared_max;
            Share {
                site: String::from_utf8_lossy(domain).into_owned(),
                bytes: site.bytes,
                bytes_max,
                is_full: books.room(domain, false) <= bytes_max / 100,
            }
        });
        share.collect()
    }
}

impl Books {
    /// Bytes that there are for a site. Events that Plausible drops fill its reserve, and beyond it only what is left of
    /// half of the spool.
    fn room(&self, site: &[u8], is_held: bool) -> u64 {
        let (bytes, reserve) = self
            .sites
            .get(site)
            .map_or((0, 0), |site| (site.bytes, site.reserve));
        let mut shared = self.shared_max.saturating_sub(self.shared);
        if is_held {
            shared = shared.min((self.bytes_max / RESERVED_PART).saturating_sub(self.total));
        }
        let own = reserve.saturating_sub(bytes) + shared;
        own.min(self.bytes_max.saturating_sub(self.total))
    }

    fn change(&mut self, site: &[u8], change: impl FnOnce(&mut Site) -> (u64, u64)) {
        // Only damage makes a site that is not configured, and a start or a rebuild counts those that are gone.
        if !self.sites.contains_key(site) {
            self.sites.insert(site.into(), Site::default());
        }
        let Some(entry) = self.sites.get_mut(site) else {
            return;
        };
        let before = entry.shared();
        let (added, removed) = change(entry);
        entry.show();
        self.shared = (self.shared + entry.shared()).saturating_sub(before);
        self.total = (self.total + added).saturating_sub(removed);
        if entry.bytes == 0 && entry.gauges.is_none() {
            self.sites.remove(site);
        }
    }

    fn add(&mut self, site: &[u8], bytes: u64) {
        self.change(site, |entry| {
            entry.bytes += bytes;
            (bytes, 0)
        });
    }

    fn sub(&mut self, site: &[u8], bytes: u64) {
        self.change(site, |entry| {
            entry.bytes = entry.bytes.saturating_sub(bytes);
            (0, bytes)
        });
        self.note_room(site);
    }

    /// Logs that a site's events are refused, once.
    fn note_refused(&mut self, site: &[u8]) {
        if let Some(entry) = self.sites.get_mut(site)
            && !std::mem::replace(&mut entry.is_refused, true)
        {
            let (site, bytes) = (String::from_utf8_lossy(site), entry.bytes);
            tracing::warn!(%site, bytes, "the site's share of the spool is full: its events get 503, other sites are not affected");
        }
    }

    /// Logs that there is room for more than a few of a site's events again.
    fn note_room(&mut self, site: &[u8]) {
        let has_room = self.room(site, false) > self.shared_max / ROOM_AGAIN_PART;
        if let Some(entry) = self.sites.get_mut(site)
            && has_room
            && std::mem::take(&mut entry.is_refused)
        {
            let site = String::from_utf8_lossy(site);
            tracing::info!(%site, "the site's share of the spool has room again");
        }
    }
}

/// What one job has taken, so that it can be taken back. A job takes back at its beginning, because it runs a second
/// time when its first transaction was rolled back, and when it has failed.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    shares: Shares,
    taken: Arc<Mutex<(u64, BySite)>>,
}

impl Taking {
    /// Why an event has no room now; `None` if it has.
    pub(super) fn lacks(&self, site: &[u8], bytes: u64, is_held: bool) -> Option<NoRoom> {
        let mut books = self.shares.lock();
        if bytes <= books.room(site, is_held) {
            return None;
        }
        if bytes > books.bytes_max.saturating_sub(books.total) {
            return Some(NoRoom::Spool);
        }
        books.note_refused(site);
        Some(NoRoom::Site)
    }

    /// Takes room for an event that is being stored.
    pub(super) fn take(&self, site: &[u8], bytes: u64) {
        let mut books = self.shares.lock();
        let mut taken = self.taken();
        taken.0 = books.counted;
        taken.1.add(site, bytes);
        books.add(site, bytes);
    }

    /// Takes back what will not be committed. Nothing if all was counted anew since: then it was not found.
    pub(super) fn take_back(&self) {
        let (counted, taken) = std::mem::take(&mut *self.taken());
        if counted == self.shares.lock().counted {
            self.shares.give_back(&taken);
        }
    }

    /// Bytes that it took.
    pub(super) fn has_taken(&self) -> bool {
        !self.taken().1.0.is_empty()
    }

    fn taken(&self) -> MutexGuard<'_, (u64, BySite)> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
