//! Conservation up to the dashboard: compares the relay's own counts of delivered events with those of the server,
//! per site, event of the plan and UTC day, through its Stats API.
//!
//! Each round queries the span up to a moment of the previous round, so that the server has had one interval to write
//! its events. Around that moment, and around midnight, the two clocks may disagree: deliveries there may count or not.
//! Lost answers, crashes and other senders only make the server show *more*, so an event that is missing beyond these
//! edges was lost after it was accepted.
//!
//! No query is sent for a site that is off, and no connection is kept between rounds.

mod compare;
mod yesterday;

pub use yesterday::check_yesterday;

use super::delivered::{self, DAY_MS, EDGE_MS, OTHER};
use super::metrics::Metrics;
use super::stats::{Span, StatsApi};
use super::transport::{Connection, Transport};
use crate::clock::{Clock, Timestamp};
use crate::config::Upstream;
use crate::store::Store;
use crate::switch::{Site, Switches};
use compare::{Compared, Counts, Day, Range, compare, ranges};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Limit of queries per hour: Plausible answers 600 per key, and others may use the same one. Above it the sites take
/// turns.
const QUESTIONS_PER_HOUR: u64 = 500;
/// Longest time on either side of the moment up to which today is compared.
const EDGE_MAX: Duration = Duration::from_millis(EDGE_MS as u64);
/// Lower bound. Timestamps and query spans are in whole seconds.
const EDGE_MIN: Duration = Duration::from_secs(2);
/// Time after midnight before yesterday is compared: the server writes events within seconds.
const SETTLED_MS: i64 = 2 * 60 * 1000;
/// Consecutive rounds with missing events before it is reported: the server may be late once.
const MISSING_ROUNDS: u32 = 2;

const NOT_YET: &str = "not yet";

/// The last comparison of one site.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SiteState {
    /// When the counts were compared last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<String>,
    /// Why they are not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_checked: Option<String>,
    /// Delivered events that the dashboard does not show, by day and event; negative if it shows more.
    pub differences: BTreeMap<&'static str, BTreeMap<String, i64>>,
    /// Whether events were missing in several rounds in a row.
    pub is_missing: bool,
    #[serde(skip)]
    rounds_missing: u32,
}

/// The comparison, shared with health.
#[derive(Debug)]
pub struct Dashboard {
    api: Option<StatsApi>,
    upstream: String,
    every: Duration,
    clock_off_max_ms: i64,
    store: Store,
    switches: Switches,
    metrics: Arc<Metrics>,
    clock: Clock,
    sites: Mutex<BTreeMap<String, SiteState>>,
}

/// The deliveries of one day up to a moment, by site.
#[derive(Debug)]
struct Snapshot {
    /// The moment, in whole seconds: the server is asked for what it stamped before.
    until: Timestamp,
    before: BTreeMap<String, Counts>,
    low: BTreeMap<String, Counts>,
    high: BTreeMap<String, Counts>,
}

impl Snapshot {
    fn ranges(&self, site: &str) -> BTreeMap<String, Range> {
        let none = Counts::new();
        let [before, low, high] =
            [&self.before, &self.low, &self.high].map(|all| all.get(site).unwrap_or(&none));
        ranges(before, low, high, None)
    }
}

impl Dashboard {
    /// For the configured upstream. Without a Stats API key no query is ever sent.
    pub fn new(
        upstream: &Upstream,
        store: Store,
        switches: Switches,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let every = upstream.stats.as_ref().map_or(Duration::MAX, |stats| stats.every);
        let api = StatsApi::new(upstream);
        let why = match &api {
            None => Some("no Stats API key is configured: see `stats_key_file` under [upstream]"),
            Some(_) if !upstream.profile.counts_by_event() => {
                Some("this server's Stats API cannot count events by name")
            }
            Some(_) => None,
        };
        let state = SiteState {
            not_checked: Some(why.unwrap_or(NOT_YET).to_owned()),
            ..SiteState::default()
        };
        let sites = switches.sites().map(|site| (site.domain.clone(), state.clone()));
        Self {
            sites: Mutex::new(sites.collect()),
            // Without a question there is nothing to run.
            api: api.filter(|_| why.is_none()),
            upstream: upstream.url.clone(),
            every,
            clock_off_max_ms: i64::try_from(edge(every).as_millis() / 2)
                .unwrap_or(EDGE_MS)
                .max(1500),
            store,
            switches,
            metrics,
            clock,
        }
    }

    /// The last comparison of each site.
    pub fn sites(&self) -> BTreeMap<String, SiteState> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, SiteState>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares until `stop`.
    pub async fn run(self: Arc<Self>, transport: impl Transport, stop: CancellationToken) {
        let Some(api) = &self.api else { return };
        tokio::select! {
            () = self.compare_on(api, &transport) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn compare_on(&self, api: &StatsApi, transport: &impl Transport) {
        let all: Vec<Arc<Site>> = self.switches.sites().cloned().collect();
        let mut first = 0;
        while !all.is_empty() {
            let sites = self.round(&all, first);
            first = (first + sites.len()) % all.len();
            let snapshot = match sites.iter().any(|site| site.is_on()) {
                true => self.snapshot(&sites).await,
                false => None,
            };
            tokio::time::sleep(self.every).await;
            // Ends with this round: nothing is left open while a site is off.
            let mut connection = transport.connection();
            for site in sites {
                self.check_site(api, &mut connection, &site, snapshot.as_ref())
                    .await;
            }
        }
    }

    /// The sites of the next round, beginning with one.
    fn round(&self, all: &[Arc<Site>], first: usize) -> Vec<Arc<Site>> {
        // Today and yesterday.
        let questions: Vec<u64> = all
            .iter()
            .map(|site| 2 * StatsApi::questions(site.plan.events.len()))
            .collect();
        let count = sites_in_a_round(&questions, first, self.every);
        (first..first + count)
            .map(|place| Arc::clone(&all[place % all.len()]))
            .collect()
    }

    /// The deliveries of today up to about now; `None` if they cannot be read.
    async fn snapshot(&self, sites: &[Arc<Site>]) -> Option<Snapshot> {
        let edge = edge(self.every);
        let day = self.clock.now().utc_day();
        let low = self.read_all(sites, day).await?;
        tokio::time::sleep(edge).await;
        let until = Timestamp(self.clock.now().0.div_euclid(1000) * 1000);
        tokio::time::sleep(edge).await;
        let snapshot = Snapshot {
            until,
            before: self.read_all(sites, day - 1).await?,
            low,
            high: self.read_all(sites, day).await?,
        };
        // Over midnight there is no such moment, and the day is compared as a whole.
        (until.utc_day() == day).then_some(snapshot)
    }

    /// The counts of a day, by site; nothing if the database cannot be read.
    async fn read_all(&self, sites: &[Arc<Site>], day: i64) -> Option<BTreeMap<String, Counts>> {
        let domains: Vec<String> = sites.iter().map(|site| site.domain.clone()).collect();
        let upstream = self.upstream.clone();
        let read = move |db: &rusqlite::Connection| {
            let of = |domain: &String| Ok((domain.clone(), delivered::read(db, &upstream, domain, day)?));
            domains.iter().map(of).collect()
        };
        self.store.run(read).await.ok()
    }

    /// Compares one site, unless it is off.
    async fn check_site(
        &self,
        api: &StatsApi,
        connection: &mut impl Connection,
        site: &Arc<Site>,
        snapshot: Option<&Snapshot>,
    ) {
        let Some(permit) = site.permit() else {
            return self.note_not_checked(site, "the site is off");
        };
        let checked = tokio::select! {
            checked = self.compare_site(api, connection, site, snapshot) => checked,
            () = permit.cut() => Err("the site is off".to_owned()),
        };
        match checked {
            Ok(days) if days.is_empty() => self.note_not_checked(site, NOT_YET),
            Ok(days) => {
                self.metrics.dashboard_checks.with(["ok"]).inc();
                self.note_checked(site, &days);
            }
            Err(why) => {
                self.metrics.dashboard_checks.with(["failed"]).inc();
                self.note_not_checked(site, &why);
            }
        }
    }

    async fn compare_site(
        &self,
        api: &StatsApi,
        connection: &mut impl Connection,
        site: &Arc<Site>,
        snapshot: Option<&Snapshot>,
    ) -> Result<BTreeMap<Day, Vec<Compared>>, String> {
        let now = self.clock.now();
        let (today, midnight) = (now.utc_day(), Timestamp(now.utc_day() * DAY_MS));
        let mut days = BTreeMap::new();
        // In the first seconds of a day there is no earlier whole second.
        if let Some(snapshot) =
            snapshot.filter(|s| s.until.utc_day() == today && s.until.0 - midnight.0 > EDGE_MS)
        {
            let span = Span {
                from: midnight,
                to: Timestamp(snapshot.until.0 - 1000),
            };
            let ranges = snapshot.ranges(&site.domain);
            days.insert(Day::Today, self.ask(api, connection, site, span, &ranges).await?);
        }
        if now.0 - midnight.0 >= SETTLED_MS {
            let (upstream, domain) = (self.upstream.clone(), site.domain.clone());
            let read = move |db: &rusqlite::Connection| yesterday::deliveries(db, &upstream, &domain, today);
            let read = self.store.run(read).await;
            let (_, ranges) = read.map_err(|_| "the database cannot be read".to_owned())?;
            let compared = self.ask(api, connection, site, Span::of_day(today - 1), &ranges);
            days.insert(Day::Yesterday, compared.await?);
        }
        Ok(days)
    }

    async fn ask(
        &self,
        api: &StatsApi,
        connection: &mut impl Connection,
        site: &Site,
        span: Span,
        ranges: &BTreeMap<String, Range>,
    ) -> Result<Vec<Compared>, String> {
        let names = delivered::names(&site.plan);
        let read = api.events(connection, &site.domain, span, &names).await;
        let read = read.map_err(|why| why.to_string())?;
        if let Some(date) = read.date {
            // The server writes whole seconds.
            let off = date.0 - self.clock.now().0;
            if off.abs() > self.clock_off_max_ms {
                let off = off / 1000;
                return Err(format!(
                    "the server's clock differs from the relay's by {off} s, so their counts cannot be compared"
                ));
            }
        }
        let (counted, total) = read.counts;
        Ok(compare(&names, ranges, &counted, total))
    }

    fn note_not_checked(&self, site: &Site, why: &str) {
        self.show(site, &BTreeMap::new());
        let mut sites = self.lock();
        let state = sites.entry(site.domain.clone()).or_default();
        let is_news = state.not_checked.as_deref() != Some(why);
        *state = SiteState {
            not_checked: Some(why.to_owned()),
            ..SiteState::default()
        };
        drop(sites);
        if is_news && why != NOT_YET {
            tracing::info!(site = site.domain, "dashboard not compared: {why}");
        }
    }

    /// Shows a site's differences in the metrics: a series is there only while its counts are known.
    fn show(&self, site: &Site, days: &BTreeMap<Day, Vec<Compared>>) {
        for day in Day::ALL {
            let compared = days.get(&day).map_or(&[][..], Vec::as_slice);
            for event in delivered::names(&site.plan).into_iter().chain([OTHER]) {
                let labels = [&*site.domain, event, day.name()];
                match compared.iter().find(|one| one.event == event) {
                    Some(one) => {
                        let shown = self.metrics.dashboard_difference.with(labels);
                        shown.set(one.difference);
                    }
                    None => self.metrics.dashboard_difference.remove(labels),
                }
            }
        }
    }

    fn note_checked(&self, site: &Site, days: &BTreeMap<Day, Vec<Compared>>) {
        let now = self.clock.now();
        self.show(site, days);
        let checked = self
            .metrics
            .dashboard_checked_timestamp_seconds
            .with([&site.domain]);
        checked.set(now.0.div_euclid(1000));
        let mut sites = self.lock();
        let state = sites.entry(site.domain.clone()).or_default();
        let missing = || {
            days.iter()
                .flat_map(|(day, all)| all.iter().map(move |one| (day, one)))
                .filter(|(_, one)| one.difference > 0)
        };
        state.rounds_missing = match missing().next() {
            Some(_) => state.rounds_missing.saturating_add(1),
            None => 0,
        };
        let was_missing = std::mem::replace(&mut state.is_missing, state.rounds_missing >= MISSING_ROUNDS);
        let is_missing = state.is_missing;
        state.checked_at = Some(now.rfc3339());
        state.not_checked = None;
        let differs = |all: &Vec<Compared>| {
            let differing = all.iter().filter(|one| one.difference != 0);
            differing.map(|one| (one.event.clone(), one.difference)).collect()
        };
        state.differences = days.iter().map(|(day, all)| (day.name(), differs(all))).collect();
        drop(sites);
        if is_missing && !was_missing {
            for (day, one) in missing() {
                tracing::warn!(
                    site = site.domain,
                    day = day.name(),
                    event = one.event,
                    delivered = one.delivered,
                    missing = one.difference,
                    "the dashboard shows fewer events than were delivered: check the server's own logs and shields"
                );
            }
        } else if was_missing && !is_missing {
            tracing::info!(
                site = site.domain,
                "the dashboard shows every event that was delivered"
            );
        }
    }
}

/// How long to wait on either side of the moment up to which today is compared.
fn edge(every: Duration) -> Duration {
    (every / 4).clamp(EDGE_MIN, EDGE_MAX)
}

/// How many sites may be compared in one round, beginning with one of them, so that [`QUESTIONS_PER_HOUR`] are not
/// exceeded: all of them, or fewer, and never none.
fn sites_in_a_round(questions: &[u64], first: usize, every: Duration) -> usize {
    let mut left = every.as_secs().saturating_mul(QUESTIONS_PER_HOUR) / 3600;
    let in_turn = questions.iter().cycle().skip(first).take(questions.len());
    let affordable = in_turn.take_while(|cost| match left.checked_sub(**cost) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    });
    affordable.count().max(1).min(questions.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sites_take_turns_if_there_are_more_than_may_be_asked_for() {
        let check = |what: &str, questions: &[u64], first: usize, every_s: u64, want: usize| {
            let found = sites_in_a_round(questions, first, Duration::from_secs(every_s));
            assert_eq!(found, want, "{what}");
        };
        // 83 questions in ten minutes.
        check("one site", &[4], 0, 600, 1);
        check("some sites", &[4; 20], 0, 600, 20);
        check("more than fit", &[4; 40], 0, 600, 20);
        check("more than fit, in the middle", &[4; 40], 30, 600, 20);
        check("a large plan before small ones", &[60, 20, 20, 20], 0, 600, 2);
        check("small ones before a large one", &[60, 20, 20, 20], 1, 600, 3);
        check("a plan too large for any round", &[100], 0, 600, 1);
        check("every second, as in a test", &[4, 4], 1, 1, 1);
        check("once a day", &[4; 1000], 7, 86_400, 1000);
        check("no sites", &[], 0, 600, 0);
    }
}
