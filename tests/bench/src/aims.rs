//! The relay's aims, and whether a run meets them.

use crate::compare::{Results, Sample};
use crate::contender::Contender::{self, Caddy, Nginx, Relay, RelayBatch, Traefik};
use crate::distance::{self, Distant};
use crate::footprint::Figure;
use crate::middle::Measured;
use crate::rates::{RATES, Row};
use crate::stats::Spread;

/// Limit of one row's processor time per event while every connection is busy, as a multiple of another row's.
const RATIOS: [(&str, Contender, Contender, f64); 4] = [
    ("one per request: at most 1.4 × nginx", Relay, Nginx, 1.4),
    ("batches of ten: at most half of nginx", RelayBatch, Nginx, 0.5),
    ("one per request: at most a quarter of Caddy", Relay, Caddy, 0.25),
    (
        "one per request: at most a third of Traefik",
        Relay,
        Traefik,
        1.0 / 3.0,
    ),
];
/// The same at a fixed rate, where a server that sleeps between two events pays for each awakening.
const RATIO_AT_RATES: f64 = 1.2;
/// The relay's rows.
const OURS: [(Contender, &str); 2] = [(Relay, "one per request"), (RelayBatch, "batches of ten")];
/// Limit of the 99th percentile of latency at half load, in milliseconds.
const P99_MS_MAX: f64 = 10.0;
/// Limit of resident memory at the highest fixed rate, in MiB.
const RESIDENT_MIB_MAX: f64 = 48.0;
/// Lower bound of the share of a fixed rate that is delivered: random arrivals vary by a few requests.
const DELIVERED_MIN: f64 = 0.95;

/// An aim, and the measured figure.
#[derive(Debug)]
pub(crate) struct Aim {
    pub(crate) aim: String,
    pub(crate) found: String,
    pub(crate) met: bool,
}

impl Aim {
    fn new(aim: String, found: String, met: bool) -> Self {
        Self { aim, found, met }
    }
}

/// Judges each measured aim, by the median unless it says otherwise.
pub(crate) fn judge(results: &Results) -> Vec<Aim> {
    let mut aims = of_load(results);
    let [.., highest] = RATES;
    for rate in RATES {
        aims.extend(OURS.into_iter().filter_map(|ours| ratio_at(results, ours, rate)));
    }
    for ours in OURS {
        aims.extend(held(results, ours, highest));
    }
    aims.extend(results.distance.as_ref().map(at_distance));
    aims.extend(results.footprint.iter().filter_map(of_figure));
    aims
}

/// The aims for full and half load.
fn of_load(results: &Results) -> Vec<Aim> {
    let median = |contender, of: fn(&Sample) -> f64| Some(spread(results, contender, of)?.median);
    let mut aims = Vec::new();
    for (aim, ours, theirs, at_most) in RATIOS {
        let cpu = |contender| median(contender, |sample| sample.busy.cpu_us);
        if let (Some(ours), Some(theirs)) = (cpu(ours), cpu(theirs)) {
            aims.push(Aim::new(
                format!("processor per event, busy, {aim}"),
                format!("{:.2} ×", ours / theirs),
                ours <= at_most * theirs,
            ));
        }
    }
    for (contender, sent) in OURS {
        if let Some(p99) = median(contender, |sample| sample.half.sent.p99_ms) {
            aims.push(Aim::new(
                format!("p99 at half load, on disk before the answer, {sent}: under {P99_MS_MAX:.0} ms"),
                format!("{p99:.2} ms"),
                p99 < P99_MS_MAX,
            ));
        }
    }
    aims
}

/// Processor time beside nginx at the same rate.
fn ratio_at(results: &Results, (ours, sent): (Contender, &str), rate: f64) -> Option<Aim> {
    let aim = format!("processor per event at {rate:.0} events/s, {sent}: at most {RATIO_AT_RATES} × nginx");
    let (ours, theirs) = (row(results, ours, rate)?, row(results, Nginx, rate)?);
    let theirs = over(theirs, |measured| measured.cpu_us)?.median;
    Some(match (&ours.failed, over(ours, |measured| measured.cpu_us)) {
        (Some(why), _) => Aim::new(aim, why.clone(), false),
        (None, found) => {
            let ours = found?.median;
            Aim::new(
                aim,
                format!("{:.2} ×", ours / theirs),
                ours <= RATIO_AT_RATES * theirs,
            )
        }
    })
}

/// Memory at a rate, in the worst round, and whether the rate was held.
fn held(results: &Results, (ours, sent): (Contender, &str), rate: f64) -> Vec<Aim> {
    let Some(row) = row(results, ours, rate) else {
        return Vec::new();
    };
    let resident = format!("resident at {rate:.0} events/s, {sent}: at most {RESIDENT_MIB_MAX:.0} MiB");
    let delivered = format!("{rate:.0} events/s delivered on one core as they come, {sent}");
    if let Some(why) = &row.failed {
        return [resident, delivered]
            .map(|aim| Aim::new(aim, why.clone(), false))
            .into();
    }
    let most = over(row, |measured| measured.peak_mib).map(|spread| spread.most);
    let median = over(row, |measured| measured.sent.rate()).map(|spread| spread.median);
    let most = most.map(|mib| Aim::new(resident, format!("{mib:.1} MiB at most"), mib <= RESIDENT_MIB_MAX));
    let median = median.map(|found| {
        Aim::new(
            delivered,
            format!("{found:.0} events/s"),
            found >= DELIVERED_MIN * rate,
        )
    });
    most.into_iter().chain(median).collect()
}

/// Whether distance holds nothing up, and changes no order.
fn at_distance(distance: &Result<Distant, String>) -> Aim {
    let aim = format!(
        "{:.0} events/s delivered as they come, each visitor's in order, with answers after {} ms",
        distance::RATE,
        distance::ANSWERS_AFTER.as_millis()
    );
    match distance {
        Ok(distant) => {
            let (rate, disordered) = (distant.measured.sent.rate(), distant.disordered);
            let found = format!("{rate:.0} events/s, {disordered:.0} out of order");
            Aim::new(
                aim,
                found,
                rate >= DELIVERED_MIN * distance::RATE && disordered < 1.0,
            )
        }
        Err(why) => Aim::new(aim, why.clone(), false),
    }
}

/// Whether a figure that has a limit is within it.
fn of_figure(Figure { kind, found }: &Figure) -> Option<Aim> {
    let at_most = kind.at_most?;
    let aim = format!("{}: at most {at_most} {}", kind.name, kind.unit);
    let aim = aim.trim_end().to_owned();
    Some(match found {
        Ok(found) => {
            let shown = format!("{found:.*} {}", kind.decimals, kind.unit);
            Aim::new(aim, shown.trim_end().to_owned(), *found <= at_most)
        }
        Err(why) => Aim::new(aim, why.clone(), false),
    })
}

/// A contender's row at a fixed rate.
fn row(results: &Results, contender: Contender, rate: f64) -> Option<&Row> {
    results
        .rates
        .iter()
        .find(|row| row.contender == contender && row.rate.total_cmp(&rate).is_eq())
}

fn over(row: &Row, of: fn(&Measured) -> f64) -> Option<Spread> {
    Spread::of(row.samples.iter().map(of))
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
    use crate::distance::Distant;
    use crate::footprint::tests::figures;
    use crate::load::Sent;
    use crate::middle::Measured;
    use crate::rates::{RATES, Row};

    /// Results with this processor time per event for each contender, one value per round.
    pub(crate) fn results(rows: &[(Contender, &[f64])]) -> Results {
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
            rounds: 1,
            rows: rows.collect(),
            ..Results::default()
        }
    }

    /// A row at a fixed rate, each round with its processor time per event, its share of the rate that was delivered and
    /// its peak of memory.
    pub(crate) fn at_rate(contender: Contender, rate: f64, rounds: &[(f64, f64, f64)]) -> Row {
        let mut row = Row::new(contender, rate);
        row.samples.extend(rounds.iter().map(|(cpu_us, share, peak_mib)| {
            let sent = Sent {
                events: rate * share,
                seconds: 1.0,
                ..Sent::default()
            };
            Measured {
                sent,
                cpu_us: *cpu_us,
                peak_mib: *peak_mib,
                ..Measured::default()
            }
        }));
        row
    }

    fn missed(results: &Results) -> Vec<usize> {
        let aims = judge(results);
        (0..aims.len()).filter(|n| !aims[*n].met).collect()
    }

    #[test]
    fn an_aim_is_met_up_to_its_bound() {
        // processor time per event of relay, relay with batches, nginx, Caddy, Traefik → the aims that are missed
        let check = |[relay, batch, nginx, caddy, traefik]: [f64; 5], expected: &[usize]| {
            let rows: [(Contender, &[f64]); 5] = [
                (Relay, &[relay]),
                (RelayBatch, &[batch]),
                (Nginx, &[nginx]),
                (Caddy, &[caddy]),
                (Traefik, &[traefik]),
            ];
            let results = results(&rows);
            assert_eq!(missed(&results), expected, "{:?}", judge(&results));
        };
        check([56.0, 20.0, 40.0, 224.0, 168.0], &[]);
        check([56.1, 20.0, 40.0, 240.0, 180.0], &[0]);
        check([56.0, 20.1, 40.0, 224.0, 168.0], &[1]);
        check([56.0, 20.0, 40.0, 223.0, 168.0], &[2]);
        check([56.0, 20.0, 40.0, 224.0, 167.0], &[3]);
        check([99.9, 40.0, 99.0, 900.0, 900.0], &[]);
        check([100.0, 40.0, 99.0, 900.0, 900.0], &[4]);
        check([60.0, 100.0, 210.0, 900.0, 900.0], &[5]);
    }

    #[test]
    fn fixed_rates_are_judged_beside_nginx_and_by_what_they_need() {
        // processor time, share delivered, memory of the relay's row at one rate; nginx needs 50 µs → the aims that are missed
        let check = |rate, rounds: &[(f64, f64, f64)], expected: &[usize]| {
            let mut results = results(&[]);
            results.rates = vec![
                at_rate(Relay, rate, rounds),
                at_rate(Nginx, rate, &[(50.0, 1.0, 9.0)]),
            ];
            assert_eq!(missed(&results), expected, "{:?}", judge(&results));
        };
        let [low, high] = RATES;
        check(low, &[(60.0, 0.9, 99.0)], &[]);
        check(low, &[(60.1, 1.0, 9.0)], &[0]);
        check(high, &[(60.0, 0.95, 48.0)], &[]);
        check(high, &[(60.1, 0.95, 48.0)], &[0]);
        check(high, &[(60.0, 0.95, 48.1)], &[1]);
        check(high, &[(60.0, 0.94, 48.0)], &[2]);
        // Processor time and rate by the median, memory by the worst round.
        check(
            high,
            &[(9.0, 0.95, 1.0), (60.0, 0.95, 48.1), (99.0, 0.1, 1.0)],
            &[1],
        );
    }

    #[test]
    fn a_distant_sink_gets_the_rate_in_order() {
        let check = |distance: Result<(f64, f64), &str>, expected: &[usize]| {
            let mut results = results(&[]);
            let distant = |(delivered, disordered)| {
                let [Measured { sent, .. }] = *at_rate(Relay, delivered, &[(1.0, 1.0, 1.0)]).samples else {
                    panic!("one sample");
                };
                Distant {
                    measured: Measured {
                        sent,
                        ..Measured::default()
                    },
                    disordered,
                }
            };
            results.distance = Some(distance.map(distant).map_err(str::to_owned));
            assert_eq!(missed(&results), expected, "{:?}", judge(&results));
        };
        check(Ok((4750.0, 0.0)), &[]);
        check(Ok((4749.0, 0.0)), &[0]);
        check(Ok((5000.0, 1.0)), &[0]);
        check(Err("3 events are missing"), &[0]);
    }

    #[test]
    fn a_figure_is_judged_if_it_has_a_limit() {
        let check = |calls, awakenings, closed, expected: &[usize]| {
            let mut results = results(&[]);
            results.footprint = figures(calls, awakenings, closed);
            assert_eq!(missed(&results), expected, "{:?}", judge(&results));
        };
        check(9e9, Ok(5.0), 1.1, &[]);
        check(0.0, Ok(5.1), 1.1, &[0]);
        check(0.0, Ok(0.0), 1.11, &[1]);
        check(0.0, Err("no strace"), 1.0, &[0]);
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        let aims = judge(&results(&[(Relay, &[50.0])]));
        assert_eq!(aims.len(), 1);
        assert!(judge(&results(&[])).is_empty());
        let mut results = results(&[]);
        results.rates = vec![Row::new(Relay, RATES[1]), Row::new(Nginx, RATES[1])];
        assert!(judge(&results).is_empty());
    }

    #[test]
    fn a_rate_that_could_not_be_held_is_a_missed_aim() {
        let mut results = results(&[]);
        let [_, high] = RATES;
        results.rates = vec![
            at_rate(RelayBatch, high, &[(1.0, 1.0, 1.0)]),
            at_rate(Nginx, high, &[(50.0, 1.0, 9.0)]),
        ];
        results.rates[0].failed = Some("3 of 9 events are missing".to_owned());
        let aims = judge(&results);
        assert_eq!(missed(&results), [0, 1, 2], "{aims:?}");
        assert!(aims.iter().all(|aim| aim.found.contains("3 of 9")), "{aims:?}");
    }
}
