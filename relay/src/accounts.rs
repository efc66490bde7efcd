//! Local admin accounts: passwords, login throttling and sessions.

mod devices;
mod hashing;
mod journal;
mod login;
mod metrics;
mod password;
mod sessions;
mod table;
mod throttle;
mod turns;

pub use devices::{DEVICE_AGE_MAX, Device};
pub use login::{Attempt, LoginError, NewSession};
pub use password::PASSWORD_CHARS_MIN;
pub use sessions::{Lifetime, LoggedIn};
pub use table::{Account, add, change_password, disable, enable, list, remove};
pub use throttle::Source;

use crate::clock::{self, Clock};
use crate::metrics::Registry;
use crate::store::Store;
use devices::Devices;
use hashing::Hashers;
use journal::Journal;
use metrics::{LoginResult, Metrics};
use password::PASSWORD_BYTES_MAX;
use sessions::Sessions;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::NAME_BYTES_MAX;
use throttle::Throttle;
use turns::Turns;

/// Longest wait for the database when a request uses a session: several times the usual time under full load. Without
/// an answer by then the database counts as unreadable.
const ASK_WITHIN: Duration = Duration::from_secs(1);

/// Why a change to an account failed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The name breaks its rules.
    #[error("a name must have 1 to {NAME_BYTES_MAX} letters, digits, '.', '-', '_' or '@'")]
    Name,
    /// The password breaks its rules.
    #[error(
        "a password must have at least {PASSWORD_CHARS_MIN} characters and at most {PASSWORD_BYTES_MAX} bytes"
    )]
    Password,
    /// The name is taken.
    #[error("account {0} already exists; `user passwd {0}` sets a new password")]
    Exists(String),
    /// There is no such account.
    #[error("account {0} does not exist; `user list` shows all accounts")]
    Unknown(String),
    /// Hashing failed.
    #[error("the password could not be hashed")]
    Hash,
    /// A database error.
    #[error("the database cannot be written: {0}")]
    Database(#[from] rusqlite::Error),
}

/// The accounts and the open sessions.
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
    /// Opens the accounts of a database. The clock must be steady: setting it would end sessions and delays.
    ///
    /// # Errors
    /// An I/O error when the operating system cannot start another thread.
    pub async fn open(
        store: Store,
        clock: Clock,
        lifetime: Lifetime,
        registry: &mut Registry,
    ) -> std::io::Result<Self> {
        let devices = Devices::default();
        // While the database cannot be read, a known device counts as a stranger until the next login to its account.
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
            journal: Journal::new(Metrics::register(registry)),
        })
    }

    /// Returns the owner of a session, if the account is unchanged since the login. The call does not count as use of
    /// the session.
    ///
    /// While the database cannot be read, the session holds: switching a site OFF has to work then. Switching it ON
    /// needs a database write, which checks the session again.
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

    /// Records that the user of a session did something, which resets its idle time.
    pub fn used(&self, admin: &LoggedIn) {
        self.sessions.used(&admin.token, self.clock.now());
    }

    /// Ends a session.
    pub fn logout(&self, admin: &LoggedIn) {
        self.sessions.end(&admin.token);
    }

    /// Returns the device that received this cookie after a login.
    pub fn device(&self, cookie: &str) -> Option<Device> {
        self.devices.of(cookie, self.clock.now())
    }

    /// Records a login whose body did not arrive.
    pub fn body_did_not_arrive(&self) {
        self.journal
            .failed(LoginResult::Incomplete, None, self.clock.now());
    }

    /// Failed logins within the last hour, for any reason.
    pub fn failed_logins(&self) -> u64 {
        self.journal.failed_recently(self.clock.now())
    }

    /// Logs failed logins that still wait for their minute. Called when the relay stops.
    pub fn log_last_failures(&self) {
        self.journal.close(self.clock.now());
    }

    /// Logs failed logins that have waited for their minute. Call it every few seconds.
    pub fn log_failures(&self) {
        self.journal.flush(self.clock.now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
