//! The rows of the overload's table, and what they are held to.

use super::super::stats::Spread;
use super::super::table::Markers;
use super::Sample;
use std::fmt::Write as _;

/// Between these lines of the document the table is written.
pub(super) const MARKERS: Markers = Markers {
    begin: "<!-- overload: begin, written by `cargo xtask bench overload` -->",
    end: "<!-- overload: end -->",
};
/// What 99 of 100 accepted requests are to be answered within, in milliseconds: `public.answer_within_ms` as shipped,
/// to which the relay fits how many requests it works on at once.
const ANSWER_WITHIN_MS: f64 = 500.0;
/// A generator whose core is busier than this, or that sends later than this, may make up latency by itself.
const SENDING_BUSY_MAX: f64 = 0.9;
const LAG_MAX_MS: f64 = 10.0;

/// One load on one disk, in all rounds.
#[derive(Debug)]
pub(super) struct Row {
    disk: &'static str,
    pub(super) share: f64,
    pub(super) samples: Vec<Sample>,
}

/// A column: its title, decimals, and what it shows.
type Column = (&'static str, usize, fn(&Sample) -> f64);

const COLUMNS: [Column; 12] = [
    ("due/s", 0, |s| s.offered),
    ("of which unsent/s", 0, |s| s.sent.unsent / s.sent.sending_s),
    ("accepted/s", 0, |s| s.sent.requests / s.sent.sending_s),
    ("429/s", 0, |s| s.sent.refused[0].count / s.sent.sending_s),
    ("503/s", 0, |s| s.sent.refused[1].count / s.sent.sending_s),
    ("p50 ms, accepted", 1, |s| s.sent.p50_ms),
    ("p99 ms, accepted", 1, |s| s.sent.p99_ms),
    ("p50 ms, 503", 1, |s| s.sent.refused[1].p50_ms),
    ("p99 ms, 503", 1, |s| s.sent.refused[1].p99_ms),
    ("generator late by, p99 ms", 1, |s| s.sent.lag_p99_ms),
    ("resident MiB, most", 1, |s| s.peak_mib),
    ("s until all were delivered", 1, |s| s.sent.drain_s),
];

impl Row {
    pub(super) fn new(disk: &'static str, share: f64) -> Self {
        Self {
            disk,
            share,
            samples: Vec::new(),
        }
    }

    fn median(&self, of: fn(&Sample) -> f64) -> f64 {
        Spread::of(self.samples.iter().map(of)).map_or(f64::NAN, |spread| spread.median)
    }

    /// Whether what was accepted was answered in time, and what was refused can come back.
    pub(super) fn is_well(&self) -> bool {
        self.median(|s| s.sent.p99_ms) <= ANSWER_WITHIN_MS && self.samples.iter().all(is_polite)
    }

    /// Whether the generator may have made up some of the latency.
    fn is_doubtful(&self) -> bool {
        self.median(|s| s.sent.sending_busy) > SENDING_BUSY_MAX
            || self.median(|s| s.sent.lag_p99_ms) > LAG_MAX_MS
    }

    /// A sample in a line.
    pub(super) fn told(&self, sample: &Sample) -> String {
        let mut line = format!("disk {:<8} × {:<3}", self.disk, self.share);
        for (title, decimals, of) in COLUMNS {
            // Writing into a string cannot fail, here and below.
            let _ = write!(line, " {title} {:.decimals$},", of(sample));
        }
        let _ = write!(line, " ends {:.0} %", sample.sent.sending_busy * 100.0);
        line
    }
}

/// Every refusal is a 429 or a 503 that says when to come back.
fn is_polite(sample: &Sample) -> bool {
    let [limited, overloaded, other] = sample.sent.refused;
    limited.without_retry_after + overloaded.without_retry_after + other.count == 0.0
}

/// The table, in Markdown.
pub(super) fn text(rows: &[Row], slow_ms: u16, load_before: f64) -> String {
    let mut text = String::from("| disk, load |");
    for (title, ..) in COLUMNS {
        let _ = write!(text, " {title} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(COLUMNS.len()));
    for row in rows {
        let doubt = if row.is_doubtful() { " †" } else { "" };
        let _ = write!(text, "\n| {}, × {}{doubt} |", row.disk, row.share);
        for (_, decimals, of) in COLUMNS {
            let _ = write!(text, " {:.decimals$} |", row.median(of));
        }
    }
    let rounds = match rows.first().map_or(0, |row| row.samples.len()) {
        1 => "One round".to_owned(),
        many => format!("Medians of {many} rounds"),
    };
    let _ = writeln!(
        text,
        "\n\n{rounds}. The machine's load average before: {load_before:.1}."
    );
    if rows.iter().any(Row::is_doubtful) {
        text.push_str("†: the generator was short of time, so some of the latency may be its own.\n");
    }
    if slow_ms > 0 {
        let _ = writeln!(text, "Slow: each fsync takes {slow_ms} ms longer.");
    }
    let verdict = if rows.iter().all(Row::is_well) {
        "met"
    } else {
        "**missed**"
    };
    let _ = writeln!(
        text,
        "\nEvery event that was accepted was delivered, once. Aim: 99 of 100 accepted requests answered within \
         {ANSWER_WITHIN_MS:.0} ms, every refusal with Retry-After: {verdict}."
    );
    text
}

#[cfg(test)]
mod tests {
    use super::super::super::ends::{Refused, Sent};
    use super::{Row, Sample, text};

    fn sample(change: impl FnOnce(&mut Sample)) -> Sample {
        let mut sample = Sample {
            offered: 2000.0,
            sent: Sent {
                requests: 1000.0,
                events: 1000.0,
                unsent: 0.0,
                refused: [Refused::default(); 3],
                seconds: 2.0,
                drain_s: 0.5,
                p50_ms: 5.0,
                p99_ms: 50.0,
                ends_busy: 0.5,
                sending_busy: 0.5,
                sending_s: 1.0,
                lag_p99_ms: 0.1,
            },
            peak_mib: 60.0,
        };
        change(&mut sample);
        sample
    }

    fn row(change: impl Fn(&mut Sample)) -> Row {
        let mut row = Row::new("as it is", 2.0);
        row.samples = vec![sample(&change), sample(&change)];
        row
    }

    #[test]
    fn a_load_is_borne_when_answers_come_in_time_and_refusals_say_when_to_come_back() {
        let check = |what: &str, change: fn(&mut Sample), expected| {
            let row = row(change);
            assert_eq!(row.is_well(), expected, "{what}");
            let text = text(&[row], 0, 0.1);
            assert_eq!(text.contains("Retry-After: met."), expected, "{what}\n{text}");
        };
        check("all accepted", |_| {}, true);
        check("just in time", |s| s.sent.p99_ms = 500.0, true);
        check("late", |s| s.sent.p99_ms = 500.1, false);
        check("refused", |s| s.sent.refused[1].count = 10.0, true);
        check(
            "refused for ever",
            |s| s.sent.refused[1].without_retry_after = 1.0,
            false,
        );
        check(
            "limited for ever",
            |s| s.sent.refused[0].without_retry_after = 1.0,
            false,
        );
        check("refused otherwise", |s| s.sent.refused[2].count = 1.0, false);
    }

    #[test]
    fn a_generator_short_of_time_is_told() {
        let check = |change: fn(&mut Sample), expected| {
            let text = text(&[row(change)], 0, 0.1);
            assert_eq!(text.contains("| as it is, × 2 † |"), expected, "{text}");
            assert_eq!(text.contains("†: the generator"), expected, "{text}");
        };
        check(|_| {}, false);
        check(|s| s.sent.sending_busy = 0.91, true);
        check(|s| s.sent.lag_p99_ms = 10.1, true);
    }

    #[test]
    fn a_row_shows_medians() {
        let text = text(&[row(|_| {})], 200, 0.1);
        let shown = "| as it is, × 2 | 2000 | 0 | 1000 | 0 | 0 | 5.0 | 50.0 | 0.0 | 0.0 | 0.1 | 60.0 | 0.5 |";
        assert!(text.contains(shown), "{text}");
        assert!(
            text.contains("Medians of 2 rounds") && text.contains("200 ms longer"),
            "{text}"
        );
    }
}
