//! One comparison of yesterday, for `doctor`: from a database that is only looked at, beside a running relay or
//! without one.

use super::SETTLED_MS;
use super::compare::{compare, ranges};
use crate::clock::Moment;
use crate::config::Upstream;
use crate::forward::delivered::{self, DAY_MS};
use crate::forward::self_test::{Finding, Grade, HOW_TO_CHECK};
use crate::forward::stats::{Span, StatsApi};
use crate::forward::transport::Connection;

/// Compares yesterday once, for `doctor`: from a database that is only looked at.
pub async fn check_yesterday(
    connection: &mut impl Connection,
    upstream: &Upstream,
    db: &rusqlite::Connection,
    site: (&str, &relay_event::Plan),
    now: Moment,
) -> Finding {
    let (domain, plan) = site;
    let what = format!("{domain}: dashboard");
    let not_checked = |why: String| Finding::new(&what, Grade::Note, format!("not checked: {why}"));
    let Some(api) = StatsApi::new(upstream) else {
        return not_checked("whether it shows every event that was delivered".to_owned())
            .advise(HOW_TO_CHECK);
    };
    let today = now.utc_day();
    if now.0 - today * DAY_MS < SETTLED_MS {
        return not_checked("the day has just begun".to_owned());
    }
    let read = || {
        let of = |day| delivered::read(db, &upstream.url, domain, day);
        Ok::<_, rusqlite::Error>((of(today - 2)?, of(today - 1)?, of(today)?))
    };
    let (before, day, after) = match read() {
        Ok(read) => read,
        Err(error) => return not_checked(format!("the database cannot be read: {error}")),
    };
    let delivered: u64 = day.values().map(|count| count.all).sum();
    if delivered == 0 {
        return not_checked("nothing was delivered yesterday".to_owned());
    }
    let names = delivered::names(plan);
    let read = match api
        .events(connection, domain, Span::of_day(today - 1), &names)
        .await
    {
        Ok(read) => read,
        Err(why) => return not_checked(why.to_string()),
    };
    let ranges = ranges(&before, &day, &day, Some(&after));
    let compared = compare(&names, &ranges, &read.counts.0, read.counts.1);
    let missing: Vec<String> = compared
        .iter()
        .filter(|one| one.difference > 0)
        .map(|one| format!("{} of {} `{}`", one.difference, one.delivered, one.event))
        .collect();
    match missing.is_empty() {
        true => Finding::new(
            what,
            Grade::Ok,
            format!("it shows yesterday's {delivered} delivered events"),
        ),
        false => Finding::new(
            what,
            Grade::Wrong,
            format!("of yesterday's delivered events it lacks {}", missing.join(", ")),
        )
        .advise("look at the server's own logs: it accepted these events"),
    }
}
