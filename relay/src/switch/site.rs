//! One site, how its switch stands, and the leave that it gives.

use super::Kept;
use super::marker::Marker;
use crate::clock::Moment;
use crate::config::{Config, Profile, SiteConfig, SitePlan};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use tokio_util::sync::CancellationToken;

/// One configured site and its switch.
#[derive(Debug)]
pub struct Site {
    /// The domain, as in Plausible.
    pub domain: String,
    /// Origins whose pages may send events.
    pub origins: Vec<String>,
    /// The operator's lock, for this site or for all.
    pub operator_lock: bool,
    /// The tracking plan: all that may ever leave of this site's events.
    pub plan: SitePlan,
    /// The kind of server that its events go to.
    pub profile: Profile,
    pub(super) on: Arc<RwLock<bool>>,
    /// Held while the switch is turned or recorded: one at a time.
    pub(super) turning: tokio::sync::Mutex<()>,
    /// How often that was.
    pub(super) turns: AtomicU64,
    /// How often all permits were taken back. Changes only while none is out.
    pub(super) closings: AtomicU64,
    /// Set on the writer when a rebuilt database says no longer that the site is on: nothing is given leave
    /// until memory has followed.
    pub(super) doubt: AtomicBool,
    /// Cut when the switch is turned off and requests under way do not end by themselves.
    pub(super) cut: Mutex<CancellationToken>,
    pub(super) standing: Mutex<Standing>,
    pub(super) marker: Marker,
    pub(super) purged_up_to: AtomicI64,
}

/// What is told of a switch.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) changed: Option<Change>,
    pub(super) kept: Kept,
}

/// Who turned a switch, and when.
#[derive(Clone, Debug)]
pub struct Change {
    /// When.
    pub at: Moment,
    /// The account, `cli` or `relay`.
    pub by: String,
}

/// Leave to store or send one site's events. While it is held, the site cannot be answered "off".
#[derive(Debug)]
pub struct Permit {
    #[expect(dead_code, reason = "held for its lock")]
    guard: OwnedRwLockReadGuard<bool>,
    cut: CancellationToken,
    closings: u64,
}

/// A permit that was given back for a while, so that the switch need not wait for its holder. It allows nothing
/// by itself: [`Site::permit_again`] takes it, unless the site was turned off meanwhile.
#[derive(Debug)]
pub struct Paused {
    closings: u64,
}

impl Permit {
    /// Gives the permit back for a while.
    pub fn pause(self) -> Paused {
        Paused {
            closings: self.closings,
        }
    }

    /// Ends when the holder has to stop at once.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Whether the holder has to stop at once.
    pub fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }
}

impl Site {
    /// A site that is off until it is said how it stood.
    pub(super) fn new(config: &Config, site: &SiteConfig) -> Self {
        Self {
            domain: site.domain.clone(),
            origins: site.origins.clone(),
            operator_lock: config.operator_lock || site.operator_lock,
            plan: site.plan.clone(),
            profile: config.upstream.profile,
            on: Arc::new(RwLock::new(false)),
            turning: tokio::sync::Mutex::default(),
            turns: AtomicU64::new(0),
            closings: AtomicU64::new(0),
            doubt: AtomicBool::new(false),
            cut: Mutex::default(),
            standing: Mutex::new(Standing {
                changed: None,
                kept: Kept::Database,
            }),
            marker: Marker::of(&config.data_dir, &site.domain),
            purged_up_to: AtomicI64::new(0),
        }
    }

    /// Asks for leave. `None` while the switch is off or locked. Waits while it is being turned off, but never
    /// for the disk.
    pub async fn permit(&self) -> Option<Permit> {
        if self.operator_lock {
            return None;
        }
        // The token is fetched after the lock, so that it belongs to this turn of the switch.
        let guard = Arc::clone(&self.on).read_owned().await;
        (*guard && !self.is_in_doubt()).then(|| Permit {
            cut: self.cut_token(),
            closings: self.closings.load(Ordering::SeqCst),
            guard,
        })
    }

    /// Asks for the leave that was given back. `None` if the site was turned off meanwhile, even if it is on again:
    /// what came before "off" was answered must not leave after it.
    pub async fn permit_again(&self, paused: &Paused) -> Option<Permit> {
        let permit = self.permit().await?;
        (permit.closings == paused.closings).then_some(permit)
    }

    pub(super) fn cut_token(&self) -> CancellationToken {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether collection is on, as far as can be told without waiting: while it is being turned, no.
    pub fn is_on(&self) -> bool {
        !self.operator_lock && !self.is_in_doubt() && self.on.try_read().is_ok_and(|on| *on)
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt.load(Ordering::SeqCst)
    }

    /// Whether an event that a lane still has in hand was purged since it was read. Asked with a permit
    /// in hand, because the site may have been turned off and on again meanwhile.
    pub fn has_purged(&self, seq: i64, _permit: &Permit) -> bool {
        seq <= self.purged_up_to.load(Ordering::SeqCst)
    }

    /// Who turned the switch last.
    pub fn changed(&self) -> Option<Change> {
        self.standing().changed.clone()
    }

    /// Where it is written down how the switch stands. Anything but [`Kept::Database`] is a site that is off.
    pub fn kept(&self) -> Kept {
        self.standing().kept
    }

    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes who turned it off and where that is written down. Gives back where it was before.
    pub(super) fn note(&self, change: Change, kept: Kept) -> Kept {
        let standing = Standing {
            changed: Some(change),
            kept,
        };
        std::mem::replace(&mut *self.standing(), standing).kept
    }

    /// Does something with the marker, and says whether that succeeded.
    pub(super) async fn on_disk(
        &self,
        work: impl FnOnce(&Marker) -> std::io::Result<()> + Send + 'static,
    ) -> bool {
        let marker = self.marker.clone();
        // The disk may take its time.
        let done = tokio::task::spawn_blocking(move || work(&marker)).await;
        done.is_ok_and(|done| done.is_ok())
    }
}
