//! The configuration of a relay under test, as the TOML text an operator would write.

use crate::{ChildRelay, Done, MiniPlausible, Relay, SITE, address_of_its_own, small_policy, within};
use feedback_relay::clock::Clock;
use feedback_relay::config::Config;
use feedback_relay::policy::verdicts::Verdicts;
use feedback_relay::sandbox::sha256;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// The version of the tests' tracking plan, which consent has to name.
pub const PLAN_VERSION: u32 = 3;
/// The password of `/metrics`.
pub const METRICS_PASSWORD: &str = "a password for the metrics";
/// How long a self-test may take: as long as it takes to give up two requests, and some breath.
const SELF_TEST_MAX: Duration = Duration::from_secs(60);
const PLAN: &str = include_str!("../plan.toml");

/// A relay's configuration and data folder. It can be started again and again.
#[derive(Clone, Debug)]
pub struct Setup {
    folder: Arc<TempDir>,
    sections: BTreeMap<String, Vec<String>>,
    sites: Vec<String>,
    clock: Clock,
    trusts_the_policy: bool,
}

impl Setup {
    /// For one site and a Plausible at this address.
    ///
    /// # Panics
    /// When there is no room for temporary files.
    pub fn new(upstream: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("relay-").tempdir().unwrap();
        std::fs::write(folder.path().join("plan.toml"), PLAN).unwrap();
        let setup = Self {
            folder: Arc::new(folder),
            sections: BTreeMap::new(),
            sites: vec![format!("domain = \"{SITE}\"")],
            clock: Clock::system(),
            trusts_the_policy: false,
        };
        setup
            .with("", "plan = \"plan.toml\"")
            .with("public", "listen = \"127.0.0.1:0\"")
            .with("public", "trusted_proxies = [\"127.0.0.1\"]")
            // A test sends as fast as it can; those of the limits set their own.
            .with("public", "rate_per_client = 0")
            .with("public", "rate_per_site = 0")
            .with("budget", "events_per_visitor = 0")
            .with("budget", "events_per_client_day = 0")
            .with("budget", "new_visitors_per_client = 0")
            .with("budget", "new_visitors_per_client_day = 0")
            // Posts of the tests do not ask for the configuration first; those of the page tokens do.
            .with("public", "require_page_token = false")
            .with("admin", "listen = \"127.0.0.1:0\"")
            .with("metrics", &format!("password = \"{METRICS_PASSWORD}\""))
            .with("upstream", &format!("url = \"{upstream}\""))
    }

    /// With one more line in a section; the empty name is the top of the file.
    #[must_use]
    pub fn with(mut self, section: &str, line: &str) -> Self {
        self.sections
            .entry(section.to_owned())
            .or_default()
            .push(line.to_owned());
        self
    }

    /// Without the lines of a section that begin so.
    #[must_use]
    pub fn without(mut self, section: &str, key: &str) -> Self {
        self.sections
            .entry(section.to_owned())
            .or_default()
            .retain(|line| !line.starts_with(key));
        self
    }

    /// With a further site, given by its lines.
    #[must_use]
    pub fn with_site(mut self, lines: &str) -> Self {
        self.sites.push(lines.to_owned());
        self
    }

    /// With another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: &Clock) -> Self {
        self.clock = clock.clone();
        self
    }

    /// The plan the relay has built in, for meshPanel.
    #[must_use]
    pub fn with_the_plan_built_in(self) -> Self {
        self.without("", "plan")
    }

    /// With an address of its own, which no other relay is given while this one is away, and its URL.
    #[must_use]
    pub fn at_an_address(self) -> (Self, String) {
        let address = address_of_its_own();
        let listen = format!("listen = \"{address}\"");
        let setup = self.without("public", "listen").with("public", &listen);
        (setup, format!("http://{address}"))
    }

    /// With the site switched on before the first start.
    ///
    /// # Panics
    /// When it cannot be.
    pub async fn switched_on(self, exe: &str) -> Self {
        let done = self.command(exe, &["switch", "on", "--site", SITE], "").await;
        assert_eq!(done.code, Some(0), "{done:?}");
        self
    }

    /// A relay in a process of its own that is on, starts in no time, and has nobody to deliver to yet.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn while_plausible_is_away(exe: &str) -> (MiniPlausible, Self, ChildRelay) {
        let plausible = MiniPlausible::away();
        let setup = Self::new(&plausible.url())
            .with_a_small_policy()
            .switched_on(exe)
            .await;
        let relay = setup.spawn(exe).await;
        (plausible, setup, relay)
    }

    /// With a policy that takes a hundredth of a second to start, instead of one or two seconds.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn with_a_small_policy(self) -> Self {
        std::fs::write(self.folder().join("small-policy.wasm"), small_policy::wasm()).unwrap();
        self.with("policy", "file = \"small-policy.wasm\"")
            .trusting_its_policy()
    }

    /// With a policy that counts as checked, as one that behaved during the check and misbehaves later.
    #[must_use]
    pub fn trusting_its_policy(mut self) -> Self {
        self.trusts_the_policy = true;
        self
    }

    /// Notes in the data folder that the policy passed the check, if it is to be trusted.
    fn trust(&self) {
        if !self.trusts_the_policy {
            return;
        }
        // A configuration with a mistake starts no relay.
        let Ok(config) = Config::parse("relay.toml", &self.text(), self.folder(), &|_| None) else {
            return;
        };
        if let Some(Ok(wasm)) = config.policy.file.as_ref().map(std::fs::read) {
            Verdicts::open(&config.data_dir, &config.policy, &config.plans).passed(&sha256(&wasm));
        }
    }

    /// With a small policy that takes as long as it may at an address that ends with `slow`.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn with_a_slow_policy(self) -> Self {
        std::fs::write(self.folder().join("slow-policy.wasm"), small_policy::slow_wasm()).unwrap();
        self.with("policy", "file = \"slow-policy.wasm\"")
            .trusting_its_policy()
    }

    /// The text of the configuration file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (section, lines) in &self.sections {
            if !section.is_empty() {
                let _ = writeln!(text, "[{section}]");
            }
            let _ = writeln!(text, "{}", lines.join("\n"));
        }
        for site in &self.sites {
            let _ = writeln!(text, "[[site]]\n{site}");
        }
        text
    }

    /// The folder of configuration and data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the relay keeps its data.
    pub fn data_dir(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// The configuration, checked as `serve` checks it.
    ///
    /// # Panics
    /// When it has a mistake.
    pub fn config(&self) -> Config {
        Config::parse("relay.toml", &self.text(), self.folder(), &|_| None)
            .unwrap_or_else(|mistakes| panic!("{mistakes}"))
    }

    /// Starts a relay in this process, its switches as they were.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(&self) -> Relay {
        self.trust();
        Relay::start(self.config(), self.clock.clone(), Arc::clone(&self.folder)).await
    }

    /// Starts a relay in this process and turns the site on. Its self-test is over, so that no test races
    /// with it.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_on(&self) -> Relay {
        let relay = self.start().await;
        relay.turn(true).await;
        within(SELF_TEST_MAX, "the self-test is over", async || {
            relay.app().traffic.self_test().contains_key(SITE).then_some(())
        })
        .await;
        relay
    }

    /// Writes the configuration to a file, for a relay in a process of its own. A new one is its owner's only, because it
    /// holds a password; one that is there keeps its permissions.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self) -> PathBuf {
        self.trust();
        let file = self.folder().join("relay.toml");
        let mut open = OpenOptions::new();
        open.create(true).write(true).truncate(true).mode(0o600);
        open.open(&file)
            .unwrap()
            .write_all(self.text().as_bytes())
            .unwrap();
        file
    }

    /// Starts a relay in a process of its own, its switches as they were.
    pub async fn spawn(&self, exe: &str) -> ChildRelay {
        ChildRelay::start(exe, &self.write()).await
    }

    /// Starts a relay in a process of its own without waiting until it is ready.
    pub fn launch(&self, exe: &str) -> ChildRelay {
        ChildRelay::launch(exe, &self.write())
    }

    /// Runs one command of the command line to its end.
    pub async fn command(&self, exe: &str, arguments: &[&str], input: &str) -> Done {
        let file = self.write();
        let mut arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        arguments.extend(["--config".to_owned(), file.display().to_string()]);
        Done::of(exe, arguments, input.to_owned()).await
    }
}
