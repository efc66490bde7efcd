//! The sites whose events Plausible accepts, checked before each event, stored in the database,
//! logged and measured. The rules are in [`acceptance`](super::acceptance).

pub mod record;
pub mod status;

use super::acceptance::{Acceptance, AcceptanceState, DROPS_MAX, Dropped, Eligibility, Record};
use super::metrics::Metrics;
use crate::clock::Timestamp;
use crate::config::{Config, SiteConfig};
use crate::metrics::Gauge;
use crate::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Shortest time between two log lines about one site's hold, so that a hold that comes and goes does not fill the log.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// How far the recorded time of the last acceptance may lag behind, in milliseconds: recording each would cost
/// every transaction a page more. A crash makes it look this much older.
const RECORD_EVERY_MS: u64 = 10_000;

/// All configured sites, and whether Plausible accepts their events.
#[derive(Debug)]
pub struct Sites {
    by_domain: BTreeMap<String, Entry>,
    /// The upstream's URL: acceptance by one Plausible says nothing about another.
    upstream: String,
    store: Store,
    started: Instant,
    changed: watch::Sender<()>,
    has_unwritten: AtomicBool,
    /// For jitter.
    random: fn() -> u32,
}

#[derive(Debug)]
struct Entry {
    /// Events are accepted: the usual case, seen without the lock.
    is_open: AtomicBool,
    state: Mutex<State>,
    accepting: Gauge,
    last_accepted: Gauge,
    held: Gauge,
}

#[derive(Debug)]
struct State {
    acceptance: Acceptance,
    /// The row in the database.
    written: Record,
    logged: Logged,
}

/// A site as status, health and commands show it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SiteSnapshot {
    /// The recorded facts.
    pub record: Record,
    /// Events that were passed over because the site is held.
    pub held: u64,
}

/// A site's answer to an event that is to be sent.
#[derive(Debug)]
pub(super) enum SiteSlot {
    /// The site is accepted.
    Open,
    /// This event is the probe.
    Probe(#[expect(dead_code, reason = "held until the probe has come back")] ProbeGuard),
    /// The site is held, and this event with it.
    Held,
}

/// The one probe of a site, until it has come back.
#[derive(Debug)]
pub(super) struct ProbeGuard(Arc<Sites>, String);

impl Drop for ProbeGuard {
    fn drop(&mut self) {
        if let Some(entry) = self.0.by_domain.get(&self.1) {
            entry.lock().acceptance.give_back();
        }
        self.0.changed.send_replace(());
    }
}

impl Entry {
    fn new(record: Record, site: &str, metrics: &Metrics) -> Self {
        let acceptance = Acceptance::new(record);
        let entry = Self {
            is_open: AtomicBool::new(!acceptance.is_held()),
            state: Mutex::new(State {
                acceptance,
                written: record,
                logged: Logged::default(),
            }),
            accepting: metrics.site_accepting.with([site]),
            last_accepted: metrics.site_last_accepted_timestamp_seconds.with([site]),
            held: metrics.site_held_events.with([site]),
        };
        entry.show(&record);
        entry
    }

    /// Plain values, which a panic elsewhere leaves usable.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, record: &Record) {
        let is_accepting = record.state() == AcceptanceState::Accepting;
        self.accepting.set(i64::from(is_accepting));
        let last = record.last_accepted.map_or(0, |at| at.0 / 1000);
        self.last_accepted.set(last);
    }
}

impl Sites {
    /// With what earlier relays recorded about this upstream.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open(
        config: &Config,
        store: &Store,
        metrics: &Metrics,
        random: fn() -> u32,
    ) -> Result<Self, StoreError> {
        let upstream = config.upstream.url.clone();
        let known = store.run(move |db| record::read_all(db, &upstream)).await?;
        let entry = |site: &SiteConfig| {
            let record = known.get(&site.domain).copied().unwrap_or_default();
            let entry = Entry::new(record, &site.domain, metrics);
            (site.domain.clone(), entry)
        };
        Ok(Self {
            by_domain: config.sites.iter().map(entry).collect(),
            upstream: config.upstream.url.clone(),
            store: store.clone(),
            started: Instant::now(),
            changed: watch::Sender::new(()),
            has_unwritten: AtomicBool::new(false),
            random,
        })
    }

    /// The record of a configured site, and how many of its events are held.
    pub fn shown(&self, domain: &str) -> Option<SiteSnapshot> {
        let entry = self.by_domain.get(domain)?;
        let record = entry.lock().acceptance.record();
        Some(SiteSnapshot {
            record,
            held: u64::try_from(entry.held.get()).unwrap_or(0),
        })
    }

    /// Whether Plausible was seen to drop the site's events, so that they wait.
    pub fn is_refused(&self, domain: &str) -> bool {
        self.by_domain.get(domain).is_some_and(|entry| {
            let is_open = entry.is_open.load(Ordering::Relaxed);
            !is_open && entry.lock().acceptance.state().is_refused()
        })
    }

    /// Changes when a probe came back or a hold ended.
    pub(super) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether an event that was dropped in `probes` probes may be sent. It does not become the probe yet.
    pub(super) fn look(&self, domain: &str, probes: u32) -> Eligibility {
        let Some(entry) = self.by_domain.get(domain) else {
            return Eligibility::Wait;
        };
        if entry.is_open.load(Ordering::Relaxed) {
            return Eligibility::Eligible;
        }
        entry.lock().acceptance.look(probes, self.started.elapsed())
    }

    /// When a time that [`Sites::look`] gave comes.
    pub(super) fn instant(&self, at: Duration) -> Instant {
        self.started + at
    }

    /// Asks to send an event now. If the site is probed, the event becomes the probe.
    pub(super) fn acquire(self: &Arc<Self>, domain: &str, probes: u32) -> SiteSlot {
        let Some(entry) = self.by_domain.get(domain) else {
            return SiteSlot::Held;
        };
        if entry.is_open.load(Ordering::Relaxed) {
            return SiteSlot::Open;
        }
        let now = self.started.elapsed();
        let eligibility = entry.lock().acceptance.ask(probes, now);
        match eligibility {
            Eligibility::Eligible => SiteSlot::Open,
            Eligibility::Probe => SiteSlot::Probe(ProbeGuard(Arc::clone(self), domain.to_owned())),
            Eligibility::NotBefore(_) | Eligibility::Wait => SiteSlot::Held,
        }
    }

    /// Notes that Plausible accepted an event.
    pub(super) fn accepted(&self, domain: &str, at: Timestamp) {
        let Some(entry) = self.by_domain.get(domain) else {
            return;
        };
        let mut state = entry.lock();
        let ended_a_hold = state.acceptance.accepted(at, self.started.elapsed());
        self.note_change(entry, &mut state);
        if ended_a_hold {
            state.log_acceptance(domain);
            drop(state);
            self.changed.send_replace(());
        }
    }

    /// Notes that Plausible dropped an event, which was dropped in `probes` probes before. Returns whether to settle or
    /// hold it.
    pub(super) fn dropped(&self, domain: &str, is_engagement: bool, probes: u32) -> Dropped {
        let Some(entry) = self.by_domain.get(domain) else {
            return Dropped::Hold;
        };
        let mut state = entry.lock();
        let now = self.started.elapsed();
        let dropped = state
            .acceptance
            .dropped(is_engagement, probes, now, (self.random)());
        self.note_change(entry, &mut state);
        if dropped == Dropped::Hold {
            state.log_hold(domain);
        }
        dropped
    }

    /// The operator has switched the site on: the next probe goes at once.
    pub(super) fn probe_now(&self, domain: &str) {
        if let Some(entry) = self.by_domain.get(domain) {
            entry.lock().acceptance.probe_now();
            self.changed.send_replace(());
        }
    }

    /// Adds to the events of a held site that are passed over; `change` may be negative.
    pub(super) fn count_held(&self, domain: &str, change: i64) {
        if let Some(entry) = self.by_domain.get(domain) {
            entry.held.inc_by(change);
        }
    }

    fn note_change(&self, entry: &Entry, state: &mut State) {
        let record = state.acceptance.record();
        entry
            .is_open
            .store(!state.acceptance.is_held(), Ordering::Relaxed);
        entry.show(&record);
        if state.is_unwritten() {
            self.has_unwritten.store(true, Ordering::SeqCst);
        }
    }

    /// Records that the database lacks, with their sites.
    pub(super) fn unwritten(&self) -> Vec<(String, Record)> {
        if !self.has_unwritten.swap(false, Ordering::SeqCst) {
            return Vec::new();
        }
        let unwritten = self.by_domain.iter().filter_map(|(domain, entry)| {
            let state = entry.lock();
            let record = (domain.clone(), state.acceptance.record());
            state.is_unwritten().then_some(record)
        });
        unwritten.collect()
    }

    /// Notes whether those reached the database. If not, they are unwritten again.
    pub(super) fn note_written(&self, records: &[(String, Record)], are_written: bool) {
        if records.is_empty() {
            return;
        }
        if !are_written {
            self.has_unwritten.store(true, Ordering::SeqCst);
            return;
        }
        for (site, record) in records {
            if let Some(entry) = self.by_domain.get(site) {
                entry.lock().written = *record;
            }
        }
    }

    /// Writes the records that the database lacks, if any. If the disk refuses, the next settled event
    /// brings it along.
    pub(super) async fn write(&self) {
        let records = self.unwritten();
        if records.is_empty() {
            return;
        }
        let (written, upstream) = (records.clone(), self.upstream.clone());
        let write = move |db: &rusqlite::Connection| record::write(db, &upstream, &written);
        let done = self.store.run(write).await;
        self.note_written(&records, done.is_ok());
    }
}

impl State {
    /// Whether the database lacks something that matters.
    fn is_unwritten(&self) -> bool {
        let (is, was) = (self.acceptance.record(), self.written);
        let lag = match (is.last_accepted, was.last_accepted) {
            (Some(is), Some(was)) => is.0.abs_diff(was.0),
            (is, was) if is == was => 0,
            _ => u64::MAX,
        };
        is.first_accepted != was.first_accepted || is.drops != was.drops || lag >= RECORD_EVERY_MS
    }

    /// Warns that Plausible drops the site's events. A dropped engagement may be held, but alone says nothing about the
    /// site.
    fn log_hold(&mut self, site: &str) {
        let is_refused = self.acceptance.state().is_refused();
        if !is_refused || !self.logged.is_due(true, Instant::now()) {
            return;
        }
        let record = self.acceptance.record();
        match record.last_accepted {
            None => tracing::warn!(
                site,
                "Plausible answers 202 and drops this site's events: add the site `{site}` in Plausible under exactly this domain; events wait until Plausible accepts one"
            ),
            Some(last) => tracing::warn!(
                site,
                last_accepted = last.rfc3339(),
                "Plausible accepted events of this site before, and dropped the last {DROPS_MAX}: check in \
                 Plausible that the site `{site}` exists under exactly this domain, that the plan is paid, and \
                 that no shield blocks its events; events wait until Plausible accepts one"
            ),
        }
    }

    fn log_acceptance(&mut self, site: &str) {
        if self.logged.is_due(false, Instant::now()) {
            tracing::info!(
                site,
                "Plausible accepts this site's events; delivering the waiting ones"
            );
        }
    }
}

/// The state that the log named last, held or not, and when.
#[derive(Debug, Default)]
struct Logged(Option<(bool, Instant)>);

impl Logged {
    /// Whether this state is to be logged now; it counts as logged then. The end of a hold always is, so that the last line
    /// is never an outdated hold. A hold that begins too soon after a line is logged with a later drop.
    fn is_due(&mut self, is_held: bool, now: Instant) -> bool {
        let is_due = match self.0 {
            None => true,
            Some((was_held, _)) if was_held == is_held => false,
            Some((_, at)) => !is_held || now.duration_since(at) >= LOG_EVERY,
        };
        if is_due {
            self.0 = Some((is_held, now));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_names_each_hold_and_its_end_but_not_over_and_over() {
        // Seconds since the start, whether the site is held, whether that is logged.
        let check = |what: &str, steps: &[(u64, bool, bool)]| {
            let (mut logged, start) = (Logged::default(), Instant::now());
            for (second, is_held, want) in steps {
                let now = start + Duration::from_secs(*second);
                assert_eq!(logged.is_due(*is_held, now), *want, "{what}: at {second} s");
            }
        };
        check("the first acceptance", &[(0, false, true), (1, false, false)]);
        check(
            "a hold that lasts",
            &[(0, true, true), (1, true, false), (900, true, false)],
        );
        check("a hold that ends at once", &[(0, true, true), (1, false, true)]);
        let comes_and_goes = [
            (0, true, true),
            (5, false, true),
            (6, true, false),
            (66, true, true),
            (67, false, true),
        ];
        check("a hold that comes and goes", &comes_and_goes);
        check(
            "a short hold that was not logged",
            &[(0, false, true), (1, true, false), (2, false, false)],
        );
    }
}
