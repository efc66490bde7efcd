//! Unreadable records: booked, limited, replayed.

use super::*;
use crate::spool::tests::{AGE_MAX, Desk, SITE, START};

/// Inserts raw records into the spool, bucket 5.
async fn plant(desk: &Desk, records: &[&[u8]]) {
    for record in records {
        assert_eq!(desk.append("Planted", 5).await, Ok(()));
        let record = record.to_vec();
        let sql = "UPDATE spool SET record = ?1 WHERE seq = (SELECT max(seq) FROM spool)";
        let planted = desk.spool.store.run(move |db| db.execute(sql, [&record])).await;
        assert_eq!(planted, Ok(1));
    }
}

/// A record of a future version.
fn newer() -> Vec<u8> {
    let row = record::Row {
        bucket: 5,
        site: SITE.as_bytes(),
        stored_at: START,
    };
    row.seal_as(2, b"of tomorrow")
}

#[tokio::test]
async fn what_cannot_be_read_is_booked_and_kept_and_its_lane_goes_on() {
    let desk = Desk::in_memory(1).await;
    desk.append("First", 5).await.unwrap();
    plant(&desk, &[b"", b"{\"torn", &[0xff; 300], &newer()]).await;
    desk.append("Last", 5).await.unwrap();
    let taken = desk.spool.take(0, 0, 2).await.unwrap();
    assert_eq!(taken.len(), 1, "one of the two was damaged");
    let seqs: Vec<i64> = desk
        .spool
        .take(0, 1, 2)
        .await
        .unwrap()
        .iter()
        .map(|e| e.seq)
        .collect();
    assert_eq!(seqs, [6], "it looks on until it finds one that can be read");
    let counts = desk.metrics.ledger.counts();
    assert_eq!(
        (counts.ended(Outcome::Corrupt), counts.ended(Outcome::Newer)),
        (3, 1)
    );
    assert_eq!((counts.spooled, counts.difference()), (2, 0));
    assert_eq!(desk.spool.metrics.spool_quarantined.get(), 4);

    // They stay after a restart, and no longer count as events.
    let again = Desk::open(desk.spool.store.clone(), &desk.clock, 1 << 20, 1).await;
    assert_eq!(again.metrics.ledger.counts().recovered, 2);
    assert_eq!(again.spool.metrics.spool_quarantined.get(), 4);
    // "Off" deletes everything of the site.
    again.switches.set(SITE, false, "test").await.unwrap();
    assert_eq!(again.spool.metrics.spool_quarantined.get(), 0);
    assert_eq!(again.metrics.ledger.counts().ended(Outcome::Purged), 2);
}

#[tokio::test]
async fn a_replay_brings_back_what_can_be_read_now() {
    let desk = Desk::in_memory(1).await;
    plant(&desk, &[b"damaged", &newer()]).await;
    for name in ["Old", "Young"] {
        desk.append(name, 5).await.unwrap();
    }
    let spool = &desk.spool;
    // As if a relay that could not read them yet had quarantined them.
    spool
        .quarantine(vec![(3, Outcome::Newer), (4, Outcome::Newer)])
        .await
        .unwrap();
    let make_old = "UPDATE quarantine SET stored_at = stored_at - 1 WHERE id = 1";
    spool.store.run(move |db| db.execute(make_old, [])).await.unwrap();
    spool.take(0, 0, 9).await.unwrap();
    assert_eq!(desk.spool.metrics.spool_quarantined.get(), 4);
    let want = Replayed {
        replayed: 1,
        unreadable: 3,
        ..Replayed::default()
    };
    assert_eq!(
        spool.replay().await,
        Ok(want),
        "one was changed and is damaged now"
    );
    let taken = spool.take(0, 0, 9).await.unwrap();
    let event = &taken[0].scrubbed;
    assert_eq!(
        (taken.len(), event.name(), taken[0].stored_at.0),
        (1, "Young", START)
    );
    let counts = desk.metrics.ledger.counts();
    assert_eq!((counts.recovered, counts.spooled, counts.difference()), (1, 1, 0));
    assert!(counts.spool_bytes > 0);
    assert_eq!(desk.spool.metrics.spool_quarantined.get(), 3);

    // A record that is too old, or has no space, stays.
    spool
        .quarantine(vec![(taken[0].seq, Outcome::Newer)])
        .await
        .unwrap();
    let small = Desk::open(spool.store.clone(), &desk.clock, 100, 1).await;
    let want = Replayed {
        no_space: 1,
        unreadable: 3,
        ..Replayed::default()
    };
    assert_eq!(small.spool.replay().await, Ok(want));
    desk.clock.set(Timestamp(START + AGE_MAX + 1));
    let want = Replayed {
        too_old: 1,
        unreadable: 3,
        ..Replayed::default()
    };
    assert_eq!(spool.replay().await, Ok(want));
}

#[tokio::test]
async fn the_quarantine_is_bounded_in_records_bytes_and_age() {
    let desk = Desk::in_memory(1).await;
    let fill = |count: i64, bytes: i64| {
        move |db: &Connection| {
            db.execute("DELETE FROM quarantine", [])?;
            db.execute(
                "INSERT INTO quarantine (bucket, site, stored_at, record, at, reason)
                 WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
                 SELECT 1, 's', n, zeroblob(?2), ?3, 'corrupt' FROM n",
                [count, bytes, START],
            )?;
            let dropped = trim(db, Timestamp(START))?;
            Ok((
                dropped,
                held(db)?,
                db.query_row("SELECT min(stored_at) FROM quarantine", [], |r| r.get(0))?,
            ))
        }
    };
    let check = async |count: i64, bytes: i64, want: (u64, i64, Option<i64>)| {
        assert_eq!(
            desk.spool.store.run(fill(count, bytes)).await,
            Ok(want),
            "{count} of {bytes} bytes"
        );
    };
    check(1000, 1, (0, 1000, Some(1))).await;
    check(1001, 1, (1, 1000, Some(2))).await;
    check(4, 1_048_576 - 64, (0, 4, Some(1))).await;
    check(4, 1_048_576 - 63, (1, 3, Some(2))).await;
    check(1, 5_000_000, (1, 0, None)).await;
    check(3, 1, (0, 3, Some(1))).await;
    desk.spool.metrics.spool_quarantined.set(3);
    let days_30 = 30 * 86_400_000;
    desk.clock.set(Timestamp(START + days_30));
    desk.spool.sweep().await.unwrap();
    assert_eq!(desk.spool.metrics.spool_quarantined.get(), 3);
    desk.clock.set(Timestamp(START + days_30 + 1));
    desk.spool.sweep().await.unwrap();
    assert_eq!(
        (
            desk.spool.metrics.spool_quarantined.get(),
            desk.spool.metrics.spool_quarantine_dropped.get()
        ),
        (0, 3)
    );
}
