//! The commands for waiting events. Read-only commands use their own database connection; the others ask the running
//! relay to make the change, so that its ledger stays correct.

mod change;
mod look;

use crate::cli::{CommandResult, ConfigArg, manage};
use crate::clock::Timestamp;
use crate::config::Config;
use clap::{Args, Subcommand};
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum SpoolCommand {
    /// List waiting events, oldest first, and the quarantine.
    ///
    /// Shows an event's name if its plan lists it, and no other data of the event. Works while a relay is running.
    Ls(LsArgs),
    /// Check the database and the checksum of each record. Exits 1 if something is wrong.
    ///
    /// Works while a relay is running and changes nothing. A relay that reads a damaged record moves it into
    /// quarantine; one that finds its database damaged sets it aside as relay.db.broken-… and saves all readable
    /// records.
    Verify(ConfigArg),
    /// Move quarantined records that are now readable back into the spool, and send parked events at once.
    ///
    /// For use after an upgrade, if an older relay had met records of a newer one. Damaged records stay in
    /// quarantine, and so do those older than `spool.age_max_s`.
    Replay(ConfigArg),
    /// Delete waiting events, and count them as purged.
    ///
    /// Events in flight may still arrive. To stop collection as well, use `switch off`.
    Purge(PurgeArgs),
    /// Write waiting events as JSON lines, each the complete request that Plausible would get, as in `scrub`.
    ///
    /// For sites from which nothing may be sent: carry the file, then `spool purge`. Events that their plan no longer
    /// lists are left out, as they would be on sending.
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// Only this site's events.
    #[arg(long, value_name = "DOMAIN")]
    site: Option<String>,
    /// Maximum number of events and of quarantined records to list; the totals count all.
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: usize,
    /// Print one JSON document.
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
    /// Only events stored longer ago than this, such as 90s, 30m, 2h or 7d.
    #[arg(long, value_name = "TIME", value_parser = time)]
    older_than: Option<Duration>,
    /// Purge the quarantine instead of the waiting events.
    #[arg(long)]
    quarantine: bool,
    /// Do not ask for confirmation.
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
    /// Only events stored within this time until now, such as 90s, 30m, 2h or 7d.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Duration>,
    #[command(flatten)]
    config: ConfigArg,
}

/// Parses a duration.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write 90s, 30m, 2h or 7d");
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

/// The time `time` before `now`; saturates at the earliest time.
fn ago(now: Timestamp, time: Duration) -> Timestamp {
    let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Timestamp(now.0.saturating_sub(time))
}

pub(super) fn run(command: SpoolCommand) -> CommandResult {
    match command {
        SpoolCommand::Ls(args) => look::ls(&args),
        SpoolCommand::Verify(config) => look::verify(&config.config),
        SpoolCommand::Replay(config) => change::replay(&config.config),
        SpoolCommand::Purge(args) => change::purge(args),
        SpoolCommand::Export(args) => look::export(&args),
    }
}

/// Loads the configuration, and checks that it has the named site.
fn load(path: &Path, site: Option<&str>) -> anyhow::Result<Config> {
    let config = manage::load(path)?;
    site.map(|site| manage::site(&config, site)).transpose()?;
    Ok(config)
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
