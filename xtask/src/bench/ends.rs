//! The two ends, on a core of their own: the load generator and the sink (`tests/load`).

use super::process::{ENDS_CORE, Process, free_port, pinned, step_aside};
use super::procfs;
use crate::{http, step};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long nothing may arrive while something is still to come. What has not arrived by then is missing.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often to ask the sink. Rarely enough to cost the core of the ends next to nothing.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// The sink, which stands where Plausible would.
#[derive(Debug)]
pub(super) struct Sink {
    process: Process,
    program: PathBuf,
    pub(super) address: SocketAddr,
}

/// What to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    /// Ten events in a request.
    pub(super) batches: bool,
    pub(super) connections: usize,
    /// Requests per second; `None` keeps each connection busy.
    pub(super) rate: Option<f64>,
    pub(super) seconds: f64,
    /// Whether a request for which no connection is free is never sent, instead of late; and whether each connection
    /// is taken in before the first one is due.
    pub(super) drops: bool,
    /// Most requests; `None` for as many as the time allows.
    pub(super) requests: Option<u32>,
    /// The first half of the events' ids: different each time for one database.
    pub(super) id_space: u64,
}

impl Stream {
    /// Every connection busy, for so long.
    pub(super) fn busy(batches: bool, connections: usize, seconds: f64) -> Self {
        Self {
            batches,
            connections,
            rate: None,
            seconds,
            drops: false,
            requests: None,
            id_space: 1,
        }
    }

    /// The same stream with ids of its own.
    pub(super) fn next(&mut self) -> Self {
        self.id_space += 1;
        *self
    }
}

/// What came of a stream of which all that was accepted arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Accepted requests, and the events in them.
    pub(super) requests: f64,
    pub(super) events: f64,
    /// Due while no connection was free, and never sent.
    pub(super) unsent: f64,
    /// Refused with 429, with 503, and with anything else.
    pub(super) refused: [Refused; 3],
    /// From the first request until the last event had arrived.
    pub(super) seconds: f64,
    /// Of which: from the last answer until the last event had arrived.
    pub(super) drain_s: f64,
    /// From when an accepted request was due until its answer was read.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// How much of their core the ends used, from 0 to 1: until all had arrived, and while requests were sent.
    pub(super) ends_busy: f64,
    pub(super) sending_busy: f64,
    /// Seconds for which requests were sent and answered.
    pub(super) sending_s: f64,
    /// From when a request was due until the generator sent it: 99 of 100 by then.
    pub(super) lag_p99_ms: f64,
}

/// Requests that were refused in one way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Refused {
    pub(super) count: f64,
    pub(super) without_retry_after: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl Sink {
    /// Starts it. From here on this thread leaves the core of the middle alone.
    pub(super) fn start(load: &Path, folder: &Path) -> Result<Self> {
        step_aside()?;
        let address = free_port()?;
        let mut command = pinned(ENDS_CORE, load);
        command.args(["sink", "--listen", &address.to_string()]);
        Ok(Self {
            process: Process::start(&mut command, address, &folder.join("sink.log"))?,
            program: load.to_owned(),
            address,
        })
    }

    /// Requests that arrived so far.
    pub(super) fn count(&self) -> Result<u64> {
        let answer = http::get(&format!("http://{}/", self.address), &[])?;
        answer.body.parse().context("the sink tells no count")
    }

    /// Sends a stream through the middle, and waits until all of it has arrived. Fails when a request is refused, and
    /// as [`offer`](Self::offer) does.
    pub(super) fn send(&self, to: SocketAddr, stream: &Stream, events_each: u64) -> Result<Sent> {
        let sent = self.offer(to, stream, events_each)?;
        let refused: f64 = sent.refused.iter().map(|refused| refused.count).sum();
        ensure!(
            refused == 0.0,
            "{refused} requests were refused: {:?}",
            sent.refused
        );
        Ok(sent)
    }

    /// Sends a stream through the middle, which may refuse some of it, and waits until all that it accepted has
    /// arrived. `events_each` is what the middle makes of one request. Fails when a request is not answered, or
    /// anything is missing or too much at the end.
    pub(super) fn offer(&self, to: SocketAddr, stream: &Stream, events_each: u64) -> Result<Sent> {
        let (before, sink_before) = (self.count()?, procfs::thread_time(self.process.id())?);
        let mut command = pinned(ENDS_CORE, &self.program);
        command.args(["send", "--to", &to.to_string()]);
        command.args(["--shape", if stream.batches { "batch" } else { "single" }]);
        command.args(["--connections", &stream.connections.to_string()]);
        command.args(["--seconds", &stream.seconds.to_string()]);
        command.args(["--id-space", &stream.id_space.to_string()]);
        if let Some(rate) = stream.rate {
            command.args(["--rate", &rate.to_string()]);
        }
        if let Some(requests) = stream.requests {
            command.args(["--requests", &requests.to_string()]);
        }
        if stream.drops {
            command.args(["--drops", "--greets"]);
        }
        let report: Value = serde_json::from_str(&step::output(&mut command)?)?;
        let of = |value: &Value, name: &str| {
            value[name]
                .as_f64()
                .with_context(|| format!("no {name} in {report}"))
        };
        let number = |name: &str| of(&report, name);
        let accepted = report["accepted"].as_u64().context("no accepted")?;
        ensure!(
            number("failed")? == 0.0,
            "not every request was answered: {report}"
        );
        let mut refused = [Refused::default(); 3];
        for (refused, kind) in refused
            .iter_mut()
            .zip(["refused_429", "refused_503", "refused_other"])
        {
            let kind = &report[kind];
            *refused = Refused {
                count: of(kind, "count")?,
                without_retry_after: of(kind, "without_retry_after")?,
                p50_ms: of(kind, "p50_us")? / 1000.0,
                p99_ms: of(kind, "p99_us")? / 1000.0,
            };
        }
        let used = || -> Result<f64> {
            let sink_s = procfs::thread_time(self.process.id())? - sink_before;
            Ok(number("cpu_seconds")? + sink_s.as_secs_f64())
        };
        let (sending_s, used_sending_s) = (number("seconds")?, used()?);
        let arriving = Instant::now();
        let wanted = before + accepted * events_each;
        let (mut arrived, mut last) = (self.count()?, Instant::now());
        while arrived < wanted {
            if last.elapsed() > SILENCE_MAX {
                bail!("{} of {} events are missing", wanted - arrived, wanted - before);
            }
            thread::sleep(ASK_EVERY);
            let now_arrived = self.count()?;
            if now_arrived != arrived {
                (arrived, last) = (now_arrived, Instant::now());
            }
        }
        ensure!(arrived == wanted, "{} events arrived twice", arrived - wanted);
        let drain_s = arriving.elapsed().as_secs_f64();
        let seconds = sending_s + drain_s;
        Ok(Sent {
            requests: number("accepted")?,
            events: number("accepted")? * number("events_per_request")?,
            unsent: number("unsent")?,
            refused,
            seconds,
            drain_s,
            p50_ms: number("p50_us")? / 1000.0,
            p99_ms: number("p99_us")? / 1000.0,
            ends_busy: used()? / seconds,
            sending_busy: used_sending_s / sending_s,
            sending_s,
            lag_p99_ms: number("lag_p99_us")? / 1000.0,
        })
    }
}
