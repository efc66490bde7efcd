//! `cargo xtask bench --soak 10m`: a moderate rate over a long time, and whether any resource grows.

use crate::compare::CONNECTIONS;
use crate::contender::Middle;
use crate::load::{Shape, Sink, Stream};
use crate::middle::{Programs, Running};
use crate::stats::slope;
use crate::usage::usage;
use anyhow::{Context as _, Result, anyhow, ensure};
use std::thread;
use std::time::{Duration, Instant};
use tests_common::step::say;

/// Interval between measurements of memory, files and database.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Growth before this is ignored: pools fill, and the allocator settles. A fifth of shorter soaks.
const SETTLING_MAX: Duration = Duration::from_secs(120);
/// Requests per second: far below the relay's capacity, and more than a busy panel sends.
const RATE: f64 = 500.0;
/// The watched figures, and the growth of each over the judged time that counts as none: the allocator and the page cache
/// fluctuate. Idle connections to the sink are closed and reopened, so the line fitted to the open files may rise
/// slightly; a leak of one in ten thousand requests adds thirty in ten minutes.
const WATCHED: [(&str, f64); 3] = [
    ("KiB resident", 2048.0),
    ("KiB of database", 1024.0),
    ("open files", 8.0),
];

/// One measurement: the second, and the watched figures.
type Look = (f64, [f64; 3]);

/// Parses a duration: `90s` or `10m`.
pub(crate) fn lasts(text: &str) -> Result<Duration, String> {
    let in_unit = |unit, seconds: u64| Some((text.strip_suffix(unit)?, seconds));
    let (number, unit_s) = in_unit('s', 1)
        .or_else(|| in_unit('m', 60))
        .ok_or("expected a time such as 90s or 10m")?;
    match number.parse::<u64>() {
        Ok(n @ 1..=86_400) if n * unit_s >= 60 => Ok(Duration::from_secs(n * unit_s)),
        _ => Err("expected a minute or more".to_owned()),
    }
}

/// Sends one event per request: these have no ids. Ids of batches are remembered for an hour, so their memory grows for
/// an hour by design.
pub(crate) fn run(programs: &Programs, sink: &Sink, lasts: Duration) -> Result<bool> {
    let mut running = programs.start(Middle::Relay, sink.address)?;
    let stream = Stream {
        rate: Some(RATE),
        ..Stream::busy(Shape::Single, CONNECTIONS, lasts.as_secs_f64())
    };
    let (address, start) = (running.address, Instant::now());
    let (looks, sent) = thread::scope(|scope| -> Result<_> {
        let sending = scope.spawn(|| sink.send(address, &stream, 1));
        let mut looks = Vec::new();
        while !sending.is_finished() {
            thread::sleep(LOOK_EVERY);
            let figures = look(&running)?;
            let at_s = start.elapsed().as_secs_f64();
            let [resident, database, files] = figures;
            eprintln!(
                "  {at_s:>5.0} s  {resident:>7.0} KiB resident  {database:>7.0} KiB database  {files:>3.0} files"
            );
            looks.push((at_s, figures));
        }
        let sent = sending.join().map_err(|_| anyhow!("sending panicked"))??;
        Ok((looks, sent))
    })?;
    running.process.check()?;
    let settled_s = SETTLING_MAX.min(lasts / 5).as_secs_f64();
    let judged: Vec<Look> = looks.into_iter().filter(|(at_s, _)| *at_s >= settled_s).collect();
    ensure!(judged.len() >= 2, "too short to judge");
    say(&format!(
        "{:.0} events in {:.0} s, all delivered, p99 {:.2} ms. Growth from second {settled_s:.0} to the end, by least squares:",
        sent.events, sent.seconds, sent.p99_ms
    ));
    let mut steady = true;
    for (nth, (name, at_most)) in WATCHED.into_iter().enumerate() {
        let growth = growth(&judged, nth);
        let verdict = if growth <= at_most { "no growth" } else { "GROWS" };
        steady &= growth <= at_most;
        say(&format!(
            "  {growth:+.1} {name}, {at_most:.0} count as none: {verdict}"
        ));
    }
    Ok(steady)
}

/// The rise of the line fitted through the measurements of one figure, from the first to the last.
fn growth(looks: &[Look], nth: usize) -> f64 {
    let points: Vec<(f64, f64)> = looks
        .iter()
        .map(|(at_s, figures)| (*at_s, figures[nth]))
        .collect();
    let time = points.last().map_or(0.0, |last| last.0) - points.first().map_or(0.0, |first| first.0);
    slope(&points) * time
}

/// The watched figures now.
fn look(running: &Running) -> Result<[f64; 3]> {
    let usage = usage(running.process.id())?;
    let mut database_bytes = 0;
    for entry in std::fs::read_dir(&running.data).context("the relay has no data folder")? {
        // The journal may be deleted between the listing and this call.
        database_bytes += entry?.metadata().map_or(0, |meta| meta.len());
    }
    Ok([
        usage.resident_kib as f64,
        database_bytes as f64 / 1024.0,
        usage.files as f64,
    ])
}

#[cfg(test)]
mod tests {
    use super::{Look, growth, lasts};

    #[test]
    fn a_soak_lasts_a_minute_to_a_day() {
        let check = |text, seconds: Option<u64>| {
            assert_eq!(lasts(text).ok().map(|lasts| lasts.as_secs()), seconds, "{text:?}");
        };
        check("10m", Some(600));
        check("90s", Some(90));
        check("60s", Some(60));
        check("59s", None);
        check("0m", None);
        check("10", None);
        check("m", None);
        check("", None);
        check("1 m", None);
        check("10µ", None);
        check("10h", None);
        check("86401s", None);
    }

    #[test]
    fn growth_is_the_rise_of_the_line_whatever_wobbles() {
        let check = |resident: &[f64], expected: f64| {
            let look = |(n, kib): (usize, &f64)| (n as f64 * 5.0, [*kib, 0.0, 0.0]);
            let looks: Vec<Look> = resident.iter().enumerate().map(look).collect();
            assert!((growth(&looks, 0) - expected).abs() < 1e-9, "{resident:?}");
        };
        check(&[100.0, 100.0, 100.0], 0.0);
        check(&[100.0, 110.0, 120.0], 20.0);
        check(&[100.0, 130.0, 130.0, 100.0], 0.0);
        check(&[120.0, 110.0, 100.0], -20.0);
    }
}
