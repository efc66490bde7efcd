//! The commands about events that wait. Those that only look have a connection of their own; those that
//! change something have the running relay do it, so that its ledger stays right.

mod change;
mod look;

use crate::cli::{ConfigArg, Outcome, manage};
use crate::clock::Moment;
use crate::config::Config;
use anyhow::bail;
use clap::{Args, Subcommand};
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum SpoolCommand {
    /// List what waits, oldest first, with what is in quarantine.
    ///
    /// Shows an event's name where its plan lists it, and nothing else of it. Works beside a running relay.
    Ls(LsArgs),
    /// Check the database and the checksum of each record. Exits 1 when something is wrong.
    ///
    /// Works beside a running relay and changes nothing. A relay that meets a damaged record puts it into
    /// quarantine; one that finds its database damaged sets it aside as relay.db.broken-… and saves what can be
    /// read.
    Verify(ConfigArg),
    /// Put quarantined records that can be read now back into the spool, and send parked events at once.
    ///
    /// For after an upgrade, when records of the newer relay had been met by the older one. Damaged records stay
    /// in quarantine, and so do those older than `spool.age_max_s`.
    Replay(ConfigArg),
    /// Delete events that wait, and count them as purged.
    ///
    /// What is just being sent may still arrive. To stop collection as well, use `switch off`.
    Purge(PurgeArgs),
    /// Write what waits as JSON lines, each the complete request Plausible would get, as `scrub` does.
    ///
    /// For sites from which nothing may be sent: carry the file, then `spool purge`. Events that are not in
    /// their plan any more are left out, as they would be when sent.
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// Only this site's events.
    #[arg(long, value_name = "DOMAIN")]
    site: Option<String>,
    /// Most events and most quarantined records to list; the totals count all.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,
    /// Write one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Args)]
pub(super) struct PurgeArgs {
    /// Only this site's events.
    #[arg(long, value_name = "DOMAIN")]
    site: Option<String>,
    /// Only those that were stored longer ago, as 90s, 30m, 2h or 7d.
    #[arg(long, value_name = "TIME", value_parser = time)]
    older_than: Option<Duration>,
    /// What is in quarantine instead of what waits.
    #[arg(long)]
    quarantine: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Only this site's events.
    #[arg(long, value_name = "DOMAIN")]
    site: Option<String>,
    /// Only those that were stored within this time until now, as 90s, 30m, 2h or 7d.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Duration>,
    #[command(flatten)]
    config: ConfigArg,
}

/// A time as people write it.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; write 90s, 30m, 2h or 7d");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number
        .checked_mul(unit)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

/// The moment so long ago; the beginning of time where there was none.
fn ago(now: Moment, time: Duration) -> Moment {
    let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Moment(now.0.saturating_sub(time))
}

pub(super) fn run(command: SpoolCommand) -> Outcome {
    match command {
        SpoolCommand::Ls(args) => look::ls(&args),
        SpoolCommand::Verify(config) => look::verify(&config.config),
        SpoolCommand::Replay(config) => change::replay(&config.config),
        SpoolCommand::Purge(args) => change::purge(args),
        SpoolCommand::Export(args) => look::export(&args),
    }
}

/// The configuration, and whether it has the site that is named.
fn load(path: &Path, site: Option<&str>) -> anyhow::Result<Config> {
    let config = manage::load(path)?;
    match site {
        Some(site) if config.sites.iter().all(|known| known.domain != site) => {
            let known: Vec<_> = config.sites.iter().map(|site| site.domain.as_str()).collect();
            bail!("no [[site]] has the domain {site}; there is {}", known.join(", "))
        }
        _ => Ok(config),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(time(text).ok(), seconds.map(Duration::from_secs), "{text}");
        };
        check("90s", Some(90));
        check("30m", Some(1800));
        check("2h", Some(7200));
        check("7d", Some(604_800));
        check("0s", Some(0));
        for wrong in [
            "",
            "h",
            "2",
            "-2h",
            "2 h",
            "2w",
            "1.5h",
            "2h1m",
            "99999999999999999999s",
            "999999999999999999d",
            "2€",
        ] {
            check(wrong, None);
        }
    }
}
