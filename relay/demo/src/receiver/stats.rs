//! The receiver's statistics: counts, the latest events, and the latest requests as received.

use super::event::Event;
use axum::http::HeaderMap;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// Latest events shown on the page.
const RECENT_MAX: usize = 50;
/// Most requests kept. Beyond it the oldest is dropped.
const REQUESTS_MAX: usize = 20_000;
/// Most visitors, in total and per page. Beyond it new ones are not counted.
const VISITORS_MAX: usize = 100_000;
/// Most pages, goals and rated activities, each. Beyond it new ones are not counted.
const NAMES_MAX: usize = 1000;
/// Most pages listed, those with the most page views first.
const PAGES_SHOWN_MAX: usize = 50;
/// How long a session lasts without an event, in milliseconds.
const SESSION_MS: i64 = 30 * 60 * 1000;

#[derive(Debug, Default)]
pub(super) struct Stats {
    /// Keys the hash of visitor ids, like Plausible's salt.
    salt: RandomState,
    events: u64,
    pageviews: u64,
    dropped: u64,
    /// Time of each visitor's last event, in milliseconds since 1970.
    visitors: HashMap<u64, i64>,
    pages: BTreeMap<String, Page>,
    goals: BTreeMap<String, u64>,
    /// Per activity, how often each rating from 1 to 5 was given.
    ratings: BTreeMap<String, [u64; 5]>,
    recent: VecDeque<Value>,
    requests: VecDeque<Value>,
}

#[derive(Debug, Default)]
struct Page {
    pageviews: u64,
    visitors: HashSet<u64>,
}

impl Stats {
    /// Keeps a request as received.
    pub(super) fn keep_request(&mut self, headers: &HeaderMap, body: &Value) {
        let texts = headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()));
        let headers: Map<String, Value> = texts.collect();
        push(
            &mut self.requests,
            REQUESTS_MAX,
            json!({ "headers": headers, "body": body }),
        );
    }

    /// Counts an event, or returns false if it is dropped.
    pub(super) fn count(&mut self, event: &Event, is_known_site: bool, now_ms: i64) -> bool {
        // Plausible's visitor: a User-Agent and an address on a site.
        let visitor = self.salt.hash_one((&event.agent, &event.address, &event.site));
        let last = self.visitors.get(&visitor);
        let in_session = last.is_some_and(|last| now_ms.saturating_sub(*last) < SESSION_MS);
        let is_engagement = event.name == "engagement";
        if event.unwanted || !is_known_site || (is_engagement && !in_session) {
            self.dropped += 1;
            return false;
        }
        if last.is_some() || self.visitors.len() < VISITORS_MAX {
            self.visitors.insert(visitor, now_ms);
        }
        self.events += 1;
        if event.name == "pageview" {
            self.pageviews += 1;
            if let Some(page) = entry(&mut self.pages, &event.page) {
                page.pageviews += 1;
                if page.visitors.len() < VISITORS_MAX {
                    page.visitors.insert(visitor);
                }
            }
        } else if !is_engagement && let Some(goal) = entry(&mut self.goals, &event.name) {
            *goal += 1;
        }
        self.count_rating(&event.props);
        let shown = json!({
            "at": now_ms,
            "name": event.name,
            "page": event.page,
            "props": event.props,
            "visitor": format!("{:04x}", visitor & 0xffff),
            "browser": browser(&event.agent),
            "os": system(&event.agent),
        });
        push(&mut self.recent, RECENT_MAX, shown);
        true
    }

    fn count_rating(&mut self, props: &Map<String, Value>) {
        let prop = |key: &str| props.get(key).and_then(Value::as_str);
        let about = prop("activity").or_else(|| prop("question"));
        let rating = prop("rating").and_then(|rating| rating.parse::<usize>().ok());
        if let (Some(about), Some(rating @ 1..=5)) = (about, rating)
            && let Some(counts) = entry(&mut self.ratings, about)
        {
            counts[rating - 1] += 1;
        }
    }

    /// The statistics that the page shows.
    pub(super) fn shown(&self) -> Value {
        let page = |(name, page): (&String, &Page)| json!({ "page": name, "visitors": page.visitors.len(), "pageviews": page.pageviews });
        let goal = |(name, count): (&String, &u64)| json!({ "name": name, "count": count });
        let mut most_viewed: Vec<_> = self.pages.iter().collect();
        most_viewed.sort_by_key(|(_, page)| std::cmp::Reverse(page.pageviews));
        json!({
            "events": self.events,
            "pageviews": self.pageviews,
            "visitors": self.visitors.len(),
            "dropped": self.dropped,
            "pages": most_viewed.into_iter().take(PAGES_SHOWN_MAX).map(page).collect::<Value>(),
            "goals": self.goals.iter().map(goal).collect::<Value>(),
            "ratings": self.ratings.iter().map(rating).collect::<Value>(),
            "recent": self.recent.iter().rev().collect::<Vec<_>>(),
        })
    }

    /// The latest requests, oldest first.
    pub(super) fn requests(&self) -> Value {
        self.requests.iter().cloned().collect()
    }
}

fn rating((activity, distribution): (&String, &[u64; 5])) -> Value {
    let count: u64 = distribution.iter().sum();
    let sum: u64 = distribution.iter().zip(1..).map(|(n, rating)| n * rating).sum();
    let average = sum as f64 / count as f64;
    json!({ "activity": activity, "count": count, "average": average, "distribution": distribution })
}

/// The entry of a name, or `None` for a new one beyond [`NAMES_MAX`].
fn entry<'m, T: Default>(map: &'m mut BTreeMap<String, T>, name: &str) -> Option<&'m mut T> {
    let has_room = map.len() < NAMES_MAX || map.contains_key(name);
    has_room.then(|| map.entry(name.to_owned()).or_default())
}

fn push(list: &mut VecDeque<Value>, max: usize, value: Value) {
    if list.len() >= max {
        list.pop_front();
    }
    list.push_back(value);
}

/// Name and major version, if the User-Agent contains them.
fn browser(agent: &str) -> String {
    const NAMES: [(&str, &str); 7] = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser/", "Samsung"),
        ("Firefox/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Version/", "Safari"),
    ];
    let found = NAMES.iter().find_map(|(token, name)| {
        let (_, version) = agent.split_once(token)?;
        let major = version.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(format!("{name} {major}"))
    });
    found.unwrap_or_else(|| "unknown".into())
}

fn system(agent: &str) -> &'static str {
    const NAMES: [(&str, &str); 7] = [
        ("iPhone", "iOS"),
        ("iPad", "iOS"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Macintosh", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ];
    let found = NAMES.iter().find(|(token, _)| agent.contains(token));
    found.map_or("unknown", |(_, name)| name)
}
