//! `switch`: through the running relay if there is one, otherwise in the database.

use crate::cli::CommandResult;
use crate::cli::manage::{self, ask_running, load, open, report_rebuild};
use crate::cli::run::block_on;
use crate::clock::Clock;
use crate::config::{Config, SiteConfig};
use crate::data_folder::{DataFolder, FolderError};
use crate::forward::sites::record;
use crate::forward::sites::status::SiteStatus;
use crate::http::switch::SwitchStatus;
use crate::metrics::Registry;
use crate::store::OpenError;
use crate::switch::{self, Recorded};
use anyhow::anyhow;
use axum::http::Method;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait for a relay that holds the folder and does not answer: on startup it may check a large database, on
/// shutdown it may finish requests in flight. After that the command fails.
const WAIT_MAX: Duration = Duration::from_secs(40);
/// The interval between two attempts to reach it.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// `switch on` and `switch off`.
pub(super) fn set(path: &Path, site: &str, on: bool) -> CommandResult {
    let config = load(path)?;
    manage::site(&config, site)?;
    block_on(async {
        let purged = set_anywhere(&config, site, on).await?;
        let what = if on { "on" } else { "off" };
        match purged {
            0 => say!("{site}: collection is {what}"),
            n => say!("{site}: collection is {what}; {n} waiting event(s) were purged"),
        }
        if on {
            print_plausible(&config, site).await;
        }
        Ok(())
    })
}

/// Sets the switch in the running relay or in the database, whichever is available: while a relay starts or stops, neither
/// is.
async fn set_anywhere(config: &Config, site: &str, on: bool) -> anyhow::Result<u64> {
    let began = Instant::now();
    let mut waits = false;
    loop {
        match DataFolder::open(config, &Clock::system(), &mut Registry::default()).await {
            Ok(folder) => {
                let set = folder.switches.set(site, on, "cli").await;
                report_rebuild(&folder);
                folder.close().await;
                return Ok(set?);
            }
            Err(FolderError::Open(OpenError::InUse(..))) => {}
            Err(error) if on => return Err(error.into()),
            Err(error) => return Err(write_tombstone(config, site, error.into())),
        }
        match set_running(config, site, on).await {
            Err(error) if is_gone(&error) && began.elapsed() < WAIT_MAX => {
                if !std::mem::replace(&mut waits, true) {
                    complain!("waiting for the relay on this data folder, which is starting or stopping");
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            Err(error) if is_gone(&error) && !on => return Err(write_tombstone(config, site, error)),
            done => return done,
        }
    }
}

/// Whether no relay answered. Setting a switch twice does no harm.
fn is_gone(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<reqwest::Error>();
    error.is_some_and(|error| !error.is_timeout() && !error.is_decode())
}

/// The fallback for "off" if no relay answers and the database cannot be opened.
fn write_tombstone(config: &Config, site: &str, error: anyhow::Error) -> anyhow::Error {
    let now = Clock::system().now();
    match switch::write_tombstone(&config.data_dir, site, now, "cli") {
        Ok(()) => anyhow!("{error}; a file beside the database keeps {site} off at the next start"),
        Err(_) => error,
    }
}

async fn set_running(config: &Config, site: &str, on: bool) -> anyhow::Result<u64> {
    // A site may have a path, as in panel.example.com/sub; nothing else in it needs escaping.
    let site = site.replace('/', "%2F");
    let (path, order) = (format!("/sites/{site}/switch"), json!({ "on": on }));
    let answer: Value = ask_running(config, Method::PUT, &path, &order).await?;
    Ok(answer["purged"].as_u64().unwrap_or(0))
}

/// Prints whether Plausible accepts the site's events, and the next step if it does not or that is unknown. Skips a
/// status that cannot be read: the switch was set.
async fn print_plausible(config: &Config, site: &str) {
    let all = statuses(config, Some(site)).await.unwrap_or_default();
    if let Some(SiteStatus { says, advice, .. }) = all.first().map(|status| &status.plausible) {
        complain!("{says}");
        if let Some(advice) = advice {
            complain!("{advice}");
        }
    }
}

/// `switch status`: from the running relay, otherwise the state that the next start will load.
pub(super) fn status(path: &Path, site: Option<&str>) -> CommandResult {
    let config = load(path)?;
    site.map(|site| manage::site(&config, site)).transpose()?;
    block_on(async {
        for status in &statuses(&config, site).await? {
            say!("{}", line(status));
        }
        Ok(())
    })
}

/// The status of one site, or of all configured ones.
async fn statuses(config: &Config, site: Option<&str>) -> anyhow::Result<Vec<SwitchStatus>> {
    let mut statuses = match ask_running(config, Method::GET, "/sites", &json!({})).await {
        Err(error) if is_gone(&error) => recorded(config)?,
        answer => answer?,
    };
    statuses.retain(|status| match site {
        Some(site) => status.site == site,
        None => config.site(&status.site).is_some(),
    });
    Ok(statuses)
}

fn recorded(config: &Config) -> anyhow::Result<Vec<SwitchStatus>> {
    let db = open(config)?;
    let look = |site: &SiteConfig| {
        let now = Clock::system().now();
        let (on, set_by, recorded) = switch::look(&db, &config.data_dir, &site.domain, now)?;
        let locked = config.operator_lock || site.operator_lock;
        let record = record::look(&db, &config.upstream.url, &site.domain)?;
        let plausible = SiteStatus::recorded(&site.domain, &record);
        Ok(SwitchStatus::new(
            &site.domain,
            on,
            locked,
            set_by,
            recorded,
            plausible,
        ))
    };
    config.sites.iter().map(look).collect()
}

fn line(status: &SwitchStatus) -> String {
    let state = match (status.on, status.locked) {
        (_, true) => "off (locked by the operator)",
        (true, false) => "on",
        (false, false) => "off",
    };
    let mut line = format!("{}: {state}", status.site);
    if let (Some(at), Some(by)) = (&status.changed_at, &status.changed_by) {
        line += &format!(", set {at} by {by}");
    }
    line += match status.recorded {
        Recorded::Database => "",
        Recorded::Tombstone => {
            "; a file beside the database keeps it off until the database accepts the record"
        }
        Recorded::Nowhere => "; not recorded yet, so a restart would lose it",
    };
    if !status.on {
        // No event leaves, so Plausible's acceptance does not matter.
        return line;
    }
    let SiteStatus {
        says, advice, held, ..
    } = &status.plausible;
    line += &format!("\n  {says}");
    if *held > 0 {
        line += &format!(" ({held} held)");
    }
    if let Some(advice) = advice {
        line += &format!("\n  {advice}");
    }
    line
}
