//! `doctor`: looks at everything a relay needs, and says what to do about what is not as it should be.

mod acceptance;
mod arrivals;
mod clocks;
mod dashboard;
mod running;

use crate::cli::manage::EXPIRY_NOTE_DAYS;
use crate::cli::run::block_on;
use crate::cli::{DoctorArgs, say};
use crate::clock::{Clock, Moment};
use crate::config::{self, Config};
use crate::exposure;
use crate::forward::acceptance::Record;
use crate::forward::self_test::{self, Finding, Grade};
use crate::forward::sites::record;
use crate::forward::transport::Transport;
use crate::forward::transport::http::Http;
use crate::http::tls::Pair;
use crate::store::{self, FolderLock, OpenError};
use crate::switch;
use anyhow::bail;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Instant;

/// When this was written, in milliseconds since 1970: 2026-01-01. A clock before it is wrong.
const WRITTEN_AT: Moment = Moment(1_767_225_600_000);
/// Free disk below which the relay calls itself out of service, in bytes.
const DISK_FREE_MIN: u64 = 10 * 1024 * 1024;
/// Days for which the upstream's certificate has to be valid. Most are renewed a month before they expire,
/// so with fewer left that has failed.
const CERTIFICATE_DAYS_MIN: i64 = 14;

/// `doctor`. Fails when anything is wrong.
pub(super) fn run(args: &DoctorArgs) -> super::Outcome {
    let mut findings = Vec::new();
    match Config::load(&args.config.config, &config::process_env) {
        Err(mistakes) => findings.push(
            Finding::new("configuration", Grade::Wrong, mistakes.to_string().trim())
                .advise("mend these; nothing else was looked at"),
        ),
        Ok(config) => {
            findings.push(Finding::new("configuration", Grade::Ok, "it is valid"));
            findings.extend(exposed(&args.config.config, &config));
            findings.push(arrivals::trusted(&config.public));
            certificates(&config, Clock::system().now(), &mut findings);
            clock(&mut findings);
            let on = data(&config, &mut findings);
            block_on(async {
                findings.extend(arrivals::seen(&config).await);
                running::look(&config, &mut findings).await;
                upstream(&config, args, &on, &mut findings).await;
                Ok(())
            })?;
        }
    }
    show(&findings, args.json)?;
    match findings.iter().filter(|f| f.grade == Grade::Wrong).count() {
        0 => Ok(()),
        1 => bail!("one thing is wrong"),
        n => bail!("{n} things are wrong"),
    }
}

fn show(findings: &[Finding], json: bool) -> anyhow::Result<()> {
    if json {
        say(&serde_json::to_string_pretty(findings)?);
        return Ok(());
    }
    for finding in findings {
        let mark = match finding.grade {
            Grade::Ok => "ok     ",
            Grade::Note => "note   ",
            Grade::Warning => "warning",
            Grade::Wrong => "WRONG  ",
        };
        say(&format!("{mark} {}: {}", finding.what, finding.says));
        if let Some(advice) = finding.advice.as_deref().filter(|_| finding.grade > Grade::Ok) {
            say(&format!("        {advice}"));
        }
    }
    Ok(())
}

/// File permissions, the admin listener's address, and the proxies it trusts.
fn exposed(path: &Path, config: &Config) -> Vec<Finding> {
    let mut found = exposure::besides_data(path, config);
    found.extend(exposure::all_trusted(
        "admin",
        &config.admin.trusted_proxies,
        Grade::Wrong,
    ));
    if found.is_empty() {
        const SAYS: &str = "secrets are not world-readable, nothing is world-writable, and admin passwords use loopback or TLS";
        found.push(Finding::new("exposure", Grade::Ok, SAYS));
    }
    found
}

/// What the listeners with TLS show.
fn certificates(config: &Config, now: Moment, findings: &mut Vec<Finding>) {
    for (listener, files) in [("public", &config.public.tls), ("admin", &config.admin.tls)] {
        let Some(files) = files else { continue };
        let what = format!("{listener}.tls");
        findings.push(match Pair::read(files).map(|pair| pair.days_left(now)) {
            Err(error) => Finding::new(what, Grade::Wrong, error.to_string())
                .advise("a running relay goes on with the pair it has, but the next start fails"),
            Ok(days) if days < 0 => Finding::new(what, Grade::Wrong, "the certificate has expired")
                .advise("browsers refuse it: put a new pair in its place; no restart is needed"),
            Ok(days) if days < EXPIRY_NOTE_DAYS => Finding::new(
                what,
                Grade::Warning,
                format!("the certificate expires in {days} days"),
            )
            .advise("put a new pair in its place; no restart is needed"),
            Ok(days) => Finding::new(
                what,
                Grade::Ok,
                format!("the certificate is good for {days} days"),
            ),
        });
    }
}

fn clock(findings: &mut Vec<Finding>) {
    let now = Clock::system().now();
    findings.push(match now >= WRITTEN_AT {
        true => Finding::new("clock", Grade::Ok, now.rfc3339()),
        false => Finding::new("clock", Grade::Wrong, format!("{} is in the past", now.rfc3339()))
            .advise("set the clock: pseudonyms change and events expire by it"),
    });
}

/// Folder, disk and database; gives back the sites that are on. Changes nothing.
fn data(config: &Config, findings: &mut Vec<Finding>) -> On {
    let folder = config.data_dir.as_path();
    let what = format!("data folder {}", folder.display());
    match std::fs::metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            findings.push(Finding::new(
                what,
                Grade::Note,
                "it is not there yet; the first start makes it",
            ));
            return On::new();
        }
        Err(error) => {
            findings.push(
                Finding::new(what, Grade::Wrong, error.to_string()).advise("the relay's user has to own it"),
            );
            return On::new();
        }
        Ok(_) => findings.push(
            exposure::data(folder).unwrap_or_else(|| Finding::new(what, Grade::Ok, "it is its owner's only")),
        ),
    }
    findings.push(match FolderLock::take(folder) {
        Ok(_) => Finding::new(
            "running relay",
            Grade::Note,
            "none is running on this data folder",
        ),
        Err(OpenError::InUse(_, holder)) => {
            let says = format!("one is running on this data folder{holder}");
            Finding::new("running relay", Grade::Ok, says)
        }
        Err(error) => Finding::new("running relay", Grade::Wrong, error.to_string())
            .advise("the relay's user has to own the data folder"),
    });
    disk(config, findings);
    match read_database(config) {
        Ok((verdict, on)) if verdict == "ok" => {
            findings.push(Finding::new("database", Grade::Ok, "it is whole"));
            on
        }
        Ok((_, on)) => {
            findings.push(damaged());
            on
        }
        Err(error) => {
            findings.push(match error {
                LookError::Database(error) if store::is_damage(&error) => damaged(),
                LookError::Open(OpenError::Damaged(_)) => damaged(),
                LookError::Open(OpenError::Unreadable(_, why)) if why.kind() == ErrorKind::NotFound => {
                    Finding::new(
                        "database",
                        Grade::Note,
                        "there is none yet; the first start makes it",
                    )
                }
                LookError::Open(error @ OpenError::Older(_)) => {
                    Finding::new("database", Grade::Note, error.to_string())
                }
                error => Finding::new("database", Grade::Wrong, error.to_string())
                    .advise("is it the relay's, and may the user you are read it?"),
            });
            On::new()
        }
    }
}

fn damaged() -> Finding {
    Finding::new("database", Grade::Wrong, "it is damaged").advise(
        "restart the relay: it sets the file aside as relay.db.broken-… and saves what can be read into a new one",
    )
}

fn disk(config: &Config, findings: &mut Vec<Finding>) {
    let Ok(disk) = rustix::fs::statvfs(&config.data_dir) else {
        return;
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let says = format!("{} MiB are free", free / (1024 * 1024));
    findings.push(if free < DISK_FREE_MIN {
        Finding::new("disk", Grade::Wrong, says).advise("make room: the relay takes no events without")
    } else if free < config.spool.bytes_max as u64 * 2 {
        Finding::new("disk", Grade::Warning, says)
            .advise("it may fill before `spool.bytes_max` is reached; make room or lower that")
    } else {
        Finding::new("disk", Grade::Ok, says)
    });
}

/// Why the database could not be looked at.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("it cannot be read: {0}")]
    Database(#[from] rusqlite::Error),
}

/// The sites that are on, with what is recorded of Plausible's answers.
type On = BTreeMap<String, Record>;

/// The first complaint of SQLite's quick check, or `ok`, and the sites that are on.
fn read_database(config: &Config) -> Result<(String, On), LookError> {
    let db = store::open_to_look(&config.data_dir)?;
    let verdict = db.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
    let mut on = On::new();
    for site in &config.sites {
        let locked = config.operator_lock || site.operator_lock;
        if !locked && switch::look(&db, &config.data_dir, &site.domain, Clock::system().now())?.0 {
            let record = record::look(&db, &config.upstream.url, &site.domain)?;
            on.insert(site.domain.clone(), record);
        }
    }
    Ok((verdict, on))
}

/// Plausible, for the sites that are on: off means that nothing is sent.
async fn upstream(config: &Config, args: &DoctorArgs, on: &On, findings: &mut Vec<Finding>) {
    let url = &config.upstream.url;
    if url.starts_with("http://") {
        findings.push(
            Finding::new("upstream.url", Grade::Note, format!("{url} is not encrypted"))
                .advise("right on one machine or a network of your own; else use https"),
        );
    }
    let http = match Http::new(&config.upstream) {
        Ok(http) => http,
        Err(error) => {
            findings.push(
                Finding::new("upstream.url", Grade::Wrong, error.to_string())
                    .advise("does this machine have CA certificates?"),
            );
            return;
        }
    };
    let mut connection = http.connection();
    let mut is_asked = false;
    for site in &config.sites {
        let site = site.domain.as_str();
        if !args.even_if_off && !on.contains_key(site) {
            findings.push(
                Finding::new(site, Grade::Note, "it is not on, so Plausible was not asked")
                    .advise("`--even-if-off` asks all the same"),
            );
            continue;
        }
        let began = Instant::now();
        let asked = self_test::ask(&mut connection, &config.upstream, site).await;
        findings.extend(asked.findings.into_iter().map(|finding| Finding {
            what: format!("{site}: {}", finding.what),
            ..finding
        }));
        if !is_asked {
            let (date, now) = (asked.date.as_deref(), Clock::system().now());
            findings.push(clocks::finding(date, now, began.elapsed()));
        }
        is_asked = true;
        dashboard::compare(&mut connection, config, site, findings).await;
        let mut tested = None;
        if args.send_test_event && config.upstream.test_site.is_none() {
            tested = dashboard::send(&mut connection, &config.upstream, site, false, findings).await;
        }
        let record = on.get(site).copied().unwrap_or_default();
        findings.push(acceptance::finding(site, &record, tested.as_ref()));
    }
    if !is_asked {
        findings.push(clocks::not_checked("Plausible was not asked"));
    }
    if let Some(site) = config.upstream.test_site.as_deref()
        && args.send_test_event
        && is_asked
    {
        dashboard::send(&mut connection, &config.upstream, site, true, findings).await;
    }
    if let Some(until) = connection.certificate_until() {
        findings.push(certificate(until, Clock::system().now()));
    }
}

/// How long the certificate is valid that Plausible, or what stands before it, has shown.
fn certificate(until: Moment, now: Moment) -> Finding {
    const WHAT: &str = "upstream certificate";
    let days = (until.0 - now.0).div_euclid(24 * 60 * 60 * 1000);
    let says = format!("it is valid for {days} more days");
    if days < CERTIFICATE_DAYS_MIN {
        return Finding::new(WHAT, Grade::Warning, says)
            .advise("renew it: nothing is sent to a server whose certificate has expired");
    }
    Finding::new(WHAT, Grade::Ok, says)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_should_have_been_renewed_is_worth_a_warning() {
        const DAY: i64 = 24 * 60 * 60 * 1000;
        let check = |left: i64, says: &str, want: Grade| {
            let found = certificate(Moment(WRITTEN_AT.0 + left), WRITTEN_AT);
            assert_eq!(
                (found.grade, found.says.contains(says)),
                (want, true),
                "{found:?}"
            );
        };
        check(90 * DAY, "90 more days", Grade::Ok);
        check(14 * DAY, "14 more days", Grade::Ok);
        check(14 * DAY - 1, "13 more days", Grade::Warning);
        check(DAY - 1, " 0 more days", Grade::Warning);
    }
}
