//! A process of the benchmark: started on a core, ready when it answers, stopped with its owner.

use super::procfs;
use crate::http;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may take until it answers: a tool that counts its instructions makes it fifty times slower.
const START_MAX: Duration = Duration::from_secs(180);
/// How long a process may take to end, before it is killed.
const STOP_MAX: Duration = Duration::from_secs(20);
/// How often to look.
const TICK: Duration = Duration::from_millis(5);

/// The core of what is measured.
pub(super) const MIDDLE_CORE: usize = 0;
/// The core of generator and sink.
pub(super) const ENDS_CORE: usize = 1;

/// A running process. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

/// A program that will run on one core only.
pub(super) fn pinned(core: usize, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &core.to_string()]).arg(program);
    command
}

/// Takes this thread, and those it starts, away from the core of what is measured.
pub(super) fn step_aside() -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(ENDS_CORE);
    sched_setaffinity(None, &cores).context("cannot choose a core")
}

/// A port of this machine that nobody listens on.
pub(super) fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Process {
    /// Starts a program and waits until it answers a GET with 200, as the relay does itself and the sink for the
    /// proxies: they may take connections before they know where to pass them. What it says goes to a log.
    pub(super) fn start(command: &mut Command, listens: SocketAddr, log: &Path) -> Result<Self> {
        let shown = crate::step::show(command);
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start `{shown}`"))?;
        let mut process = Self {
            child,
            log: log.to_owned(),
        };
        let deadline = Instant::now() + START_MAX;
        let question = format!("http://{listens}/version");
        while !http::get(&question, &[]).is_ok_and(|answer| answer.status == 200) {
            process.check()?;
            if Instant::now() >= deadline {
                bail!("`{shown}` was not ready in {} s", START_MAX.as_secs());
            }
            thread::sleep(TICK);
        }
        Ok(process)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails when it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let end: Vec<&str> = log.lines().rev().take(20).collect();
            let end: Vec<&str> = end.into_iter().rev().collect();
            bail!(
                "{} ended by itself ({status}):\n{}",
                self.log.display(),
                end.join("\n")
            );
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Children first: strace that is told to end leaves the program alone that it watches.
        if matches!(self.child.try_wait(), Ok(None)) {
            let family = procfs::family(self.child.id()).unwrap_or_else(|_| vec![self.child.id()]);
            for id in family.into_iter().rev() {
                if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                    let _ = kill_process(id, Signal::TERM);
                }
            }
        }
        let deadline = Instant::now() + STOP_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(TICK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
