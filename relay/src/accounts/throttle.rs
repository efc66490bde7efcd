//! Limits attempts at passwords: a state machine without a clock, a lock or a password.
//!
//! A known device has its own budget, so that no stranger can lock its owner out. A stranger needs three things at
//! once: a guess left for the account, a guess left for the address, and no delay of this address at this account.
//! Keys are hashed, with a key of this process, onto a fixed number of cells. So memory is bounded, no name or
//! address is stored, and made-up names evict nothing; two keys may share a cell, and nothing outside the process can
//! find out which.

use crate::clock::Timestamp;
use crate::digest::cell_of;
use crate::hidden::hidden_debug;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

/// Guesses of all strangers together at one account: 20 at once, then one a minute, so 80 in any hour. At the limit
/// strangers wait; known devices do not. 12 characters cannot be guessed at 80 guesses an hour.
const ACCOUNT: Limit = Limit::new(20, Duration::from_secs(60));
/// Most of these guesses that one address must reserve for others: one for each wrong password it has sent for the
/// account. So addresses that keep guessing leave some for an owner who comes from a new one.
const LEFT_TO_OTHERS_MAX: u32 = 10;
/// Guesses of one address (IPv6: of one /64) at all accounts. At the limit the address waits.
const ADDRESS: Limit = Limit::new(20, Duration::from_secs(30));
/// Guesses of one known device, which may have been stolen. At the limit the device waits for at most a minute.
const DEVICE: Limit = Limit::new(10, Duration::from_secs(60));

/// Wrong passwords of one address for one account before the first delay.
const FREE: u32 = 5;
/// The first delay. Each further wrong password doubles it.
const DELAY_FIRST: Duration = Duration::from_secs(15);
/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(3600);
/// Most wrong passwords that are counted: the delay has reached its maximum by then.
const FAILURES_MAX: u32 = FREE + 8;
/// Time until one wrong password is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(4 * 3600);

/// Cells for accounts, for addresses, and for both together: 2 MiB in all. The one thread for strangers hashes about
/// 30 passwords a second, and the cells of accounts regain 1000 guesses a second: they cannot be used up.
const CELLS: usize = 64 * 1024;
/// Cells for known devices. Their cookies cannot be forged, so there are few.
const DEVICE_CELLS: usize = 4 * 1024;

/// The source of a login, as far as the throttle distinguishes sources.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    /// The client's address, or the /64 it is in.
    pub network: IpAddr,
    /// Whether an untrusted proxy forwarded it. That proxy may run on the same machine.
    pub is_forwarded: bool,
}

impl Source {
    /// Whether the source is the relay's own machine, or the end of a tunnel to it.
    fn is_local(self) -> bool {
        self.network.is_loopback() && !self.is_forwarded
    }
}

hidden_debug!(Source);

/// The sender of a password.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who<'a> {
    /// A device that has logged in to this account before, by the number in its cookie.
    Device(&'a [u8]),
    /// Any other sender.
    Stranger(Source),
}

/// The size of a burst of guesses, and the time until one more is allowed.
#[derive(Clone, Copy, Debug)]
struct Limit {
    burst: i64,
    every_ms: i64,
}

impl Limit {
    const fn new(burst: i64, every: Duration) -> Self {
        Self {
            burst,
            every_ms: every.as_secs() as i64 * 1000,
        }
    }
}

/// Guesses left, one leaky bucket (GCRA) per cell: the time at which the whole burst is available again.
struct Budgets {
    limit: Limit,
    full_at: Box<[i64]>,
}

impl Budgets {
    fn new(limit: Limit, cells: usize) -> Self {
        Self {
            limit,
            full_at: vec![0; cells].into(),
        }
    }

    /// Time until there is one more guess than `left_over`.
    fn wait_ms(&self, cell: usize, left_over: u32, now: Timestamp) -> i64 {
        let used = self.full_at[cell].saturating_sub(now.0);
        let usable = self.limit.burst - 1 - i64::from(left_over);
        (used - usable * self.limit.every_ms).max(0)
    }

    fn take(&mut self, cell: usize, now: Timestamp) {
        let full_at = &mut self.full_at[cell];
        *full_at = (*full_at).max(now.0) + self.limit.every_ms;
    }

    fn give_back(&mut self, cell: usize) {
        self.full_at[cell] -= self.limit.every_ms;
    }
}

/// Wrong passwords of one address for one account.
#[derive(Clone, Copy, Default)]
struct Failures {
    count: u32,
    last_ms: i64,
}

impl Failures {
    fn left(self, now: Timestamp) -> u32 {
        let forgotten = now.since(Timestamp(self.last_ms)).as_secs() / FORGET_EVERY.as_secs();
        self.count
            .saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }

    fn wait_ms(self, now: Timestamp) -> i64 {
        let Some(over) = self.left(now).checked_sub(FREE) else {
            return 0;
        };
        let delay = (DELAY_FIRST * 2_u32.saturating_pow(over)).min(DELAY_MAX);
        Timestamp(self.last_ms).plus(delay).0.saturating_sub(now.0).max(0)
    }
}

/// The recent attempts.
pub(super) struct Throttle {
    seed: [u8; 16],
    accounts: Budgets,
    addresses: Budgets,
    devices: Budgets,
    delays: Box<[Failures]>,
}

hidden_debug!(Throttle);

impl Throttle {
    /// Starts without attempts. The seed must be random and secret.
    pub(super) fn new(seed: [u8; 16]) -> Self {
        Self {
            seed,
            accounts: Budgets::new(ACCOUNT, CELLS),
            addresses: Budgets::new(ADDRESS, CELLS),
            devices: Budgets::new(DEVICE, DEVICE_CELLS),
            delays: vec![Failures::default(); CELLS].into(),
        }
    }

    /// Whether a password may be tried now. Takes no guess.
    ///
    /// # Errors
    /// The time to wait.
    pub(super) fn check(&self, name: &str, who: Who<'_>, now: Timestamp) -> Result<(), Duration> {
        let wait_ms = match who {
            Who::Device(id) => self.devices.wait_ms(self.cell(id, DEVICE_CELLS), 0, now),
            Who::Stranger(source) => {
                let failures = self.delays[self.cell(&(name, source), CELLS)];
                let left_over = failures.left(now).min(LEFT_TO_OTHERS_MAX);
                let account = self.accounts.wait_ms(self.account(name, source), left_over, now);
                let address = self.addresses.wait_ms(self.cell(&source, CELLS), 0, now);
                let delay = failures.wait_ms(now);
                account.max(address).max(delay)
            }
        };
        match u64::try_from(wait_ms) {
            Ok(0) | Err(_) => Ok(()),
            Ok(wait) => Err(Duration::from_millis(wait)),
        }
    }

    /// Takes one guess. It counts as wrong until [`Throttle::was_right`] reverses that, so that concurrent guesses
    /// all count.
    ///
    /// # Errors
    /// The time to wait; then no guess is taken.
    pub(super) fn take(&mut self, name: &str, who: Who<'_>, now: Timestamp) -> Result<(), Duration> {
        self.check(name, who, now)?;
        match who {
            Who::Device(id) => self.devices.take(self.cell(id, DEVICE_CELLS), now),
            Who::Stranger(source) => {
                self.accounts.take(self.account(name, source), now);
                self.addresses.take(self.cell(&source, CELLS), now);
                let delay = self.cell(&(name, source), CELLS);
                let count = (self.delays[delay].left(now) + 1).min(FAILURES_MAX);
                self.delays[delay] = Failures {
                    count,
                    last_ms: now.0,
                };
            }
        }
        Ok(())
    }

    /// Gives back a guess that was right, and ends the delay of the address.
    pub(super) fn was_right(&mut self, name: &str, who: Who<'_>) {
        self.give_back(name, who);
        if let Who::Stranger(source) = who {
            self.delays[self.cell(&(name, source), CELLS)] = Failures::default();
        }
    }

    /// Gives back a guess that was not checked.
    pub(super) fn give_back(&mut self, name: &str, who: Who<'_>) {
        match who {
            Who::Device(id) => self.devices.give_back(self.cell(id, DEVICE_CELLS)),
            Who::Stranger(source) => {
                self.accounts.give_back(self.account(name, source));
                self.addresses.give_back(self.cell(&source, CELLS));
                let failures = &mut self.delays[self.cell(&(name, source), CELLS)];
                failures.count = failures.count.saturating_sub(1);
            }
        }
    }

    /// The account's budget for all strangers, or the one for the relay's own machine: an operator with access to the
    /// machine can log in regardless of how many strangers guess.
    fn account(&self, name: &str, source: Source) -> usize {
        self.cell(&(name, source.is_local()), CELLS)
    }

    fn cell(&self, key: &(impl Hash + ?Sized), cells: usize) -> usize {
        cell_of(self.seed, key, cells)
    }
}

#[cfg(test)]
mod tests;
