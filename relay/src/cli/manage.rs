//! Commands that read or change a relay's data and then exit.

use crate::cli::CommandResult;
use crate::clock::{Clock, Timestamp};
use crate::config::toml::Diagnostics;
use crate::config::{self, Config, SiteConfig};
use crate::control;
use crate::data_folder::DataFolder;
use crate::exposure;
use crate::http::server::tls::Pair;
use crate::policy;
use crate::store::{self, OpenError};
use anyhow::{Context, bail};
use axum::http::Method;
use rusqlite::Connection;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Printed by `check-config` and `serve` if the metrics password is easy to guess.
pub(super) const SHORT_METRICS_PASSWORD: &str =
    "metrics.password is easy to guess: use at least 16 random characters, because no person types it";

/// Timeout of a running relay: longer than its own wait for Plausible when it sets a switch.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum number of changes that `policy log` lists. Older ones stay in the database.
const LOG_LINES_MAX: u32 = 1000;

/// Remaining days of a certificate below which a note is printed.
pub(super) const EXPIRY_NOTE_DAYS: i64 = 14;

pub(super) fn load(path: &Path) -> Result<Config, Diagnostics> {
    Config::load(path, &config::process_env)
}

/// The site that a command names.
pub(super) fn site<'c>(config: &'c Config, domain: &str) -> anyhow::Result<&'c SiteConfig> {
    config.site(domain).with_context(|| {
        let known: Vec<_> = config.sites.iter().map(|site| site.domain.as_str()).collect();
        format!(
            "no [[site]] has the domain {domain}; configured: {}",
            known.join(", ")
        )
    })
}

/// `check-config`.
pub(super) fn check_config(path: &Path) -> CommandResult {
    let config = load(path)?;
    let certificates = certificates(path, &config)?;
    if config.policy.file.is_some() {
        let mistake = |error| Diagnostics::of_file(path, format!("`policy.file`: {error}"));
        policy::glance(&config.policy).map_err(mistake)?;
    }
    let exposed = exposure::look(path, &config);
    exposure::refuse_worst(path, &exposed)?;
    say!(
        "{} is valid: {} site(s), delivering to {}",
        path.display(),
        config.sites.len(),
        config.upstream.url
    );
    for site in &config.sites {
        let plan = &site.plan;
        say!(
            "{}: {}, tracking plan version {} with {} events and {} routes",
            site.domain,
            plan.name(),
            plan.version,
            plan.events.len(),
            plan.routes.iter().count()
        );
    }
    say!("path to Plausible: {}", config.upstream.way);
    for (listener, file, pair) in certificates {
        show_certificate(listener, file, &pair);
    }
    match &config.metrics.password {
        None => say!("note: /metrics rejects every request until metrics.password is set"),
        Some(password) if password.is_short() => say!("note: {SHORT_METRICS_PASSWORD}"),
        Some(_) => {}
    }
    for finding in &exposed {
        say!("warning: {}", exposure::line(finding));
    }
    Ok(())
}

/// Reads the certificates in the same way as the relay.
fn certificates<'c>(
    path: &Path,
    config: &'c Config,
) -> Result<Vec<(&'static str, &'c Path, Pair)>, Diagnostics> {
    let (mut pairs, mut mistakes) = (Vec::new(), Diagnostics::default());
    for (listener, files) in config.tls() {
        match Pair::read(files) {
            Ok(pair) => pairs.push((listener, files.cert_file.as_path(), pair)),
            Err(error) => mistakes.merge(Diagnostics::of_file(path, format!("`{listener}.tls`: {error}"))),
        }
    }
    mistakes.into_result().map(|()| pairs)
}

fn show_certificate(listener: &str, file: &Path, pair: &Pair) {
    let (now, expires) = (
        Clock::system().now(),
        Timestamp(pair.expires_s.saturating_mul(1000)),
    );
    say!(
        "{listener}: TLS with {}, which expires at {}",
        file.display(),
        expires.rfc3339()
    );
    match pair.days_left(now) {
        days if days < 0 => say!("note: the certificate of {listener} has expired; browsers reject it"),
        days if days < EXPIRY_NOTE_DAYS => say!("note: the certificate of {listener} expires in {days} days"),
        _ => {}
    }
}

/// Reports that this command repaired a damaged database, as a startup would; commands have no log.
pub(super) fn report_rebuild(folder: &DataFolder) {
    if folder.spool.metrics.database_rebuilds.get() > 0 {
        complain!(
            "the database was damaged: it was set aside as relay.db.broken-…, and its readable rows were saved into \
             a new one; check `switch status`"
        );
    }
}

/// Asks the running relay to do something, over its control socket.
pub(super) async fn ask_running<T: DeserializeOwned>(
    config: &Config,
    method: Method,
    path: &str,
    order: &impl Serialize,
) -> anyhow::Result<T> {
    const UNREADABLE: &str = "the running relay's answer cannot be read";
    let socket = control::path(&config.data_dir);
    let client = reqwest::Client::builder()
        .unix_socket(socket.clone())
        .no_proxy()
        .timeout(ANSWER_TIMEOUT)
        .build()?;
    let answer = client
        .request(method, format!("http://relay{path}"))
        .json(order)
        .send()
        .await
        .with_context(|| {
            format!(
                "the relay on this data folder does not answer on {}; it may be starting or stopping",
                socket.display()
            )
        })?;
    let ok = answer.status().is_success();
    let body: Value = answer.json().await.context(UNREADABLE)?;
    if !ok {
        bail!(
            "{}",
            body["detail"].as_str().unwrap_or("the running relay refused")
        );
    }
    serde_json::from_value(body).context(UNREADABLE)
}

/// `policy log`.
pub(super) fn policy_log(path: &Path) -> CommandResult {
    let changes = policy::changes(&open(&load(path)?)?, LOG_LINES_MAX)?;
    if changes.is_empty() {
        complain!("no policy has been in service yet; `serve` records the first one");
    }
    for change in changes {
        say!("{}\t{}\t{}", change.at.rfc3339(), change.sha256, change.source);
    }
    Ok(())
}

/// Opens the database. A relay may be running: SQLite allows both.
pub(super) fn open(config: &Config) -> Result<Connection, OpenError> {
    store::make_folder(&config.data_dir)?;
    store::open(&config.data_dir)
}
