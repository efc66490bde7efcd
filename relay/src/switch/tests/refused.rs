//! Changes that the disk refuses, and their effect after a restart.

use super::*;

#[tokio::test(start_paused = true)]
async fn off_that_the_disk_refused_is_recorded_and_purged_once_it_takes_it() {
    for (trouble, kept) in TROUBLES {
        let folder = Folder::new();
        let desk = folder.open_on().await;
        let troubled = trouble.begin(&folder);
        let refused = desk.turn(false, "bob").await.unwrap_err();
        let says = refused.to_string();
        assert!(says.starts_with("collection is off, but"), "{trouble:?}: {says}");
        assert_eq!(desk.site().recorded(), kept, "{trouble:?}");
        assert_eq!(desk.unrecorded(), [kept.as_str()], "{trouble:?}");
        assert!(!desk.is_open().await, "{trouble:?}");
        // The relay retries in vain for a while.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(
            (desk.site().recorded(), desk.purged()),
            (kept, 0),
            "{trouble:?}: there is no way yet"
        );
        troubled.end();
        desk.recorded().await;
        assert_eq!(desk.purged(), 2, "{trouble:?}");
        assert_eq!(desk.by().as_deref(), Some("bob"), "{trouble:?}");
        assert_eq!(folder.history(), ["alice on", "bob off 2"], "{trouble:?}");
        assert_eq!(folder.tombstones(), 0, "{trouble:?}");
        assert!(desk.unrecorded().is_empty(), "{trouble:?}");
        desk.kill().await;
        assert!(!folder.open().await.is_open().await, "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_keeps_a_site_off_after_a_restart() {
    for (trouble, kept) in TROUBLES {
        let folder = Folder::new();
        let desk = folder.open_on().await;
        let troubled = trouble.begin(&folder);
        desk.turn(false, "bob").await.unwrap_err();
        desk.kill().await;
        troubled.end();
        let looked = look(&folder.database(), &folder.path(), SITE, Timestamp(START)).unwrap();
        let desk = folder.open().await;
        let is_open = kept == Recorded::Nowhere;
        assert_eq!(
            (looked.0, desk.is_open().await),
            (is_open, is_open),
            "{trouble:?}: only where nothing could be written down it is lost"
        );
        if !is_open {
            assert_eq!(desk.purged(), 2, "{trouble:?}");
            assert_eq!(folder.history(), ["alice on", "bob off 2"], "{trouble:?}");
            assert_eq!(
                (folder.tombstones(), desk.unrecorded().len()),
                (0, 0),
                "{trouble:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_that_cannot_be_read_means_off_and_one_that_cannot_be_removed_stays_so() {
    let check = async |what: &str, make: fn(&Path), removable: bool| {
        let folder = Folder::new();
        folder.open_on().await.kill().await;
        let tombstone = folder.path().join(Tombstone::of(&folder.path(), SITE).name());
        make(&tombstone);
        for _ in 0..2 {
            let desk = folder.open().await;
            assert!(!desk.is_open().await, "{what}");
            assert_eq!(desk.by().as_deref(), Some("relay"), "{what}");
            assert_eq!(tombstone.exists(), !removable, "{what}");
            let on = desk.turn(true, "alice").await;
            assert_eq!(on.is_ok(), removable, "{what}: {on:?}");
            assert_eq!(desk.is_open().await, removable, "{what}");
            desk.kill().await;
            if removable {
                return;
            }
        }
    };
    check("nothing is in it", |path| fs::write(path, "").unwrap(), true).await;
    check("nonsense", |path| fs::write(path, "\u{0}on").unwrap(), true).await;
    check("no file", |path| fs::create_dir(path).unwrap(), false).await;
}

#[tokio::test(start_paused = true)]
async fn on_after_an_off_that_was_refused_purges_what_waited_before() {
    for (trouble, _) in TROUBLES {
        let folder = Folder::new();
        let desk = folder.open_on().await;
        let troubled = trouble.begin(&folder);
        desk.turn(false, "bob").await.unwrap_err();
        desk.turn(true, "carol").await.unwrap_err();
        assert!(!desk.is_open().await, "{trouble:?}: on cannot be recorded either");
        troubled.end();
        desk.turn(true, "carol").await.unwrap();
        assert!(desk.is_open().await, "{trouble:?}");
        assert_eq!(desk.purged(), 2, "{trouble:?}");
        assert_eq!(
            folder.history(),
            ["alice on", "bob off 2", "carol on"],
            "{trouble:?}"
        );
        assert_eq!(
            (folder.tombstones(), desk.unrecorded().len()),
            (0, 0),
            "{trouble:?}"
        );
        desk.kill().await;
        assert!(folder.open().await.is_open().await, "{trouble:?}");
    }
}

/// It is unknown whether the disk recorded "on"; the caller got "off".
#[tokio::test(start_paused = true)]
async fn on_that_the_disk_refused_is_off_after_a_restart_whatever_was_written() {
    for (trouble, kept) in TROUBLES {
        let folder = Folder::new();
        let desk = folder.open().await;
        let troubled = trouble.begin(&folder);
        desk.turn(true, "alice").await.unwrap_err();
        assert_eq!(desk.site().recorded(), kept, "{trouble:?}");
        assert!(!desk.is_open().await, "{trouble:?}");
        troubled.end();
        desk.recorded().await;
        assert_eq!(folder.history(), ["relay off"], "{trouble:?}");
        assert!(!desk.is_open().await, "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_cannot_be_understood_is_off_and_keeps_no_relay_from_starting() {
    let check = async |what: &str, harm: &str| {
        let folder = Folder::new();
        folder.open_on().await.kill().await;
        folder.database().execute_batch(harm).unwrap();
        let desk = folder.open().await;
        assert!(!desk.is_open().await, "{what}");
        assert_eq!(desk.purged(), 2, "{what}");
        desk.turn(true, "alice").await.unwrap();
        assert!(desk.is_open().await, "{what}");
    };
    let name = "UPDATE switch SET changed_by = CAST(x'ff' AS TEXT);
        UPDATE switch_log SET by = CAST(x'ff' AS TEXT)";
    check("a name that is no text", name).await;
    check("a moment that differs", "UPDATE switch SET changed_at = 1").await;
    check(
        "neither on nor off",
        "UPDATE switch SET is_on = 2; UPDATE switch_log SET is_on = 2",
    )
    .await;
}

#[tokio::test]
async fn a_disk_that_hangs_does_not_prevent_switching_off() {
    let folder = Folder::new();
    store::make_folder(&folder.path()).unwrap();
    let db = store::open(&folder.path()).unwrap();
    let (store, writer) = Store::start(db, Clock::system()).unwrap();
    let desk = folder.open_with(store.clone()).await;
    desk.turn(true, "alice").await.unwrap();
    let (release, hangs) = std::sync::mpsc::channel::<()>();
    let hanging = tokio::spawn(async move {
        let mut hangs = Some(hangs);
        let hang = move |_: &Connection| Ok(hangs.take().map(|hangs| hangs.recv()));
        store.run(hang).await
    });
    // Memory and disk are being reconciled.
    desk.spool.switches.wake.notify_one();
    let switches = desk.spool.switches.clone();
    // Nor does the check of bob's right delay it.
    let bob = Actor::checked("bob", |_| Ok(true));
    let off = tokio::spawn(async move { switches.set(SITE, false, bob).await });
    let closed = async {
        while desk.is_open().await {
            tokio::task::yield_now().await;
        }
    };
    let closed = tokio::time::timeout(Duration::from_secs(60), closed).await;
    assert!(closed.is_ok(), "it is off though the disk hangs");
    assert!(!off.is_finished(), "and that is answered once it is recorded");
    release.send(()).unwrap();
    assert!(hanging.await.unwrap().is_ok());
    off.await.unwrap().unwrap();
    assert_eq!(folder.history(), ["alice on", "bob off"]);
    desk.kill().await;
    tokio::task::spawn_blocking(move || writer.join()).await.unwrap();
}
