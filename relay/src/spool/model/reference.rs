//! The expected content of a spool: everything in one map, without a disk, a lane's memory or an index.

use crate::guard::Scrubbed;
use crate::spool::rows::ROW_OVERHEAD;
use crate::spool::tests::{AGE_MAX, OTHER_SITE, SITE, event_of};
use crate::spool::{Purge, record};
use relay_event::Outcome;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const SITES: [&str; 2] = [SITE, OTHER_SITE];
/// Fewer than the buckets in use, so that buckets share lanes.
pub(super) const LANES: usize = 2;
pub(super) const HOUR: i64 = 3_600_000;
pub(super) const QUARANTINE_AGE_MAX: i64 = 30 * 24 * HOUR;

/// An event to store: the number of its site, its bucket, the sender's id.
#[derive(Clone, Copy, Debug)]
pub(super) struct New {
    pub(super) site: usize,
    pub(super) bucket: u8,
    pub(super) id: Option<u8>,
}

/// An event that should be there.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) name: String,
    pub(super) site: usize,
    pub(super) bucket: u8,
    pub(super) stored_at: i64,
    pub(super) not_before: Option<i64>,
    /// Whether its lane returned it since it came due.
    pub(super) is_read: bool,
    pub(super) is_damaged: bool,
    /// Its bytes of the spool's space.
    pub(super) bytes: u64,
}

impl Expected {
    pub(super) fn new(name: String, new: New, stored_at: i64) -> Self {
        let mut event = Self {
            name,
            site: new.site,
            bucket: new.bucket,
            stored_at,
            not_before: None,
            is_read: false,
            is_damaged: false,
            bytes: 0,
        };
        event.bytes = (event.event().to_bytes().len() + record::Row::HEADER) as u64 + ROW_OVERHEAD;
        event
    }

    pub(super) fn event(&self) -> Scrubbed {
        event_of(SITES[self.site], &self.name, self.bucket)
    }

    pub(super) fn lane(&self) -> usize {
        usize::from(self.bucket) % LANES
    }

    /// Not parked, or due, or parked by a clock that ran ahead.
    fn is_due(&self, now: i64) -> bool {
        self.not_before.is_none_or(|at| at <= now || at > now + HOUR)
    }
}

/// Bytes by the number of their site.
pub(super) type Bytes = [u64; SITES.len() + 1];

/// The result of reading a lane: readable events, unreadable ones, and how far the read came.
pub(super) struct Look {
    pub(super) given: Vec<i64>,
    pub(super) damaged: Vec<i64>,
    pub(super) up_to: Option<i64>,
}

#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) now: i64,
    pub(super) bytes_max: usize,
    /// Waiting events, by number.
    pub(super) waiting: BTreeMap<i64, Expected>,
    /// Quarantined records, and since when.
    pub(super) quarantined: Vec<(i64, Expected)>,
    /// Ids of sites, and when they were stored.
    pub(super) seen: BTreeMap<(usize, u8), i64>,
    /// Whether Plausible drops a site's events.
    pub(super) is_held: [bool; SITES.len()],
    /// The switches in memory, and as recorded.
    pub(super) is_on: [bool; SITES.len()],
    pub(super) recorded: [bool; SITES.len()],
    /// Whether a lane's bell was rung and not yet heard.
    pub(super) bells: [bool; LANES],
    /// How events ended since the start, by the outcome's number.
    pub(super) ended: BTreeMap<usize, u64>,
    /// The highest number ever used.
    pub(super) highest: i64,
}

impl Reference {
    pub(super) fn empty(now: i64) -> Self {
        Self {
            now,
            bytes_max: 65_536,
            waiting: BTreeMap::new(),
            quarantined: Vec::new(),
            seen: BTreeMap::new(),
            is_held: [false; SITES.len()],
            is_on: [false; SITES.len()],
            recorded: [false; SITES.len()],
            bells: [false; LANES],
            ended: BTreeMap::new(),
            highest: 0,
        }
    }

    /// Bytes by site. The last entry is for records whose site is damaged.
    pub(super) fn bytes(&self) -> Bytes {
        let mut bytes = Bytes::default();
        for event in self.waiting.values() {
            bytes[event.site] += event.bytes;
        }
        bytes
    }

    /// Whether an event has space beside these bytes. A quarter is reserved for each site, half is shared.
    fn check(&self, beside: Bytes, site: usize, bytes: u64, is_held: bool) -> Result<(), Outcome> {
        let most = self.bytes_max as u64;
        let reserve = |site: usize| if site < SITES.len() { most / 4 } else { 0 };
        let over = |site: usize, bytes: u64| bytes.saturating_sub(reserve(site));
        let total: u64 = beside.iter().sum();
        if total + bytes > most {
            return Err(Outcome::SpoolFull);
        }
        let shared: u64 = (0..=SITES.len()).map(|site| over(site, beside[site])).sum();
        let more = over(site, beside[site] + bytes) - over(site, beside[site]);
        let mut left = (most - 2 * reserve(0)).saturating_sub(shared);
        if is_held {
            left = left.min((most / 2).saturating_sub(total));
        }
        match more > left {
            true => Err(Outcome::SpoolFullSite),
            false => Ok(()),
        }
    }

    pub(super) fn count(&mut self, outcome: Outcome, events: usize) {
        *self.ended.entry(outcome as usize).or_default() += events as u64;
    }

    /// The expected results of an append that the disk accepts.
    pub(super) fn foretell(&self, batch: &[New], events: &[Expected]) -> Vec<Result<(), Outcome>> {
        let mut there = self.bytes();
        let mut seen: BTreeSet<(usize, u8)> = self.seen.keys().copied().collect();
        let mut answer = |(new, event): (&New, &Expected)| {
            self.check(there, new.site, event.bytes, self.is_held[new.site])?;
            if new.id.is_some_and(|id| !seen.insert((new.site, id))) {
                return Err(Outcome::Duplicate);
            }
            there[new.site] += event.bytes;
            Ok(())
        };
        batch.iter().zip(events).map(&mut answer).collect()
    }

    /// Stores an event under a number, which must be higher than all before it.
    pub(super) fn store(&mut self, seq: i64, new: New, event: Expected) {
        assert!(seq > self.highest, "{seq} comes behind {}", self.highest);
        self.highest = seq;
        self.bells[event.lane()] = true;
        if let Some(id) = new.id {
            self.seen.insert((new.site, id), event.stored_at);
        }
        self.waiting.insert(seq, event);
    }

    /// A parked event of a lane that is not due now will be read again when it comes due.
    pub(super) fn return_again_what_is_not_due(&mut self, lane: usize) {
        let now = self.now;
        for event in self.waiting.values_mut().filter(|event| event.lane() == lane) {
            event.is_read &= event.not_before.is_none_or(|at| at <= now);
        }
    }

    /// Reads a lane after a number: first due parked events, however low their number, then due events after that number.
    pub(super) fn look(&mut self, lane: usize, after: i64, count: usize) -> Look {
        self.return_again_what_is_not_due(lane);
        let now = self.now;
        let in_lane = self.waiting.iter().filter(|(_, event)| event.lane() == lane);
        let news = |(seq, event): &(&i64, &Expected)| {
            let came_due = event.not_before.is_some_and(|at| at <= now) && !event.is_read;
            **seq <= after && came_due
        };
        let mut came_due: Vec<(Option<i64>, i64)> = in_lane
            .clone()
            .filter(news)
            .map(|(seq, event)| (event.not_before, *seq))
            .collect();
        came_due.sort_unstable();
        let behind = in_lane.filter(|(seq, event)| **seq > after && event.is_due(now));
        let mut found: Vec<i64> = came_due.into_iter().map(|(_, seq)| seq).collect();
        found.extend(behind.map(|(seq, _)| *seq));
        found.truncate(count);
        found.sort_unstable();
        for seq in &found {
            // If only a clock that was set back made it due, it comes again in its own time.
            let tell = |event: &mut Expected| event.is_read = event.not_before.is_none_or(|at| at <= now);
            self.waiting.entry(*seq).and_modify(tell);
        }
        let up_to = found.last().map(|last| after.max(*last));
        let (damaged, given) = found.into_iter().partition(|seq| self.waiting[seq].is_damaged);
        Look {
            given,
            damaged,
            up_to,
        }
    }

    /// Moves a damaged event out of its lane.
    pub(super) fn quarantine(&mut self, seq: i64) {
        let event = self.waiting.remove(&seq).unwrap();
        self.quarantined.push((self.now, event));
        self.forget_old_quarantine();
        self.count(Outcome::Corrupt, 1);
    }

    fn forget_old_quarantine(&mut self) {
        let now = self.now;
        self.quarantined.retain(|(at, _)| *at >= now - QUARANTINE_AGE_MAX);
    }

    /// Removes the events that match a condition, and returns their numbers.
    pub(super) fn remove(
        &mut self,
        outcome: Outcome,
        mut fits: impl FnMut(i64, &Expected) -> bool,
    ) -> Vec<i64> {
        let fitting = self.waiting.iter().filter(|(seq, event)| fits(**seq, event));
        let gone: Vec<i64> = fitting.map(|(seq, _)| *seq).collect();
        for seq in &gone {
            self.waiting.remove(seq);
        }
        self.count(outcome, gone.len());
        gone
    }

    /// The events that a sweep deletes: from the oldest up to the first that is young enough.
    pub(super) fn sweep(&mut self) {
        let now = self.now;
        self.forget_ids();
        self.forget_old_quarantine();
        let mut is_behind_a_young_one = false;
        self.remove(Outcome::Expired, |_, event| {
            is_behind_a_young_one |= event.stored_at >= now - AGE_MAX;
            !is_behind_a_young_one
        });
    }

    pub(super) fn forget_ids(&mut self) {
        let now = self.now;
        self.seen.retain(|_, at| *at >= now - HOUR);
    }

    pub(super) fn purge(&mut self, purge: &Purge) -> Vec<i64> {
        let fits = |event: &Expected| {
            let is_of_site = purge
                .site
                .as_ref()
                .is_none_or(|site| Some(&site.as_str()) == SITES.get(event.site));
            is_of_site && purge.before.is_none_or(|before| event.stored_at < before.0)
        };
        if purge.quarantine {
            self.quarantined.retain(|(_, event)| !fits(event));
            return Vec::new();
        }
        self.remove(Outcome::Purged, |_, event| fits(event))
    }

    /// A site is switched off, or is off at the start.
    pub(super) fn purge_site(&mut self, site: usize) -> Vec<i64> {
        self.quarantined.retain(|(_, event)| event.site != site);
        self.remove(Outcome::Purged, |_, event| event.site == site)
    }

    /// Parked events become due and are read again; records that are readable again come back under numbers that are looked
    /// up by name. Returns the counts of quarantined records: back, too old, without space, damaged.
    pub(super) fn replay(&mut self, number: impl Fn(&str) -> Option<i64>) -> [u64; 4] {
        let now = self.now;
        for event in self
            .waiting
            .values_mut()
            .filter(|event| event.not_before.is_some())
        {
            (event.not_before, event.is_read) = (Some(now), false);
        }
        let (mut counts, mut there) = ([0; 4], self.bytes());
        let mut stay = Vec::new();
        for (at, event) in std::mem::take(&mut self.quarantined) {
            let what = match () {
                () if event.is_damaged => 3,
                () if event.stored_at < now - AGE_MAX => 1,
                () if self.check(there, event.site, event.bytes, false).is_err() => 2,
                () => 0,
            };
            counts[what] += 1;
            if what > 0 {
                stay.push((at, event));
                continue;
            }
            there[event.site] += event.bytes;
            let seq = number(&event.name).unwrap_or_else(|| panic!("{} is not back", event.name));
            assert!(seq > self.highest, "{seq} is no number of its own");
            self.highest = seq;
            let event = Expected {
                not_before: None,
                is_read: false,
                ..event
            };
            self.waiting.insert(seq, event);
        }
        self.quarantined = stay;
        self.bells = [true; LANES];
        counts
    }

    /// The work at a start before the first job.
    pub(super) fn start(&mut self) {
        self.ended.clear();
        self.bells = [false; LANES];
        self.is_on = self.recorded;
        self.sweep();
        // A record whose site is damaged belongs to no site that is on.
        for site in 0..=SITES.len() {
            if self.is_on.get(site) != Some(&true) {
                self.purge_site(site);
            }
        }
        let parked = self.waiting.values_mut();
        parked.for_each(|event| event.is_read = false);
    }
}
