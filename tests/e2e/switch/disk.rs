//! The switch on a disk that refuses writes, loses them, or is locked by another process.

use crate::recovery::DISK_TROUBLES;
use crate::{EXE, LONG};
use feedback_relay::store::FolderLock;
use feedback_tests::{Done, MiniPlausible, Post, SITE, Setup, load, stays, within};
use rusqlite::Connection;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

const OFF: [&str; 4] = ["switch", "off", "--site", SITE];
const MARKED: &str = "switch_unrecorded{site=\"panel.example.com\",recorded=\"tombstone\"}";

async fn status(setup: &Setup) -> String {
    let done = setup.command(EXE, &["switch", "status"], "").await;
    assert_eq!(done.code, Some(0), "{done:?}");
    done.out
}

fn database(setup: &Setup) -> Connection {
    Connection::open(setup.data_dir().join("relay.db")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn off_that_the_disk_refuses_is_reported_survives_a_kill_and_is_recorded_later() {
    for trouble in DISK_TROUBLES {
        for is_killed in [false, true] {
            let what = format!("{}, killed: {is_killed}", trouble.what);
            let (mut plausible, setup, relay) = Setup::while_plausible_is_away(EXE).await;
            let sent = relay.try_send(&Post::batch(&[load(1), load(2)])).await.unwrap();
            assert_eq!(sent.status, 202, "{what}");
            let db = database(&setup);
            (trouble.begin)(&relay, &db);

            let off = setup.command(EXE, &OFF, "").await;
            assert_eq!(off.code, Some(1), "{what}: {off:?}");
            assert!(off.err.contains("ollection is off, but"), "{what}: {off:?}");
            let told = status(&setup).await;
            assert!(told.contains(": off, set 20"), "{what}: {told}");
            assert!(
                told.ends_with("keeps it off until the database accepts the record"),
                "{what}: {told}"
            );
            assert_eq!(relay.metrics().await.count(MARKED), 1, "{what}");
            let health = relay.get("/actuator/health").await.json();
            assert_eq!(health["components"]["switch"]["status"], "UNKNOWN", "{what}");
            let refused = relay.try_send(&Post::batch(&[load(3)])).await.unwrap();
            assert_eq!(refused.problem(), "switched_off", "{what}");

            let relay = if is_killed {
                relay.kill();
                drop(db);
                setup.spawn(EXE).await
            } else {
                (trouble.end)(&relay, &db);
                relay
            };
            within(LONG, &format!("{what}: it is recorded"), async || {
                let told = status(&setup).await;
                // On a full disk the tombstone has no room for the actor's name.
                (told.ends_with("by cli") || told.ends_with("by relay")).then_some(())
            })
            .await;
            let scrape = relay.metrics().await;
            assert_eq!((scrape.count(MARKED), scrape.enabled(SITE)), (0, false), "{what}");
            assert_eq!(scrape.ended("purged", ""), 2, "{what}");
            let log = relay.log();
            let count = |line: &str| log.matches(line).count();
            assert_eq!(
                (count("could not be recorded"), count("OFF is now recorded")),
                (usize::from(!is_killed), 1),
                "{what}: {log}"
            );
            plausible.come_back().await;
            stays(Duration::from_secs(1), "no connection is made", async || {
                plausible.connections() == 0
            })
            .await;
            relay.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_lost_to_damage_while_the_relay_runs_is_off_and_nothing_more_leaves() {
    let mut plausible = MiniPlausible::away();
    let setup = Setup::new(&plausible.url()).with_a_small_policy();
    let relay = setup.start_on().await;
    relay.accept(&(0..20).map(load).collect::<Vec<_>>()).await;
    damage(&setup, "switch");
    within(LONG, "memory follows the disk", async || {
        (!relay.metrics().await.enabled(SITE)).then_some(())
    })
    .await;
    let sent = relay.send(&Post::batch(&[load(20)])).await;
    assert_eq!((sent.status, sent.problem().as_str()), (403, "switched_off"));
    within(LONG, "what waits is purged", async || {
        (relay.metrics().await.count("spool_events") == 0).then_some(())
    })
    .await;
    let connections = plausible.connections();
    plausible.come_back().await;
    stays(Duration::from_secs(1), "no connection is made", async || {
        plausible.connections() == connections
    })
    .await;
    let told = status(&setup).await;
    assert!(told.starts_with("panel.example.com: off, set 20"), "{told}");
    assert!(told.ends_with("by relay"), "{told}");
    let scrape = relay.stop().await;
    assert_eq!(scrape.count("database_rebuilds_total"), 1);
    assert_eq!(
        scrape.ended("purged", "") + scrape.ended("rejected", "corrupt"),
        20
    );
    let relay = setup.start().await;
    assert!(
        !relay.metrics().await.enabled(SITE),
        "it is off after a restart too"
    );
    relay.stop().await;
}

/// Overwrites the first page of a table under a running relay, which has to read the file again.
fn damage(setup: &Setup, table: &str) {
    let db = database(setup);
    db.busy_timeout(Duration::from_secs(60)).unwrap();
    let sql = format!("SELECT rootpage FROM sqlite_schema WHERE name = '{table}'");
    let page: u64 = db.query_row(&sql, [], |row| row.get(0)).unwrap();
    // A relay drops its cached pages once another process has written.
    db.execute_batch("UPDATE heartbeat SET at = at + 1").unwrap();
    let busy: i64 = db
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(busy, 0);
    let file = File::options()
        .write(true)
        .open(setup.data_dir().join("relay.db"))
        .unwrap();
    file.write_all_at(&[0xff; 100], (page - 1) * 4096).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_waits_for_a_folder_that_a_command_has() {
    let setup = Setup::new("http://127.0.0.1:9").with_a_small_policy();
    let lock = FolderLock::take(&setup.data_dir()).unwrap();
    let mut relay = setup.launch(EXE);
    within(LONG, "it waits", async || {
        relay.log().contains("waiting for the data folder").then_some(())
    })
    .await;
    drop(lock);
    relay.ready().await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_beside_a_relay_that_starts_or_stops_turns_the_switch_all_the_same() {
    let setup = Setup::new("http://127.0.0.1:9")
        .with_a_small_policy()
        .switched_on(EXE)
        .await;
    for on in [false, true, false, true] {
        let word = if on { "on" } else { "off" };
        let mut relay = setup.launch(EXE);
        // Not through the setup, which rewrites the file that the relay is about to read.
        let file = setup.folder().join("relay.toml").display().to_string();
        let command = async |what: &str, arguments: &[&str]| {
            let arguments = [arguments, &["--config", &file]].concat();
            let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
            let done = Done::of(EXE, arguments, String::new()).await;
            assert_eq!(done.code, Some(0), "{what}: {done:?}");
            done.out
        };
        let check = async |what: &str| {
            command(what, &["switch", word, "--site", SITE]).await;
            let told = command(what, &["switch", "status"]).await;
            assert!(told.contains(&format!(": {word}, set")), "{what}: {told}");
        };
        check("it starts").await;
        relay.ready().await;
        assert_eq!(relay.metrics().await.enabled(SITE), on);
        relay.terminate();
        check("it stops").await;
        let ended = relay.ended(LONG).await;
        assert!(ended.success(), "{ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn off_is_off_where_no_relay_runs_and_the_database_cannot_be_opened() {
    let setup = Setup::new("http://127.0.0.1:9")
        .with_a_small_policy()
        .switched_on(EXE)
        .await;
    let db = database(&setup);
    db.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let on = setup.command(EXE, &["switch", "on", "--site", SITE], "").await;
    assert_eq!(on.code, Some(1), "{on:?}");
    let off = setup.command(EXE, &OFF, "").await;
    assert_eq!(off.code, Some(1), "{off:?}");
    assert!(
        off.err.contains("keeps panel.example.com off at the next start"),
        "{off:?}"
    );
    db.execute_batch("ROLLBACK").unwrap();
    let told = status(&setup).await;
    assert!(
        told.ends_with(
            "by cli; a file beside the database keeps it off until the database accepts the record"
        ),
        "{told}"
    );
    let relay = setup.start().await;
    assert!(!relay.metrics().await.enabled(SITE));
    let told = status(&setup).await;
    assert!(told.ends_with("by cli"), "{told}");
    relay.stop().await;
}
