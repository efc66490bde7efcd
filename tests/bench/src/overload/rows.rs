//! The rows of the overload table, and their aims.

use super::Sample;
use crate::stats::Spread;
use crate::table::{Column, Markers, markdown, rounds_line, verdict};

/// The table goes between these lines of the document.
pub(crate) const MARKERS: Markers = Markers {
    begin: "<!-- overload: begin, written by `cargo xtask bench overload` -->",
    end: "<!-- overload: end -->",
};
/// Aims for the 99th percentile of accepted requests, in milliseconds, with the disk as it is and with a slow one.
const ANSWER_WITHIN_MS: f64 = 250.0;
const ANSWER_WITHIN_SLOW_MS: f64 = 500.0;
/// Aim for the accepted requests under overload, as a part of the capacity, with the disk as it is.
const ACCEPTED_PART: f64 = 0.8;
/// Milliseconds by which each fsync is delayed in the rows with a slow disk.
pub(super) const SLOW_MS: u16 = 20;
/// A generator whose core is busier than this, or that sends later than this, may add latency of its own.
const SENDING_BUSY_MAX: f64 = 0.9;
const LAG_MAX_MS: f64 = 10.0;

/// One load on one disk, in all rounds.
#[derive(Debug)]
pub(crate) struct Row {
    is_slow: bool,
    pub(crate) share: f64,
    pub(crate) samples: Vec<Sample>,
}

const COLUMNS: [Column<Sample>; 12] = [
    ("due/s", 0, |s| s.offered),
    ("of which unsent/s", 0, |s| s.sent.unsent / s.sent.sending_s),
    ("accepted/s", 0, accepted),
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
    pub(crate) fn new(is_slow: bool, share: f64) -> Self {
        Self {
            is_slow,
            share,
            samples: Vec::new(),
        }
    }

    fn disk(&self) -> &'static str {
        if self.is_slow { "slow" } else { "as it is" }
    }

    /// The aim for the 99th percentile of accepted requests, in milliseconds.
    fn within_ms(&self) -> f64 {
        if self.is_slow {
            ANSWER_WITHIN_SLOW_MS
        } else {
            ANSWER_WITHIN_MS
        }
    }

    fn median(&self, of: fn(&Sample) -> f64) -> f64 {
        Spread::of(self.samples.iter().map(of)).map_or(f64::NAN, |spread| spread.median)
    }

    /// Whether accepted requests were answered in time and were enough, and refused ones can retry.
    pub(crate) fn is_well(&self) -> bool {
        self.median(|s| s.sent.p99_ms) <= self.within_ms()
            && self.accepts_enough()
            && self.samples.iter().all(is_polite)
    }

    /// Whether overload leaves most of the capacity. A slow disk has less of it, which is not measured.
    fn accepts_enough(&self) -> bool {
        let capacity = self.median(|s| s.offered) / self.share;
        self.is_slow || self.share <= 1.0 || self.median(accepted) >= ACCEPTED_PART * capacity
    }

    /// Whether the generator may have added some of the latency.
    fn is_doubtful(&self) -> bool {
        self.median(|s| s.sent.sending_busy) > SENDING_BUSY_MAX
            || self.median(|s| s.sent.lag_p99_ms) > LAG_MAX_MS
    }

    /// A sample in a line.
    pub(crate) fn line(&self, sample: &Sample) -> String {
        let mut line = format!("disk {:<8} × {:<3}", self.disk(), self.share);
        for (title, decimals, of) in COLUMNS {
            line += &format!(" {title} {:.decimals$},", of(sample));
        }
        line + &format!(" ends {:.0} %", sample.sent.sending_busy * 100.0)
    }
}

/// Accepted requests per second.
fn accepted(sample: &Sample) -> f64 {
    sample.sent.requests / sample.sent.sending_s
}

/// Whether every refusal is a 429 or a 503 with a Retry-After.
fn is_polite(sample: &Sample) -> bool {
    let [limited, overloaded, other] = sample.sent.refused;
    limited.without_retry_after + overloaded.without_retry_after + other.count == 0.0
}

/// The table, in Markdown.
pub(crate) fn text(rows: &[Row], load_before: f32) -> String {
    let cells = |row: &Row| {
        let doubt = if row.is_doubtful() { " †" } else { "" };
        let name = format!("{}, × {}{doubt}", row.disk(), row.share);
        let cell = |(_, decimals, of): &Column<Sample>| format!("{:.decimals$}", row.median(*of));
        std::iter::once(name).chain(COLUMNS.iter().map(cell)).collect()
    };
    let mut text = markdown("disk, load", &COLUMNS, rows.iter().map(cells));
    let rounds = rows.first().map_or(0, |row| row.samples.len());
    text += "\n";
    text += &rounds_line(rounds, "", load_before);
    if rows.iter().any(Row::is_doubtful) {
        text += "†: the generator was short of time, so some of the latency may be its own.\n";
    }
    let verdict = verdict(rows.iter().all(Row::is_well));
    text + &format!(
        "Slow: each fsync takes {SLOW_MS} ms longer.\n\nEvery event that was accepted was delivered, once. Aim: 99 of \
         100 accepted requests answered within {ANSWER_WITHIN_MS:.0} ms, or {ANSWER_WITHIN_SLOW_MS:.0} ms on the slow disk; \
         under overload {:.0} % of the capacity accepted, with the disk as it is; every refusal with Retry-After: {verdict}.\n",
        ACCEPTED_PART * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::{Row, Sample, text};
    use crate::load::Sent;

    fn sample(change: impl FnOnce(&mut Sample)) -> Sample {
        let sent = Sent {
            requests: 1000.0,
            drain_s: 0.5,
            p50_ms: 5.0,
            p99_ms: 50.0,
            sending_busy: 0.5,
            sending_s: 1.0,
            lag_p99_ms: 0.1,
            ..Sent::default()
        };
        let mut sample = Sample {
            offered: 2000.0,
            sent,
            peak_mib: 60.0,
        };
        change(&mut sample);
        sample
    }

    fn row(change: impl Fn(&mut Sample)) -> Row {
        row_on(false, change)
    }

    fn row_on(is_slow: bool, change: impl Fn(&mut Sample)) -> Row {
        let mut row = Row::new(is_slow, 2.0);
        row.samples = vec![sample(&change), sample(&change)];
        row
    }

    #[test]
    fn a_load_is_borne_when_answers_come_in_time_and_refusals_say_when_to_come_back() {
        let check_on = |is_slow: bool, what: &str, change: fn(&mut Sample), expected| {
            let row = row_on(is_slow, change);
            assert_eq!(row.is_well(), expected, "{what}");
            let text = text(&[row], 0.1);
            assert_eq!(text.contains("Retry-After: met."), expected, "{what}\n{text}");
        };
        check_on(true, "just in time", |s| s.sent.p99_ms = 500.0, true);
        check_on(true, "late", |s| s.sent.p99_ms = 500.1, false);
        let check = |what: &str, change, expected| check_on(false, what, change, expected);
        check("all accepted", |_| {}, true);
        check("just in time", |s| s.sent.p99_ms = 250.0, true);
        check("late", |s| s.sent.p99_ms = 250.1, false);
        check("refused", |s| s.sent.refused[1].count = 10.0, true);
        check("most refused", |s| s.sent.requests = 800.0, true);
        check("too many refused", |s| s.sent.requests = 799.0, false);
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
    fn a_generator_short_of_time_is_marked() {
        let check = |change: fn(&mut Sample), expected| {
            let text = text(&[row(change)], 0.1);
            assert_eq!(text.contains("| as it is, × 2 † |"), expected, "{text}");
            assert_eq!(text.contains("†: the generator"), expected, "{text}");
        };
        check(|_| {}, false);
        check(|s| s.sent.sending_busy = 0.91, true);
        check(|s| s.sent.lag_p99_ms = 10.1, true);
    }

    #[test]
    fn a_row_shows_medians() {
        let text = text(&[row(|_| {})], 0.1);
        let shown = "| as it is, × 2 | 2000 | 0 | 1000 | 0 | 0 | 5.0 | 50.0 | 0.0 | 0.0 | 0.1 | 60.0 | 0.5 |";
        assert!(text.contains(shown), "{text}");
        assert!(
            text.contains("Medians of 2 rounds") && text.contains("20 ms longer"),
            "{text}"
        );
    }
}
