//! What came of a load: every request is accepted, refused or failed, and every answer is timed.

use crate::stats::Latencies;
use anyhow::{Result, ensure};
use std::fmt::Write as _;
use std::time::Duration;

/// Refusals that a browser comes back after. They have to say when.
const COME_BACK: [u16; 2] = [429, 503];

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    events_per_request: usize,
    pub(crate) sent: usize,
    /// Due while no connection was free, and never sent.
    pub(crate) unsent: usize,
    /// Answered with 202: from when they were due until the answer was read.
    pub(crate) accepted: Latencies,
    /// Answered with 429, with 503, and with anything else.
    refused: [Refused; 3],
    /// Not answered.
    pub(crate) failed: usize,
    /// How long after they were due requests were sent: what the generator adds to latencies by itself, because it
    /// had no time or no connection was free.
    lag: Latencies,
    pub(crate) seconds: f64,
    /// What the generator itself used of its core.
    pub(crate) cpu_seconds: f64,
}

/// Answers of one kind.
#[derive(Debug, Default)]
struct Refused {
    latencies: Latencies,
    /// Of which do not say when to come back.
    without_retry_after: usize,
}

impl Report {
    pub(crate) fn new(events_per_request: usize) -> Self {
        Self {
            events_per_request,
            ..Self::default()
        }
    }

    /// Notes how late a request was sent.
    pub(crate) fn lag(&mut self, lag: Duration) -> Result<()> {
        kept(self.lag.note(lag))
    }

    /// Notes an answer; `status` is `None` for a line that is no status line.
    pub(crate) fn answered(&mut self, status: Option<u16>, retry_after: bool, took: Duration) -> Result<()> {
        if status == Some(202) {
            return kept(self.accepted.note(took));
        }
        let kind = COME_BACK.iter().position(|known| Some(*known) == status);
        let refused = &mut self.refused[kind.unwrap_or(COME_BACK.len())];
        refused.without_retry_after += usize::from(!retry_after);
        kept(refused.latencies.note(took))
    }

    pub(crate) fn refused(&self) -> usize {
        self.refused.iter().map(|refused| refused.latencies.len()).sum()
    }

    /// One line, for whoever started the generator.
    pub(crate) fn json(mut self) -> String {
        let refused = self.refused();
        let [p50, p99, p999, max] = [500, 990, 999, 1000].map(|rank| self.accepted.per_mille(rank));
        let mut line = format!(
            r#"{{"events_per_request":{},"sent":{},"unsent":{},"accepted":{},"refused":{refused},"failed":{},"timed":{},"seconds":{:.6},"cpu_seconds":{:.6},"p50_us":{p50},"p99_us":{p99},"p999_us":{p999},"max_us":{max},"lag_p99_us":{},"lag_max_us":{}"#,
            self.events_per_request,
            self.sent,
            self.unsent,
            self.accepted.len(),
            self.failed,
            self.accepted.len() + refused,
            self.seconds,
            self.cpu_seconds,
            self.lag.per_mille(990),
            self.lag.per_mille(1000),
        );
        for (name, refused) in ["429", "503", "other"].into_iter().zip(&mut self.refused) {
            let [p50, p99] = [500, 990].map(|rank| refused.latencies.per_mille(rank));
            // Writing into a string cannot fail.
            let _ = write!(
                line,
                r#","refused_{name}":{{"count":{},"without_retry_after":{},"p50_us":{p50},"p99_us":{p99}}}"#,
                refused.latencies.len(),
                refused.without_retry_after,
            );
        }
        line.push('}');
        line
    }
}

fn kept(is_kept: bool) -> Result<()> {
    ensure!(is_kept, "too many requests to keep their latencies");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Report;
    use std::time::Duration;

    #[test]
    fn an_answer_is_counted_by_its_status_and_by_whether_it_says_when_to_come_back() {
        let check = |status, retry_after, expected: &str| {
            let mut report = Report::new(1);
            report
                .answered(status, retry_after, Duration::from_micros(7))
                .unwrap();
            let line = report.json();
            assert!(line.contains(expected), "{status:?} {retry_after}: {line}");
            assert!(
                line.starts_with('{') && line.ends_with("}}") && !line.contains('\n'),
                "{line}"
            );
            assert!(line.contains(r#""timed":1,"#), "{line}");
        };
        check(Some(202), false, r#""accepted":1,"refused":0,"#);
        check(Some(202), false, r#""p50_us":7,"#);
        check(
            Some(429),
            true,
            r#""refused_429":{"count":1,"without_retry_after":0,"p50_us":7,"p99_us":7}"#,
        );
        check(
            Some(503),
            true,
            r#""refused_503":{"count":1,"without_retry_after":0,"#,
        );
        check(
            Some(503),
            false,
            r#""refused_503":{"count":1,"without_retry_after":1,"#,
        );
        check(
            Some(400),
            false,
            r#""refused_other":{"count":1,"without_retry_after":1,"#,
        );
        check(None, false, r#""accepted":0,"refused":1,"#);
    }

    #[test]
    fn what_the_generator_adds_by_itself_is_told() {
        let mut report = Report::new(1);
        for us in [3, 1, 2] {
            report.lag(Duration::from_micros(us)).unwrap();
        }
        assert!(report.json().contains(r#""lag_p99_us":3,"lag_max_us":3"#));
    }
}
