//! The commands that only look: through a connection of their own, beside a relay that may be running.

use super::{ExportArgs, LsArgs, ago, load};
use crate::cli::scrub::Request;
use crate::cli::{DAMAGED, Outcome, complain, say};
use crate::clock::{Clock, Moment};
use crate::config::Config;
use crate::spool::inspect::{self, Entry};
use crate::store;
use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{BufWriter, Write};
use std::path::Path;

/// What may be shown of an event: its name, where its site's plan lists it.
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

/// A site's name, where it is one of ours: damage may have made anything of it.
fn known<'c>(config: &'c Config, site: &[u8]) -> &'c str {
    let site = config.sites.iter().find(|known| known.domain.as_bytes() == site);
    site.map_or("(not configured)", |site| &site.domain)
}

pub(super) fn ls(args: &LsArgs) -> Outcome {
    let config = load(&args.config.config, args.site.as_deref())?;
    let db = store::open_to_look(&config.data_dir)?;
    let now = Clock::system().now();
    let mut totals = inspect::totals(&db)?;
    totals.retain(|total| {
        args.site
            .as_ref()
            .is_none_or(|site| site.as_bytes() == total.site)
    });
    let mut quarantined = inspect::quarantined(&db)?;
    let in_quarantine = quarantined.len();
    quarantined.truncate(args.limit);
    let mut listed = Vec::new();
    inspect::visit(&db, args.site.as_deref(), |entry| {
        if listed.len() < args.limit {
            listed.push(show(&config, now, &entry));
        }
        listed.len() < args.limit
    })?;
    if args.json {
        let totals: Vec<Value> = totals
            .iter()
            .map(|t| json!({ "site": known(&config, &t.site), "events": t.events, "bytes": t.bytes }))
            .collect();
        let quarantined: Vec<Value> = quarantined
            .iter()
            .map(|q| json!({ "at": q.at.rfc3339(), "reason": q.reason, "bytes": q.bytes }))
            .collect();
        let all = json!({
            "events": listed, "totals": totals, "quarantined": in_quarantine, "quarantine": quarantined,
        });
        say(&all.to_string());
        return Ok(());
    }
    for event in &listed {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let parked = match event["parked_until"].as_str() {
            Some(until) => format!("\tparked until {until}"),
            None => String::new(),
        };
        say(&format!(
            "{}\t{}\t{}\t{} s\t{} bytes{parked}",
            event["number"],
            text("site"),
            text("event"),
            event["age_seconds"],
            event["bytes"],
        ));
    }
    for total in &totals {
        say(&format!(
            "{}: {} event(s) wait, {} bytes",
            known(&config, &total.site),
            total.events,
            total.bytes
        ));
    }
    if totals.is_empty() {
        say("nothing waits");
    }
    for record in &quarantined {
        say(&format!(
            "quarantine\t{}\t{}\t{} bytes",
            record.at.rfc3339(),
            record.reason,
            record.bytes
        ));
    }
    if in_quarantine > 0 {
        say(&format!(
            "{in_quarantine} record(s) in quarantine; `spool replay` tries them again, `spool purge --quarantine` deletes them"
        ));
    }
    Ok(())
}

fn show(config: &Config, now: Moment, entry: &Entry) -> Value {
    let site = entry.event.as_ref().map(|event| event.site().as_bytes());
    json!({
        "number": entry.seq,
        "site": known(config, site.unwrap_or_default()),
        "event": name(config, entry),
        "stored_at": entry.stored_at.rfc3339(),
        "age_seconds": now.since(entry.stored_at).as_secs(),
        "bytes": entry.bytes,
        "parked_until": entry.parked_until.filter(|until| *until > now).map(Moment::rfc3339),
    })
}

pub(super) fn verify(path: &Path) -> Outcome {
    let config = load(path, None)?;
    let db = store::open_to_look(&config.data_dir)?;
    let verdict = inspect::verify(&db)?;
    for finding in &verdict.findings {
        say(&format!("database: {finding}"));
    }
    for (seq, why) in &verdict.unreadable {
        say(&format!("record {seq}: {}", why.reason()));
    }
    say(&format!("{} record(s) are sound", verdict.sound));
    let quarantined = inspect::quarantined(&db).map(|all| all.len()).unwrap_or_default();
    if quarantined > 0 {
        say(&format!("{quarantined} record(s) are in quarantine"));
    }
    match (verdict.findings.len(), verdict.unreadable.len()) {
        (0, 0) => Ok(()),
        (0, records) => bail!(
            "{records} record(s) cannot be read; the relay puts them into quarantine when it meets them"
        ),
        _ => bail!(DAMAGED),
    }
}

/// One line of an export, in the shape of `scrub`'s.
#[derive(Serialize)]
struct Line {
    id: i64,
    output: Request,
}

pub(super) fn export(args: &ExportArgs) -> Outcome {
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
    complain(&format!("{exported} event(s) were exported; they still wait"));
    if left_out > 0 {
        complain(&format!(
            "{left_out} left out: their site or plan no longer lists them, or `upstream.profile` does not send them"
        ));
    }
    if unreadable > 0 {
        complain(&format!(
            "{unreadable} left out: they cannot be read; see `spool verify`"
        ));
    }
    Ok(())
}
