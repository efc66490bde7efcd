//! A folder with files that only this process's user can have written.
//!
//! Files are read as a whole and replaced atomically, so several processes can use the folder at the same time.

use rustix::fs::{AtFlags, CWD, OFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder, after its permissions were checked.
#[derive(Clone, Debug)]
pub struct PrivateFolder(PathBuf);

impl PrivateFolder {
    /// Creates the folder if it does not exist, accessible to its owner only. If other users had access to it,
    /// removes their access and empties it first: a restored backup or a volume's settings may have opened it.
    ///
    /// # Errors
    /// If it cannot be created, belongs to another user, or is a link.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let meta = fs::symlink_metadata(&path)?;
        if !meta.is_dir() {
            return Err(denied(
                "it is a link or a file; remove it, and the relay creates a folder",
            ));
        }
        is_own(&meta)?;
        if is_open_to_others(&meta) {
            fs::set_permissions(&path, Permissions::from_mode(0o700))?;
            for entry in fs::read_dir(&path)? {
                fs::remove_file(entry?.path())?;
            }
            tracing::warn!(
                folder = %path.display(),
                "the folder was accessible to other users: restricted it to its owner and emptied it"
            );
        }
        Ok(Self(path))
    }

    /// The path of a file, for messages.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Reads a file of at most `bytes_max` bytes. `None` if there is no such file.
    ///
    /// # Errors
    /// If it cannot be read, is longer, or another user may have written it.
    pub fn read(&self, name: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        // Opening must neither follow a link nor block on a pipe.
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
        let file = match File::options()
            .read(true)
            .custom_flags(flags)
            .open(self.path(name))
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(denied("it is not a file"));
        }
        is_own(&meta)?;
        if is_open_to_others(&meta) {
            return Err(denied("other users may read or write it"));
        }
        let mut bytes = Vec::new();
        file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
        match bytes.len() > bytes_max {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(Some(bytes)),
        }
    }

    /// Writes a file, for its owner only. Readers see either the old or the new content.
    ///
    /// # Errors
    /// If it cannot be written. An earlier file of this name stays.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let beside = self.path(&format!("{name}.{}.new", std::process::id()));
        let made = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&beside);
        let written = made
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_data()))
            .and_then(|()| fs::rename(&beside, self.path(name)));
        if written.is_err() {
            // A partial file would take space that the spool needs.
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// Removes a file if it exists.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Marks a file as recently used, so that it is not the next to be removed.
    pub fn touch(&self, name: &str) {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        // If this fails, the file is removed earlier than necessary.
        let _ = rustix::fs::utimensat(CWD, self.path(name), &times, AtFlags::SYMLINK_NOFOLLOW);
    }

    /// Removes all files with this extension but the newest `count`, and leftovers of interrupted writes.
    ///
    /// # Errors
    /// If they cannot be listed or removed.
    pub fn keep_newest(&self, extension: &str, count: usize) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if has_extension(&path, extension) || has_extension(&path, "new") {
                // Another process may have removed the file meanwhile.
                files.extend(fs::symlink_metadata(&path).and_then(|meta| Ok((meta.modified()?, path))));
            }
        }
        files.sort();
        for (_, path) in files.iter().rev().skip(count) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|have| have == extension)
}

fn is_own(meta: &Metadata) -> io::Result<()> {
    match meta.uid() == geteuid().as_raw() {
        true => Ok(()),
        false => Err(denied("it belongs to another user")),
    }
}

fn is_open_to_others(meta: &Metadata) -> bool {
    meta.mode() & 0o077 != 0
}

fn denied(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder() -> (tempfile::TempDir, PrivateFolder) {
        let at = tempfile::tempdir().unwrap();
        let folder = PrivateFolder::open(at.path().join("private")).unwrap();
        (at, folder)
    }

    #[test]
    fn what_was_written_is_read_back_by_its_owner_only() {
        let (_at, folder) = folder();
        assert_eq!(folder.read("a", 9).unwrap(), None);
        folder.write("a", b"one").unwrap();
        folder.write("a", b"two").unwrap();
        assert_eq!(folder.read("a", 3).unwrap().as_deref(), Some(&b"two"[..]));
        assert!(folder.read("a", 2).is_err(), "longer than allowed");
        let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(folder.path("a")), mode(folder.path(""))), (0o600, 0o700));
        folder.remove("a").unwrap();
        folder.remove("a").unwrap();
        assert_eq!(folder.read("a", 9).unwrap(), None);
    }

    #[test]
    fn what_someone_else_may_have_written_is_not_read() {
        let check = |what: &str, spoil: &dyn Fn(&PrivateFolder)| {
            let (_at, folder) = folder();
            folder.write("a", b"one").unwrap();
            spoil(&folder);
            assert!(folder.read("a", 9).is_err(), "{what}");
        };
        let chmod = |path: PathBuf, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        check("others may write it", &|f| chmod(f.path("a"), 0o602));
        check("a group may read it", &|f| chmod(f.path("a"), 0o640));
        check("a link", &|f| {
            fs::rename(f.path("a"), f.path("b")).unwrap();
            symlink(f.path("b"), f.path("a")).unwrap();
        });
        check("a folder", &|f| {
            f.remove("a").unwrap();
            fs::create_dir(f.path("a")).unwrap();
        });

        let refused = |what: &str, spoil: &dyn Fn(&Path)| {
            let at = tempfile::tempdir().unwrap();
            let path = at.path().join("private");
            spoil(&path);
            assert!(PrivateFolder::open(path).is_err(), "{what}");
        };
        refused("a link to a folder", &|path| {
            let elsewhere = path.with_extension("elsewhere");
            DirBuilder::new().mode(0o700).create(&elsewhere).unwrap();
            symlink(elsewhere, path).unwrap();
        });
        refused("a file", &|path| fs::write(path, "").unwrap());
    }

    #[test]
    fn a_folder_that_was_open_to_others_is_emptied_and_closed() {
        for mode in [0o777, 0o770, 0o701, 0o750] {
            let (_at, folder) = folder();
            folder.write("a", b"one").unwrap();
            fs::set_permissions(folder.path(""), Permissions::from_mode(mode)).unwrap();
            let folder = PrivateFolder::open(folder.path("")).unwrap();
            assert_eq!(folder.read("a", 9).unwrap(), None, "{mode:o}");
            assert_eq!(
                fs::metadata(folder.path("")).unwrap().mode() & 0o777,
                0o700,
                "{mode:o}"
            );
        }
    }

    #[test]
    fn the_newest_files_stay() {
        let (_at, folder) = folder();
        for (name, second) in [("a.x", 1), ("b.x", 2), ("c.x", 3), ("d.y", 0)] {
            folder.write(name, b"").unwrap();
            let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
            File::options()
                .write(true)
                .open(folder.path(name))
                .unwrap()
                .set_modified(at)
                .unwrap();
        }
        folder.touch("a.x");
        folder.keep_newest("x", 2).unwrap();
        let there = |name: &str| folder.read(name, 9).unwrap().is_some();
        assert_eq!(["a.x", "b.x", "c.x", "d.y"].map(there), [true, false, true, true]);
    }
}
