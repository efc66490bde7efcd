//! `cargo xtask bench scrub`: how fast events are scrubbed, on one core, policy and guard included.

use crate::step::{self, say, step};
use crate::{bundle, workspace};
use anyhow::{Context as _, Result};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// Scrubs generated events of about 500 bytes with the release build, and tells events per second and where the
/// time goes
#[derive(Debug, clap::Args)]
pub(crate) struct Scrub {
    /// How many events each run scrubs
    #[arg(long, default_value_t = 200_000)]
    events: u32,
    /// How many runs; the median counts
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

pub(crate) fn run(bench: &Scrub) -> Result<ExitCode> {
    bundle::all()?;
    step("building the relay for release", || {
        step::run(workspace::locked("build").args(["--release", "--package", "feedback-relay"]))
    })?;
    let folder = workspace::target().join("bench");
    std::fs::create_dir_all(&folder)?;
    let events = folder.join("events.jsonl");
    let bytes = step("writing events", || write(&events, bench.events))?;
    say(&format!(
        "{} events, {} bytes each on average; medians of {} runs on one core",
        bench.events,
        bytes / u64::from(bench.events.max(1)),
        bench.runs
    ));
    let plan = workspace::root().join("relay/plan.toml");
    for (name, arguments) in [
        ("no plan (unmatched = \"scrub\")", Vec::new()),
        ("shipped plan", vec!["--plan".into(), plan.into_os_string()]),
    ] {
        let mut runs = Vec::new();
        for _ in 0..bench.runs.max(1) {
            let mut command = on_one_core(&workspace::target().join("release/feedback-relay"));
            command
                .arg("scrub")
                .arg(&events)
                .arg("--timings")
                .args(&arguments);
            runs.push(measure(command)?);
        }
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (seconds, told) = &runs[runs.len() / 2];
        let rate = f64::from(bench.events) / seconds;
        say(&format!("{name}: {rate:.0} events/s, start-up included; {told}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The command held on the first core, where the system can do that.
fn on_one_core(program: &Path) -> Command {
    let has_taskset = Command::new("taskset")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if has_taskset.is_ok_and(|status| status.success()) {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Seconds a run takes, and what it says about itself at the end.
fn measure(mut command: Command) -> Result<(f64, String)> {
    let shown = step::show(&command);
    let start = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let seconds = start.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "`{shown}` failed: {}", said.trim());
    Ok((seconds, said.lines().last().unwrap_or_default().to_owned()))
}

/// Writes events as a busy panel sends them: half of them pages, some with text that has to be looked at.
fn write(path: &Path, events: u32) -> Result<u64> {
    let mut out = BufWriter::new(File::create(path)?);
    for n in 0..events {
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
