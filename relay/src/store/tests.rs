//! A database that is damaged, gone or refuses.

mod damage;
mod jobs;
mod space;

use super::*;
use crate::clock::Timestamp;

fn count(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT count(*) FROM account", (), |row| row.get(0))
}

fn insert(db: &Connection, name: &str) -> rusqlite::Result<usize> {
    db.execute(
        "INSERT INTO account (name, password_hash, created_at) VALUES (?1, 'hash', 1)",
        [name],
    )
}

/// A database with a site that is on, an account and events, closed in order.
fn furnish(folder: &Path, events: u8) {
    let mut db = open(folder).unwrap();
    db.execute_batch(
        "INSERT INTO account (name, password_hash, created_at) VALUES ('alice', 'hash', 1);
         INSERT INTO switch VALUES ('s', 1, 5, 'alice'), ('off', 0, 6, 'alice');
         INSERT INTO switch_log VALUES (1, 's', 1, 5, 'alice', 0), (2, 'off', 0, 6, 'alice', 0);
         INSERT INTO policy_log VALUES (1, 7, 'ab', 'builtin');
         INSERT INTO seen_ids VALUES (1, 8, x'0000000000000001');",
    )
    .unwrap();
    let tx = db.transaction().unwrap();
    for n in 0..events {
        tx.execute(
            "INSERT INTO spool (bucket, site, stored_at, lane, record)
             VALUES (?1, 's', ?1, ?1 % 64, zeroblob(400))",
            [n],
        )
        .unwrap();
    }
    tx.commit().unwrap();
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
}

fn one(db: &Connection, sql: &str) -> i64 {
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// The page of the file on which a table begins, counted from 1.
fn root(folder: &Path, table: &str) -> usize {
    let db = open(folder).unwrap();
    let sql = format!("SELECT rootpage FROM sqlite_schema WHERE name = '{table}'");
    usize::try_from(one(&db, &sql)).unwrap()
}

const PAGE: usize = 4096;

#[test]
fn a_damaged_database_is_set_aside_and_what_can_be_read_is_saved() {
    type Harm = fn(&mut Vec<u8>, &dyn Fn(&str) -> usize);
    // The damage, whether it is detected, the minimum of 200 events that are saved, and whether the site is still on.
    let rows: &[(&str, Harm, bool, i64, bool)] = &[
        ("nothing", |_, _| {}, false, 200, true),
        (
            "a leaf of the events",
            |bytes, page| {
                let at = (page("spool_parked") + 4) * PAGE;
                bytes[at..at + PAGE].fill(0xa5);
            },
            true,
            150,
            true,
        ),
        (
            "the root of the events",
            |bytes, page| bytes[(page("spool") - 1) * PAGE..][..100].fill(0xff),
            true,
            0,
            true,
        ),
        (
            "the switch",
            |bytes, page| bytes[(page("switch") - 1) * PAGE..][..8].fill(0xff),
            true,
            200,
            false,
        ),
        (
            "the switch's history",
            |bytes, page| bytes[(page("switch_log") - 1) * PAGE..][..8].fill(0xff),
            true,
            200,
            false,
        ),
        (
            "the last pages",
            |bytes, _| bytes.truncate(bytes.len() - 2 * PAGE),
            true,
            100,
            true,
        ),
        ("half a page", |bytes, _| bytes.truncate(PAGE / 2), true, 0, false),
        ("the first bytes", |bytes, _| bytes[..16].fill(0), true, 200, true),
        ("the text's encoding", |bytes, _| bytes[59] ^= 2, true, 200, true),
        ("the leave to write", |bytes, _| bytes[18] ^= 4, true, 200, true),
        ("the version", |bytes, _| bytes[63] ^= 0x40, true, 200, true),
        ("all of it", |bytes, _| bytes.fill(b'x'), true, 0, false),
    ];
    for (what, harm, noticed, saved, is_on) in rows {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        furnish(folder, 200);
        let mut bytes = std::fs::read(path(folder)).unwrap();
        harm(&mut bytes, &|table| root(folder, table));
        std::fs::write(path(folder), &bytes).unwrap();
        let (db, rebuilt) = open_or_rebuild(folder, Timestamp(1_800_000_000_000)).unwrap();
        assert_eq!(rebuilt.is_some(), *noticed, "{what}");
        assert_eq!(
            db.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
                .unwrap(),
            "ok"
        );
        let events = one(&db, "SELECT count(*) FROM spool");
        assert!(events >= *saved, "{what}: {events} events");
        assert_eq!(
            one(&db, "SELECT count(*) FROM switch WHERE is_on") == 1,
            *is_on,
            "{what}"
        );
        if let Some(rebuilt) = rebuilt {
            assert_eq!(rebuilt.events, u64::try_from(events).unwrap(), "{what}");
            let lost = rebuilt.events < 200 || one(&db, "SELECT count(*) FROM account") == 0;
            assert!(
                rebuilt.some_lost || !lost || *what == "all of it",
                "{what}: {rebuilt:?}"
            );
            let mode = std::fs::metadata(folder.join("relay.db.broken-1800000000000")).unwrap();
            assert_eq!(
                std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
                0o600,
                "{what}"
            );
            db.execute(
                "INSERT INTO spool (bucket, site, stored_at, record) VALUES (1, 's', 1, x'')",
                [],
            )
            .unwrap();
            assert!(
                one(&db, "SELECT max(seq) FROM spool") > 1_000_000,
                "{what}: numbers go on"
            );
        }
    }
}

#[test]
fn a_database_of_another_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    furnish(folder, 3);
    let mut bytes = std::fs::read(path(folder)).unwrap();
    // Version 10 had no automatic vacuum.
    bytes[52..56].fill(0);
    bytes[64..68].fill(0);
    bytes[63] = 10;
    bytes[71] = 10;
    std::fs::write(path(folder), &bytes).unwrap();
    let opened = open_or_rebuild(folder, Timestamp(1));
    assert!(
        matches!(opened, Err(OpenError::OtherVersion(_, 10))),
        "{opened:?}"
    );
    assert!(std::fs::read(path(folder)).unwrap() == bytes);
}

#[test]
fn no_number_is_used_twice_even_if_the_last_one_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    furnish(folder, 3);
    let db = open(folder).unwrap();
    db.execute(
        "UPDATE sqlite_sequence SET seq = 5000000 WHERE name = 'spool'",
        [],
    )
    .unwrap();
    drop(db);
    std::fs::write(path(folder), vec![b'x'; 5000]).unwrap();
    let (db, _) = open_or_rebuild(folder, Timestamp(1_800_000_000_000)).unwrap();
    let insert = "INSERT INTO spool (bucket, site, stored_at, record) VALUES (1, 's', 1, x'')";
    db.execute(insert, []).unwrap();
    assert!(one(&db, "SELECT max(seq) FROM spool") > 5_000_000);
}

#[test]
fn only_the_newest_damaged_files_are_kept_and_a_rebuild_that_was_cut_off_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for now in 1..=5 {
        std::fs::write(path(folder), vec![b'x'; 5000]).unwrap();
        let (_, rebuilt) = open_or_rebuild(folder, Timestamp(now)).unwrap();
        assert!(rebuilt.is_some());
    }
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("broken"))
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["relay.db.broken-3", "relay.db.broken-4", "relay.db.broken-5"]
    );

    let workshop = folder.join("rebuild");
    std::fs::create_dir(&workshop).unwrap();
    std::fs::write(workshop.join("relay.db"), "events").unwrap();
    drop(open_or_rebuild(folder, Timestamp(7)).unwrap());
    assert!(
        !workshop.exists(),
        "a rebuild that was cut off leaves no events behind"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_met_while_running_is_repaired_and_the_job_that_met_it_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    furnish(folder, 200);
    let at = (root(folder, "policy_log") - 1) * PAGE;
    let (store, writer) = Store::start(open(folder).unwrap(), Clock::system()).unwrap();
    let (told, mut recounted) = mpsc::channel(8);
    store.after_rebuild(move |db| told.try_send(one(db, "SELECT count(*) FROM spool")).unwrap());
    // Empties the page cache, so that the store reads the file as it is.
    store.tidy_after_next_commit();
    store
        .run(|db| db.execute("UPDATE heartbeat SET at = 1", []))
        .await
        .unwrap();
    store
        .run(|db| db.execute_batch("PRAGMA shrink_memory"))
        .await
        .unwrap();
    let file = File::options().write(true).open(path(folder)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 100], at as u64).unwrap();
    let log = |db: &Connection| db.query_row("SELECT count(sha256) FROM policy_log", [], |row| row.get(0));
    assert_eq!(
        store.run(log).await,
        Ok::<i64, _>(0),
        "it was in the damaged page"
    );
    assert_eq!(recounted.recv().await, Some(200));
    assert_eq!(
        store.run(|db| Ok(one(db, "SELECT count(*) FROM spool"))).await,
        Ok(200)
    );
    assert_eq!(store.run(count).await, Ok(1), "and the account was not");
    drop(store);
    writer.join();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_the_disk_refused_is_tried_again() {
    // The obstacle, and how far the rebuild had come.
    let check = async |what: &str, obstacle: &str| {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        furnish(folder, 200);
        let now = Timestamp(1_800_000_000_000);
        let clock = Clock::standing_at(now);
        let (store, writer) = Store::start(open(folder).unwrap(), clock.clone()).unwrap();
        let (told, mut recounted) = mpsc::channel(8);
        store.after_rebuild(move |db| told.try_send(one(db, "SELECT count(*) FROM spool")).unwrap());
        let obstacle = folder.join(obstacle);
        std::fs::create_dir_all(obstacle.join("full")).unwrap();
        if what == "the workshop" {
            std::fs::remove_dir_all(&obstacle).unwrap();
            std::fs::write(&obstacle, "in the way").unwrap();
        }
        let broken = Err(StoreError::Failed(DbErrorKind::Broken));
        let meet = |_: &Connection| -> rusqlite::Result<()> {
            Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(11),
                None,
            ))
        };
        assert_eq!(store.run(meet).await, broken, "{what}");
        let write = async |name: &'static str| store.run(move |db| insert(db, name).map(drop)).await;
        assert_eq!(
            write("bob").await,
            broken,
            "{what}: there is no database to write into"
        );
        if obstacle.is_dir() {
            std::fs::remove_dir_all(&obstacle).unwrap();
        } else {
            std::fs::remove_file(&obstacle).unwrap();
        }
        assert_eq!(write("bob").await, broken, "{what}: it is not tried at each job");
        clock.set(Timestamp(now.0 + 10_000));
        assert_eq!(write("bob").await, Ok(()), "{what}");
        assert_eq!(recounted.recv().await, Some(200), "{what}");
        assert_eq!(store.run(count).await, Ok(2), "{what}");
        drop(store);
        writer.join();
    };
    check("the workshop", "rebuild").await;
    check("the old file's new place", "relay.db.broken-1800000000000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_gone_or_held_fails_jobs_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (store, writer) = Store::start(open(folder).unwrap(), Clock::system()).unwrap();
    let write = async |name: &'static str| store.run(move |db| insert(db, name)).await;
    let failed = |trouble| Err(StoreError::Failed(trouble));
    assert_eq!(write("a").await, Ok(1));
    let aside = folder.join("aside");
    std::fs::rename(path(folder), &aside).unwrap();
    assert_eq!(write("b").await, failed(DbErrorKind::Gone));
    std::fs::write(path(folder), "another").unwrap();
    assert_eq!(write("b").await, failed(DbErrorKind::Gone));
    std::fs::rename(&aside, path(folder)).unwrap();
    assert_eq!(write("b").await, Ok(1));

    let other = Connection::open(path(folder)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // All queued jobs fail together: none waits for another.
    let held = tokio::join!(write("c"), write("d"), write("e"));
    assert_eq!(
        held,
        (
            failed(DbErrorKind::Busy),
            failed(DbErrorKind::Busy),
            failed(DbErrorKind::Busy)
        )
    );
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(write("c").await, Ok(1));

    let full = |pages: &'static str| {
        store.run(move |db| db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())))
    };
    full("1").await.unwrap();
    let fill = async || {
        let work =
            |db: &Connection| db.execute("INSERT INTO seen_ids (at, ids) VALUES (1, zeroblob(100000))", []);
        store.run(work).await
    };
    assert_eq!(fill().await, failed(DbErrorKind::DiskFull));
    assert_eq!(store.run(count).await, Ok(3), "what is there can be read");
    full("1000000").await.unwrap();
    assert_eq!(fill().await, Ok(1));
    drop(store);
    writer.join();
}

#[test]
fn a_rebuild_that_a_crash_interrupted_is_finished_or_begun_again() {
    let check = |what: &str, old_is_away: bool, events: i64| {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        furnish(folder, 3);
        let workshop = folder.join("rebuild");
        std::fs::create_dir(&workshop).unwrap();
        furnish(&workshop, 2);
        if old_is_away {
            std::fs::rename(path(folder), folder.join("relay.db.broken-1")).unwrap();
            std::fs::write(folder.join("relay.db-wal"), "of the old one").unwrap();
        }
        let (db, rebuilt) = open_or_rebuild(folder, Timestamp(2)).unwrap();
        assert_eq!(
            (one(&db, "SELECT count(*) FROM spool"), rebuilt),
            (events, None),
            "{what}"
        );
        assert!(!workshop.exists(), "{what}");
    };
    check("the old file is out of the way, so the new one is whole", true, 2);
    check(
        "the old file is still there, so the new one may be half",
        false,
        3,
    );
}

#[test]
fn a_relay_killed_before_its_first_checkpoint_has_a_sound_database() {
    let (folder, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let db = open(folder.path()).unwrap();
    for name in ["relay.db", "relay.db-wal"] {
        std::fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
    }
    drop(db);
    let (_, rebuilt) = open_or_rebuild(killed.path(), Timestamp(1)).unwrap();
    assert_eq!(rebuilt, None);
}
