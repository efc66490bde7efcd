//! Continues the monotonic time of an earlier process.

use super::record;
use crate::clock::{Ages, Clock, Timestamp};
use rusqlite::{Connection, OptionalExtension};

/// The spool's monotonic time: that of its events, or the wall clock's if the spool is empty.
///
/// # Errors
/// SQLite's.
pub fn resume_ages(db: &Connection, clock: &Clock) -> rusqlite::Result<Ages> {
    let ahead_ms = db.query_row("SELECT ahead_ms FROM heartbeat", [], |row| row.get(0))?;
    Ok(Ages::resume(clock, ahead_ms, newest(db)?))
}

/// When the last event was stored. A damaged row must not set the time: it could expire all others. If only ids or
/// quarantined records are left, no time is too early.
fn newest(db: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let last = "SELECT bucket, site, stored_at, record FROM spool ORDER BY seq DESC LIMIT 1";
    let stored_at = db
        .query_row(last, [], |row| {
            Ok(record::read(row, 0).ok().and(row.get(2).ok()).map(Timestamp))
        })
        .optional()?;
    if let Some(stored_at) = stored_at {
        return Ok(Some(stored_at.unwrap_or(Timestamp(i64::MIN))));
    }
    let keeps = "SELECT EXISTS (SELECT 1 FROM seen_ids) OR EXISTS (SELECT 1 FROM quarantine)";
    let keeps: bool = db.query_row(keeps, [], |row| row.get(0))?;
    Ok(keeps.then_some(Timestamp(i64::MIN)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{AGE_MAX, Desk, SITE, START};
    use super::super::{Purge, inspect};
    use super::*;
    use crate::store::{self, Store};
    use relay_event::{EventId, Outcome};
    use std::time::Duration;

    const DAY: i64 = 86_400_000;
    const MINUTE: i64 = 60_000;
    /// The error of the wall clock when the relay starts, in milliseconds.
    const WRONG: [i64; 5] = [-400 * DAY, -2 * DAY, 0, DAY, 3 * DAY];

    async fn desk(clock: &Clock) -> Desk {
        Desk::resume(Store::inline(store::open_in_memory().unwrap()), clock).await
    }

    /// Sweeps, and returns how many events still wait.
    async fn left(desk: &Desk) -> usize {
        desk.spool.sweep().await.unwrap();
        desk.spool.take(0, 0, 99).await.unwrap().len()
    }

    #[tokio::test]
    async fn what_was_acknowledged_waits_its_time_whenever_the_clock_is_set_right() {
        for wrong in WRONG {
            let clock = Clock::standing_at(Timestamp(START + wrong));
            let first = desk(&clock).await;
            for _ in 0..5 {
                assert_eq!(first.append("e", 0).await, Ok(()));
            }
            clock.jump(Timestamp(START));
            assert_eq!(left(&first).await, 5, "{wrong}");
            clock.set(Timestamp(START + AGE_MAX - 1));
            assert_eq!(left(&first).await, 5, "{wrong}");
            // The next process continues the same time.
            let second = Desk::resume(first.store.clone(), &clock).await;
            assert_eq!(left(&second).await, 5, "{wrong}");
            clock.set(Timestamp(START + AGE_MAX + 1));
            assert_eq!(left(&second).await, 0, "{wrong}");
            assert_eq!(second.metrics.ledger.counts().ended(Outcome::Expired), 5);
        }
    }

    #[tokio::test]
    async fn what_waited_at_a_start_with_a_wrong_clock_is_not_older_than_by_the_right_one() {
        let clock = Clock::standing_at(Timestamp(START));
        let first = desk(&clock).await;
        first.append("e", 0).await.unwrap();
        // Ahead, but not enough to expire it.
        clock.set(Timestamp(START + AGE_MAX / 2));
        let second = Desk::resume(first.store.clone(), &clock).await;
        let seen = second.spool.take(0, 0, 9).await.unwrap();
        clock.jump(Timestamp(START + 1000));
        clock.set(Timestamp(START + 2000));
        let age = second.spool.ages().age(seen[0].stored_at);
        assert_eq!(age, Duration::from_secs(2));
        clock.set(Timestamp(START + AGE_MAX / 2 + 1000));
        assert_eq!(left(&second).await, 1, "by even time it is a minute old");
    }

    #[tokio::test]
    async fn a_batch_sent_again_is_known_for_an_hour_whenever_the_clock_is_set_right() {
        for wrong in WRONG {
            let clock = Clock::standing_at(Timestamp(START + wrong));
            let desk = desk(&clock).await;
            let send = async || {
                let incoming = desk.incoming("e", 0, Some(EventId([7; 16]))).await;
                desk.spool.append(vec![incoming], ()).await[0]
            };
            assert_eq!(send().await, Ok(()));
            clock.jump(Timestamp(START));
            desk.spool.sweep().await.unwrap();
            assert_eq!(send().await, Err(Outcome::Duplicate), "{wrong}");
            clock.set(Timestamp(START + 59 * MINUTE));
            desk.spool.sweep().await.unwrap();
            assert_eq!(send().await, Err(Outcome::Duplicate), "{wrong}");
            clock.set(Timestamp(START + 61 * MINUTE));
            desk.spool.sweep().await.unwrap();
            assert_eq!(send().await, Ok(()), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_parked_event_comes_due_by_the_time_that_has_passed() {
        for wrong in WRONG {
            let clock = Clock::standing_at(Timestamp(START + wrong));
            let desk = desk(&clock).await;
            desk.append("e", 0).await.unwrap();
            let due = desk.spool.ages().now().plus(Duration::from_secs(10));
            desk.spool.park(1, due).await.unwrap();
            clock.jump(Timestamp(START));
            assert_eq!(desk.spool.take(0, 0, 9).await.unwrap().len(), 0, "{wrong}");
            clock.set(Timestamp(START + 10_000));
            assert_eq!(desk.spool.take(0, 0, 9).await.unwrap().len(), 1, "{wrong}");
        }
    }

    #[tokio::test]
    async fn commands_show_and_purge_by_the_wall_clock() {
        for wrong in WRONG {
            let clock = Clock::standing_at(Timestamp(START + wrong));
            let desk = desk(&clock).await;
            desk.append("e", 0).await.unwrap();
            clock.jump(Timestamp(START));
            assert_eq!(left(&desk).await, 1);
            let shown = desk.store.run(|db| {
                let mut shown = Vec::new();
                inspect::visit(db, None, |entry| {
                    shown.push(entry.stored_at);
                    true
                })?;
                Ok(shown)
            });
            assert_eq!(shown.await.unwrap(), [Timestamp(START)], "{wrong}");
            assert_eq!(desk.metrics.ledger.counts().spool_oldest_ms, START, "{wrong}");
            let purge = async |before: i64| {
                let purge = Purge {
                    site: Some(SITE.to_owned()),
                    before: Some(Timestamp(before)),
                    quarantine: false,
                };
                desk.spool.purge(purge).await.unwrap().events
            };
            assert_eq!(purge(START).await, 0, "{wrong}");
            assert_eq!(purge(START + 1).await, 1, "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_damaged_time_moves_no_other() {
        let clock = Clock::standing_at(Timestamp(START));
        let first = desk(&clock).await;
        first.append("a", 0).await.unwrap();
        first.append("b", 0).await.unwrap();
        let spoil =
            |db: &Connection| db.execute("UPDATE spool SET stored_at = ?1 WHERE seq = 2", [START + 9 * DAY]);
        first.store.run(spoil).await.unwrap();
        let second = Desk::resume(first.store.clone(), &clock).await;
        assert_eq!(second.spool.ages().now(), Timestamp(START));
        assert_eq!(left(&second).await, 1);
    }
}
