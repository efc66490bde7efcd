//! A damaged database. The relay starts, continues, and counts the records it cannot read.

use super::{LONG, events, on_disk};
use crate::EXE;
use feedback_tests::{MiniPlausible, Post, Setup};
use rusqlite::Connection;
use std::fs::File;
use std::path::Path;

/// Stores ten waiting events of one visitor.
async fn ten_wait(setup: &Setup) {
    let relay = setup.start_on().await;
    relay.accept(&events(0..10)).await;
    relay.stop().await;
    assert_eq!(on_disk(setup), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_counted_and_holds_up_nothing() {
    let damages = [
        ("nothing is left of it", "record = x''"),
        ("it is no record", "record = x'00ff00ff00ff'"),
        (
            "its end is torn off",
            "record = substr(record, 1, length(record) / 2)",
        ),
        (
            "a relay that knows more wrote it",
            "record = CAST(x'c8' || substr(record, 2) AS BLOB)",
        ),
        (
            "one byte of it is another",
            "record = CAST(replace(CAST(record AS TEXT), 'Load', 'Lobd') AS BLOB)",
        ),
    ];
    for (what, damage) in damages {
        let mut plausible = MiniPlausible::away();
        let setup = Setup::new(&plausible.url()).with_a_small_policy();
        ten_wait(&setup).await;
        let db = Connection::open(setup.data_dir().join("relay.db")).unwrap();
        let sql = format!(
            "UPDATE spool SET {damage} WHERE seq IN (SELECT seq FROM spool ORDER BY seq LIMIT 2 OFFSET 3)"
        );
        assert_eq!(db.execute(&sql, ()).unwrap(), 2, "{what}");
        drop(db);

        let relay = setup.start().await;
        plausible.come_back().await;
        relay.drained_within(LONG).await;
        assert_eq!(plausible.numbers(), [0, 1, 2, 5, 6, 7, 8, 9], "{what}");
        let scrape = relay.stop().await;
        assert_eq!((scrape.ended("delivered", ""), on_disk(&setup)), (8, 0), "{what}");
        assert_eq!(scrape.endings().len(), 2, "{what}: {:?}", scrape.endings());
    }
}

/// The write-ahead log, truncated at any offset, as after a power cut on a disk that reorders writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_torn_write_ahead_log_costs_its_end_and_not_the_start() {
    let mut plausible = MiniPlausible::away();
    let mut recovered_before = 0;
    for percent in [0, 1, 10, 50, 90, 100] {
        plausible.go_away().await;
        let seen = plausible.numbers().len();
        let setup = Setup::new(&plausible.url())
            .with_a_small_policy()
            .switched_on(EXE)
            .await;
        let relay = setup.spawn(EXE).await;
        for batch in 0..10 {
            let post = Post::batch(&events(batch * 10..(batch + 1) * 10));
            assert_eq!(relay.try_send(&post).await.unwrap().status, 202);
        }
        relay.kill();
        cut(&setup.data_dir().join("relay.db-wal"), percent);

        let relay = setup.spawn(EXE).await;
        let recovered = relay.metrics().await.count("events_recovered_total");
        assert!(recovered >= recovered_before, "{percent} %: {recovered}");
        recovered_before = recovered;
        plausible.come_back().await;
        relay.drained_within(LONG).await;
        assert_eq!(
            relay.stop().await.ended("delivered", ""),
            recovered,
            "{percent} %"
        );
        let numbers = &plausible.numbers()[seen..];
        let oldest: Vec<usize> = (0..numbers.len()).collect();
        assert_eq!(numbers, oldest, "{percent} %: the oldest are left");
    }
    assert_eq!(recovered_before, 100, "nothing was cut off");
}

fn cut(file: &Path, percent: u64) {
    let file = File::options().write(true).open(file).unwrap();
    let bytes = file.metadata().unwrap().len();
    assert!(bytes > 10_000, "the log holds {bytes} bytes only");
    file.set_len(bytes * percent / 100).unwrap();
}
