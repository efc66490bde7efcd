//! The space that each site's events use in the spool, and its limit.
//!
//! Half of `spool.bytes_max` is reserved, in equal parts for the configured sites; the other half is shared. A site beyond
//! its reserve uses the shared half, and none uses another's reserve, so a flooded site leaves space for all others. With
//! one site, all of it is that site's.
//!
//! Only the writer changes these numbers, inside its transactions. A transaction that is rolled back returns the space it
//! took ([`Taking`]).

use super::metrics::Metrics;
use crate::config::SiteConfig;
use crate::metrics::Gauge;
use relay_event::Outcome;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Divisor of the spool for the part reserved for sites. The same part is the limit for events that Plausible drops, beyond
/// the reserve of their site: they may wait long.
const RESERVED_PART: u64 = 2;

/// Divisor of the shared half for the free space at which a site counts as having space again: not with each event that
/// leaves.
const SPACE_AGAIN_PART: u64 = 10;

/// Bytes by site. The key is the site's bytes: a damaged one may be no text.
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

/// The share of the spool of a configured site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The site's domain.
    pub site: String,
    /// Bytes of its waiting events.
    pub bytes: u64,
    /// Its limit if other sites use nothing of the shared half.
    pub bytes_max: u64,
    /// Whether it is nearly full. The last bytes are rarely used up, because an event that does not fit is refused.
    pub is_full: bool,
}

/// The shares of all sites. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Shares(Arc<Mutex<Books>>);

#[derive(Debug)]
struct Books {
    bytes_max: u64,
    /// The size of the shared half.
    shared_max: u64,
    shared: u64,
    total: u64,
    sites: BTreeMap<Box<[u8]>, Site>,
    /// Number of recounts so far.
    counted: u64,
}

#[derive(Debug, Default)]
struct Site {
    bytes: u64,
    /// 0 for a site that is not configured.
    reserve: u64,
    /// Whether an event was refused since the site last had ample space.
    is_refused: bool,
    shown: Option<Gauge>,
}

impl Site {
    /// Its bytes of the shared half.
    fn shared(&self) -> u64 {
        self.bytes.saturating_sub(self.reserve)
    }

    fn show(&self) {
        if let Some(shown) = &self.shown {
            shown.set(i64::try_from(self.bytes).unwrap_or(i64::MAX));
        }
    }
}

impl Shares {
    pub(super) fn new(bytes_max: usize, sites: &[SiteConfig], metrics: &Metrics) -> Self {
        let bytes_max = bytes_max as u64;
        let count = sites.len().max(1) as u64;
        let reserve = bytes_max / RESERVED_PART / count;
        let shared_max = bytes_max - reserve * count;
        let site = |config: &SiteConfig| {
            let most = i64::try_from(reserve + shared_max).unwrap_or(i64::MAX);
            metrics.site_spool_bytes_max.with([&config.domain]).set(most);
            let site = Site {
                bytes: 0,
                reserve,
                is_refused: false,
                shown: Some(metrics.site_spool_bytes.with([&config.domain])),
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

    /// Bytes of all waiting events.
    pub(super) fn total(&self) -> u64 {
        self.lock().total
    }

    /// Replaces all numbers with a recount.
    pub(super) fn count(&self, found: &BySite) {
        let mut books = self.lock();
        books.counted += 1;
        (books.total, books.shared) = (0, 0);
        for site in books.sites.values_mut() {
            site.bytes = 0;
            site.show();
        }
        for (site, bytes) in &found.0 {
            books.change(site, *bytes, 0);
        }
    }

    /// Releases space, after the commit that deleted the events.
    pub(super) fn give_back(&self, freed: &BySite) {
        let mut books = self.lock();
        for (site, bytes) in &freed.0 {
            books.change(site, 0, *bytes);
            books.note_room(site);
        }
    }

    /// Space for the events that one job stores.
    pub(super) fn taking(&self) -> Taking {
        Taking {
            shares: self.clone(),
            taken: Arc::default(),
        }
    }

    /// The shares of the configured sites, by domain.
    pub(super) fn all(&self) -> Vec<Share> {
        let books = self.lock();
        let configured = books.sites.iter().filter(|(_, site)| site.shown.is_some());
        let share = configured.map(|(domain, site)| {
            let bytes_max = site.reserve + books.shared_max;
            Share {
                site: String::from_utf8_lossy(domain).into_owned(),
                bytes: site.bytes,
                bytes_max,
                is_full: books.space(domain, false) <= bytes_max / 100,
            }
        });
        share.collect()
    }
}

impl Books {
    /// Free bytes for a site. Events that Plausible drops can use its reserve, and beyond it only the rest of half of the
    /// spool.
    fn space(&self, site: &[u8], is_held: bool) -> u64 {
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

    fn change(&mut self, site: &[u8], added: u64, freed: u64) {
        // Only damage produces an unconfigured site, and a start or a rebuild counts sites that were removed.
        if !self.sites.contains_key(site) {
            self.sites.insert(site.into(), Site::default());
        }
        let Some(entry) = self.sites.get_mut(site) else {
            return;
        };
        let before = entry.shared();
        entry.bytes = (entry.bytes + added).saturating_sub(freed);
        entry.show();
        self.shared = (self.shared + entry.shared()).saturating_sub(before);
        self.total = (self.total + added).saturating_sub(freed);
        if entry.bytes == 0 && entry.shown.is_none() {
            self.sites.remove(site);
        }
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

    /// Logs that a site has ample space again.
    fn note_room(&mut self, site: &[u8]) {
        let has_space = self.space(site, false) > self.shared_max / SPACE_AGAIN_PART;
        if let Some(entry) = self.sites.get_mut(site)
            && has_space
            && std::mem::take(&mut entry.is_refused)
        {
            let site = String::from_utf8_lossy(site);
            tracing::info!(%site, "the site's share of the spool has space again");
        }
    }
}

/// The space that one job has taken, so that it can be returned. A job returns it at its beginning, because it runs a second
/// time if its first transaction was rolled back, and after a failure.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    shares: Shares,
    taken: Arc<Mutex<(u64, BySite)>>,
}

impl Taking {
    /// Whether an event has space now.
    ///
    /// # Errors
    /// `SpoolFull` or `SpoolFullSite`.
    pub(super) fn check(&self, site: &[u8], bytes: u64, is_held: bool) -> Result<(), Outcome> {
        let mut books = self.shares.lock();
        if bytes <= books.space(site, is_held) {
            return Ok(());
        }
        if bytes > books.bytes_max.saturating_sub(books.total) {
            return Err(Outcome::SpoolFull);
        }
        books.note_refused(site);
        Err(Outcome::SpoolFullSite)
    }

    /// Takes space for an event that is being stored.
    pub(super) fn take(&self, site: &[u8], bytes: u64) {
        let mut books = self.shares.lock();
        let mut taken = self.taken();
        taken.0 = books.counted;
        taken.1.add(site, bytes);
        books.change(site, bytes, 0);
    }

    /// Returns space that will not be committed. Does nothing after a recount, which did not include it.
    pub(super) fn take_back(&self) {
        let (counted, taken) = std::mem::take(&mut *self.taken());
        if counted == self.shares.lock().counted {
            self.shares.give_back(&taken);
        }
    }

    /// Whether it has taken any space.
    pub(super) fn has_taken(&self) -> bool {
        !self.taken().1.0.is_empty()
    }

    fn taken(&self) -> MutexGuard<'_, (u64, BySite)> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
