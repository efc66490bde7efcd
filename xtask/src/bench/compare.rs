//! The comparison: rounds in which all contenders take turns, so that a slow minute of the machine meets them all.

use super::aims::{self, Aim};
use super::contender::{Contender, Middle};
use super::ends::{Sent, Sink, Stream};
use super::middle::{Programs, Running};
use super::{build_load, chart, folder, procfs, soak, table};
use crate::step::{say, step};
use crate::{bundle, workspace};
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::process::ExitCode;

/// Connections of the generator: browsers, or the web server in front, keep theirs open.
pub(super) const CONNECTIONS: usize = 64;
/// Events per second at which the relay's memory is looked at.
pub(super) const STEADY_RATE: f64 = 10_000.0;

#[derive(Debug, clap::Args)]
pub(super) struct Compare {
    /// How many rounds; the medians count
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: Option<u16>,
    /// Measure only these, and write no document
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Contender>,
    /// Measure shortly, in about a minute, and write no document
    #[arg(long)]
    quick: bool,
    /// Instead of comparing, send to the relay for so long and watch whether anything grows, as in 10m or 90s
    #[arg(long, value_name = "TIME", value_parser = soak::lasts)]
    soak: Option<std::time::Duration>,
    /// Measure this relay instead of building one
    #[arg(long, value_name = "FILE", value_parser = super::relay_file)]
    relay: Option<PathBuf>,
}

/// How long each part of a round takes, in seconds.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    rounds: u16,
    warm_up: f64,
    busy: f64,
    half: f64,
    steady: f64,
}

const FULL: Lengths = Lengths {
    rounds: 5,
    warm_up: 1.0,
    busy: 3.0,
    half: 4.0,
    steady: 10.0,
};
const QUICK: Lengths = Lengths {
    rounds: 2,
    warm_up: 0.5,
    busy: 1.0,
    half: 1.5,
    steady: 4.0,
};

/// What one contender showed in one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Microseconds of processor per delivered event with every connection busy, and at half of that rate.
    pub(super) busy_us: f64,
    pub(super) half_us: f64,
    /// Events per second delivered with every connection busy.
    pub(super) throughput: f64,
    /// Milliseconds until the answer, from when the request was due, at half of that rate.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Most resident memory under load and memory at the end, in MiB.
    pub(super) peak_mib: f64,
    pub(super) end_mib: f64,
    /// How much of their core the ends used while every connection was busy, from 0 to 1.
    pub(super) ends_busy: f64,
}

/// What the relay showed at [`STEADY_RATE`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Steady {
    pub(super) peak_mib: f64,
    pub(super) end_mib: f64,
    pub(super) p99_ms: f64,
    pub(super) cpu_us: f64,
    /// Events per second delivered, from the first request to the last arrival.
    pub(super) delivered: f64,
    /// Seconds it took until what was left had arrived.
    pub(super) drain_s: f64,
}

/// All that was measured.
#[derive(Debug)]
pub(super) struct Results {
    /// The machine's load average before the first round: what else went on.
    pub(super) load_before: f64,
    pub(super) rows: Vec<(Contender, Vec<Sample>)>,
    /// The steady rate, or why it could not be held: one core may not be enough, and the rows stand without it.
    pub(super) steady: Option<Result<Steady, String>>,
}

pub(super) fn run(compare: &Compare) -> Result<ExitCode> {
    let folder = super::prepare()?;
    let load = build_load()?;
    let contenders = match compare.only.as_slice() {
        _ if compare.soak.is_some() => &[Contender::Relay],
        [] => Contender::ALL.as_slice(),
        some => some,
    };
    let middles: Vec<Middle> = contenders.iter().map(|c| c.middle()).collect();
    let relay = match &compare.relay {
        Some(relay) => relay.clone(),
        None if middles.contains(&Middle::Relay) => build_relay()?,
        None => PathBuf::new(),
    };
    let programs = Programs::require(&folder, &relay, &middles)?;
    if let Some(lasts) = compare.soak {
        return soak::run(&programs, &Sink::start(&load, &folder)?, lasts);
    }
    let lengths = if compare.quick { QUICK } else { FULL };
    let results = measure(&programs, &load, contenders, lengths, compare.rounds)?;
    let aims = aims::judge(&results);
    let text = table::text(&results, &aims);
    say(&text);
    if compare.quick || !compare.only.is_empty() {
        eprintln!("docs/BENCHMARK.md is left as it is: only a full run writes it");
    } else {
        write(&results, &text)?;
    }
    Ok(if aims.iter().all(Aim::is_met) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(MISSED)
    })
}

/// How the benchmark ends when it ran well and an aim was missed.
pub(super) const MISSED: u8 = 3;

pub(super) fn build_relay() -> Result<PathBuf> {
    bundle::all()?;
    step("building the relay for release", || {
        crate::step::run(workspace::locked("build").args(["--release", "--package", "feedback-relay"]))
    })?;
    Ok(workspace::target().join("release/feedback-relay"))
}

fn measure(
    programs: &Programs,
    load: &std::path::Path,
    contenders: &[Contender],
    lengths: Lengths,
    rounds: Option<u16>,
) -> Result<Results> {
    let load_before = procfs::load_average()?;
    let sink = Sink::start(load, &folder())?;
    let mut rows: Vec<(Contender, Vec<Sample>)> = contenders.iter().map(|c| (*c, Vec::new())).collect();
    let rounds = rounds.unwrap_or(lengths.rounds);
    for round in 1..=rounds {
        for (contender, samples) in &mut rows {
            let name = contender.name();
            let sample = take_turn(programs, &sink, *contender, lengths)
                .with_context(|| format!("{name}, round {round} of {rounds}"))?;
            eprintln!(
                "  round {round}/{rounds}  {name:<30} {:>6.1} µs/event busy, {:>6.1} at half load, {:>7.0} events/s, \
                 p99 {:>6.2} ms, {:>4.0} MiB, ends {:>3.0} %",
                sample.busy_us,
                sample.half_us,
                sample.throughput,
                sample.p99_ms,
                sample.peak_mib,
                sample.ends_busy * 100.0
            );
            samples.push(sample);
        }
    }
    let steady = match contenders.iter().any(|c| c.middle() == Middle::Relay) {
        true => Some(hold_steady(programs, &sink, lengths).map_err(|error| format!("{error:#}"))),
        false => None,
    };
    Ok(Results {
        load_before,
        rows,
        steady,
    })
}

/// One contender's turn: started anew, warmed up, kept busy, then loaded by half.
fn take_turn(programs: &Programs, sink: &Sink, contender: Contender, lengths: Lengths) -> Result<Sample> {
    let mut running = programs.start(contender.middle(), sink.address)?;
    let pid = running.process.id();
    let mut stream = Stream::busy(contender.batches(), CONNECTIONS, lengths.warm_up);
    let arrivals = contender.arrivals();
    sink.send(running.address, &stream, arrivals)?;
    procfs::reset_peak(pid)?;
    stream.seconds = lengths.busy;
    let (busy, busy_us) = timed(sink, &running, &stream.next(), arrivals)?;
    stream.seconds = lengths.half;
    stream.rate = Some(busy.requests / busy.seconds / 2.0);
    let (half, half_us) = timed(sink, &running, &stream.next(), arrivals)?;
    running.process.check()?;
    let usage = procfs::usage(pid)?;
    Ok(Sample {
        busy_us,
        half_us,
        throughput: busy.events / busy.seconds,
        p50_ms: half.p50_ms,
        p99_ms: half.p99_ms,
        peak_mib: usage.peak_kib as f64 / 1024.0,
        end_mib: usage.resident_kib as f64 / 1024.0,
        ends_busy: busy.ends_busy,
    })
}

/// The relay at a fixed rate, in batches, for its memory.
fn hold_steady(programs: &Programs, sink: &Sink, lengths: Lengths) -> Result<Steady> {
    let contender = Contender::RelayBatch;
    let mut running = programs.start(contender.middle(), sink.address)?;
    let mut stream = Stream {
        rate: Some(STEADY_RATE / 10.0),
        ..Stream::busy(true, CONNECTIONS, lengths.warm_up)
    };
    sink.send(running.address, &stream, contender.arrivals())?;
    procfs::reset_peak(running.process.id())?;
    stream.seconds = lengths.steady;
    let (sent, cpu_us) = timed(sink, &running, &stream.next(), contender.arrivals())?;
    running.process.check()?;
    let usage = procfs::usage(running.process.id())?;
    Ok(Steady {
        peak_mib: usage.peak_kib as f64 / 1024.0,
        end_mib: usage.resident_kib as f64 / 1024.0,
        p99_ms: sent.p99_ms,
        cpu_us,
        delivered: sent.events / sent.seconds,
        drain_s: sent.drain_s,
    })
}

/// Sends a stream, and tells what each event cost the middle until the last had arrived, in microseconds.
fn timed(sink: &Sink, running: &Running, stream: &Stream, arrivals: u64) -> Result<(Sent, f64)> {
    let before = procfs::usage(running.process.id())?.cpu_s();
    let sent = sink.send(running.address, stream, arrivals)?;
    let used = procfs::usage(running.process.id())?.cpu_s() - before;
    Ok((sent, used * 1e6 / sent.events))
}

/// Writes the document's table and the chart.
fn write(results: &Results, text: &str) -> Result<()> {
    table::write(table::MEASURED, text)?;
    std::fs::write(workspace::root().join("docs/benchmark.svg"), chart::svg(results))?;
    eprintln!("docs/BENCHMARK.md and docs/benchmark.svg are written");
    Ok(())
}
