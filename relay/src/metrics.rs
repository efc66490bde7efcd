//! Every metric, declared once. Labels come from closed lists: outcomes, the plan's events, the sites.

pub mod dashboard;
pub mod door;
pub mod ledger;
pub mod logins;
pub mod site;
pub mod suspicious;
pub mod switch;
pub mod tool;

use crate::config::Config;
use crate::forward::plausible::Reply;
use crate::forward::their_clock::TheirClock;
use crate::policy::Identity;
use dashboard::DashboardMetrics;
use door::DoorMetrics;
use ledger::{Counts, Ledger};
use logins::{LoginMetrics, ScrapeMetrics};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use relay_event::plan::Unmatched;
use relay_event::{Outcome, Plan};
use site::SiteMetrics;
use std::sync::{Arc, Mutex, PoisonError};
use suspicious::SuspiciousMetrics;
use switch::{SiteLabel, SwitchMetrics};
use tool::ToolMetrics;

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of one relay. There is no global registry: tests run several relays in one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Where every event is counted.
    pub ledger: Arc<Ledger>,
    /// Events stored, by the plan's name for them; one that no plan lists counts as `other`.
    pub accepted: Family<EventLabel, Counter>,
    /// Properties that the policy left out.
    pub props_dropped: Counter,
    /// Revenues left out of an event that went on, because the plan does not allow them or because they cannot be read.
    pub revenue_dropped: Counter,
    /// How far this machine's clock is from Plausible's; shown by health.
    pub their_clock: TheirClock,
    /// Requests to Plausible by what came of them: one counter for each [`Reply`], by its number.
    pub upstream_replies: [Counter; Reply::ALL.len()],
    /// How long Plausible took to answer, in seconds.
    pub upstream_duration: Histogram,
    /// Requests whose answer never came: Plausible may have counted the event.
    pub upstream_unknown: Counter,
    /// What the circuit breaker does: 1 for its state, 0 for the others.
    pub upstream_breaker: Family<StateLabel, Gauge>,
    /// Most requests to Plausible at once, as fast as it answers now.
    pub upstream_limit: Gauge,
    /// Requests to Plausible under way.
    pub upstream_under_way: Gauge,
    /// Health probes of a Plausible that was away, by what came of them.
    pub upstream_probes: Family<ResultLabel, Counter>,
    /// Attempts to put changed files of `[upstream]` to use, by what came of them: `ok` or `failed`.
    pub upstream_reloads: Family<ResultLabel, Counter>,
    /// Events set aside because Plausible fails at them while it takes others.
    pub upstream_parked: Counter,
    /// Events sent with the mark that they are late.
    pub upstream_late: Counter,
    /// How long the policy took for one event, in seconds.
    pub policy_duration: Histogram,
    /// Which policy is in use.
    pub policy: Arc<PolicyInUse>,
    /// Attempts to put another policy to use, by what came of them.
    pub policy_reloads: Family<ResultLabel, Counter>,
    /// 1 while the configured policy is out of service because it failed too often.
    pub policy_failing: Gauge,
    /// How long a write to the spool took, in seconds, from its request to its fsync.
    pub spool_write_duration: Histogram,
    /// Unreadable records that are kept in quarantine. They ended as `rejected` when they went in.
    pub quarantined: Gauge,
    /// Quarantined records that were dropped because there were too many of them, or too old.
    pub quarantine_dropped: Counter,
    /// Times the database was damaged, set aside and rebuilt.
    pub database_rebuilds: Counter,
    /// How the switches stand.
    pub switches: SwitchMetrics,
    /// Whether Plausible accepts each site's events.
    pub sites: SiteMetrics,
    /// Events that do not look like a browser's.
    pub suspicious: SuspiciousMetrics,
    /// What the dashboard shows of what was delivered.
    pub dashboard: DashboardMetrics,
    /// What tools send.
    pub tools: ToolMetrics,
    /// Connections, admission and certificates.
    pub door: DoorMetrics,
    /// Logins on the admin listener.
    pub logins: LoginMetrics,
    /// Requests for the metrics themselves.
    pub scrapes: ScrapeMetrics,
}

/// An event's name. Only names that a plan lists become labels; all others are one, [`EventLabel::other`].
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct EventLabel {
    event: String,
}

/// A state of the circuit breaker: `closed`, `open` or `half_open`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StateLabel {
    /// The state's name.
    pub state: &'static str,
}

/// What came of a request to Plausible, or of a reload.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ResultLabel {
    /// To Plausible: `accepted`, `dropped`, `invalid`, `retry`, `misconfigured`, `unclear`, `unreachable` or `unknown`. Of a
    /// health probe or self-test: `ok`, `failed`, `no_endpoint` or `foreign`. Of a reload: `ok` or `failed`.
    pub result: &'static str,
}

impl EventLabel {
    /// The label of an event of a site with this plan.
    pub fn of(plan: &Plan, name: &str) -> Self {
        match plan.event(name) {
            Some(rules) => Self {
                event: rules.name.clone(),
            },
            None => Self::other(),
        }
    }

    /// The label of all events that no plan lists, so that nobody can make up labels.
    pub fn other() -> Self {
        Self {
            event: "other".to_owned(),
        }
    }
}

impl Metrics {
    /// Registers everything, so that each metric is there from the first scrape on.
    pub fn new(config: &Config) -> Self {
        let mut registry = Registry::with_prefix("feedback_relay");
        let ledger = Arc::new(Ledger::default());
        registry.register_collector(Box::new(LedgerCollector(Arc::clone(&ledger))));
        let accepted = Family::default();
        registry.register(
            "events_accepted",
            "Events stored for delivery, by the plan's name for them",
            accepted.clone(),
        );
        for plan in config.plans.iter() {
            for rules in &plan.events {
                drop(accepted.get_or_create(&EventLabel::of(plan, &rules.name)));
            }
            if plan.unmatched == Unmatched::Scrub {
                drop(accepted.get_or_create(&EventLabel::other()));
            }
        }
        let props_dropped = Counter::default();
        registry.register(
            "props_dropped",
            "Properties of stored events that were left out",
            props_dropped.clone(),
        );
        let revenue_dropped = Counter::default();
        registry.register(
            "revenue_dropped",
            "Revenues left out of an event that went on: the plan does not say revenue = true for it, or no amount and currency can be read",
            revenue_dropped.clone(),
        );
        let upstream_requests = Family::<ResultLabel, Counter>::default();
        registry.register(
            "upstream_requests",
            "Requests to Plausible, by what came of them",
            upstream_requests.clone(),
        );
        let upstream_replies = Reply::ALL.map(|reply| {
            let result = reply.name();
            upstream_requests.get_or_create(&ResultLabel { result }).clone()
        });
        let upstream_duration = Histogram::new([
            0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ]);
        registry.register_with_unit(
            "upstream_duration",
            "Time until Plausible answered",
            Unit::Seconds,
            upstream_duration.clone(),
        );
        let upstream_unknown = Counter::default();
        registry.register(
            "upstream_unknown",
            "Requests sent whose answer never came; the event may have been counted, and twice when it is sent again",
            upstream_unknown.clone(),
        );
        let upstream_breaker = Family::default();
        registry.register(
            "upstream_breaker",
            "What the circuit breaker does: open while Plausible is away, half open while it is tried again",
            upstream_breaker.clone(),
        );
        let upstream_limit = Gauge::default();
        registry.register(
            "upstream_concurrency_limit",
            "Most requests to Plausible at once, as fast as it answers now",
            upstream_limit.clone(),
        );
        let upstream_under_way = Gauge::default();
        registry.register(
            "upstream_requests_under_way",
            "Requests to Plausible under way",
            upstream_under_way.clone(),
        );
        let upstream_probes = Family::<ResultLabel, Counter>::default();
        registry.register(
            "upstream_probes",
            "Health probes and self-tests of a Plausible that was away, by what came of them",
            upstream_probes.clone(),
        );
        for result in ["ok", "failed", "no_endpoint", "foreign"] {
            drop(upstream_probes.get_or_create(&ResultLabel { result }));
        }
        let upstream_reloads = Family::default();
        registry.register(
            "upstream_reloads",
            "Attempts to put changed files of [upstream] to use, by what came of them",
            upstream_reloads.clone(),
        );
        for result in ["ok", "failed"] {
            drop(upstream_reloads.get_or_create(&ResultLabel { result }));
        }
        let upstream_parked = Counter::default();
        registry.register(
            "upstream_parked",
            "Times an event was set aside because Plausible fails at it while it takes others",
            upstream_parked.clone(),
        );
        let upstream_late = Counter::default();
        registry.register(
            "upstream_late",
            "Requests with an event that waited so long that it was marked as late",
            upstream_late.clone(),
        );
        let policy_duration = Histogram::new([
            0.000_002, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.01,
        ]);
        registry.register_with_unit(
            "policy_duration",
            "Time the policy took for one event",
            Unit::Seconds,
            policy_duration.clone(),
        );
        let policy = Arc::new(PolicyInUse::default());
        registry.register_collector(Box::new(PolicyCollector(Arc::clone(&policy))));
        let policy_reloads = Family::<ResultLabel, Counter>::default();
        registry.register(
            "policy_reloads",
            "Attempts to put another policy to use, by what came of them",
            policy_reloads.clone(),
        );
        for result in ["ok", "failed"] {
            drop(policy_reloads.get_or_create(&ResultLabel { result }));
        }
        let policy_failing = Gauge::default();
        registry.register(
            "policy_failing",
            "Whether the configured policy is out of service because it failed at most requests",
            policy_failing.clone(),
        );
        let spool_write_duration = Histogram::new([
            0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 1.0,
        ]);
        registry.register_with_unit(
            "spool_write_duration",
            "Time from the request to store until the fsync",
            Unit::Seconds,
            spool_write_duration.clone(),
        );
        let quarantined = Gauge::default();
        registry.register(
            "spool_quarantined",
            "Unreadable records kept in quarantine; they count as rejected",
            quarantined.clone(),
        );
        let quarantine_dropped = Counter::default();
        registry.register(
            "spool_quarantine_dropped",
            "Quarantined records dropped for want of room, or because of their age",
            quarantine_dropped.clone(),
        );
        let database_rebuilds = Counter::default();
        registry.register(
            "database_rebuilds",
            "Times the database was found damaged, set aside and rebuilt from what could be read",
            database_rebuilds.clone(),
        );
        let switches = SwitchMetrics::new(&mut registry, config);
        let sites = SiteMetrics::new(&mut registry);
        let build = Info::new(vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("commit", crate::version::COMMIT.to_owned()),
        ]);
        registry.register("build", "What this relay was built from", build);
        let plan_version = Family::<SiteLabel, Gauge>::default();
        registry.register(
            "plan_version",
            "The version of the site's tracking plan, which consent has to name",
            plan_version.clone(),
        );
        for site in &config.sites {
            plan_version
                .get_or_create(&SiteLabel::of(&site.domain))
                .set(i64::from(site.plan.version));
        }
        let suspicious = SuspiciousMetrics::new(&mut registry, config);
        let dashboard = DashboardMetrics::new(&mut registry);
        let tools = ToolMetrics::new(&mut registry, &config.tools);
        let door = DoorMetrics::new(&mut registry);
        let logins = LoginMetrics::new(&mut registry);
        let scrapes = ScrapeMetrics::new(&mut registry);
        Self {
            registry,
            ledger,
            accepted,
            props_dropped,
            revenue_dropped,
            their_clock: TheirClock::default(),
            upstream_replies,
            upstream_duration,
            upstream_unknown,
            upstream_breaker,
            upstream_limit,
            upstream_under_way,
            upstream_probes,
            upstream_reloads,
            upstream_parked,
            upstream_late,
            policy_duration,
            policy,
            policy_reloads,
            policy_failing,
            spool_write_duration,
            quarantined,
            quarantine_dropped,
            database_rebuilds,
            switches,
            sites,
            suspicious,
            dashboard,
            tools,
            door,
            logins,
            scrapes,
        }
    }

    /// The text Prometheus scrapes.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail; a broken line would be seen as a failed scrape.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// Which policy is in use: none until one is loaded, then always exactly one.
#[derive(Debug, Default)]
pub struct PolicyInUse(Mutex<Option<Identity>>);

impl PolicyInUse {
    /// Notes the policy that serves from now on.
    pub fn set(&self, identity: &Identity) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(identity.clone());
    }
}

/// Encodes the policy in use. A family would show two of them, or none, while one replaces the other.
#[derive(Debug)]
struct PolicyCollector(Arc<PolicyInUse>);

impl Collector for PolicyCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(identity) = self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            return Ok(());
        };
        let one = ConstGauge::new(1_i64);
        let help = "The policy in use, by the SHA-256 of its component";
        let mut family = encoder.encode_descriptor("policy_info", help, None, one.metric_type())?;
        let labels = [("sha256", identity.sha256.as_str()), ("source", identity.source)];
        one.encode(family.encode_family(&labels)?)
    }
}

/// Encodes one consistent snapshot of the ledger per scrape: conservation holds in every one.
#[derive(Debug)]
struct LedgerCollector(Arc<Ledger>);

impl Collector for LedgerCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.0.counts();
        let mut counter = |name: &str, help: &str, value: u64| {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        counter(
            "events_received",
            "Events that arrived, readable or not",
            counts.received,
        )?;
        counter(
            "events_recovered",
            "Events found in the spool at the start, or replayed from quarantine",
            counts.recovered,
        )?;
        let mut gauge = |name: &str, help: &str, value: i64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        gauge(
            "events_in_progress",
            "Events between arrival and spool",
            signed(counts.in_progress),
        )?;
        gauge(
            "spool_events",
            "Events waiting for delivery",
            signed(counts.spooled),
        )?;
        gauge(
            "spool_bytes",
            "Bytes of events waiting for delivery",
            signed(counts.spool_bytes),
        )?;
        gauge(
            "spool_oldest_timestamp_seconds",
            "When the oldest waiting event was stored, in seconds since 1970; 0 when none waits",
            counts.spool_oldest_ms / 1000,
        )?;
        gauge(
            "conservation_difference",
            "Events received or recovered that neither ended nor wait: always 0, or the relay has a defect",
            counts.difference(),
        )?;
        let ended = ConstCounter::new(0_u64);
        let mut family = encoder.encode_descriptor(
            "events_ended",
            "Events by how they ended; every event ends exactly once",
            None,
            ended.metric_type(),
        )?;
        for outcome in Outcome::ALL {
            let labels = [("outcome", outcome.label()), ("reason", outcome.reason())];
            ConstCounter::new(counts.ended(*outcome)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Counts {
    /// What conservation leaves over: `received + recovered - in_progress - spooled - ended`.
    pub fn difference(&self) -> i64 {
        let taken = self.received + self.recovered;
        let found = self.in_progress + self.spooled + self.ended_total();
        signed(taken) - signed(found)
    }
}
