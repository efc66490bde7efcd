//! `cargo xtask bench overload`: what the relay does when it is offered more than it can take.

mod rows;

use super::compare::{CONNECTIONS, MISSED, build_relay};
use super::contender::Middle;
use super::ends::{Sent, Sink, Stream};
use super::middle::{Programs, Running, Tool};
use super::{build_load, procfs, table};
use crate::step::say;
use crate::tools;
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::process::ExitCode;

/// What is offered, as shares of what the relay can take.
const SHARES: [f64; 3] = [0.5, 2.0, 4.0];
/// How long the relay is warmed up, and then kept busy to learn what it can take, in seconds.
const WARM_UP_S: f64 = 1.0;
const BUSY_S: f64 = 3.0;

/// Offers the relay half of what it can take, twice and four times that, and tells how soon it answers, what it
/// refuses and how, and whether all it accepted is delivered
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It ends with 0 when what is accepted is answered in time, every refusal says when to come back and \
                  all that was accepted is delivered; with 3 when an answer is late or a refusal says nothing; with 1 \
                  when anything failed. Only a run without options writes docs/BENCHMARK.md."
)]
pub(super) struct Overload {
    /// How many rounds; the medians count
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    /// For how many seconds each load is offered
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// Connections of the generator: requests queue in the relay and not before it as long as some are free
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u16).range(64..=10_000))]
    connections: u16,
    /// By how many milliseconds strace delays each fsync in the rows with a slow disk; 0 leaves them out
    #[arg(long, default_value_t = 20, value_name = "MS", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    slow_disk: u16,
    /// Measure this relay instead of building one
    #[arg(long, value_name = "FILE", value_parser = super::relay_file)]
    relay: Option<PathBuf>,
}

impl Overload {
    /// Whether the run is the one that the document describes.
    fn is_whole(&self) -> bool {
        (self.rounds, self.seconds, self.connections, self.slow_disk) == (3, 6, 2000, 20)
            && self.relay.is_none()
    }
}

/// What one load came to.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Requests per second that were due.
    offered: f64,
    sent: Sent,
    /// Most resident memory under this load, in MiB.
    peak_mib: f64,
}

pub(super) fn run(overload: &Overload) -> Result<ExitCode> {
    let folder = super::prepare()?;
    let load = build_load()?;
    let relay = match &overload.relay {
        Some(relay) => relay.clone(),
        None => build_relay()?,
    };
    let programs = Programs::require(&folder, &relay, &[Middle::Relay])?;
    let mut disks = vec![("as it is", programs.clone())];
    if overload.slow_disk > 0 {
        disks.push(("slow", programs.under(slow_disk(overload.slow_disk)?)));
    }
    let load_before = procfs::load_average()?;
    let sink = Sink::start(&load, &folder)?;
    let mut rows: Vec<rows::Row> = disks
        .iter()
        .flat_map(|(disk, _)| SHARES.map(|share| rows::Row::new(disk, share)))
        .collect();
    for round in 1..=overload.rounds {
        let mut capacity = None;
        for ((disk, programs), rows) in disks.iter().zip(rows.chunks_mut(SHARES.len())) {
            one(overload, programs, &sink, &mut capacity, rows)
                .with_context(|| format!("disk {disk}, round {round} of {}", overload.rounds))?;
        }
    }
    let text = rows::text(&rows, overload.slow_disk, load_before);
    say(&text);
    if overload.is_whole() {
        table::write(rows::MARKERS, &text)?;
        eprintln!("docs/BENCHMARK.md is written");
    } else {
        eprintln!("docs/BENCHMARK.md is left as it is: only a run without options writes it");
    }
    Ok(if rows.iter().all(rows::Row::is_well) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(MISSED)
    })
}

/// The relay, but each fsync takes longer. Of all system calls strace stops these two only, so the rest is as fast as
/// ever, and the threads that do not wait for the disk go on.
fn slow_disk(ms: u16) -> Result<Tool> {
    let words = [
        "--follow-forks",
        "--seccomp-bpf",
        "--quiet=all",
        "--output=/dev/null",
        "--trace=fsync,fdatasync",
        &format!("--inject=fsync,fdatasync:delay_enter={ms}ms"),
    ];
    Ok(Tool {
        program: tools::debian("strace", "strace")?,
        arguments: words.map(str::to_owned).to_vec(),
        environment: Vec::new(),
    })
}

/// One relay, started anew: warmed up, then each load after the other. What it can take is found out once a round,
/// with the disk as it is.
fn one(
    overload: &Overload,
    programs: &Programs,
    sink: &Sink,
    capacity: &mut Option<f64>,
    rows: &mut [rows::Row],
) -> Result<()> {
    let mut running = programs.start(Middle::Relay, sink.address)?;
    let mut stream = Stream::busy(false, CONNECTIONS, WARM_UP_S);
    sink.send(running.address, &stream, 1)?;
    let capacity = match *capacity {
        Some(known) => known,
        None => {
            stream.seconds = BUSY_S;
            let busy = sink.send(running.address, &stream.next(), 1)?;
            *capacity.insert(busy.requests / busy.seconds)
        }
    };
    stream.drops = true;
    (stream.connections, stream.seconds) = (overload.connections.into(), overload.seconds.into());
    for row in rows {
        let sample = offer(sink, &running, &mut stream, capacity * row.share)?;
        running.process.check()?;
        eprintln!("  {}", row.told(&sample));
        row.samples.push(sample);
    }
    Ok(())
}

fn offer(sink: &Sink, running: &Running, stream: &mut Stream, rate: f64) -> Result<Sample> {
    let pid = running.process.id();
    stream.rate = Some(rate);
    procfs::reset_peak(pid)?;
    let sent = sink.offer(running.address, &stream.next(), 1)?;
    Ok(Sample {
        offered: rate,
        sent,
        peak_mib: procfs::usage(pid)?.peak_kib as f64 / 1024.0,
    })
}
