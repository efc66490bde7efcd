//! `cargo xtask bench profile`: where the relay's processor time goes, by room and by function, per event.

mod callgrind;
mod stacks;

use super::compare::CONNECTIONS;
use super::contender::Contender;
use super::ends::{Sent, Sink, Stream};
use super::middle::{Programs, Running};
use super::{build_load, folder, procfs};
use crate::step::{self, say, step};
use crate::{bundle, tools, workspace};
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;
use std::{fs, thread};

/// Samples per second. A prime, so that it does not beat with anything periodic.
const SAMPLES_PER_S: &str = "997";
/// Requests per second while strace watches, which slows every system call a hundredfold.
const TRACED_RATE: f64 = 100.0;
/// How long a tool gets to attach itself.
const ATTACH: Duration = Duration::from_millis(700);

/// Samples the relay under load with `perf`, counts its system calls with `strace`, and prints both per event
#[derive(Debug, clap::Args)]
pub(super) struct Profile {
    /// How long each part is sampled, in seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Count instructions under valgrind instead, one request after the other: exact, the same from run to run, and
    /// possible where perf is not; without the kernel's part
    #[arg(long, conflicts_with = "seconds")]
    callgrind: bool,
    /// How many requests are counted under valgrind
    #[arg(long, default_value_t = 400, requires = "callgrind", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    requests: u32,
    /// How many functions are listed
    #[arg(long, default_value_t = 40)]
    top: usize,
    /// Profile this relay instead of building one; it needs its symbols
    #[arg(long, value_name = "FILE", value_parser = super::relay_file)]
    relay: Option<PathBuf>,
}

pub(super) fn run(profile: &Profile) -> Result<ExitCode> {
    let folder = super::prepare()?;
    if profile.callgrind {
        callgrind::require()?;
    } else {
        tools::debian("perf", "linux-perf").context("without perf: cargo xtask bench profile --callgrind")?;
        tools::debian("strace", "strace")?;
    }
    let relay = match &profile.relay {
        Some(relay) => relay.clone(),
        None => build()?,
    };
    let sink = Sink::start(&build_load()?, &folder)?;
    for contender in [Contender::Relay, Contender::RelayBatch] {
        let programs = Programs::require(&folder, &relay, &[contender.middle()])?;
        if profile.callgrind {
            callgrind::one(profile, &programs, &sink, contender)
        } else {
            one(profile, &programs, &sink, contender)
        }
        .context(contender.name())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the relay as it is released, but with its symbols, in a folder of its own.
fn build() -> Result<PathBuf> {
    bundle::all()?;
    let target = workspace::target().join("profile");
    step("building the relay for release, with symbols", || {
        step::run(
            workspace::locked("build")
                .args(["--release", "--package", "feedback-relay"])
                .env("CARGO_TARGET_DIR", &target)
                .env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only")
                .env("CARGO_PROFILE_RELEASE_STRIP", "none"),
        )
    })?;
    Ok(target.join("release/feedback-relay"))
}

fn one(profile: &Profile, programs: &Programs, sink: &Sink, contender: Contender) -> Result<()> {
    let running = programs.start(contender.middle(), sink.address)?;
    let mut stream = Stream::busy(contender.batches(), CONNECTIONS, 1.0);
    let mut send = |rate, seconds| -> Result<Sent> {
        stream.id_space += 1;
        (stream.rate, stream.seconds) = (rate, seconds);
        sink.send(running.address, &stream, contender.arrivals())
    };
    send(None, 1.0)?;
    say(&format!("\n# {}\n", contender.name()));

    // Without any tool, for the figures that the tools would spoil.
    let before = procfs::usage(running.process.id())?;
    let sent = send(None, profile.seconds)?;
    let after = procfs::usage(running.process.id())?;
    let each = |used: f64| used / sent.events;
    let us = |used: f64| each(used) * 1e6;
    say(&format!(
        "{:.0} events/s; per event: {:.1} µs user, {:.1} µs kernel; {:.2} context switches by itself, {:.2} forced\n",
        sent.events / sent.seconds,
        us(after.user_s - before.user_s),
        us(after.system_s - before.system_s),
        each((after.yielded - before.yielded) as f64),
        each((after.preempted - before.preempted) as f64),
    ));

    sampled(profile, &running, us(after.cpu_s() - before.cpu_s()), || {
        send(None, profile.seconds)
    })?;
    traced(&running, || send(Some(TRACED_RATE), profile.seconds))
}

/// Runs the load while perf samples the relay, and prints rooms and functions as shares of the time per event.
fn sampled(
    profile: &Profile,
    running: &Running,
    us_per_event: f64,
    load: impl FnOnce() -> Result<Sent>,
) -> Result<()> {
    let data = folder().join("perf.data");
    let mut record = Command::new("perf");
    record.args([
        "record",
        "--quiet",
        "--event",
        "cpu-clock",
        "--freq",
        SAMPLES_PER_S,
    ]);
    record.args([
        "--call-graph",
        "dwarf,16384",
        "--pid",
        &running.process.id().to_string(),
    ]);
    let mut perf = attach(record.arg("--output").arg(&data))?;
    let done = load();
    detach(&mut perf)?;
    done?;
    let mut script = Command::new("perf");
    script.args(["script", "--no-inline", "--fields", "comm,ip,sym", "--input"]);
    let text = step::output(script.arg(&data))?;
    // Hundreds of megabytes of stacks.
    fs::remove_file(&data)?;
    let profiled = stacks::read(&text);
    for line in profiled.lines(us_per_event, profile.top) {
        say(&line);
    }
    Ok(())
}

/// Runs the load while strace counts the relay's system calls.
fn traced(running: &Running, load: impl FnOnce() -> Result<Sent>) -> Result<()> {
    let counts = folder().join("strace.txt");
    let mut command = Command::new("strace");
    command.args([
        "--follow-forks",
        "--summary-only",
        "--attach",
        &running.process.id().to_string(),
    ]);
    let mut strace = attach(command.arg("--output").arg(&counts))?;
    let done = load();
    detach(&mut strace)?;
    let events = done?.events;
    say(&format!(
        "\nsystem calls per event at {TRACED_RATE:.0} requests/s:"
    ));
    let text = fs::read_to_string(&counts)?;
    for (call, count) in stacks::calls(&text) {
        say(&format!("  {:>7.2}  {call}", count as f64 / events));
    }
    Ok(())
}

fn attach(command: &mut Command) -> Result<Child> {
    let shown = step::show(command);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    thread::sleep(ATTACH);
    Ok(child)
}

/// Lets a tool write down what it has.
fn detach(tool: &mut Child) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let id = i32::try_from(tool.id()).ok().and_then(Pid::from_raw);
    kill_process(id.context("the tool has no id")?, Signal::INT)?;
    tool.wait()?;
    Ok(())
}
