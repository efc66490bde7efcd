//! The right to use a data folder.

use super::OpenError;
use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The right to use a data folder. Held by a running relay; the operating system ends it with the process.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "held for its lock")] File);

impl FolderLock {
    /// Makes the folder, for its owner only, and locks it.
    ///
    /// # Errors
    /// When it cannot be used, or another relay uses it.
    pub fn take(folder: &Path) -> Result<Self, OpenError> {
        make_folder(folder)?;
        let unusable = |error| OpenError::Folder(folder.to_owned(), error);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("relay.lock"))
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }
}

/// Makes the data folder, for its owner only, where there is none.
///
/// # Errors
/// When it cannot be made.
pub fn make_folder(folder: &Path) -> Result<(), OpenError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| OpenError::Folder(folder.to_owned(), error))
}
