//! The files a running relay works with, so that `doctor` can compare them with the files as they are now.
//!
//! Digests and names only: a running relay shows no secret and no content.

use crate::app::App;
use crate::config::{Config, PolicyConfig, Upstream};
use crate::http::tls::Pair;
use crate::reload::read_bounded;
use crate::sandbox::sha256;
use crate::version;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Largest policy that is read to be compared, in bytes. A larger one counts as another.
const POLICY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The configuration's own file and the plans are read at the start only; everything else is taken up while running.
const READ_ONCE: [&str; 2] = ["configuration", "plan "];

/// What a relay works with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Version and commit.
    pub version: String,
    /// The SHA-256 of each file, by its name for people.
    pub files: BTreeMap<String, String>,
    /// The way to Plausible: straight, or through which proxy, and why.
    pub way: String,
    /// The address of the last connection to Plausible, or to the proxy.
    pub peer: Option<SocketAddr>,
    /// Why changed files of `[upstream]` are not in use, if they are not.
    pub failed_reload: Option<String>,
    /// Why events are not scrubbed by the policy that is configured, if they are not.
    #[serde(default)]
    pub policy_failure: Option<String>,
    /// Why a changed policy is not in use, if it is not.
    #[serde(default)]
    pub policy_failed_reload: Option<String>,
}

impl Running {
    /// Of this process's relay.
    pub fn of(app: &App) -> Self {
        let mut files = of_config(&app.config);
        files.extend(of_upstream(&app.upstream.digests()));
        for tls in app.tls.iter() {
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
            failed_reload: app.upstream.trouble(),
            policy_failure: policy.failure(),
            policy_failed_reload: app.policy.trouble(),
        }
    }

    /// Of a relay that would start now. A file that cannot be read is left out.
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

    /// The files in which two relays differ: those that are read once, and those that are taken up while running.
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
