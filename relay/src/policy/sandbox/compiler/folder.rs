//! Compiled policies in the data folder, so that startup takes milliseconds.
//!
//! `policies/key` seals them; `policies/<SHA-256 of the component>.native` is one compiled policy.

use super::child::ARTIFACT_BYTES_MAX;
use crate::os::private_folder::PrivateFolder;
use policy_artifact::{KEY_BYTES, Key};
use std::io;
use std::path::Path;

/// The folder's name in the data folder.
pub const NAME: &str = "policies";
/// Maximum number of compiled policies, of a few megabytes each. At the limit the least recently used one is removed.
const KEPT_MAX: usize = 4;
const KEY: &str = "key";
const EXTENSION: &str = "native";

/// The compiled policies of a data folder.
#[derive(Debug)]
pub(super) struct Folder {
    files: PrivateFolder,
    key: Key,
}

impl Folder {
    /// Creates the folder and its key if they do not exist.
    pub(super) fn open(data_dir: &Path) -> io::Result<Self> {
        let files = PrivateFolder::open(data_dir.join(NAME))?;
        let key = key(&files)?;
        Ok(Self { files, key })
    }

    /// The key that seals everything in the folder.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// A component's artifact. `None` if there is none, or it is not trusted.
    pub(super) fn find(&self, sha256: &str) -> Option<Vec<u8>> {
        let name = format!("{sha256}.{EXTENSION}");
        match self.files.read(&name, ARTIFACT_BYTES_MAX) {
            Ok(found) => {
                self.files.touch(&name);
                found
            }
            Err(error) => {
                tracing::warn!(sha256, %error, "the compiled policy on disk is not used; compiling it again");
                None
            }
        }
    }

    /// Keeps an artifact. On failure, logs why: the next startup compiles again.
    pub(super) fn keep(&self, sha256: &str, artifact: &[u8]) {
        let written = self.files.write(&format!("{sha256}.{EXTENSION}"), artifact);
        if let Err(error) = written.and_then(|()| self.files.keep_newest(EXTENSION, KEPT_MAX)) {
            tracing::warn!(sha256, %error, "the compiled policy cannot be kept; the next start compiles it again");
        }
    }
}

/// Reads or creates the key. A key that other users could read is replaced, and policies sealed with it are compiled
/// again.
fn key(files: &PrivateFolder) -> io::Result<Key> {
    let kept = files.read(KEY, KEY_BYTES).ok().flatten();
    if let Some(kept) = kept.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok()) {
        return Ok(Key::new(kept));
    }
    let key: [u8; KEY_BYTES] = crate::clock::random();
    files.write(KEY, &key)?;
    Ok(Key::new(key))
}
