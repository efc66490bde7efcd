//! The result of a stream: every request is accepted, refused or failed, and every answer is timed.

use crate::stats::Latencies;
use anyhow::Result;
use std::time::Duration;

/// Refusals that a browser retries. They must carry a Retry-After.
const COME_BACK: [u16; 2] = [429, 503];

/// The result of a stream.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) sent: usize,
    /// Due while no connection was free, and dropped.
    pub(super) unsent: usize,
    /// Requests answered with 202, or with Bento's 200: from when they were due until the answer was read.
    pub(super) accepted: Latencies,
    /// Answered with 429, with 503, and with any other status.
    refusals: [Refusals; 3],
    /// Not answered.
    pub(super) failed: usize,
    /// How late requests were sent: the latency that the generator itself adds, because it was busy or no connection
    /// was free.
    pub(super) lag: Latencies,
    /// From the first request to the last answer.
    pub(super) took: Duration,
    /// Processor time of this process before the first request.
    pub(super) cpu_before: Duration,
}

/// Answers of one kind.
#[derive(Debug, Default)]
struct Refusals {
    latencies: Latencies,
    without_retry_after: usize,
}

/// Requests that were refused in one way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Refused {
    pub(crate) count: f64,
    pub(crate) without_retry_after: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Report {
    /// Adds an answer.
    pub(super) fn answered(&mut self, status: u16, retry_after: bool, took: Duration) -> Result<()> {
        if matches!(status, 200 | 202) {
            return self.accepted.add(took);
        }
        let kind = COME_BACK.iter().position(|known| *known == status);
        let refusals = &mut self.refusals[kind.unwrap_or(COME_BACK.len())];
        refusals.without_retry_after += usize::from(!retry_after);
        refusals.latencies.add(took)
    }

    /// Refused with 429, with 503, and with any other status.
    pub(super) fn refused(&mut self) -> [Refused; 3] {
        self.refusals.each_mut().map(|refusals| Refused {
            count: refusals.latencies.len() as f64,
            without_retry_after: refusals.without_retry_after as f64,
            p50_ms: refusals.latencies.percentile_ms(50),
            p99_ms: refusals.latencies.percentile_ms(99),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Refused, Report};
    use std::time::Duration;

    #[test]
    fn an_answer_is_counted_by_its_status_and_by_whether_it_says_when_to_come_back() {
        // status, Retry-After → accepted, and for 429, 503 and others: refused, without Retry-After
        let check = |status, retry_after, accepted, expected: [(f64, f64); 3]| {
            let mut report = Report::default();
            report
                .answered(status, retry_after, Duration::from_millis(7))
                .unwrap();
            assert_eq!(report.accepted.len(), accepted, "{status}");
            let expected = expected.map(|(count, without_retry_after)| Refused {
                count,
                without_retry_after,
                p50_ms: 7.0 * count,
                p99_ms: 7.0 * count,
            });
            assert_eq!(report.refused(), expected, "{status} {retry_after}");
        };
        let none = (0.0, 0.0);
        check(202, false, 1, [none; 3]);
        check(200, false, 1, [none; 3]);
        check(204, false, 0, [none, none, (1.0, 1.0)]);
        check(429, true, 0, [(1.0, 0.0), none, none]);
        check(503, true, 0, [none, (1.0, 0.0), none]);
        check(503, false, 0, [none, (1.0, 1.0), none]);
        check(400, false, 0, [none, none, (1.0, 1.0)]);
    }
}
