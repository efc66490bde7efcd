//! The relay's aims, and whether a run meets them.

use crate::compare::{Results, STEADY_RATE, Sample};
use crate::contender::Contender::{self, Caddy, Nginx, Relay, RelayBatch, Traefik};
use crate::stats::Spread;

/// Limit of one row's processor time per event, as a multiple of another row's.
const RATIOS: [(&str, Contender, Contender, f64); 4] = [
    ("one per request: at most 1.5 × nginx", Relay, Nginx, 1.5),
    ("batches of ten: below nginx", RelayBatch, Nginx, 1.0),
    (
        "one per request: at most a third of Caddy",
        Relay,
        Caddy,
        1.0 / 3.0,
    ),
    (
        "one per request: at most a third of Traefik",
        Relay,
        Traefik,
        1.0 / 3.0,
    ),
];
/// Limit of the 99th percentile of latency at half load, in milliseconds.
const P99_MS_MAX: f64 = 10.0;
/// Limit of resident memory at the steady rate, in MiB.
const RESIDENT_MIB_MAX: f64 = 64.0;
/// Lower bound of the share of the steady rate that is delivered: random arrivals vary by a few requests.
const DELIVERED_MIN: f64 = 0.95;

/// An aim, and the measured figure.
#[derive(Debug)]
pub(crate) struct Aim {
    pub(crate) aim: String,
    pub(crate) found: String,
    pub(crate) met: bool,
}

/// Judges each measured aim by its median.
pub(crate) fn judge(results: &Results) -> Vec<Aim> {
    let median = |contender, of: fn(&Sample) -> f64| Some(spread(results, contender, of)?.median);
    let mut aims = Vec::new();
    let mut judge = |aim: String, found: String, met| aims.push(Aim { aim, found, met });
    for (aim, ours, theirs, at_most) in RATIOS {
        let cpu = |contender| median(contender, |sample| sample.busy.cpu_us);
        if let (Some(ours), Some(theirs)) = (cpu(ours), cpu(theirs)) {
            judge(
                format!("processor per event, {aim}"),
                format!("{:.2} ×", ours / theirs),
                ours <= at_most * theirs,
            );
        }
    }
    for (contender, sent) in [(Relay, "one per request"), (RelayBatch, "batches of ten")] {
        if let Some(p99) = median(contender, |sample| sample.half.sent.p99_ms) {
            judge(
                format!("p99 at half load, on disk before the answer, {sent}: under {P99_MS_MAX:.0} ms"),
                format!("{p99:.2} ms"),
                p99 < P99_MS_MAX,
            );
        }
    }
    match &results.steady {
        Some(Ok(steady)) => {
            judge(
                format!("resident at {STEADY_RATE:.0} events/s: under {RESIDENT_MIB_MAX:.0} MiB"),
                format!("{:.1} MiB at most", steady.peak_mib),
                steady.peak_mib < RESIDENT_MIB_MAX,
            );
            judge(
                format!("{STEADY_RATE:.0} events/s delivered on one core as they come"),
                format!("{:.0} events/s", steady.sent.rate()),
                steady.sent.rate() >= DELIVERED_MIN * STEADY_RATE,
            );
        }
        Some(Err(why)) => judge(
            format!("{STEADY_RATE:.0} events/s taken and delivered on one core"),
            why.replace('|', "/"),
            false,
        ),
        None => {}
    }
    aims
}

/// The spread of a contender's rounds in one figure.
pub(crate) fn spread(results: &Results, contender: Contender, of: fn(&Sample) -> f64) -> Option<Spread> {
    let (_, samples) = results.rows.iter().find(|(row, _)| *row == contender)?;
    Spread::of(samples.iter().map(of))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Caddy, Contender, Nginx, Relay, RelayBatch, Results, Traefik, judge};
    use crate::compare::Sample;
    use crate::load::Sent;
    use crate::middle::Measured;

    /// Results with this processor time per event for each contender, one value per round.
    pub(crate) fn results(rows: &[(Contender, &[f64])], steady: Option<Measured>) -> Results {
        let sample = |busy_us: &f64| {
            let sent = Sent {
                events: 1e6 / busy_us,
                seconds: 1.0,
                p50_ms: busy_us / 100.0,
                p99_ms: busy_us / 10.0,
                ends_busy: 0.5,
                ..Sent::default()
            };
            let measured = |cpu_us| Measured {
                sent,
                cpu_us,
                peak_mib: 20.0,
                end_mib: 10.0,
            };
            Sample {
                busy: measured(*busy_us),
                half: measured(busy_us + 1.0),
            }
        };
        let rows = rows
            .iter()
            .map(|(contender, needed)| (*contender, needed.iter().map(sample).collect()));
        Results {
            load_before: 0.25,
            rows: rows.collect(),
            steady: steady.map(Ok),
        }
    }

    #[test]
    fn an_aim_is_met_up_to_its_bound() {
        // processor time per event of relay, relay with batches, nginx, Caddy, Traefik → the aims that are missed
        let check = |[relay, batch, nginx, caddy, traefik]: [f64; 5], missed: &[usize]| {
            let rows: [(Contender, &[f64]); 5] = [
                (Relay, &[relay]),
                (RelayBatch, &[batch]),
                (Nginx, &[nginx]),
                (Caddy, &[caddy]),
                (Traefik, &[traefik]),
            ];
            let aims = judge(&results(&rows, None));
            let found: Vec<usize> = (0..aims.len()).filter(|n| !aims[*n].met).collect();
            assert_eq!(found, missed, "{aims:?}");
        };
        check([60.0, 40.0, 40.0, 180.0, 180.0], &[]);
        check([60.1, 40.0, 40.0, 190.0, 190.0], &[0]);
        check([60.0, 40.1, 40.0, 180.0, 180.0], &[1]);
        check([60.0, 40.0, 40.0, 179.0, 180.0], &[2]);
        check([60.0, 40.0, 40.0, 180.0, 179.0], &[3]);
        check([99.9, 40.0, 99.0, 900.0, 900.0], &[]);
        check([100.0, 40.0, 99.0, 900.0, 900.0], &[4]);
        check([60.0, 100.0, 110.0, 900.0, 900.0], &[5]);
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        let aims = judge(&results(&[(Relay, &[50.0])], None));
        assert_eq!(aims.len(), 1);
        assert!(judge(&results(&[], None)).is_empty());
    }

    #[test]
    fn a_rate_that_could_not_be_held_is_a_missed_aim() {
        let mut results = results(&[], None);
        results.steady = Some(Err("3 of 9 events are missing".to_owned()));
        let aims = judge(&results);
        assert!(aims.len() == 1 && !aims[0].met, "{aims:?}");
    }

    #[test]
    fn memory_and_rate_are_judged_when_they_were_held() {
        let check = |peak_mib, delivered, expected: [bool; 2]| {
            let sent = Sent {
                events: delivered,
                seconds: 1.0,
                ..Sent::default()
            };
            let steady = Measured {
                sent,
                peak_mib,
                ..Measured::default()
            };
            let aims = judge(&results(&[], Some(steady)));
            assert_eq!([aims[0].met, aims[1].met], expected, "{aims:?}");
        };
        check(63.9, 9_900.0, [true, true]);
        check(64.0, 9_900.0, [false, true]);
        check(63.9, 9_000.0, [true, false]);
    }
}
