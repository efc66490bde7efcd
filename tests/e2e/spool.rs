//! The commands for waiting events, and a spool with damage or disk errors.

use crate::{EXE, LONG};
use feedback_tests::{Done, MiniPlausible, Post, SITE, Setup, eventually, load, within};
use rusqlite::Connection;
use serde_json::Value;
use std::os::unix::fs::FileExt;

async fn spool(setup: &Setup, arguments: &[&str]) -> Done {
    setup.command(EXE, &[&["spool"], arguments].concat(), "").await
}

fn lines(done: &Done) -> Vec<Value> {
    assert_eq!(done.code, Some(0), "{done:?}");
    done.out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_listed_checked_exported_and_purged_beside_a_running_relay() {
    let mut plausible = MiniPlausible::away();
    let setup = Setup::new(&plausible.url());
    let relay = setup.start_on().await;
    for n in 0..5 {
        assert_eq!(relay.send(&Post::batch(&[load(n)])).await.status, 202);
    }
    let ls = spool(&setup, &["ls", "--limit", "2"]).await;
    assert_eq!((ls.code, ls.out.lines().count()), (Some(0), 3), "{ls:?}");
    assert!(
        ls.out.contains("\tLoad\t") && ls.out.contains("panel.example.com: 5 event(s) waiting"),
        "{ls:?}"
    );
    let all: Value = lines(&spool(&setup, &["ls", "--json", "--site", SITE]).await).remove(0);
    assert_eq!(all["events"].as_array().unwrap().len(), 5, "{all}");
    assert_eq!(
        all["totals"][0]["bytes"],
        relay.metrics().await.count("spool_bytes")
    );
    assert_eq!(
        (&all["events"][4]["event"], &all["quarantined"]),
        (&"Load".into(), &0.into())
    );
    let verify = spool(&setup, &["verify"]).await;
    assert_eq!(
        (verify.code, verify.out.as_str()),
        (Some(0), "5 record(s) are intact"),
        "{verify:?}"
    );

    let exported = lines(&spool(&setup, &["export"]).await);
    assert_eq!(exported.len(), 5);
    assert_eq!(
        lines(&spool(&setup, &["export", "--since", "1h"]).await),
        exported
    );
    assert!(lines(&spool(&setup, &["export", "--since", "0s"]).await).is_empty());
    let replay = spool(&setup, &["replay"]).await;
    assert_eq!(replay.code, Some(0), "{replay:?}");

    let unasked = spool(&setup, &["purge"]).await;
    assert_eq!(unasked.code, Some(1), "{unasked:?}");
    assert!(
        unasked.err.contains("deletes 5 record(s)") && unasked.err.contains("--yes"),
        "{unasked:?}"
    );
    let young = spool(&setup, &["purge", "--older-than", "1h", "--yes"]).await;
    assert_eq!(young.out, "0 waiting event(s) were purged", "{young:?}");
    plausible.come_back().await;
    eventually("they leave", async || (plausible.count() == 5).then_some(())).await;
    let sent: Vec<Value> = plausible
        .arrivals()
        .into_iter()
        .map(|arrival| arrival.body)
        .collect();
    for line in &exported {
        let output = &line["output"];
        assert_eq!(
            (&output["method"], &output["path"]),
            (&"POST".into(), &"/api/event".into())
        );
        assert!(sent.contains(&output["body"]), "{line}");
    }
    let arrival = &plausible.arrivals()[0];
    let line = exported
        .iter()
        .find(|line| line["output"]["body"] == arrival.body)
        .unwrap();
    assert_eq!(
        line["output"]["headers"]["x-plausible-ip"],
        arrival.header("x-plausible-ip")
    );

    plausible.go_away().await;
    for n in 5..8 {
        assert_eq!(relay.send(&Post::batch(&[load(n)])).await.status, 202);
    }
    let purged = spool(&setup, &["purge", "--site", SITE, "--older-than", "0s", "--yes"]).await;
    assert_eq!(purged.out, "3 waiting event(s) were purged", "{purged:?}");
    assert_eq!(spool(&setup, &["ls"]).await.out, "no events are waiting");
    assert_eq!(relay.stop().await.endings(), ["delivered/ 5", "purged/ 3"]);
    // And with no relay running.
    assert_eq!(spool(&setup, &["ls"]).await.out, "no events are waiting");
    assert_eq!(
        spool(&setup, &["purge", "--yes"]).await.out,
        "0 waiting event(s) were purged"
    );
    assert_eq!(spool(&setup, &["replay"]).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_arguments_and_folders_without_a_spool_are_named() {
    let setup = Setup::new("http://127.0.0.1:9");
    let check = async |setup: &Setup, arguments: &[&str], code: i32, says: &str| {
        let done = spool(setup, arguments).await;
        assert_eq!(
            (done.code, done.out.as_str()),
            (Some(code), ""),
            "{arguments:?}: {done:?}"
        );
        assert!(
            done.err.contains(says),
            "{arguments:?}: {says:?} is not in {done:?}"
        );
    };
    for command in [
        &["ls"][..],
        &["verify"],
        &["replay"],
        &["purge", "--yes"],
        &["purge"],
        &["export"],
    ] {
        check(&setup, command, 1, "there is no database in").await;
        check(&setup, command, 1, "relay.db").await;
    }
    assert!(!setup.data_dir().exists(), "looking makes nothing");
    check(&setup, &["ls", "--limit", "many"], 2, "--limit").await;
    check(
        &setup,
        &["purge", "--older-than", "2 weeks"],
        2,
        "write 90s, 30m, 2h or 7d",
    )
    .await;
    check(&setup, &["mend"], 2, "Usage:").await;
    for command in [&["ls"][..], &["export"], &["purge", "--yes"]] {
        let arguments = [command, &["--site", "other.example.com"]].concat();
        check(
            &setup,
            &arguments,
            1,
            "no [[site]] has the domain other.example.com; configured: panel.example.com",
        )
        .await;
    }
    std::fs::write(setup.data_dir(), "a file, no folder").unwrap();
    check(&setup, &["ls"], 1, "relay.db").await;
    std::fs::remove_file(setup.data_dir()).unwrap();
    std::fs::create_dir(setup.data_dir()).unwrap();
    std::fs::write(setup.data_dir().join("relay.db"), "x".repeat(5000)).unwrap();
    for command in [&["ls"][..], &["verify"], &["purge", "--yes"]] {
        check(&setup, command, 1, "is damaged; `serve` sets it aside").await;
    }
    let help = Done::of(
        EXE,
        ["spool", "purge", "--help"].map(str::to_owned).into(),
        String::new(),
    )
    .await;
    assert!(
        help.out.contains("--older-than <TIME>") && help.out.contains("`switch off`"),
        "{help:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_reported_set_aside_and_counted() {
    let mut plausible = MiniPlausible::away();
    let setup = Setup::new(&plausible.url());
    let relay = setup.start_on().await;
    relay.accept(&[load(1), load(2), load(3)]).await;
    relay.stop().await;
    let db = Connection::open(setup.data_dir().join("relay.db")).unwrap();
    let flip = "UPDATE spool SET record = CAST(replace(CAST(record AS TEXT), '\"n\",2', '\"n\",7') AS BLOB)";
    assert_eq!(db.execute(flip, []).unwrap(), 3);
    db.close().unwrap();
    let verify = spool(&setup, &["verify"]).await;
    assert_eq!(verify.code, Some(1), "{verify:?}");
    assert_eq!(verify.out, "record 2: corrupt\n2 record(s) are intact");

    plausible.come_back().await;
    let relay = setup.start().await;
    eventually("the others leave", async || {
        (plausible.count() == 2).then_some(())
    })
    .await;
    let mut numbers = plausible.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 3], "a changed number is not sent");
    eventually("it is booked", async || {
        (relay.metrics().await.count("spool_events") == 0).then_some(())
    })
    .await;
    assert_eq!(relay.metrics().await.count("spool_quarantined"), 1);
    let ls = spool(&setup, &["ls"]).await;
    assert!(
        ls.out.contains("\tcorrupt\t") && ls.out.contains("1 record(s) in quarantine"),
        "{ls:?}"
    );
    let replay = spool(&setup, &["replay"]).await;
    assert!(
        replay
            .out
            .contains("1 record(s) stay in quarantine because they cannot be read"),
        "{replay:?}"
    );
    let purge = spool(&setup, &["purge", "--quarantine", "--yes"]).await;
    assert_eq!(purge.out, "1 quarantined record(s) were deleted", "{purge:?}");
    let scrape = relay.stop().await;
    assert_eq!(scrape.count("spool_quarantined"), 0);
    assert_eq!(scrape.endings(), ["delivered/ 2", "rejected/corrupt 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_does_not_keep_a_relay_from_starting() {
    let mut plausible = MiniPlausible::away();
    let setup = Setup::new(&plausible.url());
    let relay = setup.start_on().await;
    relay.accept(&[load(1), load(2)]).await;
    relay.stop().await;
    let database = setup.data_dir().join("relay.db");
    // The header claims another text encoding, which SQLite would honour.
    let file = std::fs::File::options().write(true).open(&database).unwrap();
    file.write_all_at(&[2], 59).unwrap();
    plausible.come_back().await;
    let relay = setup.start().await;
    relay.drained().await;
    assert_eq!(plausible.count(), 2);
    let scrape = relay.stop().await;
    assert_eq!(scrape.count("database_rebuilds_total"), 1);
    assert_eq!(scrape.endings(), ["delivered/ 2"]);

    // An inner page: after an orderly stop the start does not check for damage, so it reads this page unprepared.
    let spoil = || {
        let db = Connection::open(&database).unwrap();
        let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'quarantine'";
        let page: u64 = db.query_row(root, [], |row| row.get(0)).unwrap();
        drop(db);
        let file = std::fs::File::options().write(true).open(&database).unwrap();
        file.write_all_at(&[0; 64], (page - 1) * 4096).unwrap();
    };
    spoil();
    let verify = spool(&setup, &["verify"]).await;
    assert_eq!(verify.code, Some(1), "{verify:?}");
    assert!(
        verify.err.contains("is damaged; `serve` sets it aside"),
        "{verify:?}"
    );
    let replay = spool(&setup, &["replay"]).await;
    assert!(replay.err.contains("set aside as relay.db.broken-"), "{replay:?}");
    assert_eq!(replay.code, Some(0), "{replay:?}");
    spoil();
    let relay = setup.start().await;
    relay.accept(&[load(5)]).await;
    relay.drained().await;
    let scrape = relay.stop().await;
    assert_eq!(scrape.count("database_rebuilds_total"), 1);

    std::fs::write(&database, "garbage".repeat(1000)).unwrap();
    let relay = setup.start().await;
    let sent = relay.send(&Post::batch(&[load(3)])).await;
    assert_eq!(
        (sent.status, sent.problem().as_str()),
        (403, "switched_off"),
        "an unreadable switch is off"
    );
    relay.turn(true).await;
    relay.accept(&[load(4)]).await;
    relay.drained().await;
    relay.stop().await;
    let aside = std::fs::read_dir(setup.data_dir()).unwrap();
    let aside = aside.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("relay.db.broken-")
    });
    assert_eq!(aside.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_cannot_be_written_says_why_and_recovers_by_itself() {
    let mut plausible = MiniPlausible::away();
    let setup = Setup::new(&plausible.url());
    let relay = setup.start_on().await;
    relay.accept(&[load(1)]).await;
    let database = setup.data_dir().join("relay.db");
    let readiness = async || {
        let ready = relay.get("/actuator/health/readiness").await;
        (
            ready.status,
            ready.json()["reason"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let blocked = async |reason: &str, event: usize| {
        let sent = relay.send(&Post::batch(&[load(event)])).await;
        assert_eq!(
            (sent.status, sent.problem().as_str()),
            (503, "unavailable"),
            "{reason}"
        );
        assert_eq!(sent.header("retry-after"), "5");
        eventually("readiness tells", async || {
            (readiness().await == (503, reason.to_owned())).then_some(())
        })
        .await;
        let detailed = relay.health().await.json();
        assert_eq!(detailed["components"]["db"]["details"]["reason"], reason);
        assert_eq!(relay.get("/actuator/health/liveness").await.status, 200);
    };
    let over = async || {
        within(LONG, "it recovers", async || {
            (readiness().await == (200, String::new())).then_some(())
        })
        .await;
    };
    let other = Connection::open(&database).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    blocked("database locked", 2).await;
    drop(other);
    over().await;
    let aside = setup.data_dir().join("aside");
    std::fs::rename(&database, &aside).unwrap();
    blocked("database file gone", 3).await;
    let off = setup.command(EXE, &["switch", "off", "--site", SITE], "").await;
    assert!(
        off.err
            .contains("keeps it off until the database accepts the record"),
        "an \"off\" that cannot be recorded counts all the same: {off:?}"
    );
    std::fs::rename(&aside, &database).unwrap();
    over().await;
    relay.turn(true).await;
    relay.accept(&[load(4)]).await;
    plausible.come_back().await;
    relay.drained().await;
    let mut numbers = plausible.numbers();
    numbers.sort_unstable();
    assert_eq!(
        numbers,
        [4],
        "what was refused was not stored, and what waited was purged with the switch"
    );
    let scrape = relay.stop().await;
    assert_eq!(
        scrape.endings(),
        ["delivered/ 1", "purged/ 1", "spool_full/unavailable 2"]
    );
}
