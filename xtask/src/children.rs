//! The demo's child processes: started one by one until they are ready, watched, and stopped together.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tests_common::process::{Log, Process};

/// How long a child may take until all its listeners are bound.
const START_MAX: Duration = Duration::from_secs(30);
/// How long a child may take to end, before it is killed.
const STOP_MAX: Duration = Duration::from_secs(15);
/// How long a child gets to end after a Ctrl-C, which the terminal also sends to it, before xtask signals it.
const CTRL_C_MAX: Duration = Duration::from_secs(1);
/// Polling interval.
const TICK: Duration = Duration::from_millis(100);

/// The children that run, and whether they should.
#[derive(Debug)]
pub(crate) struct Children {
    running: Vec<Process>,
    logs: PathBuf,
    asked_to_stop: Arc<AtomicBool>,
}

impl Children {
    /// No child yet. From here on Ctrl-C and SIGTERM end the demo only after its children have ended.
    pub(crate) fn new(logs: &Path) -> Result<Self> {
        let asked_to_stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&asked_to_stop))
                .context("cannot listen for signals")?;
        }
        Ok(Self {
            running: Vec::new(),
            logs: logs.to_owned(),
            asked_to_stop,
        })
    }

    /// Starts a child, waits until it listens, and returns the address of each of its listeners.
    pub(crate) fn start<const N: usize>(
        &mut self,
        name: &'static str,
        command: &mut Command,
        listeners: [&str; N],
    ) -> Result<[String; N]> {
        let log = Log::File(self.logs.join(format!("{name}.log")));
        let mut child = Process::start(name, command, log)?;
        let addresses = child.wait_until("ready", START_MAX, |child| {
            ensure!(!self.asked_to_stop(), "stopped before the {name} was ready");
            let known = listeners.map(|listener| child.ready(listener));
            Ok(known
                .iter()
                .all(Option::is_some)
                .then(|| known.map(Option::unwrap_or_default)))
        });
        self.running.push(child);
        addresses
    }

    /// Whether Ctrl-C was pressed, or SIGTERM came.
    pub(crate) fn asked_to_stop(&self) -> bool {
        self.asked_to_stop.load(Ordering::Relaxed)
    }

    /// Fails if a child has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.running.iter_mut().try_for_each(Process::check)
    }

    /// Waits for Ctrl-C or SIGTERM. Fails as soon as a child ends by itself.
    pub(crate) fn watch(&mut self) -> Result<()> {
        while !self.asked_to_stop() {
            if let Err(died) = self.check() {
                // After Ctrl-C the children may be faster than this loop.
                return if self.asked_to_stop() { Ok(()) } else { Err(died) };
            }
            thread::sleep(TICK);
        }
        Ok(())
    }

    /// Stops every child, in the opposite order of their starts: asks first, and kills one that has not ended in time.
    pub(crate) fn stop(&mut self) {
        while let Some(mut child) = self.running.pop() {
            let ended = (self.asked_to_stop() && child.wait(CTRL_C_MAX)) || child.stop(STOP_MAX);
            if !ended {
                let (name, seconds) = (child.name(), STOP_MAX.as_secs());
                eprintln!("the {name} did not exit within {seconds} s; killing it");
            }
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.stop();
    }
}
