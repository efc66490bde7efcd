//! The exclusive lock on a data folder.

use super::OpenError;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Longest text read from a lock file: a process id has at most ten digits.
const PID_BYTES_MAX: u64 = 10;

/// The exclusive lock on a data folder. A running relay holds it; the operating system releases it with the process.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "held for its lock")] File);

impl FolderLock {
    /// Creates the folder, accessible to its owner only, and locks it.
    ///
    /// # Errors
    /// If it cannot be used, or another relay uses it.
    pub fn take(folder: &Path) -> Result<Self, OpenError> {
        make_folder(folder)?;
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(folder.join("relay.lock"))
            .map_err(|error| OpenError::Folder(folder.to_owned(), error))?;
        match file.try_lock() {
            Ok(()) => {
                // For the error message of a second relay; without it the message names no process.
                let _ = file
                    .set_len(0)
                    .and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Self(file))
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let read = file.take(PID_BYTES_MAX).read_to_string(&mut holder);
                let pid = read.ok().and_then(|_| holder.trim().parse().ok());
                Err(OpenError::InUse(folder.to_owned(), Holder(pid)))
            }
            Err(TryLockError::Error(error)) => Err(OpenError::NoLocks(folder.to_owned(), error)),
        }
    }
}

/// The process that holds a data folder, if it wrote its id. It may run on another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(Option<u32>);

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(f, " (process {pid})"),
            None => Ok(()),
        }
    }
}

/// Creates the data folder, accessible to its owner only, if there is none.
///
/// # Errors
/// If it cannot be created.
pub fn make_folder(folder: &Path) -> Result<(), OpenError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| OpenError::Folder(folder.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_relays_until_it_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let held = FolderLock::take(folder.path()).unwrap();
        let refused = FolderLock::take(folder.path()).unwrap_err().to_string();
        let holder = format!("(process {})", std::process::id());
        assert!(refused.contains(&holder), "{refused}");
        assert!(refused.contains(folder.path().to_str().unwrap()), "{refused}");
        std::fs::write(folder.path().join("relay.lock"), "no number").unwrap();
        let refused = FolderLock::take(folder.path()).unwrap_err().to_string();
        assert!(!refused.contains("process"), "{refused}");
        drop(held);
        drop(FolderLock::take(folder.path()).unwrap());
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let refused = FolderLock::take(&file).unwrap_err();
        assert!(matches!(refused, OpenError::Folder(..)), "{refused}");
    }
}
