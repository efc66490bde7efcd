//! The configuration: one TOML file, checked as a whole before anything starts.
//!
//! One struct per concern, each in a file of its own under `config/`. Paths in the file are relative to
//! the file's own folder. Secrets may come from the environment instead.

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
mod tool;
mod upstream;

pub use allowed_host::AllowedHost;
pub use budget::BudgetConfig;
pub use listen::{Admin, Metrics, Public};
pub use plans::{DEFAULT_PLAN, Plans, SitePlan, default_plan, read_plan};
pub use policy::{PolicyConfig, WhenFailing};
pub use profile::Profile;
pub use rate::Rate;
pub use secret::{Kept, Secret};
pub use site::SiteConfig;
pub use spool::SpoolConfig;
pub use tls::TlsFiles;
pub use tool::{Tool, Tools};
pub use upstream::{
    Direct, FileError, Loaded, Proxy, Source, Stats, Upstream, UpstreamFiles, Way, WhenUnknown,
};

use crate::document::{self, Mistakes};
use crate::plan::page::About;
use crate::sandbox::sha256;
use plans::PlanFiles;
use std::path::{Path, PathBuf};

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the database, its lock and the control socket live.
    pub data_dir: PathBuf,
    /// The operator's lock: while it is set nothing is collected and no admin can switch it on.
    pub operator_lock: bool,
    /// The tracking plans of the sites.
    pub plans: Plans,
    /// The listener browsers reach.
    pub public: Public,
    /// What one client may bring.
    pub budget: BudgetConfig,
    /// The listener of admins and monitoring.
    pub admin: Admin,
    /// Who may read the metrics.
    pub metrics: Metrics,
    /// The sites events may belong to.
    pub sites: Vec<SiteConfig>,
    /// Programs that are no browsers and may send events.
    pub tools: Tools,
    /// What the page for users says besides the plans.
    pub privacy: About,
    /// The scrubbing policy and its limits.
    pub policy: PolicyConfig,
    /// The spool's bounds.
    pub spool: SpoolConfig,
    /// Where events go.
    pub upstream: Upstream,
    /// Whether log lines are JSON.
    pub log_json: bool,
    /// The SHA-256 of the file's text.
    pub digest: String,
}

/// The environment, as a function, so that tests need not touch the process's own.
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
    /// Reads and checks a file and what it names.
    ///
    /// # Errors
    /// Every mistake of the file and of the plans it names, with key and line.
    pub fn load(path: &Path, env: Env<'_>) -> Result<Self, Mistakes> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Mistakes::of_file(path, format!("cannot be read: {error}. `--config` names the file; relay.example.toml is one to start from"))
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&path.display().to_string(), &text, folder, env)
    }

    /// Checks the text of a file whose relative paths start at `folder`.
    ///
    /// # Errors
    /// Every mistake of the file and of the plans it names, with key and line.
    pub fn parse(name: &str, text: &str, folder: &Path, env: Env<'_>) -> Result<Self, Mistakes> {
        let mut files = PlanFiles::new(folder);
        let config = document::read(name, text, |root| {
            files.general(root);
            let sites = SiteConfig::read_all(root, &mut files);
            let plans = Plans::in_use(sites.iter().map(|site| &site.plan));
            let public = root.section("public", |s| Public::read(s, folder));
            // Used last, so that a missing upstream does not hide the other mistakes.
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
                    .section("log", |s| s.parsed("format", "\"text\" or \"json\"", log_json))
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

fn log_json(text: &str) -> Option<bool> {
    match text {
        "text" => Some(false),
        "json" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
