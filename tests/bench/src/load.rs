//! The two ends of a measurement, on a core of their own: the load generator, and the sink that replaces Plausible.
//!
//! Each is one thread with one epoll, because they share a core and must cost far less than the middle under test: a
//! general HTTP client and server would need more of that core than nginx needs of its own, and would limit every fast
//! middle. Therefore only finding the end of a message is left to a library (`httparse`).

mod events;
mod generator;
mod held;
mod http;
mod order;
mod report;
mod schedule;
mod sink;
mod wire;

pub(crate) use events::{SITE, Shape, with_numbers};
pub(crate) use http::ask;
pub(crate) use report::Refused;
pub(crate) use sink::{Manner, Sink};

use crate::usage::own_time;
use anyhow::{Result, bail, ensure};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// Longest silence while events are still expected. Events that have not arrived by then are missing.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Interval at which the sink is polled for its count.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// A stream of requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) shape: Shape,
    pub(crate) connections: usize,
    /// Requests per second; `None` keeps each connection busy.
    pub(crate) rate: Option<f64>,
    pub(crate) seconds: f64,
    /// Whether a request that is due while no connection is free is dropped instead of sent late. Each connection then
    /// first requests the version: connections that open all at once overflow the kernel's queue, and requests on them
    /// would wait for its retransmissions.
    pub(crate) drops: bool,
    /// The first half of the events' ids: different each time for one database.
    pub(crate) id_space: u64,
}

impl Stream {
    /// Keeps every connection busy for this many seconds.
    pub(crate) fn busy(shape: Shape, connections: usize, seconds: f64) -> Self {
        Self {
            shape,
            connections,
            rate: None,
            seconds,
            drops: false,
            id_space: 1,
        }
    }

    /// The same stream with new ids.
    pub(crate) fn next(&mut self) -> Self {
        self.id_space += 1;
        *self
    }
}

/// The result of a stream whose accepted events have all arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// Accepted requests, and the events in them.
    pub(crate) requests: f64,
    pub(crate) events: f64,
    /// Due while no connection was free, and dropped.
    pub(crate) unsent: f64,
    /// Refused with 429, with 503, and with any other status.
    pub(crate) refused: [Refused; 3],
    /// From the first request until the last event had arrived.
    pub(crate) seconds: f64,
    /// Of which: from the last answer until the last event had arrived.
    pub(crate) drain_s: f64,
    /// From when an accepted request was due until its answer was read.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// The ends' share of their core, from 0 to 1: until all events had arrived, and while requests were sent.
    pub(crate) ends_busy: f64,
    pub(crate) sending_busy: f64,
    /// Seconds for which requests were sent and answered.
    pub(crate) sending_s: f64,
    /// From when a request was due until the generator sent it, 99th percentile.
    pub(crate) lag_p99_ms: f64,
}

impl Sent {
    /// Delivered events per second.
    pub(crate) fn rate(&self) -> f64 {
        self.events / self.seconds
    }
}

impl Sink {
    /// Sends a stream through the middle and waits until all of it has arrived. Fails if a request is refused, and in
    /// the same cases as [`offer`](Self::offer).
    pub(crate) fn send(&self, to: SocketAddr, stream: &Stream, events_each: u64) -> Result<Sent> {
        let sent = self.offer(to, stream, events_each)?;
        let refused: f64 = sent.refused.iter().map(|refused| refused.count).sum();
        ensure!(
            refused == 0.0,
            "{refused} requests were refused: {:?}",
            sent.refused
        );
        Ok(sent)
    }

    /// Sends a stream through the middle, which may refuse some of it, and waits until everything it accepted has
    /// arrived. `events_each` is the number of requests that the middle makes of one. Fails if a request is not
    /// answered, or if an event is missing or arrives twice.
    pub(crate) fn offer(&self, to: SocketAddr, stream: &Stream, events_each: u64) -> Result<Sent> {
        let before = self.count();
        let mut report = generator::run(to, stream)?;
        ensure!(
            report.failed == 0,
            "{} of {} requests were not answered",
            report.failed,
            report.sent
        );
        let sending_s = report.took.as_secs_f64();
        let used_sending = own_time()? - report.cpu_before;
        let accepted = report.accepted.len();
        let drain_s = self
            .wait_for(before, accepted as u64 * events_each)?
            .as_secs_f64();
        let used = own_time()? - report.cpu_before;
        Ok(Sent {
            requests: accepted as f64,
            events: (accepted * stream.shape.events()) as f64,
            unsent: report.unsent as f64,
            refused: report.refused(),
            seconds: sending_s + drain_s,
            drain_s,
            p50_ms: report.accepted.percentile_ms(50),
            p99_ms: report.accepted.percentile_ms(99),
            ends_busy: used.as_secs_f64() / (sending_s + drain_s),
            sending_busy: used_sending.as_secs_f64() / sending_s,
            sending_s,
            lag_p99_ms: report.lag.percentile_ms(99),
        })
    }

    /// Waits until `wanted` more requests than `before` have arrived, and returns how long that took.
    fn wait_for(&self, before: u64, wanted: u64) -> Result<Duration> {
        let start = Instant::now();
        let (mut arrived, mut last) = (self.count() - before, start);
        while arrived < wanted {
            if last.elapsed() > SILENCE_MAX || self.has_ended() {
                bail!("{} of {wanted} events are missing", wanted - arrived);
            }
            thread::sleep(ASK_EVERY);
            let now_arrived = self.count() - before;
            if now_arrived != arrived {
                (arrived, last) = (now_arrived, Instant::now());
            }
        }
        ensure!(arrived == wanted, "{} events arrived twice", arrived - wanted);
        Ok(start.elapsed())
    }
}
