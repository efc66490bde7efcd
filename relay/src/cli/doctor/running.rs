//! What the running relay uses, compared with the files and the environment that this command sees.

use crate::cli::manage::{EXPIRY_NOTE_DAYS, ask_running};
use crate::clock::Clock;
use crate::config::Config;
use crate::forward::self_test::{Finding, Grade};
use crate::running::Running;
use crate::store::{FolderLock, OpenError};
use axum::http::Method;
use serde_json::Value;
use x509_parser::parse_x509_certificate;

const IN_USE: &str = "in use";
const WAY: &str = "way to Plausible";

/// Compares, and says "not checked" if no relay runs.
pub(super) async fn look(config: &Config, findings: &mut Vec<Finding>) {
    client_certificate(config, findings);
    let now = Running::on_disk(config);
    let Err(OpenError::InUse(..)) = FolderLock::take(&config.data_dir) else {
        findings.push(Finding::new(WAY, Grade::Ok, now.way));
        let says = "not checked: no relay runs on this data folder";
        findings.push(Finding::new(IN_USE, Grade::Note, says));
        return;
    };
    let asked = ask_running(config, Method::GET, "/running", &Value::Null).await;
    let answer = asked.and_then(|answer| Ok(serde_json::from_value::<Running>(answer)?));
    match answer {
        Ok(running) => compare(&running, &now, findings),
        Err(error) => {
            findings.push(Finding::new(WAY, Grade::Ok, now.way));
            findings.push(
                Finding::new(IN_USE, Grade::Warning, format!("not checked: {error:#}")).advise(
                    "run this as the relay's user; a relay of another version may have to be restarted",
                ),
            );
        }
    }
}

/// Whether the running relay scrubs with the policy that is configured.
fn policy(running: &Running) -> Finding {
    const WHAT: &str = "policy in use";
    match (&running.policy_failure, &running.policy_failed_reload) {
        (Some(why), _) => Finding::new(WHAT, Grade::Wrong, why.clone())
            .advise("run `feedback-relay policy check` for details"),
        (None, Some(why)) => Finding::new(
            WHAT,
            Grade::Warning,
            format!("the changed one is not in use: {why}"),
        )
        .advise("run `feedback-relay policy check` for details"),
        (None, None) => Finding::new(WHAT, Grade::Ok, "the one that is configured scrubs"),
    }
}

fn compare(running: &Running, now: &Running, findings: &mut Vec<Finding>) {
    findings.push(policy(running));
    if running.way == now.way {
        findings.push(Finding::new(WAY, Grade::Ok, now.way.clone()));
    } else {
        let says = format!(
            "the running relay uses {}; this command would use {}",
            running.way, now.way
        );
        findings.push(Finding::new(WAY, Grade::Warning, says).advise(
            "restart the relay if its configuration changed; else set `upstream.proxy`, which holds for both, or give both the same environment",
        ));
    }
    if running.version != now.version {
        let says = format!(
            "the running relay is {}, and this is {}",
            running.version, now.version
        );
        findings.push(Finding::new("version in use", Grade::Warning, says).advise("restart the relay"));
    }
    let (once, taken_up) = running.differences(now);
    let peer = running.peer.map_or(String::new(), |peer| {
        format!(", and was last connected to {peer}")
    });
    if once.is_empty() && taken_up.is_empty() {
        let says = format!("the running relay uses the configuration and files as they are now{peer}");
        findings.push(Finding::new(IN_USE, Grade::Ok, says));
    }
    if !once.is_empty() {
        let says = format!("changed since the running relay started: {}", once.join(", "));
        findings
            .push(Finding::new(IN_USE, Grade::Warning, says).advise("restart the relay to put them to use"));
    }
    if !taken_up.is_empty() {
        let says = format!(
            "changed, and the running relay does not use it yet: {}",
            taken_up.join(", ")
        );
        let advice = match &running.failed_reload {
            Some(why) => format!("mend the file: {why}"),
            None => "it looks at its files every few seconds, and at SIGHUP at once; health and log say why it refuses one".to_owned(),
        };
        findings.push(Finding::new(IN_USE, Grade::Warning, says).advise(advice));
    }
}

/// How long the client certificate is valid that the relay shows to Plausible.
fn client_certificate(config: &Config, findings: &mut Vec<Finding>) {
    let Ok(loaded) = config.upstream.files.load() else {
        return;
    };
    let client = loaded.client.as_ref().and_then(|client| client.cert.first());
    let Some((_, certificate)) = client.and_then(|der| parse_x509_certificate(der).ok()) else {
        return;
    };
    let now = Clock::system().now().0.div_euclid(1000);
    let left = certificate.validity().not_after.timestamp() - now;
    let days = left.div_euclid(24 * 60 * 60);
    let finding = |grade, says: String| Finding::new("upstream.client_cert_file", grade, says);
    findings.push(match days {
        ..0 => finding(Grade::Wrong, "it has expired".to_owned()).advise("replace it; no restart is needed"),
        0..EXPIRY_NOTE_DAYS => {
            let says = format!("it expires in {days} days");
            finding(Grade::Warning, says).advise("replace it; no restart is needed")
        }
        _ => finding(Grade::Ok, format!("it is valid for {days} days")),
    });
}
