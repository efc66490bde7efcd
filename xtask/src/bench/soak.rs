//! `cargo xtask bench --soak 10m`: a moderate rate for a while, and whether anything grows.

use super::compare::CONNECTIONS;
use super::contender::Middle;
use super::ends::{Sink, Stream};
use super::middle::{Programs, Running};
use super::procfs;
use super::stats::slope;
use crate::step::say;
use anyhow::{Context as _, Result, ensure};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How often memory, files and database are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What comes before is not judged: pools fill, and the allocator finds its size. A fifth of shorter soaks.
const SETTLING_MAX: Duration = Duration::from_secs(120);
/// Requests per second: far from what the relay can do, and more than a busy panel sends.
const RATE: f64 = 500.0;
/// Growth over the judged time that counts as none: the allocator's and the page cache's coming and going.
const RESIDENT_KIB_MAX: f64 = 2048.0;
const DATABASE_KIB_MAX: f64 = 1024.0;
/// Idle connections to the sink are closed and opened again, so the line through them may tilt by some. A leak of one
/// in ten thousand requests is thirty in ten minutes.
const FILES_MAX: f64 = 8.0;

/// One look.
#[derive(Clone, Copy, Debug)]
struct Look {
    at_s: f64,
    resident_kib: f64,
    database_kib: f64,
    files: f64,
}

/// Reads a length of time: `90s` or `10m`.
pub(super) fn lasts(text: &str) -> Result<Duration, String> {
    let in_unit = |unit, seconds: u64| Some((text.strip_suffix(unit)?, seconds));
    let (number, unit_s) = in_unit('s', 1)
        .or_else(|| in_unit('m', 60))
        .ok_or("expected a time such as 90s or 10m")?;
    match number.parse::<u64>() {
        Ok(n @ 1..=86_400) if n * unit_s >= 60 => Ok(Duration::from_secs(n * unit_s)),
        _ => Err("expected a minute or more".to_owned()),
    }
}

/// Sends one event per request: these have no ids. Ids of batches are remembered for an hour, which grows for an
/// hour, as it should.
pub(super) fn run(programs: &Programs, sink: &Sink, lasts: Duration) -> Result<ExitCode> {
    let mut running = programs.start(Middle::Relay, sink.address)?;
    let stream = Stream {
        rate: Some(RATE),
        ..Stream::busy(false, CONNECTIONS, lasts.as_secs_f64())
    };
    let (address, start) = (running.address, Instant::now());
    let (looks, sent) = thread::scope(|scope| -> Result<_> {
        let (done, ended) = mpsc::channel::<()>();
        let sending = scope.spawn(move || {
            let sent = sink.send(address, &stream, 1);
            drop(done);
            sent
        });
        let mut looks = Vec::new();
        while matches!(ended.recv_timeout(LOOK_EVERY), Err(RecvTimeoutError::Timeout)) {
            let look = look(&running, start)?;
            eprintln!(
                "  {:>5.0} s  {:>7.0} KiB resident  {:>7.0} KiB database  {:>3.0} files",
                look.at_s, look.resident_kib, look.database_kib, look.files
            );
            looks.push(look);
        }
        let sent = sending
            .join()
            .map_err(|_| anyhow::anyhow!("sending panicked"))??;
        Ok((looks, sent))
    })?;
    running.process.check()?;
    let settled_s = SETTLING_MAX.min(lasts / 5).as_secs_f64();
    let judged: Vec<Look> = looks.into_iter().filter(|look| look.at_s >= settled_s).collect();
    ensure!(judged.len() >= 2, "too short to tell");
    say(&format!(
        "{:.0} events in {:.0} s, all delivered, p99 {:.2} ms. Growth from second {settled_s:.0} to the end, by least squares:",
        sent.events, sent.seconds, sent.p99_ms
    ));
    let mut steady = true;
    for (what, of, at_most) in [
        (
            "KiB resident",
            (|look| look.resident_kib) as fn(&Look) -> f64,
            RESIDENT_KIB_MAX,
        ),
        ("KiB of database", |look| look.database_kib, DATABASE_KIB_MAX),
        ("open files", |look| look.files, FILES_MAX),
    ] {
        let growth = growth(&judged, of);
        let verdict = if growth <= at_most { "no growth" } else { "GROWS" };
        steady &= growth <= at_most;
        say(&format!(
            "  {growth:+.1} {what}, {at_most:.0} count as none: {verdict}"
        ));
    }
    Ok(if steady {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What a line through the looks gains from the first to the last.
fn growth(looks: &[Look], of: fn(&Look) -> f64) -> f64 {
    let points: Vec<(f64, f64)> = looks.iter().map(|look| (look.at_s, of(look))).collect();
    let time = points.last().map_or(0.0, |last| last.0) - points.first().map_or(0.0, |first| first.0);
    slope(&points) * time
}

fn look(running: &Running, start: Instant) -> Result<Look> {
    let usage = procfs::usage(running.process.id())?;
    let mut database_bytes = 0;
    for entry in std::fs::read_dir(&running.data).context("the relay has no data folder")? {
        // The journal may go between the listing and the look.
        database_bytes += entry?.metadata().map_or(0, |meta| meta.len());
    }
    Ok(Look {
        at_s: start.elapsed().as_secs_f64(),
        resident_kib: usage.resident_kib as f64,
        database_kib: database_bytes as f64 / 1024.0,
        files: usage.files as f64,
    })
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
    fn growth_is_what_the_line_gains_not_where_it_wobbles() {
        let check = |resident: &[f64], expected: f64| {
            let look = |(n, kib): (usize, &f64)| Look {
                at_s: n as f64 * 5.0,
                resident_kib: *kib,
                database_kib: 0.0,
                files: 0.0,
            };
            let looks: Vec<Look> = resident.iter().enumerate().map(look).collect();
            assert!(
                (growth(&looks, |look| look.resident_kib) - expected).abs() < 1e-9,
                "{resident:?}"
            );
        };
        check(&[100.0, 100.0, 100.0], 0.0);
        check(&[100.0, 110.0, 120.0], 20.0);
        check(&[100.0, 130.0, 130.0, 100.0], 0.0);
        check(&[120.0, 110.0, 100.0], -20.0);
    }
}
