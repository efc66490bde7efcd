//! The results as a table, and its place in the document.

use super::aims::{Aim, spread};
use super::compare::{Results, STEADY_RATE, Sample};
use crate::workspace;
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::fs;

/// Between these lines of the document the comparison is written.
pub(super) const MEASURED: Markers = Markers {
    begin: "<!-- measured: begin, written by `cargo xtask bench` -->",
    end: "<!-- measured: end -->",
};
/// From this share of their core on, the ends may have held the middle back.
const ENDS_BUSY_MAX: f64 = 0.9;

/// Two lines of the document; what is between them is written by a command, the rest by hand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Markers {
    pub(super) begin: &'static str,
    pub(super) end: &'static str,
}

/// A column: its title, decimals, and what it shows.
type Column = (&'static str, usize, fn(&Sample) -> f64);

const COLUMNS: [Column; 7] = [
    ("CPU µs per event, busy", 1, |s| s.busy_us),
    ("CPU µs per event, half load", 1, |s| s.half_us),
    ("events/s, busy", 0, |s| s.throughput),
    ("p50 ms, half load", 2, |s| s.p50_ms),
    ("p99 ms, half load", 2, |s| s.p99_ms),
    ("resident MiB, most", 1, |s| s.peak_mib),
    ("resident MiB, end", 1, |s| s.end_mib),
];

/// Table, steady row and aims, in Markdown.
pub(super) fn text(results: &Results, aims: &[Aim]) -> String {
    let mut text = String::from("| |");
    for (title, ..) in COLUMNS {
        // Writing into a string cannot fail, here and below.
        let _ = write!(text, " {title} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(COLUMNS.len()));
    text.push('\n');
    let mut held_back = false;
    for (contender, samples) in &results.rows {
        let ends_busy = spread(results, *contender, |s| s.ends_busy).map_or(0.0, |s| s.median);
        let is_held_back = ends_busy > ENDS_BUSY_MAX;
        held_back |= is_held_back;
        let _ = write!(text, "| {} |", contender.name());
        for (n, (_, decimals, of)) in COLUMNS.into_iter().enumerate() {
            let Some(found) = spread(results, *contender, of) else {
                text.push_str(" – |");
                continue;
            };
            let mark = if is_held_back && n == 2 { "≥ " } else { "" };
            let _ = write!(text, " {mark}**{:.decimals$}**", found.median);
            if samples.len() > 1 {
                let _ = write!(text, " ({:.decimals$}–{:.decimals$})", found.least, found.most);
            }
            text.push_str(" |");
        }
        text.push('\n');
    }
    let rounds = results.rows.first().map_or(0, |(_, samples)| samples.len());
    let of_rounds = match rounds {
        1 => "One round".to_owned(),
        _ => format!("Medians of {rounds} rounds (least–most)"),
    };
    let _ = writeln!(
        text,
        "\n{of_rounds}. The machine's load average before: {:.1}.",
        results.load_before
    );
    if held_back {
        text.push_str("≥: generator and sink had no more to give, so the middle could do more.\n");
    }
    if let Some(Ok(steady)) = &results.steady {
        let _ = writeln!(
            text,
            "\nThe relay offered {STEADY_RATE:.0} events/s in batches of ten: {:.0} events/s delivered, the last {:.2} s \
             after the last answer; {:.1} µs of CPU per event, p99 {:.2} ms, {:.1} MiB resident at most and {:.1} MiB at \
             the end.",
            steady.delivered, steady.drain_s, steady.cpu_us, steady.p99_ms, steady.peak_mib, steady.end_mib
        );
    }
    if !aims.is_empty() {
        text.push_str("\n| aim | found | |\n|---|---:|---|\n");
    }
    for aim in aims {
        let verdict = if aim.is_met() { "met" } else { "**missed**" };
        let _ = writeln!(text, "| {} | {} | {verdict} |", aim.aim, aim.found);
    }
    text
}

/// Writes a text between its markers in docs/BENCHMARK.md.
pub(super) fn write(markers: Markers, text: &str) -> Result<()> {
    let document = workspace::root().join("docs/BENCHMARK.md");
    let old = fs::read_to_string(&document).context("cannot read docs/BENCHMARK.md")?;
    let new = put(&old, markers, text).context("docs/BENCHMARK.md has lost its markers")?;
    fs::write(&document, new)?;
    Ok(())
}

/// The document with the text between its markers; `None` when it has no markers.
fn put(document: &str, Markers { begin, end }: Markers, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::super::aims::{judge, tests::results};
    use super::super::compare::Steady;
    use super::super::contender::Contender;
    use super::{MEASURED, Markers, put, text};

    #[test]
    fn a_row_shows_the_median_and_how_far_the_rounds_reach() {
        let check = |rounds: &[f64], row: &str| {
            let results = results(&[(Contender::Nginx, rounds)], None);
            let text = text(&results, &[]);
            assert_eq!(text.lines().nth(2), Some(row), "{text}");
        };
        check(
            &[40.0],
            "| nginx | **40.0** | **41.0** | **25000** | **0.40** | **4.00** | **20.0** | **10.0** |",
        );
        check(
            &[40.0, 50.0, 20.0],
            "| nginx | **40.0** (20.0–50.0) | **41.0** (21.0–51.0) | **25000** (20000–50000) | **0.40** (0.20–0.50) | \
             **4.00** (2.00–5.00) | **20.0** (20.0–20.0) | **10.0** (10.0–10.0) |",
        );
        check(&[], "| nginx | – | – | – | – | – | – | – |");
    }

    #[test]
    fn a_middle_that_the_ends_held_back_is_marked() {
        let check = |ends_busy, marked| {
            let mut results = results(&[(Contender::Nginx, &[40.0])], None);
            results.rows[0].1[0].ends_busy = ends_busy;
            assert_eq!(text(&results, &[]).contains("≥ **25000**"), marked, "{ends_busy}");
        };
        check(0.9, false);
        check(0.91, true);
    }

    #[test]
    fn aims_and_the_steady_rate_follow() {
        let steady = Steady {
            peak_mib: 70.0,
            end_mib: 30.0,
            p99_ms: 1.25,
            cpu_us: 20.0,
            delivered: 9_990.4,
            drain_s: 0.125,
        };
        let results = results(&[(Contender::Relay, &[50.0])], Some(steady));
        let text = text(&results, &judge(&results));
        for part in [
            "One round. The machine's load average before: 0.2.",
            "9990 events/s delivered, the last 0.12 s after the last answer; 20.0 µs",
            "under 10 ms | 5.00 ms | met |",
            "under 64 MiB | 70.0 MiB at most | **missed** |",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn the_table_takes_the_place_between_the_markers_and_nothing_else() {
        let Markers { begin, end } = MEASURED;
        let check = |document: &str, expected: Option<&str>| {
            assert_eq!(
                put(document, MEASURED, "table\n").as_deref(),
                expected,
                "{document}"
            );
        };
        let whole = format!("by hand\n{begin}\n\ntable\n\n{end}\nby hand\n");
        check(&format!("by hand\n{begin}\nold\n{end}\nby hand\n"), Some(&whole));
        check(&whole, Some(&whole));
        check(&format!("{begin}\nold"), None);
        check(&format!("{end}\n{begin}"), None);
        check("by hand", None);
    }
}
