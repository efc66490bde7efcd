//! Switches on a disk that refuses, loses records or hangs, on a paused clock.

mod rebuilt;
mod refused;
mod revoked;

use super::*;
use crate::spool::tests::{SITE, START, config};
use crate::store;
use rusqlite::Connection;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A relay's data folder. It can be reopened.
struct Folder(TempDir);

/// The switch of an open folder, with two events that wait if it is on.
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
        let (db, _) = store::open_or_rebuild(&self.path(), Timestamp(START)).unwrap();
        self.open_with(Store::inline(db)).await
    }

    async fn open_with(&self, store: Store) -> Desk {
        let mut config = config(1 << 20);
        config.data_dir = self.path();
        let (mut metrics, clock) = (Registry::default(), Clock::standing_at(Timestamp(START)));
        let limits = config.spool.clone();
        let spool = Spool::open(
            store.clone(),
            &mut metrics,
            clock.clone(),
            limits,
            &config.sites,
            1,
        )
        .await
        .unwrap();
        let switches = Switches::open(&config, store.clone(), spool.clone(), clock.clone(), &mut metrics)
            .await
            .unwrap();
        Desk {
            keeping: tokio::spawn(
                switches
                    .clone()
                    .reconcile(RECONCILE_INTERVAL, CancellationToken::new()),
            ),
            spool: crate::spool::tests::Desk {
                store: store.clone(),
                spool,
                clock,
                metrics,
                switches,
            },
            store,
        }
    }

    /// Opened and switched on by alice, with two waiting events.
    async fn open_on(&self) -> Desk {
        let desk = self.open().await;
        desk.turn(true, "alice").await.unwrap();
        for _ in 0..2 {
            assert_eq!(desk.spool.append("e", 1).await, Ok(()));
        }
        desk
    }

    /// Each change of the switch and its actor, from the history.
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

    fn tombstones(&self) -> usize {
        let entries = fs::read_dir(self.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("relay.off-")).count()
    }
}

impl Desk {
    async fn turn(&self, on: bool, by: &str) -> Result<u64, SetError> {
        self.spool.switches.set(SITE, on, by).await
    }

    fn site(&self) -> &Arc<Site> {
        self.spool.switches.site(SITE).unwrap()
    }

    async fn is_open(&self) -> bool {
        self.site().permit().is_some()
    }

    fn by(&self) -> Option<String> {
        self.site().set_by().map(|change| change.by)
    }

    fn purged(&self) -> u64 {
        let counts = self.spool.metrics.ledger.counts();
        assert_eq!(counts.difference(), 0, "events are conserved");
        counts.ended(Outcome::Purged)
    }

    /// The unrecorded switches, from the metrics.
    fn unrecorded(&self) -> Vec<String> {
        let text = self.spool.metrics.text();
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("feedback_relay_switch_unrecorded{"));
        let ones = lines.filter_map(|line| line.strip_suffix("} 1"));
        ones.filter_map(|labels| {
            Some(
                labels
                    .split_once("recorded=\"")?
                    .1
                    .trim_end_matches('"')
                    .to_owned(),
            )
        })
        .collect()
    }

    async fn recorded(&self) {
        until("it is recorded", || self.site().recorded() == Recorded::Database).await;
    }

    /// Makes the writer report damage.
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

    /// Ends like `kill -9`: without any cleanup.
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

/// A fault that keeps the disk from recording a change. [`TROUBLES`] lists where "off" is recorded under each.
#[derive(Clone, Copy, Debug)]
enum DbErrorKind {
    Locked,
    DatabaseGone,
    FolderGone,
}

const TROUBLES: [(DbErrorKind, Recorded); 3] = [
    (DbErrorKind::Locked, Recorded::Tombstone),
    (DbErrorKind::DatabaseGone, Recorded::Tombstone),
    (DbErrorKind::FolderGone, Recorded::Nowhere),
];

/// A fault that lasts until it is ended.
struct Troubled {
    held: Option<Connection>,
    moved: Option<(PathBuf, PathBuf)>,
}

impl DbErrorKind {
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
