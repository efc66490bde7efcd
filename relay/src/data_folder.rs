//! What a relay keeps on disk, opened together: by `serve`, or by a command while no relay runs.

use crate::app::StartError;
use crate::clock::{Ages, Clock};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::spool::{self, BUCKETS, Spool};
use crate::store::{self, FolderLock, OpenError, Store, Writer};
use crate::switch::Switches;
use std::sync::Arc;
use std::time::Duration;

/// How often `serve` tries to get the folder, five seconds in all. Then it does not start: another relay has it.
const LOCK_TRIES: u32 = 50;
/// How long it waits in between.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// The open data folder. Nobody else has it open.
#[derive(Debug)]
pub struct DataFolder {
    /// The database.
    pub store: Store,
    /// Events that wait.
    pub spool: Spool,
    /// The admin switches.
    pub switches: Switches,
    /// Closes the folder.
    pub keeper: Keeper,
}

/// Keeps the data folder from being opened a second time until it is closed.
#[derive(Debug)]
pub struct Keeper {
    writer: Writer,
    lock: FolderLock,
}

impl DataFolder {
    /// Takes the folder for this process and opens everything in it.
    ///
    /// # Errors
    /// [`InUse`](store::OpenError::InUse) when a running relay has it; otherwise what cannot be read.
    pub async fn open(config: &Config, clock: &Clock, metrics: &Arc<Metrics>) -> Result<Self, StartError> {
        let lock = FolderLock::take(&config.data_dir)?;
        let (db, rebuilt) = store::open_or_rebuild(&config.data_dir, clock.now())?;
        metrics.database_rebuilds.inc_by(u64::from(rebuilt.is_some()));
        // A damaged file is rebuilt by the first job that meets the damage; until then nothing is known.
        let ages = spool::resume_ages(&db, clock).unwrap_or_else(|_| Ages::resume(clock, 0, None));
        let (store, writer) = Store::start(db, clock.clone())?;
        let spool = Spool::open(
            store.clone(),
            Arc::clone(metrics),
            ages,
            config.spool.clone(),
            &config.sites,
            usize::from(BUCKETS),
        )
        .await?;
        let switches = Switches::open(
            config,
            store.clone(),
            spool.clone(),
            clock.clone(),
            Arc::clone(metrics),
        )
        .await?;
        Ok(Self {
            store,
            spool,
            switches,
            keeper: Keeper { writer, lock },
        })
    }

    /// [`DataFolder::open`] for `serve`: a command may have the folder for a moment, or a relay that is
    /// just stopping.
    ///
    /// # Errors
    /// Those of [`DataFolder::open`].
    pub async fn open_once_free(
        config: &Config,
        clock: &Clock,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let mut left = LOCK_TRIES;
        loop {
            match Self::open(config, clock, metrics).await {
                Err(StartError::Open(OpenError::InUse(folder, holder))) if left > 0 => {
                    if left == LOCK_TRIES {
                        tracing::info!(
                            "waiting for the data folder {}, which is in use{holder}",
                            folder.display()
                        );
                    }
                    left -= 1;
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                opened => return opened,
            }
        }
    }

    /// Closes the folder: the last job is committed, then others may open it.
    pub async fn close(self) {
        let Self {
            store,
            spool,
            switches,
            keeper,
        } = self;
        // Bound by `..` they would live to the end of this function, and closing waits for them.
        drop((store, spool, switches));
        keeper.close().await;
    }
}

impl Keeper {
    /// Waits until the last job is committed, then lets the folder go. All handles of the store have
    /// to be gone; until then this waits.
    pub async fn close(self) {
        let Self { writer, lock } = self;
        // A panic of the writer has been reported by the panic hook.
        let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        drop(lock);
    }
}
