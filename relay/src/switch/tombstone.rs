//! A file beside the database that keeps a site off when the database does not take "off".
//!
//! That it exists is all that counts: an empty file needs next to no room, and no damage to it says "on". What
//! is in it says who turned the switch, for the history.

use super::{BY_RELAY, Change};
use crate::clock::Moment;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of a domain's hash that name its file: a domain may be longer than a file's name, and have slashes.
const NAME_BYTES: usize = 16;
/// Longest text read. One that is longer is none of ours: the site is off all the same.
const TEXT_BYTES_MAX: u64 = 1024;

/// One site's marker. There are never more than sites that were configured once.
#[derive(Clone, Debug)]
pub(super) struct Marker(PathBuf);

#[derive(Deserialize, Serialize)]
struct Text {
    site: String,
    at: i64,
    by: String,
}

impl Marker {
    pub(super) fn of(folder: &Path, domain: &str) -> Self {
        let hash = Sha256::digest(domain);
        let name: String = hash[..NAME_BYTES].iter().map(|b| format!("{b:02x}")).collect();
        Self(folder.join(format!("relay.off-{name}")))
    }

    /// The file's name, for whoever has to remove it.
    pub(super) fn name(&self) -> String {
        let name = self.0.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Who turned the switch off, where there is a marker. One that cannot be read, or not be looked for,
    /// means off as well.
    pub(super) fn find(&self, now: Moment) -> Option<Change> {
        let read = || -> io::Result<Change> {
            let mut text = String::new();
            File::open(&self.0)?
                .take(TEXT_BYTES_MAX)
                .read_to_string(&mut text)?;
            let text: Text = serde_json::from_str(&text)?;
            Ok(Change {
                at: Moment(text.at),
                by: text.by,
            })
        };
        match fs::symlink_metadata(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            _ => Some(read().unwrap_or_else(|_| Change {
                at: now,
                by: BY_RELAY.to_owned(),
            })),
        }
    }

    /// Makes the marker, and makes it last.
    pub(super) fn set(&self, domain: &str, change: &Change) -> io::Result<()> {
        let text = Text {
            site: domain.to_owned(),
            at: change.at.0,
            by: change.by.clone(),
        };
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&self.0)?;
        // On a full disk the file is there and empty: that is enough.
        let _ = serde_json::to_vec(&text).map(|text| file.write_all(&text));
        file.sync_all()?;
        self.sync_folder()
    }

    /// Removes the marker for good. Nothing happens where there is none.
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

    const NOW: Moment = Moment(7);

    fn alice() -> Change {
        Change {
            at: Moment(5),
            by: "alice".to_owned(),
        }
    }

    #[test]
    fn whatever_is_in_a_marker_or_in_its_place_means_off() {
        let check = |what: &str, make: &dyn Fn(&Marker, &Path), want: Option<&str>| {
            let folder = tempfile::tempdir().unwrap();
            let marker = Marker::of(folder.path(), "panel.example.com/a");
            make(&marker, &marker.0);
            let found = marker.find(NOW).map(|change| change.by);
            assert_eq!(found.as_deref(), want, "{what}");
        };
        check("nothing", &|_, _| {}, None);
        let set = |marker: &Marker, _: &Path| marker.set("panel.example.com/a", &alice()).unwrap();
        check("what was written", &set, Some("alice"));
        let other = |_: &Marker, path: &Path| {
            let folder = path.parent().unwrap();
            let other = Marker::of(folder, "panel.example.com/b");
            other.set("panel.example.com/b", &alice()).unwrap();
        };
        check("another site's", &other, None);
        let text = |text: &'static [u8]| move |_: &Marker, path: &Path| fs::write(path, text).unwrap();
        check("an empty file", &text(b""), Some("relay"));
        check("its beginning", &text(b"{\"at\":5"), Some("relay"));
        check("no text", &text(b"\xff\x00"), Some("relay"));
        check("something long", &text(&[b' '; 4096]), Some("relay"));
        let folder = |_: &Marker, path: &Path| fs::create_dir(path).unwrap();
        check("a folder", &folder, Some("relay"));
        let circle = |_: &Marker, path: &Path| std::os::unix::fs::symlink(path, path).unwrap();
        check("a link to itself", &circle, Some("relay"));
        let dangling = |_: &Marker, path: &Path| std::os::unix::fs::symlink("gone", path).unwrap();
        check("a link to nothing", &dangling, Some("relay"));
        let cleared = |marker: &Marker, path: &Path| {
            set(marker, path);
            marker.clear().unwrap();
            marker.clear().unwrap();
        };
        check("one that was removed", &cleared, None);
    }

    #[test]
    fn a_marker_that_cannot_be_made_or_removed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = Marker::of(&folder.path().join("gone"), "s");
        assert!(nowhere.set("s", &alice()).is_err());
        nowhere.clear().unwrap();
        let marker = Marker::of(folder.path(), "s");
        fs::create_dir(&marker.0).unwrap();
        assert!(marker.set("s", &alice()).is_err());
        assert!(marker.clear().is_err());
    }
}
