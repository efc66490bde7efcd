//! The comparison: in each round all contenders take turns, so that a slow minute of the machine affects all of them.

use crate::aims;
use crate::contender::{Contender, Middle};
use crate::distance::{self, Distant};
use crate::footprint::{self, Figure};
use crate::load::{Sink, Stream};
use crate::middle::{Measured, Programs};
use crate::{Relay, rates, soak, table, usage};
use anyhow::{Context as _, Result};
use clap::ValueEnum;
use std::time::Duration;
use tests_common::step::say;

/// Connections of the generator, kept open as by browsers or a web server in front.
pub(crate) const CONNECTIONS: usize = 64;

#[derive(Debug, clap::Args)]
pub(crate) struct Compare {
    /// Number of rounds; the medians are reported [default: 5, with --quick 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: Option<u16>,
    /// Measure only these
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_enum)]
    only: Vec<Contender>,
    /// Measure only these parts
    #[arg(long, value_name = "PART", value_delimiter = ',', value_enum)]
    parts: Vec<Part>,
    /// Measure for about three minutes
    #[arg(long)]
    quick: bool,
    /// Instead of comparing, send to the relay for this long, such as 10m or 90s, and report whether anything grows
    #[arg(long, value_name = "TIME", value_parser = soak::lasts, conflicts_with_all = ["rounds", "only", "parts", "quick"])]
    soak: Option<Duration>,
    #[command(flatten)]
    relay: Relay,
}

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Every connection busy, then half of that rate
    Load,
    /// 5000 and 10000 events per second: relay, relay-batch and nginx
    Rates,
    /// Relay: 5000 events per second to a sink that answers after 50 ms
    Distance,
    /// Relay: memory from the start on, with many connections and many sites; awakenings while idle
    Footprint,
}

/// Duration of each part of a round, in seconds: with `--quick` four tenths of it.
pub(crate) const WARM_UP_S: f64 = 1.0;
const BUSY_S: f64 = 3.0;
const HALF_S: f64 = 4.0;
const QUICK: f64 = 0.4;

/// One contender in one round: every connection busy, then half of that rate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) busy: Measured,
    pub(crate) half: Measured,
}

/// All measurements; a part that was not measured is empty.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// The machine's load average before the first round, caused by other work.
    pub(crate) load_before: f32,
    pub(crate) rounds: u16,
    pub(crate) rows: Vec<(Contender, Vec<Sample>)>,
    pub(crate) rates: Vec<rates::Row>,
    /// The distant sink, or the reason why not all events arrived there.
    pub(crate) distance: Option<Result<Distant, String>>,
    pub(crate) footprint: Vec<Figure>,
}

/// Measures, prints, and records a whole run in the document. Returns whether every aim was met.
pub(crate) fn run(compare: &Compare, is_whole: bool) -> Result<bool> {
    if let Some(lasts) = compare.soak {
        let programs = Programs::require(&compare.relay, [Middle::Relay])?;
        return soak::run(&programs, &Sink::start()?, lasts);
    }
    let contenders = chosen(&compare.only);
    let programs = Programs::require(&compare.relay, contenders.iter().map(|c| c.middle()))?;
    let (rounds, pace) = if compare.quick { (2, QUICK) } else { (5, 1.0) };
    let rounds = compare.rounds.unwrap_or(rounds);
    let results = measure(&programs, chosen(&compare.parts), contenders, rounds, pace)?;
    let aims = aims::judge(&results);
    let text = table::text(&results, &aims);
    say(&text);
    table::record(table::MEASURED, &text, is_whole)?;
    Ok(aims.iter().all(|aim| aim.met))
}

/// The chosen values, or all if none was chosen.
fn chosen<T: ValueEnum>(some: &[T]) -> &[T] {
    if some.is_empty() {
        T::value_variants()
    } else {
        some
    }
}

/// All parts, which last as long as `pace` says.
fn measure(
    programs: &Programs,
    parts: &[Part],
    contenders: &[Contender],
    rounds: u16,
    pace: f64,
) -> Result<Results> {
    let mut results = Results {
        load_before: usage::load_average()?,
        rounds,
        ..Results::default()
    };
    let sink = Sink::start()?;
    if parts.contains(&Part::Load) {
        results.rows = take_turns(programs, &sink, contenders, rounds, pace)?;
    }
    if parts.contains(&Part::Rates) {
        results.rates = rates::measure(programs, &sink, contenders, rounds, pace);
    }
    let has_relay = contenders.iter().any(|c| c.middle() == Middle::Relay);
    if has_relay && parts.contains(&Part::Distance) {
        results.distance = Some(distance::measure(programs, pace).map_err(|error| format!("{error:#}")));
    }
    if has_relay && parts.contains(&Part::Footprint) {
        results.footprint = footprint::measure(programs, &sink, pace)?;
    }
    Ok(results)
}

/// All rounds of all contenders.
fn take_turns(
    programs: &Programs,
    sink: &Sink,
    contenders: &[Contender],
    rounds: u16,
    pace: f64,
) -> Result<Vec<(Contender, Vec<Sample>)>> {
    let mut rows: Vec<(Contender, Vec<Sample>)> = contenders.iter().map(|c| (*c, Vec::new())).collect();
    for round in 1..=rounds {
        for (contender, samples) in &mut rows {
            let name = contender.name();
            let sample = take_turn(programs, sink, *contender, pace)
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
    Ok(rows)
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
