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
    /// The first half of the events' ids: different each time for one database.
    pub(super) id_space: u64,
}

/// What came of a stream that arrived in full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) requests: f64,
    pub(super) events: f64,
    /// From the first request until the last event had arrived.
    pub(super) seconds: f64,
    /// Of which: from the last answer until the last event had arrived.
    pub(super) drain_s: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// How much of their core the ends used, from 0 to 1.
    pub(super) ends_busy: f64,
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

    /// Sends a stream through the middle, and waits until all of it has arrived. `events_each` is what the middle
    /// makes of one request. Fails when a request is refused, or anything is missing or too much at the end.
    pub(super) fn send(&self, to: SocketAddr, stream: &Stream, events_each: u64) -> Result<Sent> {
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
        let report: Value = serde_json::from_str(&step::output(&mut command)?)?;
        let number = |name: &str| {
            report[name]
                .as_f64()
                .with_context(|| format!("no {name} in {report}"))
        };
        let count = |name: &str| {
            report[name]
                .as_u64()
                .with_context(|| format!("no {name} in {report}"))
        };
        let (sent, accepted) = (count("sent")?, count("accepted")?);
        ensure!(sent == accepted, "not every request was accepted: {report}");
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
        let seconds = number("seconds")? + drain_s;
        let sink_s = (procfs::thread_time(self.process.id())? - sink_before).as_secs_f64();
        Ok(Sent {
            requests: number("accepted")?,
            events: number("accepted")? * number("events_per_request")?,
            seconds,
            drain_s,
            p50_ms: number("p50_us")? / 1000.0,
            p99_ms: number("p99_us")? / 1000.0,
            ends_busy: (number("cpu_seconds")? + sink_s) / seconds,
        })
    }
}
