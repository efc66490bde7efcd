//! The files that a disk may have kept after a power cut, built from the journal of the shim (`tests/shim/shim.c`).
//!
//! Synced bytes are kept. Of every other write each sector is kept, dropped or torn. Of unsynced changes to a folder's
//! entries a prefix is kept, in order, as on journaling file systems.

use crate::Dice;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// First four bytes of each record. Must match `shim.c`, like the operation numbers below.
const MAGIC: u32 = 0x4348_4153;
/// Bytes of a record before its name and data.
const HEAD: usize = 32;

/// A disk's treatment of unsynced writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// None were written.
    DropsAll,
    /// All were written.
    KeepsAll,
    /// A prefix of each file's changes was written.
    KeepsOldest,
    /// Arbitrary sectors of 512 bytes were written, some of them torn.
    Sectors512,
    /// Arbitrary sectors of 4096 bytes were written, some of them torn.
    Sectors4096,
}

/// Every way.
pub(super) const CUTS: [Cut; 5] = [
    Cut::DropsAll,
    Cut::KeepsAll,
    Cut::KeepsOldest,
    Cut::Sectors512,
    Cut::Sectors4096,
];

/// Files by their names below the data folder.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// The changes to the disk since a process began.
#[derive(Debug, Default)]
pub(super) struct DiskImage {
    files: Vec<File>,
    /// The file that an inode currently refers to. Inodes are reused.
    by_inode: HashMap<u64, usize>,
    /// Folder entries that are on disk.
    names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    unseen: Vec<String>,
}

#[derive(Debug, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// Syncs that have begun: the number of changes that each makes durable.
    syncs: HashMap<u64, usize>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Truncate(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, usize),
    Remove(String),
    Rename(String, String),
}

impl NameChange {
    /// The folder whose sync makes it durable.
    fn folder(&self) -> &str {
        let (Self::Create(name, _) | Self::Remove(name) | Self::Rename(_, name)) = self;
        name.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, file) => drop(names.insert(name.clone(), *file)),
            Self::Remove(name) => drop(names.remove(name)),
            Self::Rename(from, to) => {
                let below = format!("{from}/");
                let moved: Vec<String> = names
                    .keys()
                    .filter(|name| *name == from || name.starts_with(&below))
                    .cloned()
                    .collect();
                for name in moved {
                    if let Some(file) = names.remove(&name) {
                        names.insert(format!("{to}{}", &name[from.len()..]), file);
                    }
                }
            }
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => put(bytes, *offset, data),
            Self::Truncate(length) => bytes.resize(*length, 0),
        }
    }
}

/// Writes into a file's bytes; a gap between its end and the offset is filled with zeros.
fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

impl DiskImage {
    /// The image of a folder before a process begins: all of it is durable.
    ///
    /// # Panics
    /// When it cannot be read.
    pub(super) fn before(folder: &Path) -> Self {
        let mut image = Self::default();
        image.add_folder(folder, "");
        image
    }

    fn add_folder(&mut self, folder: &Path, below: &str) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries {
            let entry = entry.unwrap();
            let (kind, path) = (entry.file_type().unwrap(), entry.path());
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            if kind.is_dir() {
                self.add_folder(&path, &format!("{name}/"));
            } else if kind.is_file() {
                let inode = entry.metadata().unwrap().ino();
                let file = self.file(inode);
                self.files[file].durable = fs::read(&path).unwrap();
                self.names.insert(name, file);
            }
        }
    }

    fn file(&mut self, inode: u64) -> usize {
        self.files.push(File::default());
        self.by_inode.insert(inode, self.files.len() - 1);
        self.files.len() - 1
    }

    /// Applies the journal of a process. A kill may have torn the last record.
    ///
    /// # Panics
    /// If it is not a journal.
    pub(super) fn replay(&mut self, journal: &[u8]) {
        let mut rest = journal;
        while rest.len() >= HEAD {
            let number = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            let long = |at: usize| u64::from_le_bytes(rest[at..at + 8].try_into().unwrap());
            assert_eq!(number(0), MAGIC, "the journal of the shim is damaged");
            let (operation, inode, offset) = (number(4), long(8), long(16));
            let (name_len, data_len) = (number(24) as usize, number(28) as usize);
            let end = HEAD + name_len + data_len;
            if rest.len() < end {
                return;
            }
            let name = String::from_utf8_lossy(&rest[HEAD..HEAD + name_len]).into_owned();
            self.take(operation, inode, offset, name, &rest[HEAD + name_len..end]);
            rest = &rest[end..];
        }
    }

    fn take(&mut self, operation: u32, inode: u64, offset: u64, name: String, data: &[u8]) {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let known = self.by_inode.get(&inode).copied();
        match (operation, known) {
            (1, Some(file)) => self.files[file].pending.push(Change::Write {
                offset: at,
                data: data.to_vec(),
            }),
            (2, Some(file)) => self.files[file].pending.push(Change::Truncate(at)),
            (3, Some(file)) => {
                let file = &mut self.files[file];
                file.syncs.insert(offset, file.pending.len());
            }
            (4, Some(file)) => self.files[file].end_sync(offset),
            (5, _) => {
                let file = self.file(inode);
                self.pending_names.push(NameChange::Create(name, file));
            }
            (6, _) => self.pending_names.push(NameChange::Remove(name)),
            (7, _) => {
                let (from, to) = name.split_once('\0').unwrap_or((&name, &name));
                self.pending_names
                    .push(NameChange::Rename(from.to_owned(), to.to_owned()));
            }
            (8, _) => {
                let (synced, pending) = std::mem::take(&mut self.pending_names)
                    .into_iter()
                    .partition::<Vec<_>, _>(|change| change.folder() == name);
                synced.iter().for_each(|change| change.apply(&mut self.names));
                self.pending_names = pending;
            }
            // Folders come with the files in them.
            (9, _) => {}
            _ => self.unseen.push(format!("operation {operation} {name}")),
        }
    }

    /// Changes that the shim could not track. If there are none, the image is complete.
    pub(super) fn unseen(&self) -> &[String] {
        &self.unseen
    }

    /// The files as the process saw them, without SQLite's index of its log, which is only memory.
    pub(super) fn as_written(&self) -> Files {
        let mut dice = Dice::with_seed(0);
        let mut files = self.after(Cut::KeepsAll, &mut dice);
        files.retain(|name, _| !name.ends_with("-shm"));
        files
    }

    /// The files that the disk kept.
    pub(super) fn after(&self, cut: Cut, dice: &mut Dice) -> Files {
        let mut names = self.names.clone();
        let kept = match cut {
            Cut::DropsAll => 0,
            Cut::KeepsAll => self.pending_names.len(),
            _ => dice.below(self.pending_names.len() + 1),
        };
        for change in &self.pending_names[..kept] {
            change.apply(&mut names);
        }
        let content = |(name, file): (String, usize)| (name, self.files[file].after(cut, dice));
        names.into_iter().map(content).collect()
    }
}

impl File {
    /// Makes all writes from before a sync began durable.
    fn end_sync(&mut self, token: u64) {
        let count = self
            .syncs
            .remove(&token)
            .unwrap_or_default()
            .min(self.pending.len());
        for change in self.pending.drain(..count) {
            change.apply(&mut self.durable);
        }
        for begun in self.syncs.values_mut() {
            *begun = begun.saturating_sub(count);
        }
    }

    fn after(&self, cut: Cut, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let oldest = match cut {
            Cut::DropsAll => 0,
            Cut::KeepsOldest => dice.below(self.pending.len() + 1),
            _ => self.pending.len(),
        };
        for change in &self.pending[..oldest] {
            match (cut, change) {
                (Cut::Sectors512, Change::Write { offset, data }) => {
                    tear(&mut bytes, *offset, data, 512, dice);
                }
                (Cut::Sectors4096, Change::Write { offset, data }) => {
                    tear(&mut bytes, *offset, data, 4096, dice);
                }
                (Cut::Sectors512 | Cut::Sectors4096, Change::Truncate(_)) if dice.below(2) == 0 => {}
                _ => change.apply(&mut bytes),
            }
        }
        bytes
    }
}

/// Writes the sectors of a change: each is kept, dropped, or torn in the middle.
fn tear(bytes: &mut Vec<u8>, offset: usize, data: &[u8], sector: usize, dice: &mut Dice) {
    let mut from = 0;
    while from < data.len() {
        let to = data.len().min(from + sector - (offset + from) % sector);
        match dice.below(8) {
            0..4 => put(bytes, offset + from, &data[from..to]),
            4 => put(bytes, offset + from, &data[from..from + dice.below(to - from)]),
            _ => {}
        }
        from = to;
    }
}

/// Replaces the files of a folder. Sockets stay, as on a disk.
///
/// # Panics
/// When they cannot be written.
pub(super) fn put_files(folder: &Path, files: &Files) {
    clear(folder);
    for (name, bytes) in files {
        let path = folder.join(name);
        let mut for_its_owner = fs::DirBuilder::new();
        for_its_owner.recursive(true).mode(0o700);
        for_its_owner.create(path.parent().unwrap()).unwrap();
        let mut options = fs::File::options();
        let mut file = options
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
    }
}

fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            fs::remove_dir_all(entry.path()).unwrap();
        } else if kind.is_file() {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

/// The current files of a folder, without SQLite's index of its log.
///
/// # Panics
/// When they cannot be read.
pub(super) fn files_of(folder: &Path) -> Files {
    DiskImage::before(folder).as_written()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(operation: u32, inode: u64, offset: u64, name: &str, data: &[u8]) -> Vec<u8> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let mut bytes = [MAGIC.to_le_bytes(), operation.to_le_bytes()].concat();
        bytes.extend([inode.to_le_bytes(), offset.to_le_bytes()].concat());
        bytes.extend([length(name.as_bytes()), length(data)].concat());
        bytes.extend(name.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn after(cut: Cut, journal: &[Vec<u8>]) -> Vec<(String, String)> {
        let mut image = DiskImage::default();
        image.replay(&journal.concat());
        let files = image.after(cut, &mut Dice::with_seed(1));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        files
            .into_iter()
            .map(|(name, bytes)| (name, text(bytes)))
            .collect()
    }

    /// Creates a file `a` whose entry is on disk.
    fn created() -> Vec<Vec<u8>> {
        vec![record(5, 7, 0, "a", b""), record(8, 0, 0, "", b"")]
    }

    #[test]
    fn only_what_was_written_before_a_sync_began_is_certain() {
        let mut journal = created();
        journal.push(record(1, 7, 0, "", b"one"));
        journal.push(record(3, 7, 1, "", b""));
        journal.push(record(1, 7, 3, "", b"two"));
        assert_eq!(
            after(Cut::DropsAll, &journal),
            [("a".into(), String::new())],
            "the sync did not end"
        );
        journal.push(record(4, 7, 1, "", b""));
        assert_eq!(after(Cut::DropsAll, &journal), [("a".into(), "one".into())]);
        assert_eq!(after(Cut::KeepsAll, &journal), [("a".into(), "onetwo".into())]);
        journal.push(record(2, 7, 1, "", b""));
        assert_eq!(after(Cut::KeepsAll, &journal), [("a".into(), "o".into())]);
        let whole = journal.concat();
        let mut image = DiskImage::default();
        image.replay(&whole[..whole.len() - 1]);
        assert_eq!(
            image.as_written()["a"],
            b"onetwo",
            "a record that was torn is none"
        );
    }

    #[test]
    fn an_entry_is_certain_once_its_folder_was_synced() {
        let mut journal = vec![
            record(5, 7, 0, "a", b""),
            record(1, 7, 0, "", b"x"),
            record(3, 7, 1, "", b""),
        ];
        journal.push(record(4, 7, 1, "", b""));
        assert_eq!(
            after(Cut::DropsAll, &journal),
            [],
            "the file was synced, its folder was not"
        );
        journal.push(record(8, 0, 0, "", b""));
        journal.push(record(7, 0, 0, "a\0b", b""));
        assert_eq!(after(Cut::DropsAll, &journal), [("a".into(), "x".into())]);
        assert_eq!(after(Cut::KeepsAll, &journal), [("b".into(), "x".into())]);
        journal.push(record(8, 0, 0, "other", b""));
        assert_eq!(after(Cut::DropsAll, &journal), [("a".into(), "x".into())]);
        journal.push(record(6, 0, 0, "b", b""));
        journal.push(record(8, 0, 0, "", b""));
        assert_eq!(after(Cut::DropsAll, &journal), []);
    }

    #[test]
    fn sectors_are_kept_dropped_or_torn() {
        let mut journal = created();
        journal.push(record(1, 7, 0, "", &[b'x'; 512 * 200]));
        let bytes = &after(Cut::Sectors512, &journal)[0].1;
        let kept = |sector: &[u8]| sector.iter().filter(|byte| **byte == b'x').count();
        let kept: Vec<usize> = bytes.as_bytes().chunks(512).map(kept).collect();
        for (what, is_so) in [
            ("kept", kept.contains(&512)),
            ("dropped", kept.contains(&0)),
            ("torn", kept.iter().any(|count| (1..512).contains(count))),
        ] {
            assert!(is_so, "none was {what}");
        }
    }
}
