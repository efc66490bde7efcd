//! The server's own counts, from its Stats API: `POST /api/v2/query` of Plausible, `GET /api/v1/stats/aggregate` of
//! Vince, which supports neither time spans nor event names there.
//!
//! A span is in UTC, so the site's timezone in Plausible does not matter. The transport bounds answers; a truncated one
//! is unreadable and counts nothing.

use super::delivered::DAY_MS;
use super::self_test::TEST_EVENT;
use super::transport::{Cause, Connection};
use crate::clock::Timestamp;
use crate::config::{Profile, Upstream};
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue};
use axum::http::{Method, Request, Response, Uri};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Limit of event names per query, so that its answer fits: Plausible repeats each name in its results and in the
/// echoed query, at most 480 bytes each.
const NAMES_MAX: usize = 15;

/// Queries the Stats API of one server.
#[derive(Debug)]
pub struct StatsApi {
    profile: Profile,
    prefix: String,
    key: HeaderValue,
}

/// A time span in whole seconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first second.
    pub from: Timestamp,
    /// The last second.
    pub to: Timestamp,
}

impl Span {
    /// A UTC day.
    pub fn of_day(day: i64) -> Self {
        Self {
            from: Timestamp(day * DAY_MS),
            to: Timestamp((day + 1) * DAY_MS - 1000),
        }
    }
}

/// Counts of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Unique visitors.
    pub visitors: u64,
    /// Events without engagements, which Plausible's metric leaves out.
    pub events: u64,
}

/// Why there is no count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// There was no answer.
    Unanswered(Cause),
    /// The answer has this status instead of 200.
    Status(u16),
    /// The answer is not in the Stats API's form.
    Unreadable,
    /// This server's API does not support the query.
    Unsupported,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unanswered(cause) => write!(f, "the Stats API did not answer: {cause}"),
            Self::Status(401) => f.write_str(
                "the Stats API refuses the key or the site (401): check `upstream.stats_key`, and that its account may see the site",
            ),
            Self::Status(402) => {
                f.write_str("the subscription does not include the Stats API (402)")
            }
            Self::Status(404) => f.write_str("this server has no Stats API v2 (404)"),
            Self::Status(429) => {
                f.write_str("the Stats API throttles the relay (429): raise `upstream.stats_interval_s`")
            }
            Self::Status(status) => write!(f, "the Stats API answered {status}"),
            Self::Unreadable => f.write_str("the answer does not come from the Stats API"),
            Self::Unsupported => f.write_str("this server's Stats API cannot count events by name"),
        }
    }
}

/// One row of an answer of version 2.
#[derive(Deserialize)]
struct Row<M> {
    metrics: M,
    #[serde(default)]
    dimensions: Vec<String>,
}

#[derive(Deserialize)]
struct Answer<M> {
    results: Vec<Row<M>>,
}

/// An answer's counts.
#[derive(Debug)]
pub struct Read<T> {
    /// The counts.
    pub counts: T,
    /// The server's time, if it sent one.
    pub date: Option<Timestamp>,
}

impl StatsApi {
    /// The API of the configured upstream; `None` without a key.
    pub fn new(upstream: &Upstream) -> Option<Self> {
        let stats = upstream.stats.as_ref()?;
        let base: Uri = upstream.url.parse().ok()?;
        Some(Self {
            profile: upstream.profile,
            prefix: base.path().trim_end_matches('/').to_owned(),
            key: stats.key.header("Bearer ")?,
        })
    }

    /// The number of queries that [`StatsApi::events`] sends for this many names.
    pub fn questions(names: usize) -> u64 {
        // The test events are one name more.
        (names + 1).div_ceil(NAMES_MAX) as u64 + 1
    }

    /// Visitors and events of a site, for one event name in one span; Vince counts all names of the day.
    ///
    /// # Errors
    /// Why there is no count.
    pub async fn counts(
        &self,
        connection: &mut impl Connection,
        site: &str,
        span: Span,
        event: &str,
    ) -> Result<Counts, Unread> {
        if self.profile == Profile::Vince {
            return self.counts_of_vince(connection, site).await;
        }
        let query = self.query(site, span, &["visitors", "events"], Some(&[event]), false);
        let read = rows::<[u64; 2]>(connection, query).await?;
        match read.counts[..] {
            [
                Row {
                    metrics: [visitors, events],
                    ..
                },
            ] => Ok(Counts { visitors, events }),
            _ => Err(Unread::Unreadable),
        }
    }

    /// The number of events of each of these names in a span, and of all names together, without test events.
    ///
    /// # Errors
    /// Why there is no count.
    pub async fn events(
        &self,
        connection: &mut impl Connection,
        site: &str,
        span: Span,
        names: &[&str],
    ) -> Result<Read<(BTreeMap<String, u64>, u64)>, Unread> {
        if !self.profile.counts_by_event() {
            return Err(Unread::Unsupported);
        }
        let mut by_name = BTreeMap::new();
        let is_listed = names.contains(&TEST_EVENT);
        let asked: Vec<&str> = names
            .iter()
            .copied()
            .chain((!is_listed).then_some(TEST_EVENT))
            .collect();
        for names in asked.chunks(NAMES_MAX) {
            let query = self.query(site, span, &["events"], Some(names), true);
            for Row {
                metrics: [count],
                dimensions,
            } in rows::<[u64; 1]>(connection, query).await?.counts
            {
                let name = dimensions.into_iter().next().ok_or(Unread::Unreadable)?;
                by_name.insert(name, count);
            }
        }
        let query = self.query(site, span, &["events"], None, false);
        let read = rows::<[u64; 1]>(connection, query).await?;
        let tests = match is_listed {
            true => 0,
            false => by_name.remove(TEST_EVENT).unwrap_or(0),
        };
        let [Row { metrics: [total], .. }] = read.counts[..] else {
            return Err(Unread::Unreadable);
        };
        Ok(Read {
            counts: (by_name, total.saturating_sub(tests)),
            date: read.date,
        })
    }

    fn query(
        &self,
        site: &str,
        span: Span,
        metrics: &[&str],
        names: Option<&[&str]>,
        by_name: bool,
    ) -> Request<Bytes> {
        let mut query = json!({
            "site_id": site,
            "metrics": metrics,
            "date_range": [span.from.rfc3339(), span.to.rfc3339()],
        });
        if let Some(names) = names {
            query["filters"] = json!([["is", "event:name", names]]);
        }
        if by_name {
            query["dimensions"] = json!(["event:name"]);
        }
        let mut request = self.request("/api/v2/query", Bytes::from(query.to_string()));
        *request.method_mut() = Method::POST;
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request
    }

    fn request(&self, path: &str, body: Bytes) -> Request<Bytes> {
        let mut request = Request::new(body);
        // The configuration accepts only prefixes and sites that form a valid URI.
        *request.uri_mut() = format!("{}{path}", self.prefix).parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.key.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        request
    }

    async fn counts_of_vince(&self, connection: &mut impl Connection, site: &str) -> Result<Counts, Unread> {
        let path = format!("/api/v1/stats/aggregate?site_id={site}&period=day&metrics=visitors,events");
        let answer = ask(connection, self.request(&path, Bytes::new())).await?;
        let read: Value = serde_json::from_slice(answer.body()).map_err(|_| Unread::Unreadable)?;
        let count = |key: &str| whole(&read[key]).ok_or(Unread::Unreadable);
        Ok(Counts {
            visitors: count("visitors")?,
            events: count("events")?,
        })
    }
}

/// A non-negative whole number; Vince writes them as floating-point numbers.
fn whole(value: &Value) -> Option<u64> {
    let whole = || value.as_f64().filter(|count| count.fract() == 0.0);
    value.as_u64().or_else(|| whole()?.to_string().parse().ok())
}

/// The rows of an answer of version 2, each with `M` metrics.
async fn rows<M: DeserializeOwned>(
    connection: &mut impl Connection,
    query: Request<Bytes>,
) -> Result<Read<Vec<Row<M>>>, Unread> {
    let answer = ask(connection, query).await?;
    let read: Answer<M> = serde_json::from_slice(answer.body()).map_err(|_| Unread::Unreadable)?;
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    Ok(Read {
        counts: read.results,
        date: date.and_then(Timestamp::from_http_date),
    })
}

async fn ask(connection: &mut impl Connection, request: Request<Bytes>) -> Result<Response<Bytes>, Unread> {
    let answer = connection.send(request).await.map_err(Unread::Unanswered)?;
    match answer.status().as_u16() {
        200 => Ok(answer),
        status => Err(Unread::Status(status)),
    }
}

#[cfg(test)]
mod tests;
