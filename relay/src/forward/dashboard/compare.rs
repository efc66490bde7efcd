//! Compares delivered counts with the server's counts. No IO.
//!
//! The number of deliveries by a moment is known as a range, because the server timestamps an event by its own clock,
//! some milliseconds or seconds apart. A count within the range is not a difference.

use crate::forward::delivered::{Count, OTHER};
use crate::metrics;
use std::collections::BTreeMap;

/// Counts by event.
pub(super) type Counts = BTreeMap<String, Count>;

metrics::label! {
    /// A UTC day that is compared.
    #[derive(PartialOrd, Ord)]
    pub(super) enum Day {
        /// Today, up to some minutes ago.
        Today = "today",
        /// Yesterday as a whole.
        Yesterday = "yesterday",
    }
}

/// How many events the server should have counted: at least, and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) low: u64,
    pub(super) high: u64,
}

/// The ranges of a day, by event, from its beginning to a moment (`low` was certainly delivered before it, `high`
/// possibly) or to its end.
pub(super) fn ranges(
    before: &Counts,
    low: &Counts,
    high: &Counts,
    after: Option<&Counts>,
) -> BTreeMap<String, Range> {
    let of = |counts: &Counts, name: &str| counts.get(name).copied().unwrap_or_default();
    let names = [Some(before), Some(low), Some(high), after];
    let names = names.into_iter().flatten().flat_map(Counts::keys);
    let range = |name: &String| {
        let (low, high) = (of(low, name), of(high, name));
        // A day that has ended has an edge there as well.
        let (tail, next) = match after {
            Some(after) => (low.tail, of(after, name).head),
            None => (0, 0),
        };
        let range = Range {
            low: low.all.saturating_sub(low.head + tail),
            high: high.all + of(before, name).tail + next,
        };
        (name.clone(), range)
    };
    names.map(range).collect()
}

/// The comparison of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Compared {
    /// The event, or [`OTHER`].
    pub(super) event: String,
    /// How many were delivered, at least.
    pub(super) delivered: u64,
    /// Delivered and not shown, beyond the uncertainty at the edges; negative if the server shows more.
    pub(super) difference: i64,
}

/// Compares each event of a plan, and all others together.
pub(super) fn compare(
    names: &[&str],
    ranges: &BTreeMap<String, Range>,
    counted: &BTreeMap<String, u64>,
    total: u64,
) -> Vec<Compared> {
    let range = |name: &str| ranges.get(name).copied().unwrap_or_default();
    let count = |name: &str| counted.get(name).copied().unwrap_or(0);
    let mut compared: Vec<Compared> = names
        .iter()
        .map(|name| one(name, range(name), count(name)))
        .collect();
    // Names that the plan no longer lists were counted by name before.
    let others = ranges.iter().filter(|(name, _)| !names.contains(&name.as_str()));
    let others = others.fold(Range::default(), |sum, (_, range)| Range {
        low: sum.low + range.low,
        high: sum.high + range.high,
    });
    // The server's numbers, which can have any value.
    let listed = names
        .iter()
        .fold(0, |sum: u64, name| sum.saturating_add(count(name)));
    compared.push(one(OTHER, others, total.saturating_sub(listed)));
    compared
}

fn one(event: &str, range: Range, counted: u64) -> Compared {
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let nearest = counted.clamp(range.low, range.high.max(range.low));
    Compared {
        event: event.to_owned(),
        delivered: range.low,
        difference: signed(nearest).saturating_sub(signed(counted)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rows: &[(&str, u64, u64, u64)]) -> Counts {
        let row = |&(name, all, head, tail): &(&str, _, _, _)| (name.to_owned(), Count { all, head, tail });
        rows.iter().map(row).collect()
    }

    #[test]
    fn what_the_edges_explain_is_no_difference_and_one_event_more_is() {
        let check = |what: &str, range: (u64, u64), counted: u64, want: i64| {
            let (low, high) = range;
            assert_eq!(one("e", Range { low, high }, counted).difference, want, "{what}");
        };
        check("nothing at all", (0, 0), 0, 0);
        check("all are shown", (1000, 1000), 1000, 0);
        check("one in a thousand is missing", (1000, 1000), 999, 1);
        check("all are missing", (1000, 1000), 0, 1000);
        check("some were delivered while it was asked", (1000, 1010), 1004, 0);
        check("the fewest", (1000, 1010), 1000, 0);
        check("the most", (1000, 1010), 1010, 0);
        check("one too few", (1000, 1010), 999, 1);
        check("one too many", (1000, 1010), 1011, -1);
        check("another sender", (0, 0), 7, -7);
    }

    #[test]
    fn a_day_has_edges_where_its_events_may_count_for_another() {
        let check = |what: &str,
                     before: &[(&str, u64, u64, u64)],
                     low: &[(&str, u64, u64, u64)],
                     high: &[(&str, u64, u64, u64)],
                     after: Option<&[(&str, u64, u64, u64)]>,
                     want: (u64, u64)| {
            let after = after.map(counts);
            let ranges = ranges(&counts(before), &counts(low), &counts(high), after.as_ref());
            let range = ranges["e"];
            assert_eq!((range.low, range.high), want, "{what}");
        };
        let day = [("e", 100, 3, 5)];
        check(
            "quiet edges",
            &[],
            &[("e", 100, 0, 0)],
            &[("e", 100, 0, 0)],
            Some(&[]),
            (100, 100),
        );
        check(
            "a day that ended",
            &[("e", 9, 0, 2)],
            &day,
            &day,
            Some(&[("e", 9, 4, 0)]),
            (92, 106),
        );
        check(
            "today",
            &[("e", 9, 0, 2)],
            &[("e", 50, 3, 0)],
            &[("e", 60, 3, 0)],
            None,
            (47, 62),
        );
        check(
            "today, its first seconds",
            &[],
            &[("e", 3, 3, 0)],
            &[("e", 3, 3, 0)],
            None,
            (0, 3),
        );
        check("yesterday alone", &[("e", 9, 0, 2)], &[], &[], Some(&[]), (0, 2));
        check(
            "its first event of today",
            &[],
            &[],
            &[("e", 1, 0, 0)],
            None,
            (0, 1),
        );
    }

    #[test]
    fn what_the_plan_does_not_list_is_compared_together() {
        let ranges = ranges(
            &Counts::new(),
            &counts(&[("a", 10, 0, 0), ("other", 5, 0, 0), ("gone", 3, 0, 0)]),
            &counts(&[("a", 10, 0, 0), ("other", 5, 0, 0), ("gone", 3, 0, 0)]),
            None,
        );
        let check = |counted: &[(&str, u64)], total: u64, want: &[(&str, i64)]| {
            let counted = counted.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
            let compared = compare(&["a", "b"], &ranges, &counted, total);
            let found: Vec<(&str, i64)> = compared
                .iter()
                .map(|c| (c.event.as_str(), c.difference))
                .collect();
            assert_eq!(found, want, "{counted:?} of {total}");
        };
        check(&[("a", 10)], 18, &[("a", 0), ("b", 0), ("other", 0)]);
        check(&[("a", 9)], 17, &[("a", 1), ("b", 0), ("other", 0)]);
        check(&[("a", 10), ("b", 2)], 20, &[("a", 0), ("b", -2), ("other", 0)]);
        check(&[("a", 10)], 17, &[("a", 0), ("b", 0), ("other", 1)]);
        check(&[("a", 10)], 30, &[("a", 0), ("b", 0), ("other", -12)]);
        check(&[], 0, &[("a", 10), ("b", 0), ("other", 8)]);
    }
}
