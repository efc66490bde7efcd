//! A file beside the database that keeps a site off when the database cannot record "off".
//!
//! Only its existence counts: an empty file needs almost no space, and no damage to it means "on". Its text names who set
//! the switch, for the history.

use super::{BY_RELAY, SetBy};
use crate::clock::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of a domain's hash that name its file: a domain can be longer than a file name, and contain slashes.
const NAME_BYTES: usize = 16;
/// Longest text read, in bytes. The relay did not write a longer one: the site is off all the same.
const TEXT_BYTES_MAX: u64 = 1024;

/// One site's tombstone. There are at most as many as sites that were ever configured.
#[derive(Clone, Debug)]
pub(super) struct Tombstone(PathBuf);

#[derive(Deserialize, Serialize)]
struct Text {
    site: String,
    at: i64,
    by: String,
}

impl Tombstone {
    pub(super) fn of(folder: &Path, domain: &str) -> Self {
        let hash = Sha256::digest(domain);
        let name: String = hash[..NAME_BYTES].iter().map(|b| format!("{b:02x}")).collect();
        Self(folder.join(format!("relay.off-{name}")))
    }

    /// The file's name, for an operator who must remove it.
    pub(super) fn name(&self) -> String {
        let name = self.0.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Who switched the site off, if there is a tombstone. One that cannot be read, or not be looked up, means off as well.
    pub(super) fn find(&self, now: Timestamp) -> Option<SetBy> {
        let read = || -> io::Result<SetBy> {
            let mut text = String::new();
            File::open(&self.0)?
                .take(TEXT_BYTES_MAX)
                .read_to_string(&mut text)?;
            let text: Text = serde_json::from_str(&text)?;
            Ok(SetBy {
                at: Timestamp(text.at),
                by: text.by,
            })
        };
        match fs::symlink_metadata(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            _ => Some(read().unwrap_or_else(|_| SetBy {
                at: now,
                by: BY_RELAY.to_owned(),
            })),
        }
    }

    /// Writes the tombstone and syncs it to disk.
    pub(super) fn set(&self, domain: &str, set_by: &SetBy) -> io::Result<()> {
        let text = Text {
            site: domain.to_owned(),
            at: set_by.at.0,
            by: set_by.by.clone(),
        };
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&self.0)?;
        // On a full disk the file exists and is empty: that is enough.
        let _ = serde_json::to_vec(&text).map(|text| file.write_all(&text));
        file.sync_all()?;
        self.sync_folder()
    }

    /// Removes the tombstone and syncs the folder. Does nothing if there is none.
    pub(super) fn clear(&self) -> io::Result<()> {
        match fs::remove_file(&self.0) {
            Ok(()) => self.sync_folder(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.0.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(7);

    fn alice() -> SetBy {
        SetBy {
            at: Timestamp(5),
            by: "alice".to_owned(),
        }
    }

    #[test]
    fn a_tombstone_means_off_however_damaged() {
        let check = |what: &str, make: &dyn Fn(&Tombstone, &Path), want: Option<&str>| {
            let folder = tempfile::tempdir().unwrap();
            let tombstone = Tombstone::of(folder.path(), "panel.example.com/a");
            make(&tombstone, &tombstone.0);
            let found = tombstone.find(NOW).map(|set_by| set_by.by);
            assert_eq!(found.as_deref(), want, "{what}");
        };
        check("nothing", &|_, _| {}, None);
        let set = |tombstone: &Tombstone, _: &Path| tombstone.set("panel.example.com/a", &alice()).unwrap();
        check("what was written", &set, Some("alice"));
        let other = |_: &Tombstone, path: &Path| {
            let folder = path.parent().unwrap();
            let other = Tombstone::of(folder, "panel.example.com/b");
            other.set("panel.example.com/b", &alice()).unwrap();
        };
        check("another site's", &other, None);
        let text = |text: &'static [u8]| move |_: &Tombstone, path: &Path| fs::write(path, text).unwrap();
        check("an empty file", &text(b""), Some("relay"));
        check("its beginning", &text(b"{\"at\":5"), Some("relay"));
        check("no text", &text(b"\xff\x00"), Some("relay"));
        check("something long", &text(&[b' '; 4096]), Some("relay"));
        let folder = |_: &Tombstone, path: &Path| fs::create_dir(path).unwrap();
        check("a folder", &folder, Some("relay"));
        let circle = |_: &Tombstone, path: &Path| std::os::unix::fs::symlink(path, path).unwrap();
        check("a link to itself", &circle, Some("relay"));
        let dangling = |_: &Tombstone, path: &Path| std::os::unix::fs::symlink("gone", path).unwrap();
        check("a link to nothing", &dangling, Some("relay"));
        let cleared = |tombstone: &Tombstone, path: &Path| {
            set(tombstone, path);
            tombstone.clear().unwrap();
            tombstone.clear().unwrap();
        };
        check("one that was removed", &cleared, None);
    }

    #[test]
    fn a_tombstone_that_cannot_be_written_or_removed_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = Tombstone::of(&folder.path().join("gone"), "s");
        assert!(nowhere.set("s", &alice()).is_err());
        nowhere.clear().unwrap();
        let tombstone = Tombstone::of(folder.path(), "s");
        fs::create_dir(&tombstone.0).unwrap();
        assert!(tombstone.set("s", &alice()).is_err());
        assert!(tombstone.clear().is_err());
    }
}
