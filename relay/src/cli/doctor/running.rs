//! Compares the running relay with the files and the environment that this command sees.

use super::certificates;
use crate::cli::manage::ask_running;
use crate::clock::Clock;
use crate::config::Config;
use crate::finding::Finding;
use crate::running::Running;
use crate::store::{FolderLock, OpenError};
use axum::http::Method;
use serde_json::Value;

const IN_USE: &str = "in use";
const WAY: &str = "path to Plausible";

/// Compares, or reports "not checked" if no relay runs.
pub(super) async fn look(config: &Config, findings: &mut Vec<Finding>) {
    findings.extend(certificates::client(config, Clock::system().now()));
    let now = Running::on_disk(config);
    let Err(OpenError::InUse(..)) = FolderLock::take(&config.data_dir) else {
        findings.push(Finding::ok(WAY, now.way));
        let says = "not checked: no relay runs on this data folder";
        findings.push(Finding::note(IN_USE, says));
        return;
    };
    match ask_running::<Running>(config, Method::GET, "/running", &Value::Null).await {
        Ok(running) => compare(&running, &now, findings),
        Err(error) => {
            findings.push(Finding::ok(WAY, now.way));
            findings.push(
                Finding::warning(IN_USE, format!("not checked: {error:#}"))
                    .advise("run this as the relay's user; if the relay has another version, restart it"),
            );
        }
    }
}

/// Whether the running relay scrubs with the configured policy.
fn policy(running: &Running) -> Finding {
    const WHAT: &str = "policy in use";
    match (&running.policy_failure, &running.policy_failed_reload) {
        (Some(why), _) => {
            Finding::wrong(WHAT, why.clone()).advise("run `feedback-relay policy check` for details")
        }
        (None, Some(why)) => Finding::warning(WHAT, format!("the changed policy is not in use: {why}"))
            .advise("run `feedback-relay policy check` for details"),
        (None, None) => Finding::ok(WHAT, "the relay uses the configured policy"),
    }
}

fn compare(running: &Running, now: &Running, findings: &mut Vec<Finding>) {
    findings.push(policy(running));
    if running.way == now.way {
        findings.push(Finding::ok(WAY, now.way.clone()));
    } else {
        let says = format!(
            "the running relay uses {}; this command would use {}",
            running.way, now.way
        );
        findings.push(Finding::warning(WAY, says).advise(
            "restart the relay if its configuration changed; otherwise set `upstream.proxy`, which applies to both, \
             or give both the same environment",
        ));
    }
    if running.version != now.version {
        let says = format!(
            "the running relay is {}, and this is {}",
            running.version, now.version
        );
        findings.push(Finding::warning("version in use", says).advise("restart the relay"));
    }
    let (once, taken_up) = running.differences(now);
    let peer = running.peer.map_or(String::new(), |peer| {
        format!(", and was last connected to {peer}")
    });
    if once.is_empty() && taken_up.is_empty() {
        let says = format!("the running relay uses the current configuration and files{peer}");
        findings.push(Finding::ok(IN_USE, says));
    }
    if !once.is_empty() {
        let says = format!("changed since the running relay started: {}", once.join(", "));
        findings.push(Finding::warning(IN_USE, says).advise("restart the relay to apply them"));
    }
    if !taken_up.is_empty() {
        let says = format!(
            "changed, but not yet in use by the running relay: {}",
            taken_up.join(", ")
        );
        let advice = match &running.failed_reload {
            Some(why) => format!("fix the file: {why}"),
            None => "the relay checks its files every few seconds, and on SIGHUP at once; health and log say why it \
                rejects one".to_owned(),
        };
        findings.push(Finding::warning(IN_USE, says).advise(advice));
    }
}
