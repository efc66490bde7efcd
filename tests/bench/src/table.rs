//! The results as a table, and its place in the document.

use crate::aims::{Aim, spread};
use crate::compare::{Results, STEADY_RATE, Sample};
use anyhow::{Context as _, Result};
use std::fs;
use std::process::Command;
use tests_common::step::output;
use tests_common::workspace::root;

/// The markers of the comparison in the document.
pub(crate) const MEASURED: Markers = Markers {
    begin: "<!-- measured: begin, written by `cargo xtask bench` -->",
    end: "<!-- measured: end -->",
};
/// Above this share of their core, the ends may have limited the middle.
const ENDS_BUSY_MAX: f64 = 0.9;

/// Two lines of the document. A command writes the text between them; the rest is hand-written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Markers {
    pub(crate) begin: &'static str,
    pub(crate) end: &'static str,
}

/// A column: its title, decimals and value.
pub(crate) type Column<T> = (&'static str, usize, fn(&T) -> f64);

const COLUMNS: [Column<Sample>; 7] = [
    ("CPU µs per event, busy", 1, |s| s.busy.cpu_us),
    ("CPU µs per event, half load", 1, |s| s.half.cpu_us),
    ("events/s, busy", 0, |s| s.busy.sent.rate()),
    ("p50 ms, half load", 2, |s| s.half.sent.p50_ms),
    ("p99 ms, half load", 2, |s| s.half.sent.p99_ms),
    ("resident MiB, most", 1, |s| s.half.peak_mib),
    ("resident MiB, end", 1, |s| s.half.end_mib),
];

/// A table in Markdown, whose first column is text and whose other columns are figures.
pub(crate) fn markdown<T>(
    first: &str,
    columns: &[Column<T>],
    rows: impl Iterator<Item = Vec<String>>,
) -> String {
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut titles = vec![first.to_owned()];
    titles.extend(columns.iter().map(|(title, ..)| (*title).to_owned()));
    let mut text = row(&titles) + "|---|" + &"---:|".repeat(columns.len()) + "\n";
    rows.for_each(|cells| text.push_str(&row(&cells)));
    text
}

/// Table, steady row and aims, in Markdown.
pub(crate) fn text(results: &Results, aims: &[Aim]) -> String {
    let mut held_back = false;
    let rows = results.rows.iter().map(|(contender, samples)| {
        let ends_busy = spread(results, *contender, |s| s.busy.sent.ends_busy).map_or(0.0, |s| s.median);
        let is_held_back = ends_busy > ENDS_BUSY_MAX;
        held_back |= is_held_back;
        let cell = |(n, (_, decimals, of)): (usize, &Column<Sample>)| {
            let Some(found) = spread(results, *contender, *of) else {
                return "–".to_owned();
            };
            let mark = if is_held_back && n == 2 { "≥ " } else { "" };
            let reach = match samples.len() {
                1 => String::new(),
                _ => format!(" ({:.decimals$}–{:.decimals$})", found.least, found.most),
            };
            format!("{mark}**{:.decimals$}**{reach}", found.median)
        };
        let cells = COLUMNS.iter().enumerate().map(cell);
        std::iter::once(contender.name().to_owned())
            .chain(cells)
            .collect()
    });
    let mut text = markdown("", &COLUMNS, rows);
    let rounds = results.rows.first().map_or(0, |(_, samples)| samples.len());
    text += &rounds_line(rounds, " (least–most)", results.load_before);
    if held_back {
        text += "≥: generator and sink had no more to give, so the middle could do more.\n";
    }
    if let Some(Ok(steady)) = &results.steady {
        let sent = &steady.sent;
        text += &format!(
            "\nThe relay offered {STEADY_RATE:.0} events/s in batches of ten: {:.0} events/s delivered, the last {:.2} s \
             after the last answer; {:.1} µs of CPU per event, p99 {:.2} ms, {:.1} MiB resident at most and {:.1} MiB at \
             the end.\n",
            sent.rate(),
            sent.drain_s,
            steady.cpu_us,
            sent.p99_ms,
            steady.peak_mib,
            steady.end_mib
        );
    }
    if !aims.is_empty() {
        text += "\n| aim | found | |\n|---|---:|---|\n";
    }
    for aim in aims {
        text += &format!("| {} | {} | {} |\n", aim.aim, aim.found, verdict(aim.met));
    }
    text
}

/// The sentences below a table, about the figures and about other work on the machine.
pub(crate) fn rounds_line(rounds: usize, range: &str, load_before: f32) -> String {
    let of_rounds = match rounds {
        1 => "One round".to_owned(),
        _ => format!("Medians of {rounds} rounds{range}"),
    };
    format!("\n{of_rounds}. The machine's load average before: {load_before:.1}.\n")
}

pub(crate) fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "**missed**" }
}

/// Writes a text, with the commit that was measured, between its markers in docs/BENCHMARK.md: only that of a whole run.
pub(crate) fn record(markers: Markers, text: &str, is_whole: bool) -> Result<()> {
    if !is_whole {
        eprintln!("docs/BENCHMARK.md is unchanged: only a run without options writes it");
        return Ok(());
    }
    let git = |words: &[&str]| output(Command::new("git").args(words).current_dir(root()));
    let commit = git(&["describe", "--always", "--dirty"]).unwrap_or_default();
    let date = git(&["show", "--no-patch", "--format=%cs"]).unwrap_or_default();
    let document = root().join("docs/BENCHMARK.md");
    let old = fs::read_to_string(&document).context("cannot read docs/BENCHMARK.md")?;
    let text = format!(
        "Measured at commit {} of {}.\n\n{text}",
        commit.trim(),
        date.trim()
    );
    let new = put(&old, markers, &text).context("docs/BENCHMARK.md has lost its markers")?;
    fs::write(&document, new)?;
    eprintln!("docs/BENCHMARK.md was written");
    Ok(())
}

/// The document with the text between its markers; `None` if it has no markers.
fn put(document: &str, Markers { begin, end }: Markers, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::{MEASURED, Markers, put, text};
    use crate::aims::{judge, tests::results};
    use crate::contender::Contender;
    use crate::load::Sent;
    use crate::middle::Measured;

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
            results.rows[0].1[0].busy.sent.ends_busy = ends_busy;
            assert_eq!(text(&results, &[]).contains("≥ **25000**"), marked, "{ends_busy}");
        };
        check(0.9, false);
        check(0.91, true);
    }

    #[test]
    fn aims_and_the_steady_rate_follow() {
        let sent = Sent {
            events: 9_990.4,
            seconds: 1.0,
            drain_s: 0.125,
            ..Sent::default()
        };
        let steady = Measured {
            sent,
            peak_mib: 70.0,
            cpu_us: 20.0,
            ..Measured::default()
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
