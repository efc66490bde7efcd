//! The commands that look at or change a relay's data and end.

use crate::app::StartError;
use crate::cli::{Outcome, complain, say};
use crate::clock::{Clock, Moment};
use crate::config::{self, Config};
use crate::control;
use crate::document::Mistakes;
use crate::exposure;
use crate::http::tls::Pair;
use crate::metrics::Metrics;
use crate::policy;
use crate::store;
use anyhow::{Context, bail};
use axum::http::Method;
use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

/// What `check-config` and `serve` say of a metrics password that is easy to guess.
pub(super) const SHORT_METRICS_PASSWORD: &str =
    "metrics.password is easy to guess: no person types it, so use 16 random characters or more";

/// Longest wait for a running relay: longer than it waits for Plausible when it turns a switch.
const TURN_TIMEOUT: Duration = Duration::from_secs(60);

/// Most changes that `policy log` lists. Older ones stay in the database.
const LOG_LINES_MAX: u32 = 1000;

/// Fewer days than this before a certificate expires are worth a note.
pub(super) const EXPIRY_NOTE_DAYS: i64 = 14;

pub(super) fn load(path: &Path) -> Result<Config, Mistakes> {
    Config::load(path, &config::process_env)
}

/// `check-config`.
pub(super) fn check_config(path: &Path) -> Outcome {
    let config = load(path)?;
    let certificates = certificates(path, &config)?;
    if config.policy.file.is_some() {
        let mistake = |error| Mistakes::of_file(path, format!("`policy.file`: {error}"));
        policy::glance(&config.policy).map_err(mistake)?;
    }
    let exposed = exposure::look(path, &config);
    exposure::refuse_worst(path, &exposed)?;
    say(&format!(
        "{} is valid: {} site(s), delivering to {}",
        path.display(),
        config.sites.len(),
        config.upstream.url,
    ));
    for site in &config.sites {
        let plan = &site.plan;
        say(&format!(
            "{}: {}, tracking plan version {} with {} events and {} routes",
            site.domain,
            plan.name(),
            plan.version,
            plan.events.len(),
            plan.routes.iter().count(),
        ));
    }
    say(&format!("way to Plausible: {}", config.upstream.way));
    for (listener, file, pair) in certificates {
        show_certificate(listener, file, &pair);
    }
    match &config.metrics.password {
        None => say("note: without metrics.password nobody can read /metrics"),
        Some(password) if password.is_short() => say(&format!("note: {SHORT_METRICS_PASSWORD}")),
        Some(_) => {}
    }
    for finding in &exposed {
        say(&format!("warning: {}", exposure::line(finding)));
    }
    Ok(())
}

/// Reads the certificates as the relay will.
fn certificates<'c>(
    path: &Path,
    config: &'c Config,
) -> Result<Vec<(&'static str, &'c Path, Pair)>, Mistakes> {
    let (mut pairs, mut mistakes) = (Vec::new(), Mistakes::default());
    for (listener, files) in [("public", &config.public.tls), ("admin", &config.admin.tls)] {
        let Some(files) = files else { continue };
        match Pair::read(files) {
            Ok(pair) => pairs.push((listener, files.cert_file.as_path(), pair)),
            Err(error) => mistakes.merge(Mistakes::of_file(path, format!("`{listener}.tls`: {error}"))),
        }
    }
    mistakes.into_result().map(|()| pairs)
}

fn show_certificate(listener: &str, file: &Path, pair: &Pair) {
    let (now, expires) = (Clock::system().now(), Moment(pair.expires_s.saturating_mul(1000)));
    say(&format!(
        "{listener}: TLS with {}, which expires at {}",
        file.display(),
        expires.rfc3339()
    ));
    match pair.days_left(now) {
        days if days < 0 => say(&format!(
            "note: the certificate of {listener} has expired; browsers refuse it"
        )),
        days if days < EXPIRY_NOTE_DAYS => say(&format!(
            "note: the certificate of {listener} expires in {days} days"
        )),
        _ => {}
    }
}

/// A command that met damage has repaired it, as a start does; without a log nobody would know.
pub(super) fn tell_of_rebuild(metrics: &Metrics) {
    if metrics.database_rebuilds.get() > 0 {
        complain(
            "the database was damaged: it was set aside as relay.db.broken-…, and what could be read was saved into a new one; check `switch status`",
        );
    }
}

/// Has the running relay do something, over its control socket.
pub(super) async fn ask_running(
    config: &Config,
    method: Method,
    path: &str,
    order: &serde_json::Value,
) -> anyhow::Result<serde_json::Value> {
    let socket = control::path(&config.data_dir);
    let client = reqwest::Client::builder()
        .unix_socket(socket.clone())
        .no_proxy()
        .timeout(TURN_TIMEOUT)
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
    let body: serde_json::Value = answer
        .json()
        .await
        .context("the running relay's answer cannot be read")?;
    if !ok {
        bail!(
            "{}",
            body["detail"].as_str().unwrap_or("the running relay refused")
        );
    }
    Ok(body)
}

/// `policy log`.
pub(super) fn policy_log(path: &Path) -> Outcome {
    let changes = policy::changes(&open(&load(path)?)?, LOG_LINES_MAX)?;
    if changes.is_empty() {
        complain("no policy was put to use yet; `serve` records the first");
    }
    for change in changes {
        say(&format!(
            "{}\t{}\t{}",
            change.at.rfc3339(),
            change.sha256,
            change.source
        ));
    }
    Ok(())
}

/// Opens the database beside a relay that may be running: SQLite lets both in.
pub(super) fn open(config: &Config) -> Result<Connection, StartError> {
    store::make_folder(&config.data_dir)?;
    Ok(store::open(&config.data_dir)?)
}
