//! The real binary as a process of its own: to be killed, to be stopped, to have its log read.

use crate::post::{Post, Sent, http_client};
use crate::{METRICS_PASSWORD, Scrape, within};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a relay may take to start. It compiles its policy, unoptimised, beside other tests.
const START_MAX: Duration = Duration::from_secs(60);

/// A relay in its own process. It is killed when dropped.
#[derive(Debug)]
pub struct ChildRelay {
    /// The public listener.
    pub public: String,
    /// The admin listener.
    pub admin: String,
    /// A client of its own.
    pub client: reqwest::Client,
    child: Child,
    said: Arc<Mutex<String>>,
    log: Arc<Mutex<String>>,
}

impl ChildRelay {
    pub(crate) async fn start(exe: &str, config: &Path) -> Self {
        let mut relay = Self::launch(exe, config);
        relay.ready().await;
        relay
    }

    /// Starts it without waiting until it is ready. Its log has all there is, so that tests find in it what must not be
    /// there.
    pub(crate) fn launch(exe: &str, config: &Path) -> Self {
        let everything = "info,feedback_relay=trace,hyper=debug,reqwest=trace";
        Self::launch_with(exe, config, &[("RUST_LOG", everything.to_owned())])
    }

    /// The same, in an environment with these variables.
    pub(crate) fn launch_with(exe: &str, config: &Path, environment: &[(&str, String)]) -> Self {
        // A write beyond a file size limit is to fail, as on a full disk, and not to end the process.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" serve --config \"$1\"", exe])
            .arg(config)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, log) = (Arc::new(Mutex::default()), Arc::new(Mutex::default()));
        collect(child.stdout.take().unwrap(), Arc::clone(&said));
        collect(child.stderr.take().unwrap(), Arc::clone(&log));
        Self {
            public: String::new(),
            admin: String::new(),
            client: http_client(),
            child,
            said,
            log,
        }
    }

    /// Waits until it says that it is ready, and where.
    ///
    /// # Panics
    /// When it ends instead, or takes too long.
    pub async fn ready(&mut self) {
        let said = Arc::clone(&self.said);
        let address = |name: &str| {
            let text: String = said.lock().unwrap().clone();
            let start = format!("ready relay {name} ");
            text.lines()
                .find_map(|line| line.strip_prefix(&start).map(str::to_owned))
        };
        (self.public, self.admin) = within(START_MAX, "the relay says that it is ready", async || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the relay ended with {ended:?}: {}", self.log());
            Some((address("public")?, address("admin")?))
        })
        .await;
    }

    /// What it has logged so far.
    ///
    /// # Panics
    /// When a reader of the log has panicked.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Its log, which goes on while the relay runs.
    pub(crate) fn log_so_far(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.log)
    }

    /// Whether it has ended by itself.
    ///
    /// # Panics
    /// When the operating system does not say.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends a request to the public listener.
    ///
    /// # Errors
    /// When no whole answer came, as when the relay was killed.
    pub async fn try_send(&self, post: &Post) -> reqwest::Result<Sent> {
        post.try_send(&self.client, &self.public).await
    }

    /// Scrapes the metrics.
    ///
    /// # Panics
    /// When they cannot be read.
    pub async fn metrics(&self) -> Scrape {
        Scrape::parse(&self.get_as_monitoring("/metrics").await.text)
    }

    /// Gets health with its details, as monitoring does.
    ///
    /// # Panics
    /// When nobody answers.
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

    /// Kills it as `kill -9` does.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, as systemd and Kubernetes do.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to stop, as Ctrl-C does.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    /// Lets no file it writes grow beyond so many bytes, as on a disk that is full; `None` takes it back.
    ///
    /// # Panics
    /// When the limit cannot be set.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let pid = Some(Pid::from_child(&self.child));
        let maximum = getrlimit(Resource::Fsize).maximum;
        let current = bytes.or(maximum);
        prlimit(pid, Resource::Fsize, Rlimit { current, maximum }).unwrap();
    }

    /// The memory it has at the moment, in bytes.
    ///
    /// # Panics
    /// When the kernel does not tell.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024
    }

    /// Asks it to read its policy again.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn ended(&mut self, bound: Duration) -> ExitStatus {
        within(bound, "the relay ends", async || self.child.try_wait().unwrap()).await
    }

    /// Waits until nothing waits for delivery any more.
    ///
    /// # Panics
    /// When something still waits by then.
    pub async fn drained_within(&self, bound: Duration) {
        within(bound, "the spool is empty", async || {
            (self.metrics().await.count("spool_events") == 0).then_some(())
        })
        .await;
    }

    /// Gets a page of the public listener.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn get(&self, path: &str) -> Sent {
        let request = self.client.get(format!("{}{path}", self.public));
        Sent::read(request.send().await.unwrap()).await.unwrap()
    }

    /// Checks that events are conserved, and stops it.
    ///
    /// # Panics
    /// When they are not, or it does not end well.
    pub async fn stop(mut self) -> Scrape {
        let scrape = self.metrics().await;
        scrape.assert_conserved();
        self.terminate();
        let status = self.ended(Duration::from_secs(30)).await;
        assert!(status.success(), "{status}: {}", self.log());
        scrape
    }
}

impl Drop for ChildRelay {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stream: impl std::io::Read + Send + 'static, into: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut text = into.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    });
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Done {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub err: String,
}

impl Done {
    /// Runs a command to its end, with a text as its standard input.
    ///
    /// # Panics
    /// When it cannot be run.
    pub async fn of(exe: &str, arguments: Vec<String>, input: String) -> Self {
        let mut command = Command::new(exe);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let run = move || {
            let mut child = command.spawn().unwrap();
            // A command that takes no input may have ended already.
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
