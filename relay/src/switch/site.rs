//! One site and its switch.

use super::state::{Event, State, Switch};
use super::tombstone::Tombstone;
use super::{Recorded, SetBy};
use crate::config::{Config, Profile, SiteConfig, SitePlan};
use crate::permit::{Opens, Paused, Permit, PermitLock};

/// One configured site and its switch.
#[derive(Debug)]
pub struct Site {
    /// The domain, as in Plausible.
    pub domain: String,
    /// Origins whose pages may send events.
    pub origins: Vec<String>,
    /// The operator's lock, for this site or for all.
    pub operator_lock: bool,
    /// The tracking plan: the fields that may ever leave of this site's events.
    pub plan: SitePlan,
    /// The kind of server that its events go to.
    pub profile: Profile,
    /// Held while the switch is set or recorded, so that calls run one at a time.
    pub(super) setting: tokio::sync::Mutex<()>,
    pub(super) switch: PermitLock<Switch>,
    pub(super) tombstone: Tombstone,
}

impl Site {
    /// A site that is off until the record is read.
    pub(super) fn new(config: &Config, site: &SiteConfig) -> Self {
        Self {
            domain: site.domain.clone(),
            origins: site.origins.clone(),
            operator_lock: config.operator_lock || site.operator_lock,
            plan: site.plan.clone(),
            profile: config.upstream.profile,
            setting: tokio::sync::Mutex::default(),
            switch: PermitLock::new(Switch::new()),
            tombstone: Tombstone::of(&config.data_dir, &site.domain),
        }
    }

    /// A permit to store or send one of the site's events. `None` while the switch is off, being set, or locked.
    pub fn permit(&self) -> Option<Permit> {
        (!self.operator_lock).then(|| self.switch.permit()).flatten()
    }

    /// A permit in exchange for a paused one. `None` if the site was switched off meanwhile, even if it is on again.
    pub fn permit_again(&self, paused: &Paused) -> Option<Permit> {
        (!self.operator_lock)
            .then(|| self.switch.permit_again(paused))
            .flatten()
    }

    /// Whether collection is on. `false` while the switch is being set.
    pub fn is_on(&self) -> bool {
        !self.operator_lock && self.state() == State::On
    }

    /// Whether an event that a lane still holds was purged since it was read. The permit proves that no purge runs now;
    /// the site may have been switched off and on again meanwhile.
    pub fn has_purged(&self, seq: i64, _permit: &Permit) -> bool {
        self.switch.read(|switch| seq <= switch.purged_up_to)
    }

    /// Who set the switch last.
    pub fn set_by(&self) -> Option<SetBy> {
        self.switch.read(|switch| switch.set_by.clone())
    }

    /// The place where the state of the switch is recorded. Any but [`Recorded::Database`] means that the site is off.
    pub fn recorded(&self) -> Recorded {
        self.state().recorded()
    }

    pub(super) fn state(&self) -> State {
        self.switch.read(|switch| switch.state)
    }

    pub(super) fn apply(&self, event: Event) {
        self.switch.update(|switch| switch.apply(event));
    }

    /// Notes that the database lists the site as on. Does not count in [`Switch::version`]: it only resolves a doubt.
    pub(super) fn confirm(&self) {
        self.switch
            .update(|switch| switch.state = switch.state.after(Event::Confirmed));
    }

    /// Notes who switched it off and where that is recorded. Returns where it was recorded before.
    pub(super) fn note_off(&self, set_by: SetBy, recorded: Recorded) -> Recorded {
        self.switch.update(|switch| {
            let before = switch.state.recorded();
            debug_assert!(!switch.is_open(), "permits are out while \"off\" is noted");
            switch.set_by = Some(set_by);
            switch.apply(Event::RecordedOff(recorded));
            before
        })
    }

    /// Runs work on the tombstone, and returns whether it succeeded.
    pub(super) async fn on_disk(
        &self,
        work: impl FnOnce(&Tombstone) -> std::io::Result<()> + Send + 'static,
    ) -> bool {
        let tombstone = self.tombstone.clone();
        // On a blocking thread, because the disk can be slow.
        let done = tokio::task::spawn_blocking(move || work(&tombstone)).await;
        done.is_ok_and(|done| done.is_ok())
    }
}
