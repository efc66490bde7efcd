//! The fixed rates: what an event costs when the load is the same for all, and what memory and latency it takes.

use crate::compare::{CONNECTIONS, WARM_UP_S};
use crate::contender::Contender::{self, Nginx, Relay, RelayBatch};
use crate::load::{Sink, Stream};
use crate::middle::{Measured, Programs};
use anyhow::Result;

/// Events per second.
pub(crate) const RATES: [f64; 2] = [5_000.0, 10_000.0];
/// The contenders that are measured at them, if they were requested.
const CONTENDERS: [Contender; 3] = [Relay, RelayBatch, Nginx];
/// Seconds for which a rate is held; with `--quick` four tenths of it.
const HELD_S: f64 = 5.0;

/// One contender at one rate, in all rounds.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) contender: Contender,
    /// Events per second that were due.
    pub(crate) rate: f64,
    pub(crate) samples: Vec<Measured>,
    /// The reason why the rate could not be held in the last round that failed: one core may be too slow for it. The
    /// other rows are valid without it.
    pub(crate) failed: Option<String>,
}

/// Holds each rate with each of these contenders, in rounds.
pub(crate) fn measure(
    programs: &Programs,
    sink: &Sink,
    contenders: &[Contender],
    rounds: u16,
    pace: f64,
) -> Vec<Row> {
    let measured = CONTENDERS.into_iter().filter(|it| contenders.contains(it));
    let mut rows: Vec<Row> = measured
        .flat_map(|contender| RATES.map(|rate| Row::new(contender, rate)))
        .collect();
    for round in 1..=rounds {
        for row in &mut rows {
            let (name, rate) = (row.contender.name(), row.rate);
            match hold(programs, sink, row.contender, rate, pace) {
                Ok(measured) => {
                    eprintln!(
                        "  round {round}/{rounds}  {name:<30} at {rate:>5.0}/s {:>6.1} µs/event, {:>6.0} delivered/s, \
                         p99 {:>6.2} ms, {:>4.0} MiB",
                        measured.cpu_us,
                        measured.sent.rate(),
                        measured.sent.p99_ms,
                        measured.peak_mib,
                    );
                    row.samples.push(measured);
                }
                Err(error) => {
                    eprintln!("  round {round}/{rounds}  {name:<30} at {rate:>5.0}/s failed: {error:#}");
                    row.failed = Some(format!("{error:#}"));
                }
            }
        }
    }
    rows
}

impl Row {
    pub(crate) fn new(contender: Contender, rate: f64) -> Self {
        Self {
            contender,
            rate,
            samples: Vec::new(),
            failed: None,
        }
    }
}

/// A fresh process at a fixed rate, so that memory is that of this rate and not of a higher one before.
fn hold(programs: &Programs, sink: &Sink, contender: Contender, rate: f64, pace: f64) -> Result<Measured> {
    let arrivals = contender.arrivals();
    let mut running = programs.start(contender.middle(), sink.address)?;
    let mut stream = Stream::busy(contender.shape(), CONNECTIONS, pace * WARM_UP_S);
    stream.rate = Some(rate / contender.shape().events() as f64);
    sink.send(running.address, &stream, arrivals)?;
    running.reset_peak()?;
    stream.seconds = pace * HELD_S;
    running.measure(|address| sink.send(address, &stream.next(), arrivals))
}
