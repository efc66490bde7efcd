//! What the relay aims at, and whether it got there.

use super::compare::{Results, STEADY_RATE, Sample, Steady};
use super::contender::Contender;
use super::stats::Spread;

/// Most processor time of an event sent alone, as a multiple of nginx's.
pub(super) const NGINX_SHARE_MAX: f64 = 1.5;
/// Most processor time of an event, as a share of what Caddy and Traefik need.
const GO_SHARE_MAX: f64 = 1.0 / 3.0;
/// Most milliseconds until 99 of 100 answers at half load.
const P99_MS_MAX: f64 = 10.0;
/// Most resident memory at the steady rate, in MiB.
const RESIDENT_MIB_MAX: f64 = 64.0;

/// An aim, and what was found.
#[derive(Debug)]
pub(super) struct Aim {
    pub(super) aim: String,
    pub(super) found: String,
    met: bool,
}

impl Aim {
    pub(super) fn is_met(&self) -> bool {
        self.met
    }
}

/// Judges each aim that was measured. The medians count.
pub(super) fn judge(results: &Results) -> Vec<Aim> {
    let median = |contender, of: fn(&Sample) -> f64| Some(spread(results, contender, of)?.median);
    let cpu = |contender| median(contender, |sample| sample.busy_us);
    let mut aims = Vec::new();
    let mut ratio = |aim: &str, ours: Contender, theirs: Contender, at_most: f64| {
        if let (Some(ours), Some(theirs)) = (cpu(ours), cpu(theirs)) {
            aims.push(Aim {
                aim: aim.to_owned(),
                found: format!("{:.2} ×", ours / theirs),
                met: ours <= at_most * theirs,
            });
        }
    };
    ratio(
        "processor per event, one per request: at most 1.5 × nginx",
        Contender::Relay,
        Contender::Nginx,
        NGINX_SHARE_MAX,
    );
    ratio(
        "processor per event, batches of ten: below nginx",
        Contender::RelayBatch,
        Contender::Nginx,
        1.0,
    );
    ratio(
        "processor per event, one per request: at most a third of Caddy",
        Contender::Relay,
        Contender::Caddy,
        GO_SHARE_MAX,
    );
    ratio(
        "processor per event, one per request: at most a third of Traefik",
        Contender::Relay,
        Contender::Traefik,
        GO_SHARE_MAX,
    );
    for (contender, sent) in [
        (Contender::Relay, "one per request"),
        (Contender::RelayBatch, "batches of ten"),
    ] {
        if let Some(p99) = median(contender, |sample| sample.p99_ms) {
            aims.push(Aim {
                aim: format!("p99 at half load, on disk before the answer, {sent}: under 10 ms"),
                found: format!("{p99:.2} ms"),
                met: p99 < P99_MS_MAX,
            });
        }
    }
    match &results.steady {
        Some(Ok(steady)) => aims.extend(steadiness(steady)),
        Some(Err(why)) => aims.push(Aim {
            aim: format!("{STEADY_RATE:.0} events/s taken and delivered on one core"),
            found: why.replace('|', "/"),
            met: false,
        }),
        None => {}
    }
    aims
}

fn steadiness(steady: &Steady) -> [Aim; 2] {
    [
        Aim {
            aim: format!("resident at {STEADY_RATE:.0} events/s: under 64 MiB"),
            found: format!("{:.1} MiB at most", steady.peak_mib),
            met: steady.peak_mib < RESIDENT_MIB_MAX,
        },
        Aim {
            aim: format!("{STEADY_RATE:.0} events/s delivered on one core as they come"),
            found: format!("{:.0} events/s", steady.delivered),
            // What comes at random moments is a little more or less than the rate.
            met: steady.delivered >= 0.95 * STEADY_RATE,
        },
    ]
}

/// How a contender's rounds spread in one respect.
pub(super) fn spread(results: &Results, contender: Contender, of: fn(&Sample) -> f64) -> Option<Spread> {
    let (_, samples) = results.rows.iter().find(|(row, _)| *row == contender)?;
    Spread::of(samples.iter().map(of))
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Contender, Results, Sample, Steady, judge};

    /// Results in which each contender needs this much processor, in each of its rounds.
    pub(in super::super) fn results(rows: &[(Contender, &[f64])], steady: Option<Steady>) -> Results {
        let sample = |busy_us: &f64| Sample {
            busy_us: *busy_us,
            half_us: busy_us + 1.0,
            throughput: 1e6 / busy_us,
            p50_ms: busy_us / 100.0,
            p99_ms: busy_us / 10.0,
            peak_mib: 20.0,
            end_mib: 10.0,
            ends_busy: 0.5,
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
        // processor per event of relay, relay with batches, nginx, Caddy, Traefik → which aims are missed
        let check = |[relay, batch, nginx, caddy, traefik]: [f64; 5], missed: &[usize]| {
            let rows: [(Contender, &[f64]); 5] = [
                (Contender::Relay, &[relay]),
                (Contender::RelayBatch, &[batch]),
                (Contender::Nginx, &[nginx]),
                (Contender::Caddy, &[caddy]),
                (Contender::Traefik, &[traefik]),
            ];
            let aims = judge(&results(&rows, None));
            let found: Vec<usize> = (0..aims.len()).filter(|n| !aims[*n].is_met()).collect();
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
        let aims = judge(&results(&[(Contender::Relay, &[50.0])], None));
        assert_eq!(aims.len(), 1);
        assert!(judge(&results(&[], None)).is_empty());
    }

    #[test]
    fn a_rate_that_could_not_be_held_is_a_missed_aim() {
        let mut results = results(&[], None);
        results.steady = Some(Err("3 of 9 events are missing".to_owned()));
        let aims = judge(&results);
        assert!(aims.len() == 1 && !aims[0].is_met(), "{aims:?}");
    }

    #[test]
    fn memory_and_rate_are_judged_when_they_were_held() {
        let check = |peak_mib, delivered, expected: [bool; 2]| {
            let steady = Steady {
                peak_mib,
                end_mib: 30.0,
                p99_ms: 1.0,
                cpu_us: 20.0,
                delivered,
                drain_s: 0.1,
            };
            let aims = judge(&results(&[], Some(steady)));
            assert_eq!([aims[0].is_met(), aims[1].is_met()], expected, "{aims:?}");
        };
        check(63.9, 9_900.0, [true, true]);
        check(64.0, 9_900.0, [false, true]);
        check(63.9, 9_000.0, [true, false]);
    }
}
