//! Local accounts of admins, their passwords and their sessions.

mod failures;
mod password;
mod sessions;
mod table;

pub use password::PASSWORD_CHARS_MIN;
pub use sessions::{Lifetime, LoggedIn};
pub use table::{Account, AccountError, add, change_password, disable, enable, list, remove};

use crate::clock::Clock;
use crate::store::{Store, StoreError};
use failures::Failures;
use password::{NOBODY, PASSWORD_BYTES_MAX, verify};
use sessions::Sessions;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::NAME_BYTES_MAX;
use tokio::sync::Semaphore;

/// Passwords checked at once: each takes 19 MiB and tens of milliseconds.
const CHECKS_MAX: usize = 2;
/// Longest wait for the database when a session is used. When it does not answer in time, it counts as unreadable.
const ASK_WITHIN: Duration = Duration::from_millis(500);

/// Accounts and who is logged in.
#[derive(Debug)]
pub struct Accounts {
    store: Store,
    clock: Clock,
    sessions: Sessions,
    failures: Failures,
    checks: Semaphore,
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Wrong name or password; which of them is not told.
    #[error("the name or the password is wrong")]
    Wrong,
    /// Too many wrong passwords for this name.
    #[error("too many wrong passwords; try again in {} seconds", .0.as_secs())]
    Wait(Duration),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// Opens the accounts of a database.
    pub fn new(store: Store, clock: Clock, lifetime: Lifetime) -> Self {
        Self {
            store,
            clock,
            sessions: Sessions::new(lifetime),
            failures: Failures::default(),
            checks: Semaphore::new(CHECKS_MAX),
        }
    }

    /// Checks a password and begins a session: its secret token.
    ///
    /// # Errors
    /// When they do not match, or the name has to wait.
    pub async fn login(&self, name: &str, password: String) -> Result<String, LoginError> {
        if name.len() > NAME_BYTES_MAX || password.len() > PASSWORD_BYTES_MAX {
            return Err(LoginError::Wrong);
        }
        let now = self.clock.now();
        if let Some(wait) = self.failures.must_wait(name, now) {
            return Err(LoginError::Wait(wait));
        }
        let account = name.to_owned();
        let credentials = self.store.run(move |db| table::credentials(db, &account)).await?;
        // A disabled account is as unknown as a made-up one.
        let credentials = credentials.filter(|credentials| !credentials.is_disabled);
        let permit = self.checks.acquire().await;
        // Asked again, because many tries may have come at once and waited here.
        if let Some(wait) = self.failures.must_wait(name, now) {
            return Err(LoginError::Wait(wait));
        }
        // An unknown name costs as much time as a known one, so that names cannot be tried out.
        let hash = credentials.as_ref().map(|known| known.password_hash.clone());
        let right =
            tokio::task::spawn_blocking(move || verify(hash.as_deref().unwrap_or(&NOBODY), &password))
                .await
                .unwrap_or(false);
        let Some(known) = credentials.filter(|_| right) else {
            self.failures.note(name, now);
            return Err(LoginError::Wrong);
        };
        drop(permit);
        self.failures.forget(name);
        Ok(self.sessions.begin(name, known.version, now))
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
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
