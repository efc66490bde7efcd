//! A child process: starts it, keeps its output, watches it, and stops it when its owner is dropped.

mod pipe;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use pipe::{Pipe, Sink};
use rustix::process::{Pid, Signal, kill_process};

/// Polling interval.
const TICK: Duration = Duration::from_millis(10);
/// Lines of a log that an error shows, at most.
const LOG_LINES: usize = 25;

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Log,
    ready: Arc<Mutex<BTreeMap<String, String>>>,
    pipes: Vec<Pipe>,
}

/// The destination of a process's output, except its ready lines.
#[derive(Clone, Debug)]
pub enum Log {
    /// Into memory, for as long as the process runs.
    Memory(Arc<Mutex<String>>),
    /// Into a file, which is truncated first.
    File(PathBuf),
}

impl Process {
    /// Starts a process without waiting for it.
    ///
    /// # Errors
    /// The program cannot be started, or the log cannot be written.
    pub fn start(name: &str, command: &mut Command, log: Log) -> Result<Self> {
        let (stderr, mut sink): (Stdio, Sink) = match &log {
            Log::Memory(text) => (Stdio::piped(), Box::new(append(text))),
            Log::File(path) => {
                let mut file =
                    File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
                let stderr = file.try_clone()?.into();
                // A log that cannot be written must not block the process.
                (stderr, Box::new(move |line| _ = writeln!(file, "{line}")))
            }
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("cannot start the {name}"))?;
        let ready = Arc::new(Mutex::new(BTreeMap::new()));
        let addresses = Arc::clone(&ready);
        let take: Sink = Box::new(move |line| match parse_ready(line) {
            Some((listener, address)) => {
                lock(&addresses).insert(listener.to_owned(), address.to_owned());
            }
            None => sink(line),
        });
        let mut pipes = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            pipes.push(Pipe::read(stdout.into(), take)?);
        }
        if let (Log::Memory(text), Some(stderr)) = (&log, child.stderr.take()) {
            pipes.push(Pipe::read(stderr.into(), Box::new(append(text)))?);
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            ready,
            pipes,
        })
    }

    /// The address of a listener, once the process has printed its ready line (`ready relay public http://…`).
    #[must_use]
    pub fn ready(&self, listener: &str) -> Option<String> {
        self.drain();
        lock(&self.ready).get(listener).cloned()
    }

    /// Waits until `look` returns something.
    ///
    /// # Errors
    /// The process ends first, `bound` passes first, or `look` fails.
    pub fn wait_until<T>(
        &mut self,
        what: &str,
        bound: Duration,
        mut look: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(seen) = look(self)? {
                return Ok(seen);
            }
            self.check()?;
            if start.elapsed() >= bound {
                bail!(self.failure(&format!("was not {what} in {} s", bound.as_secs())));
            }
            thread::sleep(TICK);
        }
    }

    /// The name it was started with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process id as system calls take it.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Everything the process has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.drain();
        match &self.log {
            Log::Memory(text) => lock(text).clone(),
            Log::File(path) => fs::read_to_string(path).unwrap_or_default(),
        }
    }

    /// The exit status; `None` while the process runs.
    ///
    /// # Errors
    /// The operating system does not know the process.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Fails, with the end of the log, if the process has ended.
    ///
    /// # Errors
    /// See above.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!(self.failure(&format!("ended by itself ({status})"))),
            None => Ok(()),
        }
    }

    /// Sends a signal. Call it only before the process has been waited for: afterwards its id may belong to another
    /// process.
    ///
    /// # Errors
    /// The process is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(self.pid(), signal)?)
    }

    /// Asks the process to end, if it runs, and waits up to `bound` for it. Returns whether it has ended.
    pub fn stop(&mut self, bound: Duration) -> bool {
        if self.wait(Duration::ZERO) {
            return true;
        }
        // It may end in this moment.
        let _ = self.signal(Signal::TERM);
        self.wait(bound)
    }

    /// Waits up to `bound` for the process to end. Returns whether it has ended.
    pub fn wait(&mut self, bound: Duration) -> bool {
        let start = Instant::now();
        loop {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            if start.elapsed() >= bound {
                return false;
            }
            thread::sleep(TICK);
        }
    }

    /// Takes all output so far, so that no caller depends on how fast the pipes are read.
    fn drain(&self) {
        self.pipes.iter().for_each(Pipe::drain);
    }

    fn failure(&self, what: &str) -> String {
        let (name, log) = (&self.name, self.log());
        let lines: Vec<&str> = log.lines().collect();
        match &lines[lines.len().saturating_sub(LOG_LINES)..] {
            [] => format!("the {name} {what}, and logged nothing"),
            end => format!("the {name} {what}. The end of its log:\n{}", end.join("\n")),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.drain();
    }
}

fn append(text: &Arc<Mutex<String>>) -> impl FnMut(&str) + Send + use<> {
    let text = Arc::clone(text);
    move |line| {
        let mut text = lock(&text);
        text.push_str(line);
        text.push('\n');
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The listener and its address in a line such as `ready relay public http://127.0.0.1:8080`.
fn parse_ready(line: &str) -> Option<(&str, &str)> {
    let (listener, address) = line.trim_end().strip_prefix("ready ")?.rsplit_once(' ')?;
    let is_url = address.starts_with("http://") || address.starts_with("https://");
    (is_url && !listener.is_empty()).then_some((listener, address.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::{Log, Process, parse_ready};
    use std::process::Command;
    use std::time::Duration;

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

    #[test]
    fn an_error_shows_the_end_of_the_log() {
        let check = |end: &str, look: fn(&Process) -> Option<String>, expected: Result<&str, &[&str]>| {
            let script = format!("echo ready server http://localhost:1; echo first; echo last >&2; {end}");
            let log = Log::Memory(std::sync::Arc::default());
            let mut process =
                Process::start("server", Command::new("sh").args(["-c", &script]), log).unwrap();
            let found = process.wait_until("ready", Duration::from_secs(30), |process| Ok(look(process)));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(error), Err(parts)) => {
                    let error = format!("{error:#}");
                    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
                }
                (found, expected) => panic!("{found:?} instead of {expected:?}"),
            }
        };
        check("exit 7", |_| None, Err(&["the server ended by itself", "7"]));
        let is_ready: fn(&Process) -> Option<String> = |process| process.ready("server");
        for end in ["exec sleep 600", "exit 7"] {
            check(end, is_ready, Ok("http://localhost:1"));
        }
    }

    #[test]
    fn the_log_of_a_process_that_has_ended_is_complete() {
        // More than a pipe holds, so that much of it is still unread when the process ends.
        let script =
            "i=0; while [ $i -lt 9000 ]; do echo a line of its log; i=$((i+1)); done; printf last >&2";
        for _ in 0..5 {
            let log = Log::Memory(std::sync::Arc::default());
            let mut process =
                Process::start("speaker", Command::new("sh").args(["-c", script]), log).unwrap();
            assert!(process.wait(Duration::from_secs(30)));
            let log = process.log();
            assert_eq!(log.lines().count(), 9001);
            assert!(log.lines().any(|line| line == "last"));
        }
    }

    #[test]
    fn a_process_ends_at_a_signal_or_with_its_owner() {
        let log = Log::Memory(std::sync::Arc::default());
        let mut process = Process::start("sleeper", Command::new("sleep").arg("600"), log).unwrap();
        assert!(!process.wait(Duration::ZERO));
        assert!(process.stop(Duration::from_secs(30)) && process.stop(Duration::ZERO));
    }
}
