//! The real binary as a separate process, so that tests can kill it, stop it and read its log.

use crate::post::{Post, Sent, http_client};
use crate::{METRICS_PASSWORD, Scrape, within};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests_common::process::{Log, Process};

/// Time limit for a relay's start. It compiles its policy, unoptimised, beside other tests.
const START_MAX: Duration = Duration::from_secs(60);

/// A relay in its own process. It is killed when dropped.
#[derive(Debug)]
pub struct ChildRelay {
    /// The public listener.
    pub public: String,
    /// The admin listener.
    pub admin: String,
    /// A separate HTTP client.
    pub client: reqwest::Client,
    process: Process,
    log: Arc<Mutex<String>>,
}

impl ChildRelay {
    pub(crate) async fn start(exe: &str, config: &Path) -> Self {
        let mut relay = Self::launch(exe, config);
        relay.ready().await;
        relay
    }

    /// Starts it without waiting until it is ready. Its log is at the most verbose level, so that tests find anything
    /// that must not be there.
    pub(crate) fn launch(exe: &str, config: &Path) -> Self {
        let everything = "info,feedback_relay=trace,hyper=debug,reqwest=trace";
        Self::launch_with(exe, config, &[("RUST_LOG", everything.to_owned())])
    }

    /// The same, in an environment with these variables.
    pub(crate) fn launch_with(exe: &str, config: &Path, environment: &[(&str, String)]) -> Self {
        // A write beyond the file size limit must fail, as on a full disk, instead of ending the process (SIGXFSZ).
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; exec \"$0\" serve --config \"$1\"", exe])
            .arg(config)
            .envs(environment.iter().map(|(name, value)| (name, value)));
        let log = Arc::default();
        let process = Process::start("relay", &mut command, Log::Memory(Arc::clone(&log))).unwrap();
        Self {
            public: String::new(),
            admin: String::new(),
            client: http_client(),
            process,
            log,
        }
    }

    /// Waits for its ready lines, which carry the addresses.
    ///
    /// # Panics
    /// If it ends first, or takes too long.
    pub async fn ready(&mut self) {
        (self.public, self.admin) = within(START_MAX, "the relay says that it is ready", async || {
            let ended = self.process.ended().unwrap();
            assert!(ended.is_none(), "the relay ended with {ended:?}: {}", self.log());
            let address = |listener| self.process.ready(listener);
            Some((address("relay public")?, address("relay admin")?))
        })
        .await;
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its log, which grows while the relay runs.
    pub(crate) fn log_so_far(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.log)
    }

    /// Whether it has ended by itself.
    ///
    /// # Panics
    /// If the operating system returns an error.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().unwrap().is_some()
    }

    /// Sends a request to the public listener, again while the relay is overloaded.
    ///
    /// # Errors
    /// If no complete answer arrives, for example because the relay was killed.
    ///
    /// # Panics
    /// If the relay stays overloaded.
    pub async fn try_send(&self, post: &Post) -> reqwest::Result<Sent> {
        post.insist(&self.client, &self.public).await
    }

    /// Scrapes the metrics.
    ///
    /// # Panics
    /// If they cannot be read.
    pub async fn metrics(&self) -> Scrape {
        Scrape::parse(&self.get_as_monitoring("/metrics").await.text)
    }

    /// Gets health with its details, as for monitoring.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn health(&self) -> Sent {
        self.get_as_monitoring("/actuator/health").await
    }

    async fn get_as_monitoring(&self, path: &str) -> Sent {
        let request = self
            .client
            .get(format!("{}{path}", self.admin))
            .basic_auth("prometheus", Some(METRICS_PASSWORD));
        Sent::read(request.send().await.unwrap()).await.unwrap()
    }

    /// Kills it with SIGKILL.
    pub fn kill(self) {
        drop(self.process);
    }

    /// Sends SIGTERM, like systemd and Kubernetes.
    ///
    /// # Panics
    /// If the signal cannot be sent.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM).unwrap();
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends SIGINT, like Ctrl-C.
    ///
    /// # Panics
    /// If the signal cannot be sent.
    pub fn interrupt(&self) {
        self.process.signal(Signal::INT).unwrap();
    }

    /// Limits the size of every file it writes to this many bytes, to simulate a full disk; `None` removes the limit.
    ///
    /// # Panics
    /// If the limit cannot be set.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let pid = Some(self.process.pid());
        let maximum = getrlimit(Resource::Fsize).maximum;
        let current = bytes.or(maximum);
        prlimit(pid, Resource::Fsize, Rlimit { current, maximum }).unwrap();
    }

    /// Its current resident memory, in bytes.
    ///
    /// # Panics
    /// If the kernel does not report it.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024
    }

    /// Sends SIGHUP, which reloads the policy.
    ///
    /// # Panics
    /// If the signal cannot be sent.
    pub fn hang_up(&self) {
        self.process.signal(Signal::HUP).unwrap();
    }

    /// Waits for it to end.
    ///
    /// # Panics
    /// If it does not end in time.
    pub async fn ended(&mut self, bound: Duration) -> ExitStatus {
        within(bound, "the relay ends", async || self.process.ended().unwrap()).await
    }

    /// Waits until no event waits for delivery.
    ///
    /// # Panics
    /// If events still wait after `bound`.
    pub async fn drained_within(&self, bound: Duration) {
        within(bound, "the spool is empty", async || {
            (self.metrics().await.count("spool_events") == 0).then_some(())
        })
        .await;
    }

    /// Sends a GET request to the public listener.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn get(&self, path: &str) -> Sent {
        let request = self.client.get(format!("{}{path}", self.public));
        Sent::read(request.send().await.unwrap()).await.unwrap()
    }

    /// Checks that events are conserved, and stops it.
    ///
    /// # Panics
    /// If they are not, or if it does not exit cleanly.
    pub async fn stop(mut self) -> Scrape {
        let scrape = self.metrics().await;
        scrape.assert_conserved();
        self.terminate();
        let status = self.ended(Duration::from_secs(30)).await;
        assert!(status.success(), "{status}: {}", self.log());
        scrape
    }
}

/// A command's output and exit code.
#[derive(Debug)]
pub struct Done {
    /// Its exit code.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Done {
    /// Runs a command to its end, with this text as standard input.
    ///
    /// # Panics
    /// If it cannot be run.
    pub async fn of(exe: &str, arguments: Vec<String>, input: String) -> Self {
        let mut command = Command::new(exe);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let run = move || {
            let mut child = command.spawn().unwrap();
            // A command that reads no input may already have ended.
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            child.wait_with_output().unwrap()
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
        Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}
