//! The files that a running relay uses, so that `doctor` can compare them with the current files.
//!
//! Digests and names only: a running relay shows no secret and no content.

use crate::config::{Config, PolicyConfig, Upstream};
use crate::digest::sha256;
use crate::http::door::Door;
use crate::http::server::tls::Pair;
use crate::reload::read_bounded;
use crate::version;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Maximum size of a policy that is read for comparison, in bytes. A larger one counts as different.
const POLICY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The configuration file and the plans are read only at startup; changes of all other files are picked up at run
/// time.
const READ_ONCE: [&str; 2] = ["configuration", "plan "];

/// The files and settings that a relay uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Version and commit.
    pub version: String,
    /// The SHA-256 of each file, by its display name.
    pub files: BTreeMap<String, String>,
    /// The route to Plausible: direct, or through which proxy, and why.
    pub way: String,
    /// The address of the last connection to Plausible, or to the proxy.
    pub peer: Option<SocketAddr>,
    /// Why changed files of `[upstream]` are not in use, if so.
    pub failed_reload: Option<String>,
    /// Why the configured policy does not scrub events, if so.
    #[serde(default)]
    pub policy_failure: Option<String>,
    /// Why a changed policy is not in use, if so.
    #[serde(default)]
    pub policy_failed_reload: Option<String>,
}

impl Running {
    /// Describes this process's relay.
    pub fn of(door: &Door) -> Self {
        let app = &door.app;
        let mut files = of_config(&app.config);
        files.extend(of_upstream(&app.upstream.digests()));
        for tls in door.tls.iter() {
            files.insert(
                format!("{}.tls", tls.listener()),
                tls.current().fingerprint().to_owned(),
            );
        }
        let policy = app.policy.current();
        if policy.identity.source == "file" {
            files.insert("policy.file".into(), policy.identity.sha256.clone());
        }
        Self {
            version: version(),
            files,
            way: app.config.upstream.way.to_string(),
            peer: app.upstream.http().peer(),
            failed_reload: app.upstream.last_error(),
            policy_failure: policy.failure(),
            policy_failed_reload: app.policy.last_error(),
        }
    }

    /// Describes a relay that would start now. Skips a file that cannot be read.
    pub fn on_disk(config: &Config) -> Self {
        let mut files = of_config(config);
        files.extend(on_disk(&config.upstream));
        for (listener, pair) in [("public", &config.public.tls), ("admin", &config.admin.tls)] {
            if let Some(Ok(pair)) = pair.as_ref().map(Pair::read) {
                files.insert(format!("{listener}.tls"), pair.fingerprint().to_owned());
            }
        }
        files.extend(policy(&config.policy).map(|digest| ("policy.file".into(), digest)));
        Self {
            version: version(),
            files,
            way: config.upstream.way.to_string(),
            peer: None,
            failed_reload: None,
            policy_failure: None,
            policy_failed_reload: None,
        }
    }

    /// The files in which two relays differ: those read only at startup, and those picked up at run time.
    pub fn differences(&self, other: &Self) -> (Vec<String>, Vec<String>) {
        let names = self.files.keys().chain(other.files.keys());
        let mut different: Vec<String> = names
            .filter(|name| self.files.get(*name) != other.files.get(*name))
            .cloned()
            .collect();
        different.sort();
        different.dedup();
        different
            .into_iter()
            .partition(|name| READ_ONCE.iter().any(|once| name.starts_with(once)))
    }
}

fn version() -> String {
    format!("{} ({})", version::PACKAGE, version::COMMIT)
}

fn of_config(config: &Config) -> BTreeMap<String, String> {
    let plans = config.plans.iter();
    plans
        .map(|plan| (format!("plan {}", plan.name()), plan.digest().to_owned()))
        .chain([("configuration".to_owned(), config.digest.clone())])
        .collect()
}

fn of_upstream(digests: &BTreeMap<&'static str, String>) -> BTreeMap<String, String> {
    let named = digests.iter();
    named
        .map(|(setting, digest)| (format!("upstream.{setting}"), digest.clone()))
        .collect()
}

fn on_disk(upstream: &Upstream) -> BTreeMap<String, String> {
    let loaded = upstream.files.load();
    loaded.map_or_else(|_| BTreeMap::new(), |loaded| of_upstream(&loaded.digests))
}

fn policy(config: &PolicyConfig) -> Option<String> {
    let file = config.file.as_deref()?;
    read_bounded(file, POLICY_BYTES_MAX)
        .ok()
        .map(|wasm| sha256(&wasm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_of_a_file_that_needs_a_restart_or_of_one_that_does_not() {
        let running = |files: &[(&str, &str)]| Running {
            version: String::new(),
            files: files
                .iter()
                .map(|(name, digest)| ((*name).to_owned(), (*digest).to_owned()))
                .collect(),
            way: String::new(),
            peer: None,
            failed_reload: None,
            policy_failure: None,
            policy_failed_reload: None,
        };
        let check = |now: &[(&str, &str)], restart: &[&str], reload: &[&str]| {
            let before = [
                ("configuration", "1"),
                ("plan plan.toml", "1"),
                ("upstream.ca_file", "1"),
                ("public.tls", "1"),
            ];
            let (once, taken) = running(&before).differences(&running(now));
            assert_eq!((once, taken), (owned(restart), owned(reload)), "{now:?}");
        };
        let (config, plan) = (("configuration", "1"), ("plan plan.toml", "1"));
        let (ca, tls) = (("upstream.ca_file", "1"), ("public.tls", "1"));
        check(&[config, plan, ca, tls], &[], &[]);
        check(&[("configuration", "2"), plan, ca, tls], &["configuration"], &[]);
        check(
            &[config, ("plan plan.toml", "2"), ca, tls],
            &["plan plan.toml"],
            &[],
        );
        check(
            &[config, plan, ("upstream.ca_file", "2"), tls],
            &[],
            &["upstream.ca_file"],
        );
        check(&[config, plan, ca], &[], &["public.tls"]);
        check(
            &[
                ("configuration", "2"),
                plan,
                ca,
                tls,
                ("upstream.headers_file", "1"),
            ],
            &["configuration"],
            &["upstream.headers_file"],
        );
    }

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }
}
