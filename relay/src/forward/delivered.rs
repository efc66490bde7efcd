//! Counts of delivered events per upstream, site, event of the plan and UTC day, in the database.
//!
//! The transaction that removes a delivered event from the spool also counts it here, so the counts survive a crash
//! together with the event's ending. [`super::dashboard`] compares them with the server's counts.

use crate::clock::Timestamp;
use crate::switch::Site;
use relay_event::Plan;
use relay_event::event::ENGAGEMENT;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name under which events outside the plan are counted.
pub const OTHER: &str = "other";
/// Days that are kept: today, yesterday, and the day before for its last seconds. Older rows are deleted.
const DAYS_KEPT: i64 = 3;
/// Around midnight the server's clock may assign an event to the other day. Events in these first and last milliseconds
/// of a day are counted separately.
pub const EDGE_MS: i64 = 10_000;
/// Events of one transaction were answered within this time, even if the disk refused for a while.
const NEAR_MIDNIGHT_MS: i64 = 60 * 60 * 1000;
pub(super) const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// An event that was delivered.
#[derive(Clone, Debug)]
pub(super) struct Delivered {
    site: Arc<Site>,
    /// Its place in the plan; `None` if the plan does not list it.
    event: Option<usize>,
    /// When it was answered.
    at: Timestamp,
}

impl Delivered {
    /// An event of this name. `None` for an engagement, which no server counts as an event.
    pub(super) fn of(site: &Arc<Site>, name: &str, at: Timestamp) -> Option<Self> {
        (name != ENGAGEMENT).then(|| Self {
            site: Arc::clone(site),
            event: site.plan.events.iter().position(|event| event.name == name),
            at,
        })
    }

    fn name(&self) -> &str {
        let event = self.event.and_then(|place| self.site.plan.events.get(place));
        event.map_or(OTHER, |event| &event.name)
    }
}

/// The names by which a plan's events are counted.
pub fn names(plan: &Plan) -> Vec<&str> {
    let names = plan.events.iter().map(|event| event.name.as_str());
    names
        .filter(|name| *name != ENGAGEMENT && *name != OTHER)
        .collect()
}

/// How many events of one name were delivered on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub all: u64,
    /// Of these, in the day's first seconds.
    pub head: u64,
    /// Of these, in the day's last seconds.
    pub tail: u64,
}

/// The counts that one transaction adds.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    counts: BTreeMap<(i64, String, String), Count>,
    /// When the last of them was answered.
    latest: Option<Timestamp>,
}

impl Tally {
    /// Of events that are booked together.
    pub(super) fn of<'d>(delivered: impl Iterator<Item = &'d Delivered>) -> Self {
        // By position in the plan first, so that each name is copied once instead of once per event.
        let mut counts: BTreeMap<(i64, &str, Option<usize>), (Count, &Delivered)> = BTreeMap::new();
        let mut latest = None;
        for one in delivered {
            latest = latest.max(Some(one.at));
            let key = (one.at.utc_day(), one.site.domain.as_str(), one.event);
            let (count, _) = counts.entry(key).or_insert((Count::default(), one));
            let since = one.at.0.rem_euclid(DAY_MS);
            count.all += 1;
            count.head += u64::from(since < EDGE_MS);
            count.tail += u64::from(since >= DAY_MS - EDGE_MS);
        }
        let named = |((day, site, _), (count, one)): ((i64, &str, _), (Count, &Delivered))| {
            ((day, site.to_owned(), one.name().to_owned()), count)
        };
        Self {
            counts: counts.into_iter().map(named).collect(),
            latest,
        }
    }

    /// Adds it to the table, inside a transaction.
    pub(super) fn write(&self, db: &Connection, upstream: &str) -> rusqlite::Result<()> {
        let mut add = db.prepare_cached(
            "INSERT INTO delivered (day, upstream, site, event, count, head, tail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (day, upstream, site, event) DO UPDATE SET
             count = count + excluded.count, head = head + excluded.head, tail = tail + excluded.tail",
        )?;
        for ((day, site, event), count) in &self.counts {
            add.execute(params![
                day, upstream, site, event, count.all, count.head, count.tail
            ])?;
        }
        let Some(latest) = self.latest else {
            return Ok(());
        };
        // Rows of the future come from a clock that was ahead, and their day comes again. Near midnight they may come
        // from another lane, which is some milliseconds ahead.
        let today = latest.utc_day();
        let last = today + i64::from(latest.0.rem_euclid(DAY_MS) > DAY_MS - NEAR_MIDNIGHT_MS);
        db.prepare_cached("DELETE FROM delivered WHERE day <= ?1 OR day > ?2")?
            .execute([today - DAYS_KEPT, last])
            .map(drop)
    }
}

/// The counts of a site's day at one upstream, by event. The counts of different servers are independent.
///
/// # Errors
/// SQLite's.
pub fn read(
    db: &Connection,
    upstream: &str,
    site: &str,
    day: i64,
) -> rusqlite::Result<BTreeMap<String, Count>> {
    let mut select = db.prepare_cached(
        "SELECT event, count, head, tail FROM delivered WHERE day = ?1 AND upstream = ?2 AND site = ?3",
    )?;
    let rows = select.query_map(params![day, upstream, site], |row| {
        let count = Count {
            all: row.get(1)?,
            head: row.get(2)?,
            tail: row.get(3)?,
        };
        Ok((row.get(0)?, count))
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::tests::{Desk, SITE};
    use crate::store;

    const DAY: i64 = 20_000;
    const UPSTREAM: &str = "https://plausible.example";

    #[tokio::test]
    async fn what_was_delivered_is_counted_by_day_and_event_and_its_edges_apart() {
        let db = store::open_in_memory().unwrap();
        let desk = Desk::in_memory(1).await;
        let site = desk.switches.site(SITE).unwrap();
        let one = |name: &str, day: i64, since_ms: i64| {
            Delivered::of(site, name, Timestamp(day * DAY_MS + since_ms))
        };
        let noon = DAY_MS / 2;
        let tally = |events: &[Option<Delivered>]| Tally::of(events.iter().flatten());
        let first = [
            one("pageview", DAY, 0),
            one("pageview", DAY, EDGE_MS - 1),
            one("pageview", DAY, EDGE_MS),
            one("pageview", DAY, DAY_MS - EDGE_MS - 1),
            one("pageview", DAY, DAY_MS - EDGE_MS),
            one("pageview", DAY + 1, 0),
            one("not in the plan", DAY, noon),
            one("nor this", DAY, noon),
            one("engagement", DAY, noon),
        ];
        assert!(names(&site.plan).contains(&"pageview"));
        assert!(!names(&site.plan).contains(&"engagement"));
        tally(&first).write(&db, UPSTREAM).unwrap();
        tally(&[one("pageview", DAY, DAY_MS - EDGE_MS - 1)])
            .write(&db, UPSTREAM)
            .unwrap();
        tally(&[]).write(&db, UPSTREAM).unwrap();
        let count = |all, head, tail| Count { all, head, tail };
        let check = |day: i64, want: &[(&str, Count)]| {
            let read = read(&db, UPSTREAM, SITE, day).unwrap();
            let want = want.iter().map(|(name, count)| ((*name).to_owned(), *count));
            assert_eq!(read, want.collect::<BTreeMap<_, _>>(), "day {day}");
        };
        check(DAY, &[("pageview", count(6, 2, 1)), (OTHER, count(2, 0, 0))]);
        check(DAY + 1, &[("pageview", count(1, 1, 0))]);
        assert!(read(&db, UPSTREAM, "another.example", DAY).unwrap().is_empty());
        let elsewhere = read(&db, "https://another.example", SITE, DAY).unwrap();
        assert!(elsewhere.is_empty(), "another server was sent nothing");
        tally(&[one("pageview", DAY + 2, noon)])
            .write(&db, UPSTREAM)
            .unwrap();
        check(DAY, &[("pageview", count(6, 2, 1)), (OTHER, count(2, 0, 0))]);
        tally(&[one("pageview", DAY + 3, noon)])
            .write(&db, UPSTREAM)
            .unwrap();
        check(DAY, &[]);
        check(DAY + 1, &[("pageview", count(1, 1, 0))]);
        // One lane is over midnight, and another not yet.
        tally(&[one("pageview", DAY + 2, DAY_MS - 1)])
            .write(&db, UPSTREAM)
            .unwrap();
        check(DAY + 3, &[("pageview", count(1, 0, 0))]);
        // The clock was ahead.
        tally(&[one("pageview", DAY + 2, noon)])
            .write(&db, UPSTREAM)
            .unwrap();
        check(DAY + 3, &[]);
        check(DAY + 2, &[("pageview", count(3, 0, 1))]);
        tally(&[one("pageview", DAY - 10, noon)])
            .write(&db, UPSTREAM)
            .unwrap();
        check(DAY + 2, &[]);
        check(DAY - 10, &[("pageview", count(1, 0, 0))]);
    }
}
