//! Switches on a disk that refuses, forgets and hangs, on a paused clock.

use super::*;
use crate::spool::tests::{SITE, START, config};
use crate::store;
use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A relay's data folder. It can be opened again and again.
struct Folder(TempDir);

/// The switch of an open folder, with two events that wait where it is on.
struct Desk {
    spool: crate::spool::tests::Desk,
    store: Store,
    keeping: JoinHandle<()>,
}

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn database(&self) -> Connection {
        Connection::open(store::path(&self.path())).unwrap()
    }

    async fn open(&self) -> Desk {
        store::make_folder(&self.path()).unwrap();
        let (db, _) = store::open_or_rebuild(&self.path(), Moment(START)).unwrap();
        self.open_with(Store::inline(db)).await
    }

    async fn open_with(&self, store: Store) -> Desk {
        let mut config = config(1 << 20);
        config.data_dir = self.path();
        let (metrics, clock) = (Arc::new(Metrics::new(&config)), Clock::standing_at(Moment(START)));
        let told = || (Arc::clone(&metrics), clock.clone());
        let ((m, c), limits) = (told(), config.spool.clone());
        let spool = Spool::open(store.clone(), m, c, limits, 1).await.unwrap();
        let (m, c) = told();
        let switches = Switches::open(&config, store.clone(), spool.clone(), c, m)
            .await
            .unwrap();
        Desk {
            keeping: tokio::spawn(switches.clone().keep(CancellationToken::new())),
            store,
            spool: crate::spool::tests::Desk {
                spool,
                clock,
                metrics,
                switches,
            },
        }
    }

    /// Opened and switched on by alice, with two events that wait.
    async fn open_on(&self) -> Desk {
        let desk = self.open().await;
        desk.turn(true, "alice").await.unwrap();
        for _ in 0..2 {
            assert_eq!(desk.spool.append("e", 1).await, None);
        }
        desk
    }

    /// Who turned the switch how, by the history.
    fn history(&self) -> Vec<String> {
        let db = self.database();
        let mut select = db
            .prepare(
                "SELECT by || iif(is_on, ' on', ' off') || iif(purged, ' ' || purged, '') FROM switch_log",
            )
            .unwrap();
        let rows = select.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn markers(&self) -> usize {
        let entries = fs::read_dir(self.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("relay.off-")).count()
    }
}

impl Desk {
    async fn turn(&self, on: bool, by: &str) -> Result<u64, TurnError> {
        self.spool.switches.turn(SITE, on, by).await
    }

    fn site(&self) -> &Arc<Site> {
        self.spool.switches.site(SITE).unwrap()
    }

    async fn is_open(&self) -> bool {
        self.site().permit().await.is_some()
    }

    fn by(&self) -> Option<String> {
        self.site().changed().map(|change| change.by)
    }

    fn purged(&self) -> u64 {
        let counts = self.spool.metrics.ledger.counts();
        assert_eq!(counts.difference(), 0, "events are conserved");
        counts.ended(Outcome::Purged)
    }

    /// What the metrics say is not recorded.
    fn unrecorded(&self) -> Vec<String> {
        let text = self.spool.metrics.text();
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("feedback_relay_switch_unrecorded{"));
        let ones = lines.filter_map(|line| line.strip_suffix("} 1"));
        ones.filter_map(|labels| Some(labels.split_once("kept=\"")?.1.trim_end_matches('"').to_owned()))
            .collect()
    }

    async fn recorded(&self) {
        until("it is recorded", || self.site().kept() == Kept::Database).await;
    }

    /// Meets damage, as far as the writer knows.
    async fn rebuild(&self) {
        let mut met = false;
        let meet = move |_: &Connection| match std::mem::replace(&mut met, true) {
            false => Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
                None,
            )),
            true => Ok(()),
        };
        self.store.run(meet).await.unwrap();
    }

    /// Ends as with `kill -9`: nothing is tried any more.
    async fn kill(self) {
        self.keeping.abort();
        let _ = self.keeping.await;
    }
}

/// Waits on the paused clock.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it was not so within a minute: {what}");
}

/// What keeps the disk from recording a turn, and what is left of "off" meanwhile.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Locked,
    DatabaseGone,
    FolderGone,
}

const TROUBLES: [(Trouble, Kept); 3] = [
    (Trouble::Locked, Kept::Marker),
    (Trouble::DatabaseGone, Kept::Marker),
    (Trouble::FolderGone, Kept::Nowhere),
];

/// Goes on until it is ended.
struct Troubled {
    held: Option<Connection>,
    moved: Option<(PathBuf, PathBuf)>,
}

impl Trouble {
    fn begin(self, folder: &Folder) -> Troubled {
        let aside = folder.0.path().join("aside");
        let (held, moved) = match self {
            Self::Locked => {
                let db = folder.database();
                db.execute_batch("BEGIN EXCLUSIVE").unwrap();
                (Some(db), None)
            }
            Self::DatabaseGone => (None, Some((store::path(&folder.path()), aside))),
            Self::FolderGone => (None, Some((folder.path(), aside))),
        };
        if let Some((from, to)) = &moved {
            fs::rename(from, to).unwrap();
        }
        Troubled { held, moved }
    }
}

impl Troubled {
    fn end(self) {
        drop(self.held);
        if let Some((to, from)) = self.moved {
            fs::rename(from, to).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn off_that_the_disk_refused_is_recorded_and_purged_once_it_takes_it() {
    for (trouble, kept) in TROUBLES {
        let folder = Folder::new();
        let desk = folder.open_on().await;
        let troubled = trouble.begin(&folder);
        let refused = desk.turn(false, "bob").await.unwrap_err();
        let told = refused.to_string();
        assert!(told.starts_with("collection is off, but"), "{trouble:?}: {told}");
        assert_eq!(desk.site().kept(), kept, "{trouble:?}");
        assert_eq!(desk.unrecorded(), [kept.name()], "{trouble:?}");
        assert!(!desk.is_open().await, "{trouble:?}");
        // It is tried in vain for a while.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(
            (desk.site().kept(), desk.purged()),
            (kept, 0),
            "{trouble:?}: there is no way yet"
        );
        troubled.end();
        desk.recorded().await;
        assert_eq!(desk.purged(), 2, "{trouble:?}");
        assert_eq!(desk.by().as_deref(), Some("bob"), "{trouble:?}");
        assert_eq!(folder.history(), ["alice on", "bob off 2"], "{trouble:?}");
        assert_eq!(folder.markers(), 0, "{trouble:?}");
        assert!(desk.unrecorded().is_empty(), "{trouble:?}");
        desk.kill().await;
        assert!(!folder.open().await.is_open().await, "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_marker_keeps_a_site_off_after_a_restart() {
    for (trouble, kept) in TROUBLES {
        let folder = Folder::new();
        let desk = folder.open_on().await;
        let troubled = trouble.begin(&folder);
        desk.turn(false, "bob").await.unwrap_err();
        desk.kill().await;
        troubled.end();
        let looked = look(&folder.database(), &folder.path(), SITE, Moment(START)).unwrap();
        let desk = folder.open().await;
        let is_open = kept == Kept::Nowhere;
        assert_eq!(
            (looked.0, desk.is_open().await),
            (is_open, is_open),
            "{trouble:?}: only where nothing could be written down it is lost"
        );
        if !is_open {
            assert_eq!(desk.purged(), 2, "{trouble:?}");
            assert_eq!(folder.history(), ["alice on", "bob off 2"], "{trouble:?}");
            assert_eq!((folder.markers(), desk.unrecorded().len()), (0, 0), "{trouble:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_marker_that_cannot_be_read_means_off_and_one_that_cannot_be_removed_stays_so() {
    let check = async |what: &str, make: fn(&Path), removable: bool| {
        let folder = Folder::new();
        folder.open_on().await.kill().await;
        let marker = folder.path().join(Marker::of(&folder.path(), SITE).name());
        make(&marker);
        for _ in 0..2 {
            let desk = folder.open().await;
            assert!(!desk.is_open().await, "{what}");
            assert_eq!(desk.by().as_deref(), Some("relay"), "{what}");
            assert_eq!(marker.exists(), !removable, "{what}");
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
        assert_eq!((folder.markers(), desk.unrecorded().len()), (0, 0), "{trouble:?}");
        desk.kill().await;
        assert!(folder.open().await.is_open().await, "{trouble:?}");
    }
}

/// Whether the disk has taken it nobody knows; "off" is what was told.
#[tokio::test(start_paused = true)]
async fn on_that_the_disk_refused_is_off_after_a_restart_whatever_was_written() {
    for (trouble, kept) in TROUBLES {
        let folder = Folder::new();
        let desk = folder.open().await;
        let troubled = trouble.begin(&folder);
        desk.turn(true, "alice").await.unwrap_err();
        assert_eq!(desk.site().kept(), kept, "{trouble:?}");
        assert!(!desk.is_open().await, "{trouble:?}");
        troubled.end();
        desk.recorded().await;
        assert_eq!(folder.history(), ["relay off"], "{trouble:?}");
        assert!(!desk.is_open().await, "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_rebuild_memory_follows_the_disk_towards_off_and_never_towards_on() {
    // How it was turned, what then befalls the database, and how it stands after the rebuild.
    let check = async |what: &str, on: bool, harm: &str, is_on: bool, history: &[&str]| {
        let folder = Folder::new();
        let desk = folder.open_on().await;
        if !on {
            desk.turn(false, "bob").await.unwrap();
        }
        folder.database().execute_batch(harm).unwrap();
        desk.rebuild().await;
        assert_eq!(desk.is_open().await, is_on, "{what}: at once");
        let settled = || folder.history() == history;
        until(what, settled).await;
        assert_eq!(desk.is_open().await, is_on, "{what}");
        assert_eq!(desk.purged(), u64::from(!is_on) * 2, "{what}");
        desk.kill().await;
        let again = folder.open().await;
        assert_eq!(again.is_open().await, is_on, "{what}: after a restart");
    };
    let alice = "alice on";
    check("nothing", true, "", true, &[alice]).await;
    let relay = "relay off 2";
    check(
        "the switch is lost",
        true,
        "DELETE FROM switch",
        false,
        &[alice, relay],
    )
    .await;
    check(
        "the history is lost",
        true,
        "DELETE FROM switch_log",
        false,
        &[relay],
    )
    .await;
    check(
        "they differ",
        true,
        "UPDATE switch SET changed_at = changed_at + 1",
        false,
        &[alice, relay],
    )
    .await;
    let undo = "DELETE FROM switch_log WHERE id = 2; UPDATE switch SET is_on = 1, changed_by = 'alice'";
    check("off is lost", false, undo, false, &[alice, "bob off"]).await;
    check("off is kept", false, "", false, &[alice, "bob off 2"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_that_lost_the_switch_cuts_what_is_under_way() {
    let folder = Folder::new();
    let desk = folder.open_on().await;
    let permit = desk.site().permit().await.unwrap();
    folder.database().execute_batch("DELETE FROM switch").unwrap();
    desk.rebuild().await;
    assert!(!desk.is_open().await, "nobody gets leave any more");
    assert!(!desk.site().is_on());
    assert!(!permit.is_cut(), "what is under way may end by itself");
    let started = tokio::time::Instant::now();
    permit.cut().await;
    assert!(started.elapsed() <= GRACE + Duration::from_secs(1));
    assert_eq!(desk.purged(), 0, "what is under way is waited for");
    drop(permit);
    until("it is purged", || desk.purged() == 2).await;
    assert_eq!(desk.by().as_deref(), Some("relay"));
    // Whoever is in charge may turn it on again.
    desk.turn(true, "alice").await.unwrap();
    assert!(desk.is_open().await);
}

#[tokio::test(start_paused = true)]
async fn on_right_after_a_rebuild_that_lost_it_begins_anew() {
    let folder = Folder::new();
    let desk = folder.open_on().await;
    folder.database().execute_batch("DELETE FROM switch").unwrap();
    desk.rebuild().await;
    desk.turn(true, "alice").await.unwrap();
    assert!(desk.is_open().await);
    assert_eq!(desk.purged(), 2);
    assert_eq!(folder.history(), ["alice on", "relay off 2", "alice on"]);
}

#[tokio::test(start_paused = true)]
async fn a_database_changed_by_other_means_turns_it_off_and_never_on() {
    let check = async |what: &str, on: bool, change: &str| {
        let folder = Folder::new();
        let desk = folder.open_on().await;
        if !on {
            desk.turn(false, "bob").await.unwrap();
        }
        folder.database().execute_batch(change).unwrap();
        until(what, || {
            folder.history().last().is_some_and(|last| last.contains("off"))
        })
        .await;
        assert!(!desk.is_open().await, "{what}");
        let is_on = || {
            look(&folder.database(), &folder.path(), SITE, Moment(START))
                .unwrap()
                .0
        };
        until(what, || !is_on()).await;
        assert_eq!(desk.purged(), 2, "{what}");
    };
    check("off", true, "UPDATE switch SET is_on = 0").await;
    let on = "INSERT INTO switch_log SELECT 9, site, 1, at, by, 0 FROM switch_log WHERE id = 1;
        UPDATE switch SET is_on = 1, changed_by = 'alice'";
    check("on", false, on).await;
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
async fn a_disk_that_hangs_keeps_nobody_from_turning_it_off() {
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
    // Memory and disk are just being compared.
    desk.spool.switches.wake.notify_one();
    let switches = desk.spool.switches.clone();
    let off = tokio::spawn(async move { switches.turn(SITE, false, "bob").await });
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
