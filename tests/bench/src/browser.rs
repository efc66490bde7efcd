//! `cargo xtask bench browser`: what the module costs a page, beside other trackers.

use crate::load::Sink;
use crate::middle::{Middle, Programs, Setup, free_port};
use crate::table::{Column, Markers, cells, markdown, record, rounds_line};
use crate::{Relay, usage};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::process::Command;
use tests_common::step::{output, say};
use tests_common::workspace::root;

/// The table goes between these lines of the document.
const MARKERS: Markers = Markers {
    begin: "<!-- browser: begin, written by `cargo xtask bench browser` -->",
    end: "<!-- browser: end -->",
};

/// Loads a page with the relay's module, with Plausible's tracker and with PostHog's, and reports the time until each is
/// ready, the bytes of its files and the time of a call to track
///
/// It takes two minutes, builds aside.
#[derive(Debug, clap::Args)]
#[command(after_help = "It needs Node.js and Chromium. Only a run without options writes docs/BENCHMARK.md.")]
pub(crate) struct Browser {
    /// Number of rounds; the medians are reported
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,
    #[command(flatten)]
    relay: Relay,
}

/// One page load.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    ready_ms: f64,
    bytes: f64,
    requests: f64,
    track_us: f64,
}

const COLUMNS: [Column<Sample>; 4] = [
    ("ms until ready", 0, |s| s.ready_ms),
    ("KB of files, compressed", 1, |s| s.bytes / 1000.0),
    ("requests for them", 0, |s| s.requests),
    ("µs per `track`", 1, |s| s.track_us),
];

pub(crate) fn run(browser: &Browser, is_whole: bool) -> Result<bool> {
    let programs = Programs::require(&browser.relay, [Middle::Relay])?;
    // The browser has processes of its own, and gets both cores.
    usage::pin_to_all()?;
    let load_before = usage::load_average()?;
    let sink = Sink::start()?;
    let page = free_port()?;
    let running = programs.start_relay(Setup::Page(page), sink.address)?;
    usage::pin_to_all()?;
    let mut measure = Command::new("node");
    measure.current_dir(root().join("tests/bench/browser"));
    measure.args(["measure.mjs", &format!("http://{}", running.address)]);
    measure.args([page.port().to_string(), browser.rounds.to_string()]);
    let rows = read(&output(&mut measure)?)?;
    let text = markdown(
        "",
        &COLUMNS,
        rows.iter()
            .map(|(name, samples)| cells(name.clone(), &COLUMNS, samples)),
    );
    let text = text + "\n" + &rounds_line(browser.rounds.into(), " (least–most)", load_before);
    say(&text);
    record(MARKERS, &text, is_whole)?;
    Ok(true)
}

/// The rows of the script's output: a name, and a value per round in each list.
fn read(printed: &str) -> Result<Vec<(String, Vec<Sample>)>> {
    let trackers: Vec<Value> = serde_json::from_str(printed).context("the script printed no list")?;
    let row = |tracker: &Value| {
        let list =
            |key: &str| -> Option<Vec<f64>> { tracker[key].as_array()?.iter().map(Value::as_f64).collect() };
        let [ready_ms, bytes, requests, track_us] = ["ready_ms", "bytes", "requests", "track_us"]
            .map(|key| list(key).with_context(|| format!("no {key}")));
        let (ready_ms, bytes, requests, track_us) = (ready_ms?, bytes?, requests?, track_us?);
        let values = ready_ms
            .into_iter()
            .zip(bytes)
            .zip(requests.into_iter().zip(track_us));
        let sample = |((ready_ms, bytes), (requests, track_us))| Sample {
            ready_ms,
            bytes,
            requests,
            track_us,
        };
        let name = tracker["name"].as_str().context("no name")?;
        Ok((name.to_owned(), values.map(sample).collect()))
    };
    trackers.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::{Sample, read};

    #[test]
    fn a_tracker_has_a_name_and_a_value_per_round() {
        let row = |ready| {
            format!(
                r#"[{{"name":"a","ready_ms":{ready},"bytes":[5,6],"requests":[1,1],"track_us":[0.5,2]}}]"#
            )
        };
        let sample = |ready_ms, bytes, track_us| Sample {
            ready_ms,
            bytes,
            requests: 1.0,
            track_us,
        };
        let expected = vec![(
            "a".to_owned(),
            vec![sample(10.5, 5.0, 0.5), sample(11.0, 6.0, 2.0)],
        )];
        assert_eq!(read(&row("[10.5,11]")).unwrap(), expected);
        for broken in ["", "[{}]", &row("3"), &row("[null,1]")] {
            assert!(read(broken).is_err(), "{broken}");
        }
        assert!(read("[]").unwrap().is_empty());
    }
}
