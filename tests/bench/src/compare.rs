//! The comparison: in each round all contenders take turns, so that a slow minute of the machine affects all of them.

use crate::aims;
use crate::contender::{Contender, Middle};
use crate::load::{Shape, Sink, Stream};
use crate::middle::{Measured, Programs};
use crate::{Relay, soak, table, usage};
use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use std::time::Duration;
use tests_common::step::say;

/// Connections of the generator, kept open as by browsers or a web server in front.
pub(crate) const CONNECTIONS: usize = 64;
/// Events per second at which the relay's memory is measured.
pub(crate) const STEADY_RATE: f64 = 10_000.0;

#[derive(Debug, clap::Args)]
pub(crate) struct Compare {
    /// Number of rounds; the medians are reported [default: 5, with --quick 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: Option<u16>,
    /// Measure only these
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_enum)]
    only: Vec<Contender>,
    /// Measure for about a minute
    #[arg(long)]
    quick: bool,
    /// Instead of comparing, send to the relay for this long, such as 10m or 90s, and report whether anything grows
    #[arg(long, value_name = "TIME", value_parser = soak::lasts, conflicts_with_all = ["rounds", "only", "quick"])]
    soak: Option<Duration>,
    #[command(flatten)]
    relay: Relay,
}

/// Duration of each part of a round, in seconds: with `--quick` four tenths of it.
const WARM_UP_S: f64 = 1.0;
const BUSY_S: f64 = 3.0;
const HALF_S: f64 = 4.0;
const STEADY_S: f64 = 10.0;
const QUICK: f64 = 0.4;

/// One contender in one round: every connection busy, then half of that rate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) busy: Measured,
    pub(crate) half: Measured,
}

/// All measurements.
#[derive(Debug)]
pub(crate) struct Results {
    /// The machine's load average before the first round, caused by other work.
    pub(crate) load_before: f32,
    pub(crate) rows: Vec<(Contender, Vec<Sample>)>,
    /// The steady rate, or the reason why it could not be held: one core may be too slow for it. The rows are valid
    /// without it.
    pub(crate) steady: Option<Result<Measured, String>>,
}

/// Measures, prints, and records a whole run in the document. Returns whether every aim was met.
pub(crate) fn run(compare: &Compare, is_whole: bool) -> Result<bool> {
    if let Some(lasts) = compare.soak {
        let programs = Programs::require(&compare.relay, [Middle::Relay])?;
        return soak::run(&programs, &Sink::start()?, lasts);
    }
    let contenders = match compare.only.as_slice() {
        [] => Contender::value_variants(),
        some => some,
    };
    let programs = Programs::require(&compare.relay, contenders.iter().map(|c| c.middle()))?;
    let (rounds, pace) = if compare.quick { (2, QUICK) } else { (5, 1.0) };
    let results = measure(&programs, contenders, compare.rounds.unwrap_or(rounds), pace)?;
    let aims = aims::judge(&results);
    let text = table::text(&results, &aims);
    say(&text);
    table::record(table::MEASURED, &text, is_whole)?;
    Ok(aims.iter().all(|aim| aim.met))
}

/// All rounds, whose parts last as long as `pace` says.
fn measure(programs: &Programs, contenders: &[Contender], rounds: u16, pace: f64) -> Result<Results> {
    let load_before = usage::load_average()?;
    let sink = Sink::start()?;
    let mut rows: Vec<(Contender, Vec<Sample>)> = contenders.iter().map(|c| (*c, Vec::new())).collect();
    for round in 1..=rounds {
        for (contender, samples) in &mut rows {
            let name = contender.name();
            let sample = take_turn(programs, &sink, *contender, pace)
                .with_context(|| format!("{name}, round {round} of {rounds}"))?;
            eprintln!(
                "  round {round}/{rounds}  {name:<30} {:>6.1} µs/event busy, {:>6.1} at half load, {:>7.0} events/s, \
                 p99 {:>6.2} ms, {:>4.0} MiB, ends {:>3.0} %",
                sample.busy.cpu_us,
                sample.half.cpu_us,
                sample.busy.sent.rate(),
                sample.half.sent.p99_ms,
                sample.half.peak_mib,
                sample.busy.sent.ends_busy * 100.0
            );
            samples.push(sample);
        }
    }
    let has_relay = contenders.iter().any(|c| c.middle() == Middle::Relay);
    let steady = has_relay.then(|| hold_steady(programs, &sink, pace).map_err(|error| format!("{error:#}")));
    Ok(Results {
        load_before,
        rows,
        steady,
    })
}

/// One contender's turn: restarted, warmed up, kept busy, then loaded by half.
fn take_turn(programs: &Programs, sink: &Sink, contender: Contender, pace: f64) -> Result<Sample> {
    let arrivals = contender.arrivals();
    let mut running = programs.start(contender.middle(), sink.address)?;
    let mut stream = Stream::busy(contender.shape(), CONNECTIONS, pace * WARM_UP_S);
    sink.send(running.address, &stream, arrivals)?;
    running.reset_peak()?;
    stream.seconds = pace * BUSY_S;
    let busy = running.measure(|address| sink.send(address, &stream.next(), arrivals))?;
    stream.seconds = pace * HALF_S;
    stream.rate = Some(busy.sent.requests / busy.sent.seconds / 2.0);
    let half = running.measure(|address| sink.send(address, &stream.next(), arrivals))?;
    Ok(Sample { busy, half })
}

/// The relay at a fixed rate, in batches, for its memory.
fn hold_steady(programs: &Programs, sink: &Sink, pace: f64) -> Result<Measured> {
    let arrivals = Contender::RelayBatch.arrivals();
    let mut running = programs.start(Middle::Relay, sink.address)?;
    let mut stream = Stream::busy(Shape::Batch, CONNECTIONS, pace * WARM_UP_S);
    stream.rate = Some(STEADY_RATE / 10.0);
    sink.send(running.address, &stream, arrivals)?;
    running.reset_peak()?;
    stream.seconds = pace * STEADY_S;
    running.measure(|address| sink.send(address, &stream.next(), arrivals))
}
