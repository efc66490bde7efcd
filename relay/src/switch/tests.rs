//! Switches on a disk that refuses, forgets and hangs, on a paused clock.

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
        let spool = Spool::open(store.clone(), m, c, limits, &config.sites, 1)
            .await
            .unwrap();
        let (m, c) = told();
        let switches = Switches::open(&config, store.clone(), spool.clone(), c, m)
            .await
            .unwrap();
        Desk {
            keeping: tokio::spawn(switches.clone().keep(LOOK_AGAIN, CancellationToken::new())),
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
