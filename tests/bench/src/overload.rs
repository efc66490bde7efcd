//! `cargo xtask bench overload`: the relay under more load than it can handle.

mod rows;
mod slow_disk;

use crate::compare::CONNECTIONS;
use crate::contender::Middle;
use crate::load::{Sent, Shape, Sink, Stream};
use crate::middle::Programs;
use crate::{Relay, table, usage};
use anyhow::{Context as _, Result};
use tests_common::step::say;

/// The loads, as fractions of the relay's capacity.
const SHARES: [f64; 3] = [0.5, 2.0, 4.0];
/// Seconds of warm-up, and then of full load to measure the capacity.
const WARM_UP_S: f64 = 1.0;
const BUSY_S: f64 = 3.0;

/// Seconds for which each load is offered.
const OFFERED_S: f64 = 6.0;
/// Connections of the generator: while some are free, requests queue in the relay and not in the generator.
const OFFERED_ON: usize = 2000;

/// Offers the relay half of its capacity, twice and four times that, and reports latencies, refusals, and whether
/// everything it accepted is delivered
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It exits with 0 if enough requests are accepted and answered in time, every refusal has Retry-After, and \
                  every accepted event is delivered; with 3 if too few are accepted, answers are late or a refusal has no \
                  Retry-After; with 1 if anything failed. Only a run without options writes docs/BENCHMARK.md."
)]
pub(crate) struct Overload {
    /// Number of rounds; the medians are reported
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    #[command(flatten)]
    relay: Relay,
}

/// One load in one round.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Requests per second that were due.
    offered: f64,
    sent: Sent,
    /// Most resident memory under this load, in MiB.
    peak_mib: f64,
}

pub(crate) fn run(overload: &Overload, is_whole: bool) -> Result<bool> {
    let programs = Programs::require(&overload.relay, [Middle::Relay])?;
    let disks = [(false, programs.clone()), (true, slow_disk::slow_down(programs)?)];
    let load_before = usage::load_average()?;
    let sink = Sink::start()?;
    let mut rows: Vec<rows::Row> = disks
        .iter()
        .flat_map(|(is_slow, _)| SHARES.map(|share| rows::Row::new(*is_slow, share)))
        .collect();
    for round in 1..=overload.rounds {
        let mut capacity = None;
        for ((is_slow, programs), rows) in disks.iter().zip(rows.chunks_mut(SHARES.len())) {
            one(programs, &sink, &mut capacity, rows)
                .with_context(|| format!("slow disk: {is_slow}, round {round} of {}", overload.rounds))?;
        }
    }
    let text = rows::text(&rows, load_before);
    say(&text);
    table::record(rows::MARKERS, &text, is_whole)?;
    Ok(rows.iter().all(rows::Row::is_well))
}

/// One fresh relay: warmed up, then one load after the other. Its capacity is measured once a round, with the undelayed
/// disk.
fn one(programs: &Programs, sink: &Sink, capacity: &mut Option<f64>, rows: &mut [rows::Row]) -> Result<()> {
    let mut running = programs.start(Middle::Relay, sink.address)?;
    let mut stream = Stream::busy(Shape::Single, CONNECTIONS, WARM_UP_S);
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
    (stream.connections, stream.seconds) = (OFFERED_ON, OFFERED_S);
    for row in rows {
        let offered = capacity * row.share;
        stream.rate = Some(offered);
        running.reset_peak()?;
        let measured = running.measure(|address| sink.offer(address, &stream.next(), 1))?;
        let sample = Sample {
            offered,
            sent: measured.sent,
            peak_mib: measured.peak_mib,
        };
        eprintln!("  {}", row.line(&sample));
        row.samples.push(sample);
    }
    Ok(())
}
