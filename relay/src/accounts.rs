//! Local accounts of admins: their passwords, who may try one and how often, and their sessions.

mod devices;
mod hashing;
mod journal;
mod login;
mod password;
mod sessions;
mod table;
mod throttle;
mod turns;

pub use devices::{DEVICE_AGE_MAX, Device};
pub use login::{Attempt, LoginError, NewSession};
pub use password::PASSWORD_CHARS_MIN;
pub use sessions::{Lifetime, LoggedIn};
pub use table::{Account, AccountError, add, change_password, disable, enable, list, remove};
pub use throttle::Source;

use crate::clock::{self, Clock};
use crate::metrics::logins::{LoginMetrics, LoginResult};
use crate::store::Store;
use devices::Devices;
use hashing::Hashers;
use journal::Journal;
use sessions::Sessions;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use throttle::Throttle;
use turns::Turns;

/// Longest wait for the database when a session is used: several times what it takes under full load. When it does not
/// answer in time, it counts as unreadable.
const ASK_WITHIN: Duration = Duration::from_secs(1);

/// Accounts and who is logged in.
#[derive(Debug)]
pub struct Accounts {
    store: Store,
    clock: Clock,
    sessions: Sessions,
    devices: Devices,
    throttle: Mutex<Throttle>,
    turns: Arc<Turns>,
    hashers: Hashers,
    journal: Journal,
}

impl Accounts {
    /// Opens the accounts of a database. The clock must not jump: setting it would end sessions and delays.
    ///
    /// # Errors
    /// The operating system's, when it has no thread left.
    pub async fn open(
        store: Store,
        clock: Clock,
        lifetime: Lifetime,
        metrics: LoginMetrics,
    ) -> std::io::Result<Self> {
        let devices = Devices::default();
        // While the database cannot be read, devices are strangers until their account's next login.
        let hashes = store.run(table::password_hashes).await;
        for (name, hash) in hashes.unwrap_or_default() {
            devices.learn(&name, &hash);
        }
        Ok(Self {
            store,
            clock,
            sessions: Sessions::new(lifetime),
            devices,
            throttle: Mutex::new(Throttle::new(clock::random())),
            turns: Arc::default(),
            hashers: Hashers::start()?,
            journal: Journal::new(metrics),
        })
    }

    /// Who a session belongs to, if the account is still as it was at the login. Asking is no use of the session.
    ///
    /// While the database cannot be read, the session holds: "off" has to work then. "On" cannot be recorded, and is
    /// checked once more when it is.
    pub async fn session(&self, token: &str) -> Option<LoggedIn> {
        let admin = self.sessions.find(token, self.clock.now())?;
        let asked = admin.clone();
        let holds = self.store.run(move |db| asked.holds(db));
        if let Ok(Ok(false)) = tokio::time::timeout(ASK_WITHIN, holds).await {
            self.sessions.end(token);
            return None;
        }
        Some(admin)
    }

    /// Notes that the user of a session did something, which keeps it from being idle.
    pub fn used(&self, admin: &LoggedIn) {
        self.sessions.used(&admin.token, self.clock.now());
    }

    /// Ends a session.
    pub fn logout(&self, admin: &LoggedIn) {
        self.sessions.end(&admin.token);
    }

    /// The device that a cookie was given to after a login.
    pub fn device(&self, cookie: &str) -> Option<Device> {
        self.devices.of(cookie, self.clock.now())
    }

    /// Notes a login whose body did not arrive.
    pub fn body_did_not_arrive(&self) {
        self.journal
            .failed(LoginResult::Incomplete, None, self.clock.now());
    }

    /// How many logins failed within the last hour, for whatever reason.
    pub fn failed_logins(&self) -> u64 {
        self.journal.failed_recently(self.clock.now())
    }

    /// Logs failed logins that still wait for their minute, because the relay stops.
    pub fn log_last_failures(&self) {
        self.journal.close(self.clock.now());
    }

    /// Logs failed logins that have waited for their minute. To be called every few seconds.
    pub fn log_failures(&self) {
        self.journal.flush(self.clock.now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
