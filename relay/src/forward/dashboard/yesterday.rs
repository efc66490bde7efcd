//! One comparison of yesterday, for `doctor`: opens the database read-only, with or without a running relay.

use super::SETTLED_MS;
use super::compare::{Counts, Range, compare, ranges};
use crate::clock::Timestamp;
use crate::config::Upstream;
use crate::finding::Finding;
use crate::forward::delivered::{self, DAY_MS};
use crate::forward::self_test::HOW_TO_CHECK;
use crate::forward::stats::{Span, StatsApi};
use crate::forward::transport::Connection;
use std::collections::BTreeMap;

/// Compares yesterday once, for `doctor`. Opens the database read-only.
pub async fn check_yesterday(
    connection: &mut impl Connection,
    upstream: &Upstream,
    db: &rusqlite::Connection,
    site: (&str, &relay_event::Plan),
    now: Timestamp,
) -> Finding {
    let (domain, plan) = site;
    let what = format!("{domain}: dashboard");
    let not_checked = |why: String| Finding::note(&what, format!("not checked: {why}"));
    let Some(api) = StatsApi::new(upstream) else {
        return not_checked("whether it shows every event that was delivered".to_owned())
            .advise(HOW_TO_CHECK);
    };
    let today = now.utc_day();
    if now.0 - today * DAY_MS < SETTLED_MS {
        return not_checked("the day has just begun".to_owned());
    }
    let (day, ranges) = match deliveries(db, &upstream.url, domain, today) {
        Ok(read) => read,
        Err(error) => return not_checked(format!("the database cannot be read: {error}")),
    };
    let delivered: u64 = day.values().map(|count| count.all).sum();
    if delivered == 0 {
        return not_checked("nothing was delivered yesterday".to_owned());
    }
    let names = delivered::names(plan);
    let span = Span::of_day(today - 1);
    let read = match api.events(connection, domain, span, &names).await {
        Ok(read) => read,
        Err(why) => return not_checked(why.to_string()),
    };
    let compared = compare(&names, &ranges, &read.counts.0, read.counts.1);
    let missing: Vec<String> = compared
        .iter()
        .filter(|one| one.difference > 0)
        .map(|one| format!("{} of {} `{}`", one.difference, one.delivered, one.event))
        .collect();
    match missing.is_empty() {
        true => Finding::ok(
            what,
            format!("it shows all {delivered} events delivered yesterday"),
        ),
        false => {
            let says = format!("events delivered yesterday are missing: {}", missing.join(", "));
            Finding::wrong(what, says).advise("check the server's own logs: it accepted these events")
        }
    }
}

/// The deliveries of yesterday, and the ranges in which the server's counts of it should be.
pub(super) fn deliveries(
    db: &rusqlite::Connection,
    upstream: &str,
    site: &str,
    today: i64,
) -> rusqlite::Result<(Counts, BTreeMap<String, Range>)> {
    let of = |day| delivered::read(db, upstream, site, day);
    let (before, day, after) = (of(today - 2)?, of(today - 1)?, of(today)?);
    let ranges = ranges(&before, &day, &day, Some(&after));
    Ok((day, ranges))
}
