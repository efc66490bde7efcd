//! The configuration: one TOML file, checked as a whole before anything starts.
//!
//! Each section is a struct in a file of its own under `config/`. Paths in the file are relative to the file's own
//! folder. Secrets can come from the environment instead.

mod allowed_host;
mod budget;
mod listen;
pub(crate) mod name;
mod network;
mod plan_file;
mod plans;
mod policy;
mod privacy;
mod profile;
mod rate;
mod secret;
mod site;
mod spool;
mod tls;
pub mod toml;
mod tool;
mod upstream;

pub use allowed_host::AllowedHost;
pub use budget::BudgetConfig;
pub use listen::{Admin, Metrics, Public};
pub use plans::{DEFAULT_PLAN, Plans, SitePlan};
pub use policy::{PolicyConfig, WhenFailing};
pub use profile::Profile;
pub use rate::Rate;
pub use secret::{Secret, SecretSource};
pub use site::SiteConfig;
pub use spool::SpoolConfig;
pub use tls::TlsFiles;
pub use tool::{Tool, Tools};
pub use upstream::{
    CONCURRENCY_MAX, Delivery, Direct, FileError, Loaded, Proxy, ProxySource, Stats, Upstream, UpstreamFiles,
    Way,
};

use crate::config::toml::Diagnostics;
use crate::digest::sha256;
use crate::notice::page::About;
use plans::PlanFiles;
use std::path::{Path, PathBuf};

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of the database, its lock and the control socket.
    pub data_dir: PathBuf,
    /// The operator's lock: while it is set, nothing is collected and no admin can switch collection on.
    pub operator_lock: bool,
    /// The tracking plans of the sites.
    pub plans: Plans,
    /// The listener for browsers.
    pub public: Public,
    /// The budgets of one client.
    pub budget: BudgetConfig,
    /// The listener for admins and monitoring.
    pub admin: Admin,
    /// Access to the metrics.
    pub metrics: Metrics,
    /// The sites that events may belong to.
    pub sites: Vec<SiteConfig>,
    /// Programs other than browsers that may send events.
    pub tools: Tools,
    /// Texts of the privacy page that do not come from the plans.
    pub privacy: About,
    /// The scrubbing policy and its limits.
    pub policy: PolicyConfig,
    /// The spool's bounds.
    pub spool: SpoolConfig,
    /// The server that receives the events.
    pub upstream: Upstream,
    /// Whether log lines are JSON.
    pub log_json: bool,
    /// The SHA-256 of the file's text.
    pub digest: String,
}

/// The environment as a function, so that tests do not modify the process's own.
pub type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The process's environment.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
pub fn process_env(key: &str) -> Option<String> {
    std::env::var(key).ok()
}

impl Config {
    /// The site with this domain.
    pub fn site(&self, domain: &str) -> Option<&SiteConfig> {
        self.sites.iter().find(|site| site.domain == domain)
    }

    /// The listeners with TLS, each with its table and files.
    pub fn tls(&self) -> impl Iterator<Item = (&'static str, &TlsFiles)> {
        let listeners = [("public", &self.public.tls), ("admin", &self.admin.tls)];
        listeners
            .into_iter()
            .filter_map(|(listener, files)| Some((listener, files.as_ref()?)))
    }

    /// Reads and checks a configuration file and the files it names.
    ///
    /// # Errors
    /// Every mistake in the file and in the plans it names, with key and line.
    pub fn load(path: &Path, env: Env<'_>) -> Result<Self, Diagnostics> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Diagnostics::of_file(
                path,
                format!(
                    "cannot be read: {error}. Name the file with `--config`; start from relay.example.toml"
                ),
            )
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&path.display().to_string(), &text, folder, env)
    }

    /// Checks the text of a configuration whose relative paths start at `folder`.
    ///
    /// # Errors
    /// Every mistake in the text and in the plans it names, with key and line.
    pub fn parse(name: &str, text: &str, folder: &Path, env: Env<'_>) -> Result<Self, Diagnostics> {
        let mut files = PlanFiles::new(folder);
        let config = toml::read(name, text, |root| {
            files.general(root);
            let sites = SiteConfig::read_all(root, &mut files);
            let plans = Plans::in_use(sites.iter().map(|site| &site.plan));
            let public = root.section("public", |s| Public::read(s, folder));
            // Evaluated last, so that a missing upstream does not hide the other mistakes.
            let upstream = root.section("upstream", |s| Upstream::read(s, folder, &plans, env));
            Some(Self {
                digest: sha256(text.as_bytes()),
                data_dir: folder.join(root.text("data_dir").unwrap_or_else(|| "data".into())),
                operator_lock: root.boolean("operator_lock").unwrap_or(false),
                policy: root.section("policy", |s| PolicyConfig::read(s, folder, public.body_bytes_max)),
                public,
                budget: root.section("budget", BudgetConfig::read),
                admin: root.section("admin", |s| Admin::read(s, folder)),
                metrics: root.section("metrics", |s| Metrics::read(s, folder, env)),
                plans,
                tools: Tools::read(root, folder, &sites, env),
                sites,
                privacy: root.section("privacy", privacy::read),
                spool: root.section("spool", SpoolConfig::read),
                log_json: root
                    .section("log", |s| s.choice("format", &[("text", false), ("json", true)]))
                    .unwrap_or(false),
                upstream: upstream?,
            })
        });
        match config {
            Ok(Some(config)) => files.mistakes.into_result().map(|()| config),
            Ok(None) => Err(files.mistakes),
            Err(mut mistakes) => {
                mistakes.merge(files.mistakes);
                Err(mistakes)
            }
        }
    }
}

#[cfg(test)]
mod tests;
