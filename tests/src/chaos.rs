//! Rounds of chaos: each kind applies one type of fault to a relay under load, and checks the relay's guarantees.
//!
//! `cargo xtask chaos` runs them for any length of time (`bin/chaos.rs`); the end-to-end tests run a few short ones
//! from fixed seeds (`e2e/chaos_rounds.rs`). A round is a relay with a fresh data folder, several faults, and a final
//! reconciliation: each acknowledged event was delivered or counted. A violated guarantee is a panic; [`round`] turns
//! it into a failure and keeps the evidence.

mod clock;
mod disk;
mod disk_image;
mod evidence;
mod floods;
mod kill;
mod off;
mod power;
mod scene;
mod shim;

use evidence::Evidence;
use scene::Scene;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::{JoinError, LocalSet};

/// The type of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `kill -9` at random moments under load.
    Kill,
    /// Power cuts: writes that were not synced are kept, dropped or torn.
    Power,
    /// A disk that is full or failing, and recovers.
    Disk,
    /// Jumps of the wall clock.
    Clock,
    /// The switch is turned off at random moments, around kills and restarts.
    Off,
    /// Hostile clients that try to starve honest requests.
    Floods,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Kill,
        Self::Power,
        Self::Disk,
        Self::Clock,
        Self::Off,
        Self::Floods,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Power => "power",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::Off => "off",
            Self::Floods => "floods",
        }
    }

    /// The plural of its faults in a report.
    pub fn faults(self) -> &'static str {
        match self {
            Self::Kill => "kills",
            Self::Power => "power cuts",
            Self::Disk => "disk failures",
            Self::Clock => "clock jumps",
            Self::Off => "offs",
            Self::Floods => "attacks",
        }
    }
}

/// The size of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// A few seconds, for the tests.
    Short,
    /// About half a minute.
    Full,
}

/// The prerequisites of a round.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The relay's program.
    pub exe: String,
    /// The size of the rounds.
    pub size: Size,
    /// The folder for the evidence of failed rounds.
    pub evidence: PathBuf,
}

/// The numbers of a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Faults injected.
    pub faults: usize,
    /// Events that were answered 202.
    pub acknowledged: usize,
    /// Of which: neither delivered nor counted. A violation.
    pub lost: usize,
    /// Events that Plausible received again after it had answered: the answer was not on disk yet.
    pub duplicated: usize,
    /// Events that arrived after "off" was acknowledged. A violation.
    pub after_off: usize,
}

impl Tally {
    /// Adds the numbers of another round.
    pub fn add(&mut self, other: Self) {
        self.faults += other.faults;
        self.acknowledged += other.acknowledged;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.after_off += other.after_off;
    }
}

/// A violated guarantee.
#[derive(Debug)]
pub struct Failure {
    /// The message of the panic.
    pub what: String,
    /// The round's numbers, if it was completed.
    pub tally: Tally,
    /// The folder with the data folder, configuration and logs.
    pub evidence: PathBuf,
}

/// Runs one round. The same seed gives the same random choices; the scheduler's timing is not reproducible.
///
/// # Errors
/// If a guarantee was violated.
pub async fn round(stage: &Stage, kind: Kind, seed: u64) -> Result<Tally, Failure> {
    let evidence = Arc::new(Evidence::default());
    let (exe, size, kept) = (stage.exe.clone(), stage.size, Arc::clone(&evidence));
    let playing = contain(async move {
        match kind {
            Kind::Kill => kill::round(Scene::open(&exe, seed, kept).await, size).await,
            Kind::Power => power::round(Scene::open(&exe, seed, kept).await, size).await,
            Kind::Disk => disk::round(Scene::open(&exe, seed, kept).await, size).await,
            Kind::Clock => clock::round(Scene::open(&exe, seed, kept).await, size).await,
            Kind::Off => off::round(Scene::open(&exe, seed, kept).await, size).await,
            Kind::Floods => floods::round(&exe, seed, kept, size).await,
        }
    });
    let (what, tally) = match playing.await {
        Ok(tally) if tally.lost == 0 && tally.after_off == 0 => return Ok(tally),
        Ok(tally) => {
            let what = format!("{} events lost, {} after off", tally.lost, tally.after_off);
            (what, tally)
        }
        Err(error) => (reason(error), Tally::default()),
    };
    let evidence = evidence.keep(&stage.evidence.join(format!("{}-{seed}", kind.name())));
    Err(Failure {
        what,
        tally,
        evidence,
    })
}

/// Checks that the harness detects losses: a disk that acknowledges syncs without doing them must lose events, whatever
/// it keeps of the rest.
///
/// # Errors
/// If no loss was found: then a green round would prove nothing.
pub async fn sanity(stage: &Stage, seed: u64) -> Result<usize, Failure> {
    let evidence = Arc::new(Evidence::default());
    let (exe, kept) = (stage.exe.clone(), Arc::clone(&evidence));
    let playing = contain(async move { power::sanity(&exe, seed, kept).await });
    let what = match playing.await {
        Ok(lost) if lost > 0 => return Ok(lost),
        Ok(_) => "syncs kept nothing and no event was lost: the harness is blind".to_owned(),
        Err(error) => reason(error),
    };
    let evidence = evidence.keep(&stage.evidence.join(format!("sanity-{seed}")));
    Err(Failure {
        what,
        tally: Tally::default(),
        evidence,
    })
}

/// Runs a future to its end, or until it panics.
async fn contain<T: 'static>(play: impl Future<Output = T> + 'static) -> Result<T, JoinError> {
    let here = LocalSet::new();
    here.run_until(async { tokio::task::spawn_local(play).await })
        .await
}

/// The message of a panic.
fn reason(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "the round was cancelled".to_owned();
    };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
        .to_owned()
}

/// Copies a folder's regular files.
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
