//! How each server reads, answers and counts events: Plausible Community Edition, Plausible Cloud or Vince (contract
//! a.3, b.1, b.4, b.6, b.7, c.1).

use super::{Answer, Arrival};
use feedback_relay::clock::Clock;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

/// A kind of server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Server {
    /// Plausible Community Edition.
    #[default]
    PlausibleCe,
    /// Plausible Cloud, with its load balancer.
    PlausibleCloud,
    /// Vince.
    Vince,
}

/// The address that Vince uses for every visitor whose address it cannot parse.
const NO_ADDRESS: &str = "-";
const TEXT: &str = "Event name is longer than any server takes";

/// An event that a server counted.
#[derive(Clone, Debug)]
struct Counted {
    /// When it arrived, in whole seconds, as RFC 3339.
    at: String,
    site: String,
    name: String,
    visitor: String,
}

/// A server's state.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) server: Server,
    pub(super) clock: Clock,
    /// The sites it knows; `None` for every site.
    pub(super) sites: Option<Vec<String>>,
    /// Whether a proxy in front replaces every address header with its own address.
    pub(super) is_behind_a_proxy: bool,
    /// Accepts and loses every nth event; `None` loses none.
    pub(super) loses: Option<usize>,
    /// The key of its Stats API; without a key the API does not answer.
    pub(super) key: Option<String>,
    pub(super) queries: usize,
    taken: usize,
    counted: Vec<Counted>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            server: Server::default(),
            clock: Clock::system(),
            sites: None,
            is_behind_a_proxy: false,
            loses: None,
            key: None,
            queries: 0,
            taken: 0,
            counted: Vec::new(),
        }
    }
}

impl Counts {
    /// Counts an event if the server would, and returns its answer.
    pub(super) fn take(&mut self, arrival: &Arrival) -> Answer {
        let text = |key: &str| arrival.body[key].as_str().unwrap_or_default();
        let (site, name, url) = (text("domain"), text("name"), text("url"));
        if self.server == Server::Vince
            && let Some(refused) = vince_refuses(name, url)
        {
            return refused;
        }
        if self
            .sites
            .as_ref()
            .is_some_and(|sites| !sites.iter().any(|known| known == site))
        {
            return Answer::AcceptWith("x-plausible-dropped", "1");
        }
        self.taken += 1;
        if self.loses.is_some_and(|nth| self.taken.is_multiple_of(nth)) {
            return Answer::Accept;
        }
        let host = url.split('/').nth(2).unwrap_or_default();
        let visitor = [&self.address(arrival), arrival.header("user-agent"), site, host];
        self.counted.push(Counted {
            at: self.clock.now().rfc3339(),
            site: site.to_owned(),
            name: name.to_owned(),
            visitor: visitor.join("\n"),
        });
        Answer::Accept
    }

    /// The answer to the self-test's event, which no server counts.
    pub(super) fn refuse(&self, arrival: &Arrival) -> (u16, Value) {
        match self.server {
            Server::PlausibleCe => (400, json!({ "errors": { "event_name": [TEXT] } })),
            Server::PlausibleCloud => (200, json!({ "ip": self.address(arrival) })),
            Server::Vince => (400, json!({ "error": TEXT })),
        }
    }

    fn address(&self, arrival: &Arrival) -> String {
        match self.is_behind_a_proxy {
            true => "192.0.2.1".to_owned(),
            false => self.server.address(arrival),
        }
    }

    /// The number of visitors of a site.
    pub(super) fn visitors(&self, site: &str) -> usize {
        let of_site = self.counted.iter().filter(|event| event.site == site);
        of_site.map(|event| &event.visitor).collect::<HashSet<_>>().len()
    }

    /// The number of events of this name of a site.
    pub(super) fn events(&self, site: &str, name: &str) -> usize {
        let fits = |event: &&Counted| event.site == site && event.name == name;
        self.counted.iter().filter(fits).count()
    }

    /// Answers a query to the Stats API.
    pub(super) fn query(&mut self, arrival: &Arrival) -> (u16, Value) {
        self.queries += 1;
        let Some(key) = &self.key else {
            return (404, json!({ "error": "Not found" }));
        };
        if arrival.header("authorization") != format!("Bearer {key}") {
            return (401, json!({ "error": "Invalid API key or site ID." }));
        }
        match (self.server, arrival.line.split('?').next().unwrap_or_default()) {
            (Server::Vince, "GET /api/v1/stats/aggregate") => {
                let site = parameter(&arrival.line, "site_id");
                let events = self.counted.iter().filter(|event| event.site == site).count();
                (200, json!({ "visitors": self.visitors(site), "events": events }))
            }
            (Server::PlausibleCe | Server::PlausibleCloud, "POST /api/v2/query") => {
                (200, self.query_v2(&arrival.body))
            }
            _ => (404, json!({ "error": "Not found" })),
        }
    }

    /// Metrics of all events or by name; a range of whole seconds, both ends included.
    fn query_v2(&self, query: &Value) -> Value {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (site, from, to) = (
            text(&query["site_id"]),
            text(&query["date_range"][0]),
            text(&query["date_range"][1]),
        );
        let filter = &query["filters"][0];
        let names: Option<Vec<String>> = filter.as_array().map(|parts| {
            assert_eq!(parts[..2], ["is", "event:name"], "{query}");
            parts[2].as_array().unwrap().iter().map(text).collect()
        });
        let fits = |event: &&Counted| {
            let is_named = names.as_ref().is_none_or(|names| names.contains(&event.name));
            event.site == site && event.at >= from && event.at <= to && is_named
        };
        let events: Vec<_> = self.counted.iter().filter(fits).collect();
        let metric = |metric: &Value, events: &[&Counted]| match metric.as_str() {
            // Plausible stores engagement as a separate row, and does not count it in this metric.
            Some("events") => events.iter().filter(|event| event.name != "engagement").count(),
            Some("visitors") => events
                .iter()
                .map(|event| &event.visitor)
                .collect::<HashSet<_>>()
                .len(),
            other => panic!("no metric of the tests: {other:?}"),
        };
        let row = |dimensions: Value, events: &[&Counted]| {
            let asked = query["metrics"].as_array().unwrap().iter();
            let metrics: Vec<usize> = asked.map(|name| metric(name, events)).collect();
            json!({ "dimensions": dimensions, "metrics": metrics })
        };
        let results: Vec<Value> = match query["dimensions"].as_array().map(Vec::as_slice) {
            None | Some([]) => vec![row(json!([]), &events)],
            Some(_) => {
                let mut names: Vec<&String> = events.iter().map(|event| &event.name).collect();
                names.sort_unstable();
                names.dedup();
                let of = |name: &String| {
                    let named: Vec<_> = events
                        .iter()
                        .filter(|event| event.name == *name)
                        .copied()
                        .collect();
                    row(json!([name]), &named)
                };
                names.into_iter().map(of).collect()
            }
        };
        json!({ "results": results, "meta": {}, "query": query })
    }
}

/// Vince's own checks: the first failure is the whole answer.
fn vince_refuses(name: &str, url: &str) -> Option<Answer> {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let path = rest[host.len()..].split(['?', '#']).next().unwrap_or_default();
    let body = if name.is_empty() {
        r#"{"error":"missing event name"}"#
    } else if host.is_empty() {
        r#"{"error":"missing host name"}"#
    } else if path.is_empty() {
        r#"{"error":"missing path name"}"#
    } else if name.len() > 120 {
        r#"{"error":"event name too long"}"#
    } else {
        return None;
    };
    Some(Answer::Status(400, &[("content-type", "application/json")], body))
}

/// A parameter of a request's line. The tests' own need no decoding.
fn parameter<'l>(line: &'l str, name: &str) -> &'l str {
    let query = line.split_once('?').map_or("", |(_, query)| query);
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}

impl Server {
    /// The visitor's address, as this server determines it.
    fn address(self, arrival: &Arrival) -> String {
        let first = |list: &str| list.split(',').next().unwrap_or_default().trim().to_owned();
        let given = |names: &[&str]| {
            names
                .iter()
                .map(|name| arrival.header(name))
                .find(|value| !value.is_empty())
                .map(str::to_owned)
        };
        match self {
            Self::PlausibleCe => given(&["x-plausible-ip", "cf-connecting-ip"])
                .or_else(|| given(&["b-forwarded-for", "x-forwarded-for"]).map(|list| first(&list))),
            Self::PlausibleCloud => given(&["x-forwarded-for"]).map(|list| first(&list)),
            Self::Vince => given(&[
                "x-vince-ip",
                "cf-connecting-ip",
                "b-forwarded-for",
                "x-real-ip",
                "x-forwarded-for",
                "x-client-ip",
                "fly-client-ip",
            ])
            .map(|value| {
                let host = value.parse().map(|address: SocketAddr| address.ip());
                let address: Result<IpAddr, _> = host.or_else(|_| value.parse());
                address.map_or_else(|_| NO_ADDRESS.to_owned(), |address| address.to_string())
            }),
        }
        // The connection's address: the same for all events from one relay.
        .unwrap_or_else(|| "127.0.0.1".to_owned())
    }
}
