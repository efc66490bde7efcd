//! `switch`: by the running relay where there is one, else in the database.

use crate::app::StartError;
use crate::cli::manage::{ask_running, load, open, tell_of_rebuild};
use crate::cli::run::block_on;
use crate::cli::{Outcome, complain, say};
use crate::clock::Clock;
use crate::config::{Config, SiteConfig};
use crate::data_folder::DataFolder;
use crate::forward::sites::record;
use crate::forward::sites::words::Words;
use crate::http::turn::Standing;
use crate::metrics::Metrics;
use crate::store::OpenError;
use crate::switch::{self, Kept, TurnError};
use anyhow::{Context, anyhow};
use axum::http::Method;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a relay is waited for that has the folder and does not answer: it may check a large database at its
/// start, or finish what is under way at its end. Then the command fails.
const WAIT_MAX: Duration = Duration::from_secs(40);
/// How often it is asked meanwhile.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// `switch on` and `switch off`.
pub(super) fn turn(path: &Path, site: &str, on: bool) -> Outcome {
    let config = load(path)?;
    configured(&config, Some(site))?;
    block_on(async {
        let purged = turn_wherever(&config, site, on).await?;
        let what = if on { "on" } else { "off" };
        match purged {
            0 => say(&format!("{site}: collection is {what}")),
            n => say(&format!(
                "{site}: collection is {what}; {n} waiting event(s) were purged"
            )),
        }
        if on {
            tell_of_plausible(&config, site).await;
        }
        Ok(())
    })
}

/// Turns it in the running relay or in the database, whichever can be had: a relay that starts or stops just now
/// is neither for a moment.
async fn turn_wherever(config: &Config, site: &str, on: bool) -> anyhow::Result<u64> {
    let began = Instant::now();
    let mut waits = false;
    loop {
        let metrics = Arc::new(Metrics::new(config));
        match DataFolder::open(config, &Clock::system(), &metrics).await {
            Ok(folder) => {
                let turned = folder.switches.turn(site, on, "cli").await;
                folder.close().await;
                tell_of_rebuild(&metrics);
                return Ok(turned?);
            }
            Err(StartError::Open(OpenError::InUse(..))) => {}
            Err(error) if on => return Err(error.into()),
            Err(error) => return Err(leave_marker(config, site, error.into())),
        }
        match turn_running(config, site, on).await {
            Err(error) if is_gone(&error) && began.elapsed() < WAIT_MAX => {
                if !std::mem::replace(&mut waits, true) {
                    complain("waiting for the relay on this data folder, which is starting or stopping");
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(error) if is_gone(&error) && !on => return Err(leave_marker(config, site, error)),
            done => return done,
        }
    }
}

/// Whether nobody answered. A turn can be asked for twice.
fn is_gone(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<reqwest::Error>();
    error.is_some_and(|error| !error.is_timeout() && !error.is_decode())
}

/// What can be done for "off" where no relay answers and the database cannot be opened.
fn leave_marker(config: &Config, site: &str, error: anyhow::Error) -> anyhow::Error {
    let now = Clock::system().now();
    match switch::leave_marker(&config.data_dir, site, now, "cli") {
        Ok(()) => anyhow!("{error}; a file beside the database has the next start find {site} off"),
        Err(_) => error,
    }
}

async fn turn_running(config: &Config, site: &str, on: bool) -> anyhow::Result<u64> {
    // A site may have a path, as in panel.example.com/sub; nothing else in it needs escaping.
    let site = site.replace('/', "%2F");
    let (path, order) = (format!("/sites/{site}/switch"), json!({ "on": on }));
    let answer = ask_running(config, Method::PUT, &path, &order).await?;
    Ok(answer["purged"].as_u64().unwrap_or(0))
}

/// Says whether Plausible accepts the site's events, and what to do if that is not known or not so. What cannot be
/// read is left out: the switch was turned.
async fn tell_of_plausible(config: &Config, site: &str) {
    let Ok(sites) = configured(config, Some(site)) else {
        return;
    };
    let standings = standings(config, &sites).await.unwrap_or_default();
    let of_site = standings.iter().find(|standing| standing.site == site);
    if let Some(Words { says, advice, .. }) = of_site.map(|standing| &standing.plausible) {
        complain(says);
        if let Some(advice) = advice {
            complain(advice);
        }
    }
}

/// `switch status`: as the running relay has it, else as the next start will find it.
pub(super) fn status(path: &Path, site: Option<&str>) -> Outcome {
    let config = load(path)?;
    let sites = configured(&config, site)?;
    block_on(async {
        for standing in &standings(&config, &sites).await? {
            if sites.iter().any(|site| site.domain == standing.site) {
                say(&line(standing));
            }
        }
        Ok(())
    })
}

async fn standings(config: &Config, sites: &[&SiteConfig]) -> anyhow::Result<Vec<Standing>> {
    match ask_running(config, Method::GET, "/sites", &json!({})).await {
        Ok(sites) => serde_json::from_value(sites).context("the running relay's answer cannot be read"),
        Err(error) if is_gone(&error) => recorded(config, sites),
        Err(error) => Err(error),
    }
}

fn recorded(config: &Config, sites: &[&SiteConfig]) -> anyhow::Result<Vec<Standing>> {
    let db = open(config)?;
    let look = |site: &&SiteConfig| {
        let now = Clock::system().now();
        let (on, change, kept) = switch::look(&db, &config.data_dir, &site.domain, now)?;
        let locked = config.operator_lock || site.operator_lock;
        let record = record::look(&db, &config.upstream.url, &site.domain)?;
        let plausible = Words::recorded(&site.domain, &record);
        Ok(Standing::new(&site.domain, on, locked, change, kept, plausible))
    };
    sites.iter().map(look).collect()
}

fn line(standing: &Standing) -> String {
    let state = match (standing.on, standing.locked) {
        (_, true) => "off (locked by the operator)",
        (true, false) => "on",
        (false, false) => "off",
    };
    let mut line = format!("{}: {state}", standing.site);
    if let (Some(at), Some(by)) = (&standing.changed_at, &standing.changed_by) {
        line += &format!(", turned {at} by {by}");
    }
    line += match standing.recorded {
        Kept::Database => "",
        Kept::Marker => "; a file beside the database keeps it off until that is recorded",
        Kept::Nowhere => "; not recorded yet, so a restart would lose it",
    };
    if !standing.on {
        // Nothing leaves, so nothing is missing.
        return line;
    }
    let Words {
        says, advice, held, ..
    } = &standing.plausible;
    line += &format!("\n  {says}");
    if *held > 0 {
        line += &format!(" ({held} held)");
    }
    if let Some(advice) = advice {
        line += &format!("\n  {advice}");
    }
    line
}

/// The sites that are asked about.
fn configured<'c>(config: &'c Config, site: Option<&str>) -> Result<Vec<&'c SiteConfig>, TurnError> {
    let all = config.sites.iter();
    let asked: Vec<_> = all
        .filter(|known| site.is_none_or(|site| known.domain == site))
        .collect();
    match site {
        Some(site) if asked.is_empty() => Err(TurnError::UnknownSite(site.to_owned())),
        _ => Ok(asked),
    }
}
