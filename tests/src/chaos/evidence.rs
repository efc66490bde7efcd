//! The evidence of a failed round: its folder and the logs of its relays.

use super::copy_folder;
use crate::{ChildRelay, Setup};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Relays whose logs are kept; the last ones are the most informative.
const LOGS_MAX: usize = 8;

/// Collected while a round is played.
#[derive(Debug, Default)]
pub(super) struct Evidence(Mutex<Gathered>);

#[derive(Debug, Default)]
struct Gathered {
    /// Prevents the removal of the temporary folder.
    setups: Vec<Setup>,
    logs: Vec<Arc<Mutex<String>>>,
    notes: Vec<String>,
}

impl Evidence {
    fn with<T>(&self, act: impl FnOnce(&mut Gathered) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn of(&self, setup: &Setup) {
        self.with(|gathered| gathered.setups.push(setup.clone()));
    }

    pub(super) fn log_of(&self, relay: &ChildRelay) {
        self.with(|gathered| {
            gathered.logs.push(relay.log_so_far());
            let surplus = gathered.logs.len().saturating_sub(LOGS_MAX);
            gathered.logs.drain(..surplus);
        });
    }

    /// Records an action, in order.
    pub(super) fn note(&self, line: String) {
        self.with(|gathered| gathered.notes.push(line));
    }

    /// Writes all of it into a folder.
    pub(super) fn keep(&self, folder: &Path) -> PathBuf {
        let kept = self.with(|gathered| {
            // From an earlier run with the same seed.
            let _ = std::fs::remove_dir_all(folder);
            for setup in &gathered.setups {
                copy_folder(setup.folder(), folder)?;
            }
            for (n, log) in gathered.logs.iter().enumerate() {
                let log = log.lock().unwrap_or_else(PoisonError::into_inner);
                std::fs::write(folder.join(format!("relay-{n}.log")), log.as_str())?;
            }
            std::fs::write(folder.join("notes.txt"), gathered.notes.join("\n"))
        });
        if let Err(error) = kept {
            eprintln!("not all of the evidence could be kept: {error}");
        }
        folder.to_owned()
    }
}
