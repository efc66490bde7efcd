//! The configuration of a relay under test, as the TOML text that an operator would write.

use crate::{
    ChildRelay, Done, MiniPlausible, Relay, SITE, address_of_its_own, compiled, small_policy, within,
};
use feedback_relay::clock::Clock;
use feedback_relay::config::Config;
use feedback_relay::digest::sha256;
use feedback_relay::policy::verdicts::Verdicts;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// The version of the tests' tracking plan, which consent must name.
pub const PLAN_VERSION: u32 = 3;
/// The password of `/metrics`.
pub const METRICS_PASSWORD: &str = "a password for the metrics";
/// Time limit for a self-test: the time to give up on two requests, plus some margin.
const SELF_TEST_MAX: Duration = Duration::from_secs(60);
const PLAN: &str = include_str!("../plan.toml");

/// A relay's configuration and data folder. It can be started repeatedly.
#[derive(Clone, Debug)]
pub struct Setup {
    folder: Arc<TempDir>,
    sections: BTreeMap<String, Vec<String>>,
    sites: Vec<String>,
    clock: Clock,
    trusts_the_policy: bool,
}

impl Setup {
    /// A setup for one site and a Plausible at this address.
    ///
    /// # Panics
    /// If temporary files cannot be created.
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
            // A test sends as fast as it can; tests of the limits set their own values.
            .with("public", "rate_per_client = 0")
            .with("public", "rate_per_site = 0")
            .with("budget", "events_per_visitor = 0")
            .with("budget", "events_per_client_day = 0")
            .with("budget", "new_visitors_per_client = 0")
            .with("budget", "new_visitors_per_client_day = 0")
            // The tests do not request the configuration before they post; tests of page tokens do.
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

    /// Without the lines of a section that start with this.
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

    /// With the relay's built-in plan, for meshPanel.
    #[must_use]
    pub fn with_the_plan_built_in(self) -> Self {
        self.without("", "plan")
    }

    /// With a unique address, which no other relay gets while this one is stopped, and its URL.
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

    /// A relay in a separate process that is on, starts quickly, and whose Plausible is still unavailable.
    ///
    /// # Panics
    /// If it does not start.
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
    /// If it cannot be written.
    #[must_use]
    pub fn with_a_small_policy(self) -> Self {
        std::fs::write(self.folder().join("small-policy.wasm"), small_policy::wasm()).unwrap();
        self.with("policy", "file = \"small-policy.wasm\"")
            .trusting_its_policy()
    }

    /// With a policy that is recorded as checked, like one that behaved during the check and misbehaves later.
    #[must_use]
    pub fn trusting_its_policy(mut self) -> Self {
        self.trusts_the_policy = true;
        self
    }

    /// Records in the data folder that the policy passed the check, if it is to be trusted.
    fn trust(&self) {
        if !self.trusts_the_policy {
            return;
        }
        // An invalid configuration starts no relay.
        let Ok(config) = Config::parse("relay.toml", &self.text(), self.folder(), &|_| None) else {
            return;
        };
        if let Some(Ok(wasm)) = config.policy.file.as_ref().map(std::fs::read) {
            Verdicts::open(&config.data_dir, &config.policy, &config.plans).passed(&sha256(&wasm));
        }
    }

    /// With a small policy that uses all of its time for a URL that ends with `slow`.
    ///
    /// # Panics
    /// If it cannot be written.
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

    /// The relay's data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// The configuration, checked as by `serve`.
    ///
    /// # Panics
    /// If it has a mistake.
    pub fn config(&self) -> Config {
        Config::parse("relay.toml", &self.text(), self.folder(), &|_| None)
            .unwrap_or_else(|mistakes| panic!("{mistakes}"))
    }

    /// Starts a relay in this process, without turning switches.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(&self) -> Relay {
        self.trust();
        Relay::start(self.config(), self.clock.clone(), Arc::clone(&self.folder)).await
    }

    /// Starts a relay in this process and turns the site on. Its self-test has finished, so that no test races with it.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_on(&self) -> Relay {
        let relay = self.start().await;
        relay.turn(true).await;
        within(SELF_TEST_MAX, "the self-test is over", async || {
            relay
                .app()
                .dispatcher
                .self_test()
                .contains_key(SITE)
                .then_some(())
        })
        .await;
        relay
    }

    /// Writes the configuration to a file, for a relay in a separate process. A new file is readable by its owner only,
    /// because it holds a password; an existing one keeps its permissions.
    ///
    /// # Panics
    /// If it cannot be written.
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

    /// Puts the compiled policy into the data folder, if it is the built-in one.
    fn put_compiled_policy(&self, exe: &str) {
        let own = self
            .sections
            .get("policy")
            .is_some_and(|lines| lines.iter().any(|line| line.starts_with("file")));
        if !own {
            compiled::put_into(&self.data_dir(), exe);
        }
    }

    /// Starts a relay in a separate process, without turning switches.
    pub async fn spawn(&self, exe: &str) -> ChildRelay {
        self.put_compiled_policy(exe);
        ChildRelay::start(exe, &self.write()).await
    }

    /// Starts a relay in a separate process without waiting until it is ready.
    pub fn launch(&self, exe: &str) -> ChildRelay {
        self.put_compiled_policy(exe);
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
