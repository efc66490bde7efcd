//! The demo's child processes: started one by one until they say they are ready, watched, and stopped together.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long a child may take until all its listeners are bound.
const START_MAX: Duration = Duration::from_secs(30);
/// How long a child may take to end, before it is killed.
const STOP_MAX: Duration = Duration::from_secs(15);
/// How long to wait for a Ctrl-C to work that the terminal also sent to the children.
const CTRL_C_MAX: Duration = Duration::from_secs(1);
/// How often to look whether something ended.
const TICK: Duration = Duration::from_millis(100);
/// How much of a log to show when its child failed.
const LOG_LINES: usize = 25;

/// The children that run, and whether they should.
#[derive(Debug)]
pub(crate) struct Children {
    running: Vec<Running>,
    logs: PathBuf,
    asked_to_stop: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Running {
    name: &'static str,
    process: Child,
    log: PathBuf,
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

    /// Starts a child, waits until it listens, and gives the address of each of its listeners.
    pub(crate) fn start<const N: usize>(
        &mut self,
        name: &'static str,
        command: &mut Command,
        listeners: [&str; N],
    ) -> Result<[String; N]> {
        let log = self.logs.join(format!("{name}.log"));
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).with_context(|| format!("cannot write {}", log.display()))?)
            .spawn()
            .with_context(|| format!("cannot start the {name}"))?;
        let stdout = process.stdout.take().context("the child has no stdout")?;
        self.running.push(Running { name, process, log });

        let (sender, ready_lines) = mpsc::channel();
        // The thread ends with the child. It reads on after the last ready line, so that the pipe never fills up.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some((listener, address)) = parse_ready(&line) {
                    // Nobody listens any more when the child says more than was waited for.
                    let _ = sender.send((listener.to_owned(), address.to_owned()));
                }
            }
        });

        let deadline = Instant::now() + START_MAX;
        let mut addresses = BTreeMap::new();
        while !listeners.iter().all(|listener| addresses.contains_key(*listener)) {
            ensure!(!self.asked_to_stop(), "stopped before the {name} was ready");
            match ready_lines.recv_timeout(TICK) {
                Ok((listener, address)) => {
                    addresses.insert(listener, address);
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(RecvTimeoutError::Timeout) => {
                    bail!(self.obituary(name, "was not ready in 30 s"))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!(self.obituary(name, "ended before it was ready"))
                }
            }
        }
        Ok(listeners.map(|listener| addresses.remove(listener).unwrap_or_default()))
    }

    /// Whether Ctrl-C was pressed, or SIGTERM came.
    pub(crate) fn asked_to_stop(&self) -> bool {
        self.asked_to_stop.load(Ordering::Relaxed)
    }

    /// Fails if a child has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        for child in &mut self.running {
            if let Some(status) = child.process.try_wait()? {
                let name = child.name;
                bail!(self.obituary(name, &format!("ended by itself ({status})")));
            }
        }
        Ok(())
    }

    /// Waits until the user wants the end. Fails as soon as a child ends by itself.
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

    /// Stops every child: asks first, kills what does not listen.
    pub(crate) fn stop(&mut self) {
        let by_themselves = if self.asked_to_stop() {
            CTRL_C_MAX
        } else {
            Duration::ZERO
        };
        self.wait(by_themselves);
        for child in &mut self.running {
            // Those that ended are forgotten by now, so the id belong to another process.
            if let Some(id) = i32::try_from(child.process.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(id, Signal::TERM);
            }
        }
        self.wait(STOP_MAX);
        for mut child in self.running.drain(..) {
            eprintln!(
                "the {} did not end in {} s and is killed",
                child.name,
                STOP_MAX.as_secs()
            );
            let _ = child.process.kill();
            let _ = child.process.wait();
        }
    }

    /// Waits until all children have ended, and forgets those that have.
    fn wait(&mut self, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        loop {
            self.running.retain_mut(|child| !child.has_ended());
            if self.running.is_empty() || Instant::now() >= deadline {
                return;
            }
            thread::sleep(TICK);
        }
    }

    /// What happened to a child, with the end of its log.
    fn obituary(&self, name: &str, what: &str) -> String {
        let log = self
            .running
            .iter()
            .find(|child| child.name == name)
            .map(|child| &child.log);
        let lines = log
            .and_then(|log| fs::read_to_string(log).ok())
            .unwrap_or_default();
        let lines: Vec<&str> = lines.lines().collect();
        let end = &lines[lines.len().saturating_sub(LOG_LINES)..];
        if end.is_empty() {
            return format!("the {name} {what}, and logged nothing");
        }
        format!("the {name} {what}. The end of its log:\n{}", end.join("\n"))
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Running {
    fn has_ended(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }
}

/// The listener and its address in a line like `ready relay public http://127.0.0.1:8080`.
fn parse_ready(line: &str) -> Option<(&str, &str)> {
    let (listener, address) = line.trim_end().strip_prefix("ready ")?.rsplit_once(' ')?;
    let is_url = address.starts_with("http://") || address.starts_with("https://");
    (is_url && !listener.is_empty()).then_some((listener, address.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_lines_are_read() {
        let rows = [
            (
                "ready relay public http://127.0.0.1:8080",
                Some(("relay public", "http://127.0.0.1:8080")),
            ),
            (
                "ready relay admin https://[::1]:8081\r",
                Some(("relay admin", "https://[::1]:8081")),
            ),
            (
                "ready receiver http://127.0.0.1:8700/",
                Some(("receiver", "http://127.0.0.1:8700")),
            ),
            ("ready http://127.0.0.1:8700", None),
            ("ready receiver", None),
            ("ready receiver 127.0.0.1:8700", None),
            ("already receiver http://127.0.0.1:8700", None),
            ("", None),
        ];
        for (line, expected) in rows {
            assert_eq!(parse_ready(line), expected, "{line}");
        }
    }
}
