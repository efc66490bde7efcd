//! The real binary as a process of its own: to be killed, to be stopped, to have its log read.

use crate::post::{Post, Sent, http_client};
use crate::{METRICS_PASSWORD, Scrape, within};
use rustix::process::{Pid, Signal, kill_process};
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
    log: Arc<Mutex<String>>,
}

impl ChildRelay {
    pub(crate) async fn start(exe: &str, config: &Path) -> Self {
        let mut child = Command::new(exe)
            .args(["serve", "--config"])
            .arg(config)
            .env("RUST_LOG", "info,feedback_relay=trace,hyper=debug,reqwest=trace")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, log) = (Arc::new(Mutex::default()), Arc::new(Mutex::default()));
        collect(child.stdout.take().unwrap(), Arc::clone(&said));
        collect(child.stderr.take().unwrap(), Arc::clone(&log));
        let mut relay = Self {
            public: String::new(),
            admin: String::new(),
            client: http_client(),
            child,
            log,
        };
        let address = |name: &str| {
            let text: String = said.lock().unwrap().clone();
            let start = format!("ready relay {name} ");
            text.lines()
                .find_map(|line| line.strip_prefix(&start).map(str::to_owned))
        };
        (relay.public, relay.admin) = within(START_MAX, "the relay says that it is ready", async || {
            let ended = relay.child.try_wait().unwrap();
            assert!(ended.is_none(), "the relay ended with {ended:?}: {}", relay.log());
            Some((address("public")?, address("admin")?))
        })
        .await;
        relay
    }

    /// What it has logged so far.
    ///
    /// # Panics
    /// When a reader of the log has panicked.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
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
        let request = self
            .client
            .get(format!("{}/metrics", self.admin))
            .basic_auth("prometheus", Some(METRICS_PASSWORD));
        Scrape::parse(&Sent::read(request.send().await.unwrap()).await.unwrap().text)
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
