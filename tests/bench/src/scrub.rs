//! `cargo xtask bench scrub`: policy and guard alone, on one core.

use crate::usage::{MIDDLE_CORE, pin};
use crate::{Relay, prepare};
use anyhow::{Context as _, Result, ensure};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use tests_common::step::{say, show, step};
use tests_common::workspace;

/// Number of events that each run scrubs.
const EVENTS: u32 = 200_000;
/// Number of runs, of which the median is reported.
const RUNS: usize = 5;

/// Scrubs generated events of about 500 bytes, and reports events per second and the time of each part
#[derive(Debug, clap::Args)]
pub(crate) struct Scrub {
    #[command(flatten)]
    relay: Relay,
}

pub(crate) fn run(scrub: &Scrub) -> Result<bool> {
    let relay = scrub.relay.program()?;
    let events = prepare()?.join("events.jsonl");
    let bytes = step("writing events", || write(&events))?;
    say(&format!(
        "{EVENTS} events, {} bytes each on average; medians of {RUNS} runs on one core",
        bytes / u64::from(EVENTS)
    ));
    // The relay inherits the core.
    pin(MIDDLE_CORE)?;
    let plan = workspace::root().join("relay/plan.toml");
    for (name, arguments) in [
        ("no plan (unmatched = \"scrub\")", Vec::new()),
        ("shipped plan", vec!["--plan".into(), plan.into_os_string()]),
    ] {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            let mut command = Command::new(&relay);
            command
                .arg("scrub")
                .arg(&events)
                .arg("--timings")
                .args(&arguments);
            runs.push(measure(&mut command)?);
        }
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (seconds, timings) = &runs[RUNS / 2];
        let rate = f64::from(EVENTS) / seconds;
        say(&format!(
            "{name}: {rate:.0} events/s, start-up included; {timings}"
        ));
    }
    Ok(true)
}

/// The duration of a run in seconds, and the last line it logs.
fn measure(command: &mut Command) -> Result<(f64, String)> {
    let shown = show(command);
    let start = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let seconds = start.elapsed().as_secs_f64();
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{shown}` failed: {}", log.trim());
    Ok((seconds, log.lines().last().unwrap_or_default().to_owned()))
}

/// Writes events like those of a busy panel: half of them pageviews, some with text that contains personal data.
fn write(path: &Path) -> Result<u64> {
    let mut out = BufWriter::new(File::create(path)?);
    for n in 0..EVENTS {
        let (name, props) = match n % 4 {
            0 | 1 => ("pageview", r#"{"plan":"enterprise","theme":"dark"}"#.to_owned()),
            2 => (
                "Rated",
                format!(
                    r#"{{"activity":"project-created","rating":{},"comment":"quick enough, the tags could be easier to find"}}"#,
                    n % 5 + 1
                ),
            ),
            _ => (
                "Feature Used",
                r#"{"feature":"search","query":"invoice of jane.doe@example.com","duration_ms":1840,"first":false}"#
                    .to_owned(),
            ),
        };
        writeln!(
            out,
            r##"{{"id":{n},"event":{{"name":"{name}","url":"https://panel.example.com/#/w/acme-{}/p/billing-{}/access-management/role-mapping/overview","domain":"panel.example.com","referrer":"https://search.example.org/results?q=meshpanel","props":{props}}},"headers":{{"user-agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.6099.130 Safari/537.36"}},"client_ip":"203.0.113.{}"}}"##,
            n % 97,
            n % 53,
            110 + n % 20,
            n % 250 + 1
        )?;
    }
    let file = out.into_inner().context("the events could not be written")?;
    Ok(file.metadata()?.len())
}
