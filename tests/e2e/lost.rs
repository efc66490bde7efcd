//! The ways in which other relays lost events, one test for each. `docs/DELIVERY.md` lists them.
//!
//! Cases that the tests of start, stop, waiting and recovery already cover are only listed there.

mod damage;
mod listed;
mod upgrade;

use crate::{EXE, LONG};
use feedback_relay::clock::{Clock, Timestamp};
use feedback_relay::store;
use feedback_tests::{MiniPlausible, Post, Setup, assert_in_order, load};
use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ops::Range;

fn events(numbers: Range<usize>) -> Vec<Value> {
    numbers.map(load).collect()
}

/// The number of events in the database, as seen by another process.
fn on_disk(setup: &Setup) -> i64 {
    let db = Connection::open(setup.data_dir().join("relay.db")).unwrap();
    db.query_row("SELECT count(*) FROM spool", (), |row| row.get(0))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_202_is_given_only_when_the_event_is_in_the_database_and_the_disk_was_waited_for() {
    let setup = Setup::new("http://127.0.0.1:9").with_a_small_policy();
    let relay = setup.start_on().await;
    for n in 1..=20 {
        relay.accept(&[load(n)]).await;
        assert_eq!(on_disk(&setup), i64::try_from(n).unwrap(), "after {n} answers");
    }
    relay.stop().await;
    // FULL: a commit returns only once it is on the disk, so that a power cut does not undo it.
    let db = store::open(&setup.data_dir()).unwrap();
    let setting = |name: &str| -> String {
        db.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
            .map(|value| match value {
                rusqlite::types::Value::Integer(n) => n.to_string(),
                rusqlite::types::Value::Text(text) => text,
                other => panic!("{name}: {other:?}"),
            })
            .unwrap()
    };
    assert_eq!(
        (setting("synchronous").as_str(), setting("journal_mode").as_str()),
        ("2", "wal")
    );
}

/// Thirty hours without Plausible, of which the last twenty-four are retained: these arrive oldest first, and the
/// expired ones are counted.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_long_outage_the_first_hours_are_there_and_arrive_first() {
    const HOUR: i64 = 3_600_000;
    const START: i64 = 1_800_000_000_000;
    let mut plausible = MiniPlausible::away();
    let clock = Clock::standing_at(Timestamp(START));
    let relay = Setup::new(&plausible.url())
        .with("spool", "age_max_s = 86400")
        .with_a_small_policy()
        .with_clock(&clock)
        .start_on()
        .await;
    let visitors = 3;
    for hour in 0..30 {
        clock.set(Timestamp(START + i64::try_from(hour).unwrap() * HOUR));
        for visitor in 0..visitors {
            let post = Post::batch(&[load(hour * visitors + visitor)]);
            let sent = relay.send(&post.from(&format!("198.51.100.{visitor}"))).await;
            assert_eq!(sent.status, 202);
        }
    }
    clock.set(Timestamp(START + 30 * HOUR - 1));
    plausible.come_back().await;
    relay.drained_within(LONG).await;
    let arrived: BTreeSet<usize> = plausible.numbers().into_iter().collect();
    assert_eq!(
        arrived,
        (6 * visitors..30 * visitors).collect(),
        "exactly the last 24 hours"
    );
    assert_in_order(&plausible.arrivals(), 0);
    let scrape = relay.stop().await;
    assert_eq!(scrape.endings(), ["delivered/ 72", "expired/ 18"]);
}

/// Every event passes through the spool; it is not an overflow for memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_lies_on_disk_and_not_in_memory() {
    /// Limit of the relay's memory with a backlog, in bytes, in a development build.
    const MEMORY_MAX: u64 = 256 * 1024 * 1024;
    const BATCH: usize = 100;
    let setup = Setup::new("http://127.0.0.1:9")
        .with_a_small_policy()
        .switched_on(EXE)
        .await;
    let relay = setup.spawn(EXE).await;
    let fill = async |batches: Range<usize>| {
        for batch in batches {
            let post = Post::batch(&events(batch * BATCH..(batch + 1) * BATCH));
            let sent = relay
                .try_send(&post.from(&format!("198.51.100.{}", batch % 250)))
                .await;
            assert_eq!(sent.unwrap().status, 202);
        }
        let scrape = relay.metrics().await;
        (
            relay.memory(),
            u64::try_from(scrape.count("spool_bytes")).unwrap(),
        )
    };
    let (few_memory, few) = fill(0..50).await;
    let (many_memory, many) = fill(50..500).await;
    let (more_memory, more) = (many_memory.saturating_sub(few_memory), many - few);
    eprintln!("{more} bytes more wait, {more_memory} bytes more memory, {many_memory} in all");
    assert!(
        more_memory < more / 2,
        "{more} bytes more wait, and {more_memory} bytes more are in memory"
    );
    assert!(many_memory < MEMORY_MAX, "{many_memory} bytes of memory");
    relay.stop().await;
}

/// Another lane count or another set of sites than when the events were stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_spool_beyond_its_new_limit_starts_takes_nothing_and_drains() {
    let mut plausible = MiniPlausible::away();
    let setup = Setup::new(&plausible.url()).with_a_small_policy();
    let relay = setup.start_on().await;
    for batch in 0..10 {
        relay.accept(&events(batch * 50..(batch + 1) * 50)).await;
    }
    let stored = relay.stop().await.count("spool_bytes");
    assert!(stored > 65_536, "{stored} bytes are not beyond the new limit");

    let relay = setup.with("spool", "bytes_max = 65536").start().await;
    let scrape = relay.metrics().await;
    assert_eq!(scrape.count("events_recovered_total"), 500);
    assert_eq!(scrape.count("spool_bytes"), stored);
    let refused = relay.send(&Post::batch(&[load(500)])).await;
    assert_eq!((refused.status, refused.problem().as_str()), (503, "full"));
    plausible.come_back().await;
    relay.drained_within(LONG).await;
    relay.accept(&[load(500)]).await;
    relay.drained_within(LONG).await;
    assert_eq!(plausible.numbers(), (0..=500).collect::<Vec<_>>());
    assert_eq!(
        relay.stop().await.endings(),
        ["delivered/ 501", "spool_full/full 1"]
    );
}
