//! The stored verdicts on policies: which passed the check, and which failed and why.
//!
//! `policies/<SHA-256>.json` in the data folder is one verdict. It holds only under the limits, plans and relay
//! version it was given under; if one of them changes, the policy is tried again.

use crate::clock::Timestamp;
use crate::config::{Plans, PolicyConfig};
use crate::digest::sha256;
use crate::os::private_folder::PrivateFolder;
use crate::policy::sandbox::compiler::FOLDER;
use crate::version;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Maximum number of verdicts. At the limit the oldest is removed, and its policy is tried again.
const KEPT_MAX: usize = 32;
/// Maximum size of a verdict, in bytes. A longer one is ignored.
const BYTES_MAX: usize = 4096;
/// Maximum length of a stored reason, in characters.
const WHY_CHARS_MAX: usize = 400;
const EXTENSION: &str = "json";

/// The result of trying a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// It passed the check. Repeating the check would give the same result.
    pub passed: bool,
    /// It failed: the check, or in service after it had passed. A startup does not try it again.
    pub failure: Option<Failure>,
}

/// A policy that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    at: Timestamp,
    /// The reason, for people.
    pub why: String,
}

impl Failure {
    fn new(why: &str, now: Timestamp) -> Self {
        Self {
            at: now,
            why: why.chars().take(WHY_CHARS_MAX).collect(),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it failed at {}: {}", self.at.rfc3339(), self.why)
    }
}

/// A verdict as it is written.
#[derive(Serialize, Deserialize)]
struct Record {
    basis: String,
    #[serde(flatten)]
    verdict: Verdict,
}

/// The verdicts of a data folder, under one configuration.
#[derive(Clone, Debug)]
pub struct Verdicts {
    /// `None` if the folder is not usable: then nothing is stored.
    files: Option<PrivateFolder>,
    basis: String,
}

impl Verdicts {
    /// The verdicts of this data folder, under these limits and plans.
    pub fn open(data_dir: &Path, limits: &PolicyConfig, plans: &Plans) -> Self {
        let files = PrivateFolder::open(data_dir.join(FOLDER));
        if let Err(error) = &files {
            tracing::warn!(
                folder = %data_dir.join(FOLDER).display(), %error,
                "verdicts on policies are not kept, so each start checks the policy again"
            );
        }
        Self {
            files: files.ok(),
            basis: basis(limits, plans),
        }
    }

    /// The verdict on this component. `None` if it was not tried, or was tried under other conditions.
    pub fn recall(&self, sha256: &str) -> Option<Verdict> {
        // A file that is unreadable or not trusted is no verdict: the policy is tried again.
        let bytes = self.files.as_ref()?.read(&name(sha256), BYTES_MAX).ok()??;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        (record.basis == self.basis).then_some(record.verdict)
    }

    /// Stores that a policy passed the check, and clears a stored failure.
    pub fn passed(&self, sha256: &str) {
        let passed = Verdict {
            passed: true,
            failure: None,
        };
        self.write(sha256, passed);
    }

    /// Stores that a policy did not pass the check.
    pub fn failed_check(&self, sha256: &str, why: &str, now: Timestamp) {
        let failed = Verdict {
            passed: false,
            failure: Some(Failure::new(why, now)),
        };
        self.write(sha256, failed);
    }

    /// Stores that a policy failed in service.
    pub fn failed_in_service(&self, sha256: &str, why: &str, now: Timestamp) {
        let failed = Verdict {
            passed: self.recall(sha256).is_some_and(|verdict| verdict.passed),
            failure: Some(Failure::new(why, now)),
        };
        self.write(sha256, failed);
    }

    fn write(&self, sha256: &str, verdict: Verdict) {
        let Some(files) = &self.files else { return };
        let record = Record {
            basis: self.basis.clone(),
            verdict,
        };
        let bytes = serde_json::to_vec(&record).unwrap_or_default();
        let written = files.write(&name(sha256), &bytes);
        if let Err(error) = written.and_then(|()| files.keep_newest(EXTENSION, KEPT_MAX)) {
            tracing::warn!(sha256, %error, "the verdict on the policy cannot be kept; the next start checks it again");
        }
    }
}

fn name(sha256: &str) -> String {
    format!("{sha256}.{EXTENSION}")
}

/// A hash of all that a verdict depends on besides the component.
fn basis(limits: &PolicyConfig, plans: &Plans) -> String {
    let mut plans: Vec<_> = plans.iter().map(|plan| plan.digest()).collect();
    plans.sort_unstable();
    let parts = format!(
        "{} {} {} {} {} {}",
        version::PACKAGE,
        version::COMMIT,
        limits.fuel,
        limits.memory_bytes_max,
        limits.request_cpu.as_millis(),
        plans.join(" ")
    );
    sha256(parts.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SitePlan;
    use relay_event::plan::Plan;

    const SHA256: &str = "00ff";

    fn plans() -> Plans {
        SitePlan::from(Plan::unplanned()).into()
    }

    #[test]
    fn a_verdict_holds_under_the_conditions_it_was_given_under() {
        let folder = tempfile::tempdir().unwrap();
        let limits = PolicyConfig::default();
        let verdicts = Verdicts::open(folder.path(), &limits, &plans());
        assert_eq!(verdicts.recall(SHA256), None);
        verdicts.failed_check(SHA256, "it traps", Timestamp(0));
        let failure = |verdicts: &Verdicts| {
            verdicts
                .recall(SHA256)?
                .failure
                .map(|failure| failure.to_string())
        };
        assert_eq!(
            failure(&verdicts).as_deref(),
            Some("it failed at 1970-01-01T00:00:00Z: it traps")
        );
        assert_eq!(verdicts.recall("00fe"), None, "another policy");
        let check = |what: &str, limits: &PolicyConfig, plans: &Plans| {
            assert_eq!(
                Verdicts::open(folder.path(), limits, plans).recall(SHA256),
                None,
                "{what}"
            );
        };
        let more = |fuel, memory_bytes_max| PolicyConfig {
            fuel,
            memory_bytes_max,
            ..limits.clone()
        };
        check(
            "more fuel",
            &more(limits.fuel + 1, limits.memory_bytes_max),
            &plans(),
        );
        check(
            "more memory",
            &more(limits.fuel, limits.memory_bytes_max + 1),
            &plans(),
        );
        let other = SitePlan::parse("plan.toml", crate::config::DEFAULT_PLAN).unwrap();
        check("another plan", &limits, &other.into());
        verdicts.passed(SHA256);
        let passed = |verdicts: &Verdicts| verdicts.recall(SHA256).unwrap().passed;
        assert!(passed(&verdicts) && failure(&verdicts).is_none());
        verdicts.failed_in_service(SHA256, "20 requests failed", Timestamp(0));
        assert!(passed(&verdicts) && failure(&verdicts).is_some());
    }

    #[test]
    fn a_verdict_that_cannot_be_read_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let verdicts = Verdicts::open(folder.path(), &PolicyConfig::default(), &plans());
        let files = PrivateFolder::open(folder.path().join(FOLDER)).unwrap();
        for junk in [&b""[..], b"{", b"{}", b"null", &[b' '; BYTES_MAX + 1]] {
            files.write(&name(SHA256), junk).unwrap();
            assert_eq!(verdicts.recall(SHA256), None);
        }
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let unusable = Verdicts::open(&file, &PolicyConfig::default(), &plans());
        unusable.passed(SHA256);
        assert_eq!(unusable.recall(SHA256), None, "no folder");
    }
}
