//! Space that was given back: deleted data is overwritten, and the file shrinks.

use super::*;

#[test]
fn what_was_deleted_is_neither_in_the_file_nor_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = Store::inline(open(folder).unwrap());
    let found = || {
        let files = std::fs::read_dir(folder).unwrap();
        let bytes = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        bytes
            .filter(|bytes| bytes.windows(6).any(|six| six == b"CANARY"))
            .count()
    };
    let run = |sql: &'static str| {
        runtime
            .block_on(store.run(move |db| db.execute(sql, [])))
            .unwrap()
    };
    run("INSERT INTO account (name, password_hash, created_at) VALUES ('CANARY', 'hash', 1)");
    assert_eq!(found(), 1, "it is in the log");
    run("DELETE FROM account");
    assert_eq!(found(), 1, "it still is, which is why the log has to be emptied");
    store.tidy_after_next_commit();
    run("UPDATE heartbeat SET at = 1");
    assert_eq!(found(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_shrinks_after_a_backlog_and_not_after_a_few_events() {
    // Events that come and go, and the bytes of the file that are left at most and at least.
    let check = async |events: u32, most: u64, least: u64, threaded: bool| {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let db = open(folder).unwrap();
        let (store, writer) = match threaded {
            true => Store::start(db, Clock::system())
                .map(|(store, writer)| (store, Some(writer)))
                .unwrap(),
            false => (Store::inline(db), None),
        };
        let fill = "INSERT INTO spool (bucket, site, stored_at, lane, record)
            WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
            SELECT n, 's', n, n % 64, zeroblob(450) FROM n";
        store.run(move |db| db.execute(fill, [events])).await.unwrap();
        // Other rows wait, some of them on the last pages.
        store
            .run(|db| db.execute("DELETE FROM spool WHERE seq % 500 > 0", []))
            .await
            .unwrap();
        for _ in 0..50 {
            store.tidy_after_next_commit();
            store
                .run(|db| db.execute("UPDATE heartbeat SET at = at + 1", []))
                .await
                .unwrap();
        }
        let left = store
            .run(|db| db.query_row("SELECT count(*) FROM spool", [], |row| row.get(0)))
            .await;
        assert_eq!(left, Ok(events / 500));
        drop(store);
        if let Some(writer) = writer {
            writer.join();
        }
        let bytes = std::fs::metadata(path(folder)).unwrap().len();
        assert!((least..=most).contains(&bytes), "{bytes} after {events} events");
        assert!(
            open_or_rebuild(folder, Timestamp(1)).unwrap().1.is_none(),
            "it is sound"
        );
    };
    let mib = |n: u64| n << 20;
    for threaded in [false, true] {
        check(30_000, mib(6), mib(4), threaded).await;
        check(5_000, mib(3), mib(2), threaded).await;
    }
}
