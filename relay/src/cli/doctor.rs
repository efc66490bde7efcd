//! `doctor`: checks everything a relay needs, and says how to fix each problem.

mod acceptance;
mod arrivals;
mod certificates;
mod clocks;
mod dashboard;
mod running;

use crate::cli::DoctorArgs;
use crate::cli::run::block_on;
use crate::clock::{Clock, Timestamp};
use crate::config::{self, Config};
use crate::exposure;
use crate::finding::{Finding, Grade};
use crate::forward::acceptance::Record;
use crate::forward::self_test;
use crate::forward::sites::record;
use crate::forward::transport::http::Http;
use crate::forward::transport::{Connection, Transport};
use crate::store::{self, FolderLock, OpenError};
use crate::switch;
use anyhow::bail;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Instant;

/// The date of this code, as Unix time in milliseconds: 2026-01-01. A clock before it is wrong.
const WRITTEN_AT: Timestamp = Timestamp(1_767_225_600_000);
/// Free disk space below which the relay reports itself out of service, in bytes.
const DISK_FREE_MIN: u64 = 10 * 1024 * 1024;
/// `doctor`. Returns an error if anything is wrong.
pub(super) fn run(args: &DoctorArgs) -> super::CommandResult {
    let mut findings = Vec::new();
    match Config::load(&args.config.config, &config::process_env) {
        Err(mistakes) => findings.push(
            Finding::wrong("configuration", mistakes.to_string().trim())
                .advise("fix these; nothing else was checked"),
        ),
        Ok(config) => {
            findings.push(Finding::ok("configuration", "it is valid"));
            findings.extend(exposed(&args.config.config, &config));
            findings.push(arrivals::trusted(&config.public));
            findings.extend(certificates::listeners(&config, Clock::system().now()));
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
        1 => bail!("1 problem found"),
        n => bail!("{n} problems found"),
    }
}

fn show(findings: &[Finding], json: bool) -> anyhow::Result<()> {
    if json {
        say!("{}", serde_json::to_string_pretty(findings)?);
        return Ok(());
    }
    for finding in findings {
        let mark = match finding.grade {
            Grade::Ok => "ok     ",
            Grade::Note => "note   ",
            Grade::Warning => "warning",
            Grade::Wrong => "WRONG  ",
        };
        say!("{mark} {}: {}", finding.what, finding.says);
        if let Some(advice) = finding.advice.as_deref().filter(|_| finding.grade > Grade::Ok) {
            say!("        {advice}");
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
        found.push(Finding::ok("exposure", SAYS));
    }
    found
}

fn clock(findings: &mut Vec<Finding>) {
    let now = Clock::system().now();
    findings.push(match now >= WRITTEN_AT {
        true => Finding::ok("clock", now.rfc3339()),
        false => Finding::wrong("clock", format!("{} is in the past", now.rfc3339()))
            .advise("correct the clock: pseudonyms change and events expire by it"),
    });
}

/// Checks folder, disk and database; returns the sites that are on. Changes nothing.
fn data(config: &Config, findings: &mut Vec<Finding>) -> On {
    let folder = config.data_dir.as_path();
    let what = format!("data folder {}", folder.display());
    let missing = match std::fs::metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Finding::note(what, MISSING),
        Err(error) => Finding::wrong(what, error.to_string()).advise("the relay's user must own it"),
        Ok(_) => {
            let private = || Finding::ok(what, "only its owner has access");
            findings.push(exposure::data(folder).unwrap_or_else(private));
            findings.push(running_relay(folder));
            findings.extend(disk(config));
            let (finding, on) = database(config);
            findings.push(finding);
            return on;
        }
    };
    findings.push(missing);
    On::new()
}

const MISSING: &str = "it does not exist yet; the first start creates it";

fn running_relay(folder: &Path) -> Finding {
    const WHAT: &str = "running relay";
    match FolderLock::take(folder) {
        Ok(_) => Finding::note(WHAT, "no relay is running on this data folder"),
        Err(OpenError::InUse(_, holder)) => {
            Finding::ok(WHAT, format!("a relay is running on this data folder{holder}"))
        }
        Err(error) => {
            Finding::wrong(WHAT, error.to_string()).advise("the relay's user must own the data folder")
        }
    }
}

fn database(config: &Config) -> (Finding, On) {
    const WHAT: &str = "database";
    let damaged = || {
        Finding::wrong(WHAT, "it is damaged").advise(
            "restart the relay: it sets the file aside as relay.db.broken-… and saves its readable rows into a new one",
        )
    };
    let error = match read_database(config) {
        Ok((verdict, on)) if verdict == "ok" => return (Finding::ok(WHAT, "it is intact"), on),
        Ok((_, on)) => return (damaged(), on),
        Err(error) => error,
    };
    let finding = match error {
        LookError::Database(error) if store::is_damage(&error) => damaged(),
        LookError::Open(OpenError::Damaged(_)) => damaged(),
        LookError::Open(OpenError::Unreadable(_, why)) if why.kind() == ErrorKind::NotFound => {
            Finding::note(WHAT, MISSING)
        }
        LookError::Open(error @ OpenError::Empty(_)) => Finding::note(WHAT, error.to_string()),
        error => Finding::wrong(WHAT, error.to_string())
            .advise("check that it is the relay's database and that your user may read it"),
    };
    (finding, On::new())
}

fn disk(config: &Config) -> Option<Finding> {
    let disk = rustix::fs::statvfs(&config.data_dir).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let says = format!("{} MiB free", free / (1024 * 1024));
    Some(if free < DISK_FREE_MIN {
        Finding::wrong("disk", says).advise("free disk space: without it the relay accepts no events")
    } else if free < config.spool.bytes_max as u64 * 2 {
        Finding::warning("disk", says).advise(
            "it may fill before the spool reaches `spool.bytes_max`; free disk space or lower that limit",
        )
    } else {
        Finding::ok("disk", says)
    })
}

/// Why the database could not be read.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("it cannot be read: {0}")]
    Database(#[from] rusqlite::Error),
}

/// The sites that are on, each with the recorded answers of Plausible.
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

/// Checks Plausible for the sites that are on; for a site that is off nothing is sent.
async fn upstream(config: &Config, args: &DoctorArgs, on: &On, findings: &mut Vec<Finding>) {
    let url = &config.upstream.url;
    if url.starts_with("http://") {
        findings.push(
            Finding::note("upstream.url", format!("{url} is not encrypted"))
                .advise("acceptable on the same machine or a private network; otherwise use https"),
        );
    }
    let http = match Http::new(&config.upstream) {
        Ok(http) => http,
        Err(error) => {
            let advice = "check that CA certificates are installed on this machine";
            findings.push(Finding::wrong("upstream.url", error.to_string()).advise(advice));
            return;
        }
    };
    let mut connection = http.connection();
    let mut is_asked = false;
    for site in &config.sites {
        let site = site.domain.as_str();
        if !args.even_if_off && !on.contains_key(site) {
            findings.push(
                Finding::note(site, "it is not on, so Plausible was not contacted")
                    .advise("use `--even-if-off` to contact it anyway"),
            );
            continue;
        }
        let clock = check_site(config, args, site, on.get(site), &mut connection, findings).await;
        if !std::mem::replace(&mut is_asked, true) {
            findings.push(clock);
        }
    }
    if !is_asked {
        findings.push(clocks::not_checked("Plausible was not contacted"));
    }
    if let Some(site) = config.upstream.test_site.as_deref()
        && args.send_test_event
        && is_asked
    {
        dashboard::send(&mut connection, &config.upstream, site, true, findings).await;
    }
    if let Some(until) = connection.certificate_until() {
        findings.push(certificates::upstream(until, Clock::system().now()));
    }
}

/// Checks Plausible for one site. Returns how far its clock is from this machine's.
async fn check_site(
    config: &Config,
    args: &DoctorArgs,
    site: &str,
    record: Option<&Record>,
    connection: &mut impl Connection,
    findings: &mut Vec<Finding>,
) -> Finding {
    let began = Instant::now();
    let asked = self_test::run(connection, &config.upstream, site).await;
    let clock = clocks::finding(asked.date.as_deref(), Clock::system().now(), began.elapsed());
    findings.extend(asked.findings.into_iter().map(|finding| Finding {
        what: format!("{site}: {}", finding.what),
        ..finding
    }));
    dashboard::compare(connection, config, site, findings).await;
    let mut tested = None;
    if args.send_test_event && config.upstream.test_site.is_none() {
        tested = dashboard::send(connection, &config.upstream, site, false, findings).await;
    }
    let record = record.copied().unwrap_or_default();
    findings.push(acceptance::finding(site, &record, tested.as_ref()));
    clock
}
