//! The results as a table, and its place in the document.

use crate::aims::{Aim, spread};
use crate::compare::{Results, Sample};
use crate::distance::{self, Distant};
use crate::footprint::{Figure, Kind};
use crate::middle::Measured;
use crate::rates;
use crate::stats::Spread;
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
/// The place of "events/s, busy" in a row, after its name.
const RATE_COLUMN: usize = 3;

const RATE_COLUMNS: [Column<Measured>; 5] = [
    ("CPU µs per event", 1, |m| m.cpu_us),
    ("delivered/s", 0, |m| m.sent.rate()),
    ("p50 ms", 2, |m| m.sent.p50_ms),
    ("p99 ms", 2, |m| m.sent.p99_ms),
    ("resident MiB, most", 1, |m| m.peak_mib),
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

/// Tables and aims, in Markdown.
pub(crate) fn text(results: &Results, aims: &[Aim]) -> String {
    let rounds = rounds_line(results.rounds.into(), " (least–most)", results.load_before);
    let mut parts = vec![
        comparison(results),
        at_rates(&results.rates),
        results.distance.as_ref().map_or_else(String::new, at_distance),
        of_footprint(&results.footprint),
        rounds,
        judged(aims),
    ];
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// The rows under full and half load.
fn comparison(results: &Results) -> String {
    if results.rows.is_empty() {
        return String::new();
    }
    let mut held_back = false;
    let rows = results.rows.iter().map(|(contender, samples)| {
        let ends_busy = spread(results, *contender, |s| s.busy.sent.ends_busy).map_or(0.0, |s| s.median);
        let is_held_back = ends_busy > ENDS_BUSY_MAX;
        held_back |= is_held_back;
        let mut cells = cells(contender.name().to_owned(), &COLUMNS, samples);
        if is_held_back && let Some(rate) = cells.get_mut(RATE_COLUMN) {
            rate.insert_str(0, "≥ ");
        }
        cells
    });
    let mut text = markdown("", &COLUMNS, rows);
    if held_back {
        text += "\n≥: generator and sink had no more to give, so the middle could do more.\n";
    }
    text
}

/// The rows at fixed rates.
fn at_rates(rates: &[rates::Row]) -> String {
    if rates.is_empty() {
        return String::new();
    }
    let rows = rates.iter().map(|row| {
        let name = format!("{}, {:.0} events/s", row.contender.name(), row.rate);
        cells(name, &RATE_COLUMNS, &row.samples)
    });
    markdown("at a fixed rate", &RATE_COLUMNS, rows)
}

/// The sentence about a distant sink.
fn at_distance(distance: &Result<Distant, String>) -> String {
    let what = format!(
        "The relay at {:.0} events/s, each answered after {} ms",
        distance::RATE,
        distance::ANSWERS_AFTER.as_millis()
    );
    match distance {
        Ok(Distant { measured, disordered }) => {
            let sent = &measured.sent;
            format!(
                "{what}: {:.0} events/s delivered, the last {:.2} s after the last event was accepted, {disordered:.0} out of \
                 order; {:.1} µs of CPU per event, accepted within p50 {:.2} ms and p99 {:.2} ms, {:.1} MiB resident at most.\n",
                sent.rate(),
                sent.drain_s,
                measured.cpu_us,
                sent.p50_ms,
                sent.p99_ms,
                measured.peak_mib
            )
        }
        Err(why) => format!("{what}: {why}\n"),
    }
}

/// The figures of a relay that does little.
fn of_footprint(figures: &[Figure]) -> String {
    if figures.is_empty() {
        return String::new();
    }
    let mut text = "| the relay | |\n|---|---:|\n".to_owned();
    for Figure { kind, found } in figures {
        let Kind {
            name, unit, decimals, ..
        } = kind;
        let shown = match found {
            Ok(found) => format!("**{found:.decimals$}** {unit}"),
            Err(_) => "–".to_owned(),
        };
        text += &format!("| {name} | {} |\n", shown.trim_end());
    }
    text
}

/// A row: its name, then each figure's median and range.
pub(crate) fn cells<T>(name: String, columns: &[Column<T>], samples: &[T]) -> Vec<String> {
    let cell = |(_, decimals, of): &Column<T>| {
        let Some(found) = Spread::of(samples.iter().map(of)) else {
            return "–".to_owned();
        };
        let reach = match samples.len() {
            1 => String::new(),
            _ => format!(" ({:.decimals$}–{:.decimals$})", found.least, found.most),
        };
        format!("**{:.decimals$}**{reach}", found.median)
    };
    std::iter::once(name).chain(columns.iter().map(cell)).collect()
}

/// The aims, each with the figure that was found.
fn judged(aims: &[Aim]) -> String {
    if aims.is_empty() {
        return String::new();
    }
    let mut text = "| aim | found | |\n|---|---:|---|\n".to_owned();
    for aim in aims {
        let found = aim.found.replace('|', "/");
        text += &format!("| {} | {found} | {} |\n", aim.aim, verdict(aim.met));
    }
    text
}

/// The sentences below a table, about the figures and about other work on the machine.
pub(crate) fn rounds_line(rounds: usize, range: &str, load_before: f32) -> String {
    let of_rounds = match rounds {
        1 => "One round".to_owned(),
        _ => format!("Medians of {rounds} rounds{range}"),
    };
    format!("{of_rounds}. The machine's load average before: {load_before:.1}.\n")
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
    use crate::aims::judge;
    use crate::aims::tests::{at_rate, results};
    use crate::contender::Contender;
    use crate::distance::Distant;
    use crate::footprint::tests::figures;
    use crate::rates::Row;

    #[test]
    fn a_row_shows_the_median_and_how_far_the_rounds_reach() {
        let check = |rounds: &[f64], row: &str| {
            let text = text(&results(&[(Contender::Nginx, rounds)]), &[]);
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
            let mut results = results(&[(Contender::Nginx, &[40.0])]);
            results.rows[0].1[0].busy.sent.ends_busy = ends_busy;
            assert_eq!(
                text(&results, &[]).contains("| ≥ **25000** |"),
                marked,
                "{ends_busy}"
            );
        };
        check(0.9, false);
        check(0.91, true);
    }

    #[test]
    fn fixed_rates_and_aims_follow() {
        let mut results = results(&[(Contender::Relay, &[50.0])]);
        results.rates = vec![
            at_rate(Contender::Relay, 10_000.0, &[(20.0, 0.999, 70.0)]),
            Row::new(Contender::Nginx, 5_000.0),
        ];
        results.distance = Some(Ok(Distant::default()));
        results.footprint = figures(12.345, Err("strace | is missing"), 1.26);
        let text = text(&results, &judge(&results));
        for part in [
            "| relay, 10000 events/s | **20.0** | **9990** | **0.00** | **0.00** | **70.0** |",
            "| nginx, 5000 events/s | – | – | – | – | – |",
            "each answered after 50 ms: NaN events/s delivered, the last 0.00 s after",
            "| system calls per second, idle | **12.3** |",
            "| awakenings per second, idle | – |",
            "beside before they opened | **1.26** × |",
            "idle: at most 5 | strace / is missing | **missed** |",
            "opened: at most 1.1 × | 1.26 × | **missed** |",
            "One round. The machine's load average before: 0.2.",
            "under 10 ms | 5.00 ms | met |",
            "at most 48 MiB | 70.0 MiB at most | **missed** |",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn a_part_that_was_not_measured_has_no_table() {
        let text = text(&results(&[]), &[]);
        assert!(!text.contains('|'), "{text}");
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
