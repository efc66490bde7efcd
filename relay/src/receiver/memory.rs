//! What a receiver remembers: counts, the latest events, and the latest requests as they came.

use crate::clock::{self, Clock, Moment};
use crate::receiver::event::Received;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

/// Latest events shown on the page.
const RECENT_MAX: usize = 50;
/// Latest requests kept as they came. Above it the oldest is forgotten.
const REQUESTS_MAX: usize = 20_000;
/// Visitors and pages told apart. Above it further ones are not counted as new.
const DISTINCT_MAX: usize = 100_000;
/// How long a visit lasts without an event (contract b.4).
const SESSION: Duration = Duration::from_secs(30 * 60);

#[derive(Debug)]
pub(super) struct Memory {
    clock: Clock,
    /// Keys the visitors' ids, as Plausible's daily salt does.
    salt: [u8; 16],
    events: u64,
    pageviews: u64,
    dropped: u64,
    visitors: HashSet<u64>,
    sessions: HashMap<u64, Moment>,
    pages: BTreeMap<String, Page>,
    goals: BTreeMap<String, u64>,
    ratings: BTreeMap<String, [u64; 5]>,
    recent: VecDeque<Value>,
    requests: VecDeque<Value>,
}

#[derive(Debug, Default)]
struct Page {
    pageviews: u64,
    visitors: HashSet<u64>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            salt: clock::random(),
            events: 0,
            pageviews: 0,
            dropped: 0,
            visitors: HashSet::new(),
            sessions: HashMap::new(),
            pages: BTreeMap::new(),
            goals: BTreeMap::new(),
            ratings: BTreeMap::new(),
            recent: VecDeque::new(),
            requests: VecDeque::new(),
        }
    }
}

impl Memory {
    /// Takes the events of one request and says for how many sites they were dropped.
    pub(super) fn take(
        &mut self,
        events: Vec<Received>,
        sites: &[String],
        headers: &HeaderMap,
        body: &Value,
    ) -> u64 {
        push(
            &mut self.requests,
            REQUESTS_MAX,
            json!({ "headers": as_json(headers), "body": body }),
        );
        let mut dropped = 0;
        for event in events {
            let unknown_site = !sites.is_empty() && !sites.contains(&event.site);
            let visitor = self.visitor(&event);
            let now = self.clock.now();
            let live = self
                .sessions
                .get(&visitor)
                .is_some_and(|seen| now.since(*seen) < SESSION);
            if event.spam || unknown_site || event.is_bot() || (event.name == "engagement" && !live) {
                dropped += 1;
                continue;
            }
            if self.sessions.len() < DISTINCT_MAX || live {
                self.sessions.insert(visitor, now);
            }
            self.count(&event, visitor);
            self.show(&event, visitor, now);
        }
        self.dropped += dropped;
        dropped
    }

    /// A visitor is an agent, an address and a site (contract b.4).
    fn visitor(&self, event: &Received) -> u64 {
        let hash = Sha256::new()
            .chain_update(self.salt)
            .chain_update(&event.agent)
            .chain_update(&event.address)
            .chain_update(&event.site)
            .chain_update(&event.host)
            .finalize();
        hash.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
    }

    fn count(&mut self, event: &Received, visitor: u64) {
        self.events += 1;
        if self.visitors.len() < DISTINCT_MAX {
            self.visitors.insert(visitor);
        }
        match event.name.as_str() {
            "pageview" => {
                self.pageviews += 1;
                if self.pages.len() < DISTINCT_MAX || self.pages.contains_key(&event.page) {
                    let page = self.pages.entry(event.page.clone()).or_default();
                    page.pageviews += 1;
                    page.visitors.insert(visitor);
                }
            }
            "engagement" => {}
            name => {
                if self.goals.len() < DISTINCT_MAX || self.goals.contains_key(name) {
                    *self.goals.entry(name.to_owned()).or_default() += 1;
                }
            }
        }
        let prop = |key: &str| event.props.get(key).and_then(Value::as_str);
        let about = prop("activity").or_else(|| prop("question"));
        let rating = prop("rating").and_then(|r| r.parse::<usize>().ok());
        if let (Some(about), Some(rating @ 1..=5)) = (about, rating)
            && (self.ratings.len() < DISTINCT_MAX || self.ratings.contains_key(about))
        {
            self.ratings.entry(about.to_owned()).or_default()[rating - 1] += 1;
        }
    }

    fn show(&mut self, event: &Received, visitor: u64, now: Moment) {
        let shown = json!({
            "at": now.rfc3339(),
            "name": event.name,
            "page": event.page,
            "props": event.props,
            "visitor": format!("{:04x}", visitor & 0xffff),
            "browser": browser(&event.agent),
            "os": system(&event.agent),
        });
        push(&mut self.recent, RECENT_MAX, shown);
    }

    /// What the page shows.
    pub(super) fn stats(&self) -> Value {
        let mut pages: Vec<_> = self.pages.iter().collect();
        pages.sort_by_key(|(_, page)| std::cmp::Reverse(page.pageviews));
        let pages: Vec<Value> = pages
            .iter()
            .take(50)
            .map(|(name, page)| json!({ "page": name, "visitors": page.visitors.len(), "pageviews": page.pageviews }))
            .collect();
        let goals: Vec<Value> = self
            .goals
            .iter()
            .map(|(name, count)| json!({ "name": name, "count": count }))
            .collect();
        let ratings: Vec<Value> = self
            .ratings
            .iter()
            .map(|(activity, d)| rating(activity, d))
            .collect();
        json!({
            "events": self.events,
            "pageviews": self.pageviews,
            "visitors": self.visitors.len(),
            "dropped": self.dropped,
            "pages": pages,
            "goals": goals,
            "ratings": ratings,
            "recent": self.recent.iter().rev().collect::<Vec<_>>(),
        })
    }

    /// The latest requests, oldest first.
    pub(super) fn requests(&self) -> Value {
        self.requests.iter().cloned().collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "an average for a page")]
fn rating(activity: &str, distribution: &[u64; 5]) -> Value {
    let count: u64 = distribution.iter().sum();
    let sum: u64 = distribution.iter().zip(1..).map(|(n, rating)| n * rating).sum();
    json!({ "activity": activity, "count": count, "average": sum as f64 / count.max(1) as f64, "distribution": distribution })
}

fn push(list: &mut VecDeque<Value>, max: usize, value: Value) {
    if list.len() >= max {
        list.pop_front();
    }
    list.push_back(value);
}

fn as_json(headers: &HeaderMap) -> Value {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))))
        .collect()
}

/// Name and major version, for the page.
fn browser(agent: &str) -> String {
    let names = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser/", "Samsung"),
        ("Firefox/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Version/", "Safari"),
    ];
    let found = names.iter().find_map(|(token, name)| {
        let rest = agent.split_once(token)?.1;
        Some(format!(
            "{name} {}",
            rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or("")
        ))
    });
    found.unwrap_or_else(|| "unknown".into())
}

fn system(agent: &str) -> &'static str {
    let names = [
        ("iPhone", "iOS"),
        ("iPad", "iOS"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Macintosh", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ];
    names
        .iter()
        .find(|(token, _)| agent.contains(token))
        .map_or("unknown", |(_, name)| name)
}
