//! The read-only commands: with their own database connection, whether or not a relay is running.

use super::{ExportArgs, LsArgs, ago, load};
use crate::cli::scrub::Request;
use crate::cli::{CommandResult, DAMAGED};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::spool::inspect::{self, Entry};
use crate::store;
use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{BufWriter, Write};
use std::path::Path;

/// An event's name, if it may be shown: its site's plan must list it.
fn name<'e>(config: &Config, entry: &'e Entry) -> &'e str {
    let Ok(event) = &entry.event else {
        return "(cannot be read)";
    };
    let site = config.sites.iter().find(|site| site.domain == event.site());
    match site.and_then(|site| site.plan.event(event.name())) {
        Some(_) => event.name(),
        None => "(not in the plan)",
    }
}

/// A site's name, if it is configured: after damage it could be any bytes.
fn known<'c>(config: &'c Config, site: &[u8]) -> &'c str {
    let site = config.sites.iter().find(|known| known.domain.as_bytes() == site);
    site.map_or("(not configured)", |site| &site.domain)
}

pub(super) fn ls(args: &LsArgs) -> CommandResult {
    let config = load(&args.config.config, args.site.as_deref())?;
    let db = store::open_to_look(&config.data_dir)?;
    let now = Clock::system().now();
    let totals = inspect::totals(&db)?.into_iter().filter(|total| {
        let site = args.site.as_ref();
        site.is_none_or(|site| site.as_bytes() == total.site)
    });
    let totals: Vec<Value> = totals
        .map(|t| json!({ "site": known(&config, &t.site), "events": t.events, "bytes": t.bytes }))
        .collect();
    let quarantined = inspect::quarantined(&db)?;
    let in_quarantine = quarantined.len();
    let quarantined = quarantined.into_iter().take(args.limit);
    let quarantined: Vec<Value> = quarantined
        .map(|q| json!({ "at": q.at.rfc3339(), "reason": q.reason, "bytes": q.bytes }))
        .collect();
    let mut events = Vec::new();
    inspect::visit(&db, args.site.as_deref(), |entry| {
        if events.len() < args.limit {
            events.push(show(&config, now, &entry));
        }
        events.len() < args.limit
    })?;
    if args.json {
        let all = json!({
            "events": events, "totals": totals, "quarantined": in_quarantine, "quarantine": quarantined,
        });
        say!("{all}");
    } else {
        list(&events, &totals, &quarantined, in_quarantine);
    }
    Ok(())
}

/// Prints the listing for people.
fn list(events: &[Value], totals: &[Value], quarantined: &[Value], in_quarantine: usize) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for event in events {
        let (number, age, bytes) = (&event["number"], &event["age_seconds"], &event["bytes"]);
        let (site, name) = (text(&event["site"]), text(&event["event"]));
        let parked = event["parked_until"].as_str();
        let parked = parked.map_or_else(String::new, |until| format!("\tparked until {until}"));
        say!("{number}\t{site}\t{name}\t{age} s\t{bytes} bytes{parked}");
    }
    for total in totals {
        let (site, events, bytes) = (text(&total["site"]), &total["events"], &total["bytes"]);
        say!("{site}: {events} event(s) waiting, {bytes} bytes");
    }
    if totals.is_empty() {
        say!("no events are waiting");
    }
    for record in quarantined {
        let (at, reason, bytes) = (text(&record["at"]), text(&record["reason"]), &record["bytes"]);
        say!("quarantine\t{at}\t{reason}\t{bytes} bytes");
    }
    if in_quarantine > 0 {
        say!(
            "{in_quarantine} record(s) in quarantine; `spool replay` retries them, `spool purge --quarantine` \
             deletes them"
        );
    }
}

fn show(config: &Config, now: Timestamp, entry: &Entry) -> Value {
    let site = entry.event.as_ref().map(|event| event.site().as_bytes());
    json!({
        "number": entry.seq,
        "site": known(config, site.unwrap_or_default()),
        "event": name(config, entry),
        "stored_at": entry.stored_at.rfc3339(),
        "age_seconds": now.since(entry.stored_at).as_secs(),
        "bytes": entry.bytes,
        "parked_until": entry.parked_until.filter(|until| *until > now).map(Timestamp::rfc3339),
    })
}

pub(super) fn verify(path: &Path) -> CommandResult {
    let config = load(path, None)?;
    let db = store::open_to_look(&config.data_dir)?;
    let verdict = inspect::verify(&db)?;
    for finding in &verdict.findings {
        say!("database: {finding}");
    }
    for (seq, why) in &verdict.unreadable {
        say!("record {seq}: {}", why.reason());
    }
    say!("{} record(s) are intact", verdict.sound);
    let quarantined = inspect::quarantined(&db).map(|all| all.len()).unwrap_or_default();
    if quarantined > 0 {
        say!("{quarantined} record(s) are in quarantine");
    }
    match (verdict.findings.len(), verdict.unreadable.len()) {
        (0, 0) => Ok(()),
        (0, records) => bail!(
            "{records} record(s) cannot be read; the relay moves them into quarantine when it reads them"
        ),
        _ => bail!(DAMAGED),
    }
}

/// One line of an export, in the format of `scrub`.
#[derive(Serialize)]
struct Line {
    id: i64,
    output: Request,
}

pub(super) fn export(args: &ExportArgs) -> CommandResult {
    let config = load(&args.config.config, args.site.as_deref())?;
    let db = store::open_to_look(&config.data_dir)?;
    let since = args.since.map(|time| ago(Clock::system().now(), time));
    let mut out = BufWriter::new(std::io::stdout().lock());
    let (mut exported, mut left_out, mut unreadable) = (0_u64, 0_u64, 0_u64);
    let mut written = Ok(());
    inspect::visit(&db, args.site.as_deref(), |entry| {
        if since.is_some_and(|since| entry.stored_at < since) {
            return true;
        }
        let Ok(event) = entry.event else {
            unreadable += 1;
            return true;
        };
        let site = config.sites.iter().find(|site| site.domain == event.site());
        let leaves = config.upstream.profile.leaves_out(event.name()).is_none();
        if !leaves || !site.is_some_and(|site| event.is_within(&site.plan)) {
            left_out += 1;
            return true;
        }
        exported += 1;
        let line = Line {
            id: entry.seq,
            output: Request(
                config.upstream.profile,
                config.upstream.address_header.clone(),
                event,
            ),
        };
        written = serde_json::to_writer(&mut out, &line)
            .map_err(std::io::Error::from)
            .and_then(|()| out.write_all(b"\n"));
        written.is_ok()
    })?;
    written
        .and_then(|()| out.flush())
        .context("the export cannot be written")?;
    complain!("{exported} event(s) were exported; they are still waiting");
    if left_out > 0 {
        complain!(
            "{left_out} left out: their site or plan no longer lists them, or `upstream.profile` does not send them"
        );
    }
    if unreadable > 0 {
        complain!("{unreadable} left out: they cannot be read; see `spool verify`");
    }
    Ok(())
}
