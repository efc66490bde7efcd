//! A relay under load between visitors and a programmable Plausible, with a controllable disk and clock.

use super::disk_image::DiskImage;
use super::evidence::Evidence;
use super::shim::Shim;
use super::{Size, Tally};
use crate::traffic::again_after_an_answer;
use crate::{Answer, ChildRelay, Dice, Done, MiniPlausible, PATIENCE, Pouring, SITE, Setup, Traffic, within};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Time limit for the delivery of all waiting events after the last fault.
pub(super) const LONG: Duration = Duration::from_secs(120);
/// Longest answer time of Plausible.
const ANSWERS_WITHIN: Duration = Duration::from_millis(4);

/// The parts of a round.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) exe: String,
    pub(super) plausible: MiniPlausible,
    pub(super) setup: Setup,
    config: PathBuf,
    /// The URL of the relay's public listener.
    pub(super) base: String,
    pub(super) traffic: Traffic,
    pub(super) dice: Dice,
    pub(super) seed: u64,
    pub(super) shim: Shim,
    evidence: Arc<Evidence>,
}

impl Scene {
    /// A fresh data folder; no relay runs yet.
    pub(super) async fn open(exe: &str, seed: u64, evidence: Arc<Evidence>) -> Self {
        Self::open_with(exe, seed, evidence, |setup| setup).await
    }

    /// The same, with another configuration.
    pub(super) async fn open_with(
        exe: &str,
        seed: u64,
        evidence: Arc<Evidence>,
        configure: impl FnOnce(Setup) -> Setup,
    ) -> Self {
        let mut dice = Dice::with_seed(seed);
        let plausible = MiniPlausible::start().await;
        answers_well(&plausible, dice.another());
        let (setup, base) = Setup::new(&plausible.url()).at_an_address();
        let setup = configure(setup.with_a_small_policy());
        let mut for_its_owner = std::fs::DirBuilder::new();
        for_its_owner.mode(0o700).create(setup.data_dir()).unwrap();
        let config = setup.write();
        evidence.of(&setup);
        Self {
            exe: exe.to_owned(),
            shim: Shim::new(&setup.data_dir(), setup.folder()),
            plausible,
            traffic: Traffic::to(&base),
            base,
            setup,
            config,
            dice,
            seed,
            evidence,
        }
    }

    /// The image of the data folder before a process begins, and an empty journal. It includes the files that the tests
    /// themselves wrote to make a start quick.
    pub(super) fn begin(&self) -> DiskImage {
        self.setup.write();
        self.shim.begin()
    }

    /// Starts a relay without waiting for it.
    pub(super) fn launch(&self) -> ChildRelay {
        let mut environment = self.shim.environment();
        environment.push(("RUST_LOG", "info".to_owned()));
        let relay = ChildRelay::launch_with(&self.exe, &self.config, &environment);
        self.evidence.log_of(&relay);
        relay
    }

    /// Starts a relay and waits until it is ready.
    pub(super) async fn start(&self) -> ChildRelay {
        let mut relay = self.launch();
        relay.ready().await;
        relay
    }

    /// Turns the site's switch with the operator's command.
    pub(super) async fn turn(&self, to: &str) -> Done {
        self.turn_site(SITE, to).await
    }

    /// The same for another site.
    pub(super) async fn turn_site(&self, site: &str, to: &str) -> Done {
        let arguments = ["switch", to, "--site", site];
        self.setup.command(&self.exe, &arguments, "").await
    }

    /// Switches the site on.
    pub(super) async fn switch_on(&self) {
        let done = self.turn("on").await;
        assert_eq!(done.code, Some(0), "{done:?}");
    }

    /// Records an action for the evidence.
    pub(super) fn note(&self, line: impl Into<String>) {
        self.evidence.note(line.into());
    }

    /// Waits until this many more events are acknowledged.
    pub(super) async fn some_are_acknowledged(&self, more: usize) {
        let goal = self.traffic.acknowledged() + more;
        within(LONG, "events are acknowledged", async || {
            (self.traffic.acknowledged() >= goal).then_some(())
        })
        .await;
    }

    /// After the last fault: lets the visitors finish and the relay deliver, stops it, and reconciles the events.
    pub(super) async fn close(&self, relay: ChildRelay, pouring: Pouring, faults: usize) -> Tally {
        let tally = self.close_unread(relay, pouring, faults).await;
        self.is_sound();
        tally
    }

    /// The same, without touching the data folder afterwards.
    pub(super) async fn close_unread(&self, relay: ChildRelay, pouring: Pouring, faults: usize) -> Tally {
        pouring.finish().await;
        self.plausible.rule(|_| Answer::Accept);
        relay.drained_within(LONG).await;
        relay.stop().await;
        self.tally(faults)
    }

    /// The final numbers, once nothing waits.
    pub(super) fn tally(&self, faults: usize) -> Tally {
        Tally {
            faults,
            acknowledged: self.traffic.acknowledged(),
            lost: self.traffic.missing(&self.plausible).len(),
            duplicated: again_after_an_answer(&self.plausible.arrivals()),
            after_off: 0,
        }
    }

    /// Checks the database, and that none was rebuilt: no fault of these rounds damages a database.
    pub(super) fn is_sound(&self) {
        let folder = self.setup.data_dir();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            assert!(
                !name.contains("broken"),
                "the relay found its database damaged: {name}"
            );
        }
        let db = rusqlite::Connection::open(folder.join("relay.db")).unwrap();
        let whole: String = db
            .query_row("PRAGMA integrity_check", (), |row| row.get(0))
            .unwrap();
        assert_eq!(whole, "ok");
    }
}

/// Makes Plausible accept everything, after a few milliseconds.
pub(super) fn answers_well(plausible: &MiniPlausible, dice: Dice) {
    let dice = std::sync::Mutex::new(dice);
    plausible.rule(move |_| Answer::Slow(dice.lock().unwrap().up_to(ANSWERS_WITHIN)));
}

impl Size {
    /// Chooses between two numbers.
    pub(super) fn of(self, short: usize, full: usize) -> usize {
        match self {
            Self::Short => short,
            Self::Full => full,
        }
    }
}

/// Waits for a process to end by itself, and kills it otherwise.
pub(super) async fn ends_or_is_killed(mut relay: ChildRelay) {
    let start = std::time::Instant::now();
    while !relay.has_ended() && start.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    relay.kill();
}
