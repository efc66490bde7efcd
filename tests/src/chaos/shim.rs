//! The disk and the clock of a relay's process: `tests/shim/shim.c`, compiled by `build.rs`.

use super::disk_image::DiskImage;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIBRARY: &str = concat!(env!("OUT_DIR"), "/shim.so");

/// Offsets of the fields of `struct control` in `shim.c`, and its size.
const CLOCK_OFFSET_NS: u64 = 0;
const DIE_IN: u64 = 8;
const REFUSED: u64 = 16;
const REFUSE_ERRNO: u64 = 24;
const REFUSE: u64 = 28;
const SYNCS_LIE: u64 = 32;
const SYNC_US_MAX: u64 = 36;
const CONTROL_SIZE: u64 = 40;

/// The calls that a disk refuses, and the error it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The name in a report.
    pub(super) what: &'static str,
    /// The operating system's errno.
    pub(super) errno: u32,
    /// `REFUSE_*` of `shim.c`.
    pub(super) calls: u32,
}

const GROWTH: u32 = 1;
const WRITES: u32 = 2;
const SYNCS: u32 = 4;
const HALF: u32 = 8;
const ENOSPC: u32 = 28;
const EIO: u32 = 5;
const EDQUOT: u32 = 122;
const EROFS: u32 = 30;

/// Every kind of refusal.
pub(super) const REFUSALS: [Refusal; 6] = [
    Refusal {
        what: "full: takes what overwrites, refuses what grows",
        errno: ENOSPC,
        calls: GROWTH,
    },
    Refusal {
        what: "full: takes half of what grows",
        errno: ENOSPC,
        calls: GROWTH | HALF,
    },
    Refusal {
        what: "over its quota",
        errno: EDQUOT,
        calls: GROWTH | WRITES,
    },
    Refusal {
        what: "fails every write",
        errno: EIO,
        calls: WRITES,
    },
    Refusal {
        what: "fails every sync",
        errno: EIO,
        calls: SYNCS,
    },
    Refusal {
        what: "read-only",
        errno: EROFS,
        calls: WRITES | SYNCS,
    },
];

/// The shim's controls and its journal, for one data folder.
#[derive(Debug)]
pub(super) struct Shim {
    control: File,
    control_path: PathBuf,
    root: PathBuf,
    journal: PathBuf,
}

impl Shim {
    /// For a data folder; controls and journal are in another folder.
    ///
    /// # Panics
    /// If they cannot be created.
    pub(super) fn new(root: &Path, beside: &Path) -> Self {
        let control_path = beside.join("shim-control");
        let mut options = File::options();
        let control = options
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&control_path)
            .unwrap();
        control.set_len(CONTROL_SIZE).unwrap();
        Self {
            control,
            control_path,
            root: root.to_owned(),
            journal: beside.join("shim-journal"),
        }
    }

    /// The environment that puts a process on this disk and this clock.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.display().to_string();
        vec![
            ("LD_PRELOAD", LIBRARY.to_owned()),
            ("CHAOS_ROOT", text(&self.root)),
            ("CHAOS_JOURNAL", text(&self.journal)),
            ("CHAOS_CONTROL", text(&self.control_path)),
        ]
    }

    fn set(&self, at: u64, bytes: &[u8]) {
        self.control.write_all_at(bytes, at).unwrap();
    }

    /// Kills the process at its nth change of the disk from now on; 0 means never.
    pub(super) fn die_in(&self, changes: usize) {
        self.set(DIE_IN, &u64::try_from(changes).unwrap().to_le_bytes());
    }

    /// Starts refusing calls, or stops with `None`.
    pub(super) fn refuse(&self, refusal: Option<Refusal>) {
        let (errno, calls) = refusal.map_or((0, 0), |refusal| (refusal.errno, refusal.calls));
        self.set(REFUSE_ERRNO, &errno.to_le_bytes());
        self.set(REFUSE, &calls.to_le_bytes());
    }

    /// The number of calls refused so far.
    ///
    /// # Panics
    /// When the control page cannot be read.
    pub(super) fn refused(&self) -> u64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, REFUSED).unwrap();
        u64::from_le_bytes(bytes)
    }

    /// Makes syncs succeed without effect: a harness that finds no loss on such a disk is blind.
    pub(super) fn syncs_lie(&self, lie: bool) {
        self.set(SYNCS_LIE, &u32::from(lie).to_le_bytes());
    }

    /// Lets a sync take up to this long.
    pub(super) fn sync_takes(&self, most: Duration) {
        let micros = u32::try_from(most.as_micros()).unwrap();
        self.set(SYNC_US_MAX, &micros.to_le_bytes());
    }

    /// Sets the wall clock this many seconds ahead; negative values set it back.
    pub(super) fn set_clock(&self, ahead_s: i64) {
        self.set(CLOCK_OFFSET_NS, &(ahead_s * 1_000_000_000).to_le_bytes());
    }

    /// The data folder before a process begins, with an empty journal.
    pub(super) fn begin(&self) -> DiskImage {
        // Before the first process there is none.
        let _ = std::fs::remove_file(&self.journal);
        DiskImage::before(&self.root)
    }

    /// Applies the changes since [`Shim::begin`] to the image.
    pub(super) fn replay(&self, image: &mut DiskImage) {
        image.replay(&std::fs::read(&self.journal).unwrap_or_default());
    }
}
