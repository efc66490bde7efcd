//! What the relay takes while it does little: memory from its start on, with many open connections and with many sites,
//! and awakenings while idle.

use crate::compare::{CONNECTIONS, WARM_UP_S};
use crate::load::{SITE, Shape, Sink, Stream};
use crate::middle::{MANY_SITES, Middle, Programs, Running, Setup, site_name};
use crate::usage::{Awakenings, allow_files, usage};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tests_common::process::{Log, Process};
use tests_common::programs::debian;

/// Connections that stay open.
const KEPT_OPEN: usize = 10_000;
/// Seconds without requests before anything is measured: timers of the last request run out, the allocator settles.
/// With `--quick` four tenths of it.
const REST_S: f64 = 5.0;
/// Seconds for which an idle relay is watched; with `--quick` four tenths of it.
const IDLE_S: f64 = 10.0;
/// Events of each site: the second and third find the site's plan in use.
const EVENTS_PER_SITE: usize = 3;
/// Limit for strace to attach and to end.
const STRACE_MAX: Duration = Duration::from_secs(10);

/// A kind of figure, and its aim if it has one.
#[derive(Debug, PartialEq)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) decimals: usize,
    pub(crate) at_most: Option<f64>,
}

const fn kind(name: &'static str, unit: &'static str, at_most: Option<f64>) -> Kind {
    Kind {
        name,
        unit,
        decimals: 1,
        at_most,
    }
}

const START: Kind = kind("resident at most, from the start until ready", "MiB", Some(48.0));
const AWAKENINGS: Kind = kind("awakenings per second, idle", "", Some(5.0));
const SYSTEM_CALLS: Kind = kind("system calls per second, idle", "", None);
const WARM: Kind = kind("resident, idle after load", "MiB", None);
const OPEN: Kind = kind(
    "resident with 10000 connections kept open after a request each",
    "MiB",
    Some(100.0),
);
const CLOSED: Kind = Kind {
    decimals: 2,
    ..kind(
        "resident after they closed, beside before they opened",
        "×",
        Some(1.1),
    )
};
const SITES: Kind = kind(
    "resident with 100 sites, each with its own plan",
    "MiB",
    Some(64.0),
);

/// A figure, or why it could not be measured. The others are valid without it.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) kind: &'static Kind,
    pub(crate) found: Result<f64, String>,
}

/// Measures everything, with two fresh relays.
pub(crate) fn measure(programs: &Programs, sink: &Sink, pace: f64) -> Result<Vec<Figure>> {
    allow_files()?;
    let mut running = programs.start(Middle::Relay, sink.address)?;
    let mut figures = vec![figure(&START, Ok(running.start_peak_mib))];
    let warm_up = Stream::busy(Shape::Single, CONNECTIONS, pace * WARM_UP_S);
    sink.send(running.address, &warm_up, 1)?;
    rest(pace);
    figures.push(figure(&AWAKENINGS, awakenings_per_second(&running, pace)));
    figures.push(figure(&SYSTEM_CALLS, system_calls_per_second(&running, pace)));
    let before = resident_mib(&running)?;
    figures.push(figure(&WARM, Ok(before)));
    let open = hold_open(sink, &running, pace);
    figures.push(figure(&OPEN, open));
    rest(pace);
    figures.push(figure(&CLOSED, resident_mib(&running).map(|mib| mib / before)));
    running.process.check()?;
    drop(running);
    figures.push(figure(&SITES, many_sites(programs, sink, pace)));
    for Figure { kind, found } in &figures {
        match found {
            Ok(found) => eprintln!("  {}: {found:.*} {}", kind.name, kind.decimals, kind.unit),
            Err(why) => eprintln!("  {}: {why}", kind.name),
        }
    }
    Ok(figures)
}

fn figure(kind: &'static Kind, found: Result<f64>) -> Figure {
    Figure {
        kind,
        found: found.map_err(|error| format!("{error:#}")),
    }
}

fn rest(pace: f64) {
    sleep(Duration::from_secs_f64(pace * REST_S));
}

fn resident_mib(running: &Running) -> Result<f64> {
    Ok(usage(running.process.id())?.resident_kib as f64 / 1024.0)
}

fn awakenings_per_second(running: &Running, pace: f64) -> Result<f64> {
    let (before, start) = (Awakenings::of(running.process.id())?, Instant::now());
    sleep(Duration::from_secs_f64(pace * IDLE_S));
    let woken = Awakenings::of(running.process.id())?.since(&before);
    Ok(woken as f64 / start.elapsed().as_secs_f64())
}

/// Counts with strace, which slows every system call: it runs after everything else that an idle relay is measured for.
fn system_calls_per_second(running: &Running, pace: f64) -> Result<f64> {
    let pid = running.process.id();
    let table = running.folder.join("strace.txt");
    let mut strace = Command::new(debian("strace", "strace")?);
    strace
        .args(["--follow-forks", "--summary-only", "--output"])
        .arg(&table);
    strace.arg(format!("--attach={pid}")).stdin(Stdio::null());
    let log = Log::File(running.folder.join("strace.log"));
    let mut strace = Process::start("strace", &mut strace, log)?;
    strace.wait_until("attached", STRACE_MAX, |strace| {
        Ok(strace.log().contains(" attached").then_some(()))
    })?;
    let start = Instant::now();
    sleep(Duration::from_secs_f64(pace * IDLE_S));
    let seconds = start.elapsed().as_secs_f64();
    strace.signal(Signal::INT)?;
    ensure!(strace.wait(STRACE_MAX), "strace does not end");
    let table = std::fs::read_to_string(&table).context("strace wrote no table")?;
    Ok(total_calls(&table).context("strace's table has no total")? / seconds)
}

/// The number of calls in strace's summary; 0 in an empty one.
fn total_calls(table: &str) -> Option<f64> {
    if table.trim().is_empty() {
        return Some(0.0);
    }
    let total = table.lines().find(|line| line.trim_end().ends_with(" total"))?;
    total.split_whitespace().nth(3)?.parse().ok()
}

/// Memory with many open connections, which are closed afterwards.
fn hold_open(sink: &Sink, running: &Running, pace: f64) -> Result<f64> {
    let held = sink.hold(running.address, std::iter::repeat_n(SITE, KEPT_OPEN))?;
    rest(pace);
    let resident = resident_mib(running);
    drop(held);
    resident
}

/// Memory with many sites, all in use.
fn many_sites(programs: &Programs, sink: &Sink, pace: f64) -> Result<f64> {
    let running = programs.start_relay(Setup::ManySites, sink.address)?;
    let sites: Vec<String> = (0..MANY_SITES).map(site_name).collect();
    for _ in 0..EVENTS_PER_SITE {
        sink.hold(running.address, sites.iter().map(String::as_str))?;
    }
    rest(pace);
    resident_mib(&running)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{AWAKENINGS, CLOSED, Figure, KEPT_OPEN, MANY_SITES, OPEN, SITES, SYSTEM_CALLS, total_calls};

    /// A figure without a limit, and some with one.
    pub(crate) fn figures(calls: f64, awakenings: Result<f64, &str>, closed: f64) -> Vec<Figure> {
        [
            (&SYSTEM_CALLS, Ok(calls)),
            (&AWAKENINGS, awakenings),
            (&CLOSED, Ok(closed)),
        ]
        .map(|(kind, found)| Figure {
            kind,
            found: found.map_err(str::to_owned),
        })
        .into()
    }

    #[test]
    fn names_say_the_numbers() {
        assert!(OPEN.name.contains(&KEPT_OPEN.to_string()) && SITES.name.contains(&MANY_SITES.to_string()));
    }

    #[test]
    fn strace_s_summary_has_a_total() {
        let check = |table, expected| assert_eq!(total_calls(table), expected, "{table}");
        check("", Some(0.0));
        check(
            "% time     seconds  usecs/call     calls    errors syscall\n\
             ------ ----------- ----------- --------- --------- ----------------\n\
             \u{20}60.00    0.000120          12        10         2 futex\n\
             100.00    0.000200          11        18         2 total\n",
            Some(18.0),
        );
        check(
            "100.00    0.000200          11        18           total",
            Some(18.0),
        );
        check("18 in all", None);
    }
}
