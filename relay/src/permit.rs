//! Permits to store or send one site's events, and the lock that gives them out.
//!
//! A site's switch is the state inside a [`PermitLock`]. While a [`Permit`] is out, the switch cannot answer "off": to close
//! it, the caller puts a state that opens nothing into the lock, then waits until every permit is back.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A state that decides whether permits are given out.
pub trait Opens {
    /// Whether permits are given out.
    fn is_open(&self) -> bool;
}

/// A state, and the permits given out under it, behind one lock. Clones share them. The lock is held for a few
/// instructions and never across an await.
#[derive(Debug)]
pub struct PermitLock<S>(Arc<Shared<S>>);

#[derive(Debug)]
struct Shared<S> {
    inner: Mutex<Inner<S>>,
    /// Notified when the last permit comes back.
    drained: Notify,
}

#[derive(Debug)]
struct Inner<S> {
    state: S,
    /// Permits that are out.
    out: usize,
    /// How often the lock was closed. Changes only while no permit is out.
    epoch: u64,
    /// Cancelled when holders must stop at once.
    cut: CancellationToken,
}

/// Allows its holder to store or send one site's events. While it is held, the site's switch cannot answer "off".
pub struct Permit {
    lender: Arc<dyn Lender>,
    cut: CancellationToken,
    epoch: u64,
}

/// A permit that was given back for a while, so that the switch does not wait for its holder. It allows nothing by itself:
/// [`PermitLock::permit_again`] exchanges it, unless the lock was closed meanwhile.
#[derive(Debug)]
pub struct Paused {
    epoch: u64,
}

trait Lender: Send + Sync {
    fn take_back(&self);
}

impl<S> Clone for PermitLock<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Opens + Send + 'static> PermitLock<S> {
    /// A lock with no permit out.
    pub fn new(state: S) -> Self {
        Self(Arc::new(Shared {
            inner: Mutex::new(Inner {
                state,
                out: 0,
                epoch: 0,
                cut: CancellationToken::new(),
            }),
            drained: Notify::new(),
        }))
    }

    /// A permit, if the state is open.
    pub fn permit(&self) -> Option<Permit> {
        let mut inner = self.0.lock();
        inner.state.is_open().then(|| self.give(&mut inner))
    }

    /// A permit in exchange for a paused one. `None` if the lock was closed meanwhile, even if it is open again: events that
    /// arrived before "off" was answered must not leave after it.
    pub fn permit_again(&self, paused: &Paused) -> Option<Permit> {
        let mut inner = self.0.lock();
        (inner.state.is_open() && inner.epoch == paused.epoch).then(|| self.give(&mut inner))
    }

    fn give(&self, inner: &mut Inner<S>) -> Permit {
        inner.out += 1;
        Permit {
            lender: Arc::clone(&self.0) as Arc<dyn Lender>,
            cut: inner.cut.clone(),
            epoch: inner.epoch,
        }
    }

    /// Reads the state.
    pub fn read<R>(&self, read: impl FnOnce(&S) -> R) -> R {
        read(&self.0.lock().state)
    }

    /// Changes the state. Permits that are out stay valid.
    pub fn update<R>(&self, update: impl FnOnce(&mut S) -> R) -> R {
        update(&mut self.0.lock().state)
    }

    /// Waits until no permit is out. Completes only if the state gives out no more.
    pub async fn drained(&self) {
        loop {
            let mut drained = std::pin::pin!(self.0.drained.notified());
            // Before the check, so that a permit that comes back between check and wait is not missed.
            drained.as_mut().enable();
            if self.0.lock().out == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Asks the holders of all permits to stop at once.
    pub fn cut(&self) {
        self.0.lock().cut.cancel();
    }

    /// Changes the state after all permits came back, and voids every paused permit.
    pub fn close<R>(&self, update: impl FnOnce(&mut S) -> R) -> R {
        let mut inner = self.0.lock();
        debug_assert_eq!(inner.out, 0, "the caller waits with `drained` first");
        inner.epoch += 1;
        inner.cut = CancellationToken::new();
        update(&mut inner.state)
    }
}

impl<S> Shared<S> {
    /// A panic while the lock is held leaves no state half changed: updates assign whole values.
    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Send> Lender for Shared<S> {
    fn take_back(&self) {
        let mut inner = self.lock();
        inner.out -= 1;
        if inner.out == 0 {
            self.drained.notify_waiters();
        }
    }
}

impl Permit {
    /// Gives the permit back for a while.
    pub fn pause(self) -> Paused {
        Paused { epoch: self.epoch }
    }

    /// Completes when the holder must stop at once.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Whether the holder must stop at once.
    pub fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.lender.take_back();
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[derive(Debug)]
    struct Door(bool);

    impl Opens for Door {
        fn is_open(&self) -> bool {
            self.0
        }
    }

    #[test]
    fn an_open_lock_gives_permits_and_a_closed_one_gives_none() {
        let lock = PermitLock::new(Door(true));
        let paused = lock.permit().unwrap().pause();
        assert!(lock.permit_again(&paused).is_some(), "nothing happened meanwhile");
        lock.update(|door| door.0 = false);
        assert!(lock.permit().is_none() && lock.permit_again(&paused).is_none());
        lock.update(|door| door.0 = true);
        assert!(
            lock.permit_again(&paused).is_some(),
            "it was not closed, only shut for a moment"
        );
        lock.close(|door| door.0 = true);
        assert!(lock.permit().is_some());
        assert!(lock.permit_again(&paused).is_none(), "it was closed meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn draining_waits_for_the_last_permit() {
        let lock = PermitLock::new(Door(true));
        lock.drained().await;
        let (first, second) = (lock.permit().unwrap(), lock.permit().unwrap());
        lock.update(|door| door.0 = false);
        let waits = async || {
            tokio::time::timeout(Duration::from_secs(9), lock.drained())
                .await
                .is_err()
        };
        assert!(waits().await);
        drop(first);
        assert!(waits().await);
        assert!(!second.is_cut());
        lock.cut();
        second.cut().await;
        let drained = tokio::spawn({
            let lock = lock.clone();
            async move { lock.drained().await }
        });
        second.pause();
        drained.await.unwrap();
        lock.close(|door| door.0 = true);
        assert!(!lock.permit().unwrap().is_cut(), "a new permit is not cut");
    }
}
